/**
 * The whole peer: links, gossip, blobs, ledgers and roles composed into one sans-I/O object.
 *
 * A driver feeds it inputs (events.ts) and performs its outputs in order. Per neighbour:
 *
 *     a frame --session--> gossip | exchange | records --ledger--> roles --desk--> records, jobs, notices
 *
 * Whatever a neighbour sends, the worst that happens here is `RemoteProtocolError`: its score falls, and at the floor
 * the link is closed.
 */

import { Accepting } from "./accepting";
import { hex, type Hex } from "./bytes";
import { Conduct } from "./conduct";
import type { ProtocolConfig } from "./config";
import type { CreatorRole } from "./creator";
import type { Custody } from "./custody";
import type { Desk, Subject } from "./desk";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { Channel, type Input, type Notable, type Output } from "./events";
import type { Exchange } from "./exchange";
import { decodeFrame, type Frame } from "./frames";
import { Gossip, type Shelf } from "./gossip";
import { type PeerId, peerIdOf, publicKeyOf, type Signer, type Verifier } from "./identity";
import { Introductions } from "./introductions";
import { Ledger, taskTopic } from "./ledger";
import { type BlobRef, type Manifest, openManifest, timeRefusal } from "./manifest";
import { Neighbours } from "./neighbours";
import { type LedgerRecord, parse, recordKey, sign, type Signed, verifySignature } from "./records";
import type { Rng } from "./rng";
import { Session, type SessionState } from "./session";
import type { Pace } from "./sizing";
import type { Slots } from "./slots";
import type { BlobStore } from "./storage";
import type { Vouches } from "./vouching";
import { awaitedBy, Waiting } from "./waiting";
import type { WorkerRole } from "./worker";

export const NETWORK_TOPIC: Hex = "";
const TASKS_MAX = 1_000;
const EXPIRE_EVERY_S = 5;
const TASK_CHARS = 64;
const NO_IDS: readonly Hex[] = [];

interface Link {
  readonly session: Session;
  readonly conduct: Conduct;
  isSuspected: boolean;
}

interface Wish {
  readonly digest: Uint8Array;
  readonly size: number;
  readonly root: Uint8Array | null;
  readonly makers: readonly Uint8Array[];
}

/**
 * Makes the parts a peer plays in tasks. They come from outside because a browser loads them only when they are needed:
 * a worker's before `tasksChosen` and `slotsChanged` allow any task, a creator's before a task of ours is published or
 * restored.
 */
export interface Roles {
  worker(...parts: ConstructorParameters<typeof WorkerRole>): WorkerRole;
  creator(...parts: ConstructorParameters<typeof CreatorRole>): CreatorRole;
  custody(...parts: ConstructorParameters<typeof Custody>): Custody;
  exchange(...parts: ConstructorParameters<typeof Exchange>): Exchange;
  slots(...parts: ConstructorParameters<typeof Slots>): Slots;
  /**
   * Whether a record may enter a ledger; false while that cannot be told.
   *
   * @throws RemoteProtocolError when it may not.
   */
  check(ledger: Ledger, signed: Signed, record: LedgerRecord): boolean;
  /** Who answers for whom; null while that is not looked at: then nothing of it is held or passed on. */
  readonly vouches: Vouches | null;
  /** Have a ledger take beacons and reveals, before a role in its task is made. */
  attend(ledger: Ledger): void;
}

/**
 * One peer of one network; one `handle` at a time.
 *
 * - `config`: fixed for the peer's life.
 * - `signer`: the peer's keys.
 * - `verifier`: checks other people's signatures.
 * - `rng`: where all chance comes from. Salts, nonces, picks and audits are drawn from it, so a real peer passes a
 *   cryptographic generator.
 * - `blobs`: where blobs are kept.
 * - `roles`: makes the parts it plays in tasks.
 */
export class Peer implements Desk, Shelf {
  readonly peerId: PeerId;
  readonly ledgers = new Map<Hex, Ledger>();
  readonly workers = new Map<Hex, WorkerRole>();
  readonly creators = new Map<Hex, CreatorRole>();
  /** Those of them whose tasks are not over: of thousands of tasks most are. */
  private readonly working = new Map<Hex, WorkerRole>();
  private readonly creating = new Map<Hex, CreatorRole>();
  private readonly me: Hex;
  private readonly gossip: Gossip;
  /** Made with our first role, as what follows: before it there is nothing to fetch or to give. */
  private mover: Exchange | null = null;
  /** Neighbours that have said hello. */
  private readonly greeted = new Set<PeerId>();
  private keeper: Custody | null = null;
  private readonly neighbourhood: Neighbours;
  private readonly introductions: Introductions;
  private readonly links = new Map<PeerId, Link>();
  private bench: Slots | null = null;
  private readonly waiting = new Waiting();
  private readonly accepting: Accepting;
  private slots: number;
  private expireAt: number;
  /** No session has anything to do before; what a neighbour says only moves that further away. */
  private sessionsAt = Infinity;
  private outputs: Output[] = [];
  /** What is to be saved, in this order. */
  private saved: Signed[] = [];
  /** Whether that must be done before anything more is told: some of it is ours. Others can say theirs again. */
  private isSaving = false;
  private wishes: Wish[] = [];
  private uploadBytesPerS: number;

  constructor(
    readonly config: ProtocolConfig,
    private readonly signer: Signer,
    private readonly verifier: Verifier,
    private readonly rng: Rng,
    private readonly blobs: BlobStore,
    private readonly roles: Roles,
    private now: number,
  ) {
    this.peerId = signer.peerId;
    this.me = hex(signer.publicKey);
    this.accepting = new Accepting(config, this.me, this.workers);
    this.gossip = new Gossip(config, this.peerId, rng, this);
    this.neighbourhood = new Neighbours(config, rng, now);
    this.introductions = new Introductions(config, signer.publicKey, verifier, rng, this.neighbourhood, now);
    this.slots = config.slots;
    this.uploadBytesPerS = config.uploadBytesPerS;
    this.expireAt = now + EXPIRE_EVERY_S;
    this.gossip.follow(NETWORK_TOPIC);
  }

  // ---- the driver's side

  /**
   * Apply one input and return what to do about it, in the order to do it.
   *
   * @throws LocalProtocolError when a task we shall publish is not ours, or its time has not come or has passed.
   */
  handle(event: Input, now: number): readonly Output[] {
    this.now = now;
    switch (event.kind) {
      case "frameReceived":
        // Most frames of a mesh are copies of what we know.
        if (!this.frameReceived(event.peerId, event.frame) && this.outputs.length === 0) return [];
        break;
      case "woke":
        this.woke();
        break;
      case "executed":
        this.bench?.finished(event.job)?.executed(event.job, event.outcomes, event.seconds, now);
        break;
      case "linkDrained":
        this.mover?.serving.drained(event.peerId);
        break;
      case "linkOpened":
        this.linkOpened(event.peerId, event.dialled);
        break;
      case "linkClosed":
        this.linkClosed(event.peerId, event.reason);
        break;
      case "dialFailed":
        this.neighbourhood.closed(event.peerId, now);
        break;
      case "peersDiscovered":
        this.neighbourhood.discovered(
          event.peerIds.filter((peerId) => peerId !== this.peerId),
          now,
        );
        break;
      case "signalMade":
        this.introductions.relay(event.to, event.through, event.signal, now);
        break;
      case "taskPublished":
        this.publishTask(event.manifest);
        break;
      case "recordsRestored":
        this.restore(event.records);
        break;
      case "workBegun":
        this.workers.get(event.taskId)?.begin(event.chunks);
        break;
      case "finishRequested":
        this.accepting.isFinishing = true;
        for (const worker of this.workers.values()) worker.finish();
        break;
      case "tasksChosen":
        this.accepting.chosen = event.tasks;
        this.chooseWorkers();
        break;
      case "slotsChanged":
        this.slots = event.slots;
        this.chooseWorkers();
        break;
      case "uploadCapped":
        this.uploadBytesPerS = event.bytesPerS;
        this.mover?.serving.cap(event.bytesPerS, this.now);
        break;
    }
    this.advanceRoles();
    return this.drain();
  }

  /** When to send `woke`, if nothing happens before. Changes with every `handle`. */
  get wakeAt(): number {
    let due = Math.min(
      this.expireAt,
      this.sessionsAt,
      this.gossip.wakeAt() ?? Infinity,
      this.mover?.wakeAt() ?? Infinity,
      this.keeper?.wakeAt() ?? Infinity,
      this.neighbourhood.wakeAt() ?? Infinity,
      this.introductions.wakeAt() ?? Infinity,
    );
    for (const worker of this.working.values()) due = Math.min(due, worker.wakeAt() ?? Infinity);
    for (const creator of this.creating.values()) due = Math.min(due, creator.wakeAt() ?? Infinity);
    return due;
  }

  /** Whether nothing is being executed. */
  get idle(): boolean {
    return this.bench?.isIdle ?? true;
  }

  /** Linked peers and the state of each session. */
  get neighbours(): Map<PeerId, SessionState> {
    const states = new Map<PeerId, SessionState>();
    for (const [peerId, link] of this.links) states.set(peerId, link.session.state);
    return states;
  }

  /** Whether we take part in a topic. */
  follows(topic: Hex): boolean {
    return this.gossip.follows(topic);
  }

  /** Whether `handle` would look at this record at all: only then its signature is worth checking beforehand. */
  isNews(signed: Signed): boolean {
    return !this.gossip.seen(recordKey(signed));
  }

  /** Tell all neighbours what they have not heard from us yet, then that we leave; close the links after that. */
  farewell(reason: string): readonly Output[] {
    this.isSaving = true;
    this.gossip.lastWords();
    const outputs = this.drain();
    for (const peerId of this.links.keys()) this.send(peerId, { kind: "bye", reason });
    return [...outputs, ...this.drain()];
  }

  // ---- the shelf gossip asks

  recordIds(topic: Hex): Iterable<Hex> {
    // Tasks first: what is said of a creator whose task a newcomer does not hold is nothing to it.
    if (topic === NETWORK_TOPIC) return [...this.ledgers.keys(), ...(this.roles.vouches?.ids() ?? NO_IDS)];
    return this.ledgers.get(topic.slice(0, TASK_CHARS))?.recordIds(topic) ?? NO_IDS;
  }

  record(recordId: Hex): Signed | null {
    for (const ledger of this.ledgers.values()) {
      const signed = ledger.record(recordId);
      if (signed !== null) return signed;
    }
    return this.roles.vouches?.record(recordId) ?? null;
  }

  // ---- the desk roles work at

  publish(ledger: Ledger, record: LedgerRecord): void {
    const signed = sign(this.signer, record);
    if (!ledger.add(signed, record, this.now)) return;
    if (this.isWorthSaving(ledger, signed, record)) {
      this.saved.push(signed);
      if (record.kind !== "join") this.isSaving = true; // A join that is forgotten is made again.
    }
    this.spread(ledger, signed, record, null);
    // A peer may work for its own task's other half only through the ledger, as everybody does.
    this.workers.get(ledger.taskKey)?.recordAdded(signed, record, this.now);
  }

  follow(topic: Hex): void {
    this.gossip.follow(topic);
  }

  leave(topic: Hex): void {
    this.gossip.leave(topic);
  }

  synced(topic: Hex): boolean {
    return this.gossip.synced(topic);
  }

  cancel(job: number): void {
    this.bench?.cancel(job);
  }

  fetch(digest: Uint8Array, size: number, root: Uint8Array | null, providers: readonly Uint8Array[]): void {
    this.wishes.push({ digest, size, root, makers: providers });
  }

  followers(topic: Hex): readonly PeerId[] {
    return this.gossip.followers(topic);
  }

  tell(peerId: PeerId, frame: Frame): void {
    this.send(peerId, frame);
  }

  want(peerId: PeerId): void {
    this.neighbourhood.want(peerId, this.now);
  }

  get custody(): Custody {
    const { config, greeted, rng } = this;
    return (this.keeper ??= this.roles.custody(config, this, greeted, rng, this.exchange.serving));
  }

  fetchPieces({ sha256, size, root }: BlobRef, pieces: bigint): void {
    this.exchange.fetchPieces(sha256, size, root, pieces, this.now);
  }

  piecesHere(digest: Uint8Array): bigint {
    return this.mover?.here(digest) ?? 0n;
  }

  forget(digest: Uint8Array): void {
    for (const worker of this.workers.values()) if (!worker.isDone && worker.uses(digest)) return;
    this.mover?.forget(digest);
  }

  private get exchange(): Exchange {
    if (this.mover === null) {
      this.mover = this.roles.exchange(this.config, this.blobs, this.rng);
      this.mover.serving.cap(this.uploadBytesPerS, this.now);
      for (const peerId of this.greeted) this.mover.linkOpened(peerId, this.now);
    }
    return this.mover;
  }

  pace(ledger: Ledger): Pace {
    this.bench ??= this.roles.slots(this.config, (output) => this.outputs.push(output), this.now);
    return this.bench.paces.of(ledger.manifest.code.sha256);
  }

  notice(what: Notable, ledger: Ledger, { chunk, peer, detail }: Subject = {}): void {
    this.outputs.push({
      kind: "notice",
      what,
      taskId: ledger.taskKey,
      chunk: chunk ?? null,
      peerId: peer === undefined ? null : peerIdOf(peer),
      detail: detail ?? "",
    });
  }

  // ---- links

  private linkOpened(peerId: PeerId, dialled: boolean): void {
    if (this.links.has(peerId)) this.linkClosed(peerId, "replaced by a new link", true);
    const left = this.neighbourhood.opened(peerId, this.now, dialled);
    if (left === null) {
      this.outputs.push({ kind: "closeLink", peerId, reason: "too many neighbours" });
      return;
    }
    const session = new Session(this.config, this.now);
    this.links.set(peerId, { session, conduct: new Conduct(this.config, this.now), isSuspected: false });
    this.sessionsAt = Math.min(this.sessionsAt, session.wakeAt());
    this.send(peerId, session.greeting());
    for (const other of left) {
      this.send(other, { kind: "part" });
      this.dropLink(other, "other neighbours", true);
    }
  }

  private linkClosed(peerId: PeerId, reason: string, hasParted = false): void {
    this.neighbourhood.closed(peerId, this.now);
    if (!this.links.delete(peerId)) return;
    this.gossip.linkClosed(peerId);
    this.greeted.delete(peerId);
    this.mover?.linkClosed(peerId, this.now);
    this.introductions.linkClosed(peerId);
    if (!hasParted) this.silent(peerId, reason);
  }

  private dropLink(peerId: PeerId, reason: string, hasParted = false): void {
    this.outputs.push({ kind: "closeLink", peerId, reason });
    this.linkClosed(peerId, reason, hasParted);
  }

  /** A neighbour is gone or suspected: its leases may be re-run. Only we think so; others see for themselves. */
  private silent(peerId: PeerId, reason: string): void {
    const worker = hex(publicKeyOf(peerId));
    const left = new Map<Hex, number[]>();
    for (const [task, ledger] of this.ledgers) left.set(task, ledger.leases.release(worker));
    for (const role of this.workers.values()) role.lookAgain(this.now);
    for (const [task, role] of this.creators) role.workerSilent(worker, left.get(task)!, this.now);
    this.outputs.push({ kind: "notice", what: "peer suspected", taskId: null, chunk: null, peerId, detail: reason });
  }

  /** Apply one frame; false when it said nothing new. */
  private frameReceived(peerId: PeerId, data: Uint8Array): boolean {
    const link = this.links.get(peerId);
    if (link === undefined) return false; // We closed this link; its last frames were on their way.
    try {
      return this.apply(peerId, link, data);
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      this.penalise(peerId, error.message);
      return true;
    }
  }

  private apply(peerId: PeerId, link: Link, data: Uint8Array): boolean {
    const { session } = link;
    const frame = decodeFrame(data);
    const isGreeting = session.state === "greeting";
    const isExpected =
      frame.kind === "blob-piece" && (this.keeper?.expects(peerId, frame) || this.mover?.expects(peerId, frame));
    if (!isExpected) link.conduct.charge(data.length, this.now);
    for (const answer of session.received(frame, this.now)) this.send(peerId, answer);
    link.isSuspected = false;
    if (isGreeting) {
      this.sessionsAt = Math.min(this.sessionsAt, session.wakeAt());
      this.gossip.linkOpened(peerId);
      this.greeted.add(peerId);
      this.mover?.linkOpened(peerId, this.now);
      this.introductions.linkOpened(peerId, this.now);
      return true;
    }
    switch (frame.kind) {
      case "publish":
        return this.recordsReceived(peerId, frame.records);
      case "topics":
      case "graft":
      case "prune":
      case "ihave":
      case "iwant":
      case "reconcile":
      case "reconcile-cells":
      case "reconcile-ids":
        this.gossip.received(peerId, frame, this.now);
        break;
      case "blob-want":
      case "blob-piece":
      case "blob-seek":
      case "blob-have":
      case "blob-got":
      case "blob-cancel":
      case "blob-missing":
        if (this.keeper?.takes(peerId, frame, this.now)) break;
        if (this.mover !== null) this.mover.received(peerId, frame, this.now);
        else if (frame.kind === "blob-want" || frame.kind === "blob-seek") {
          this.send(peerId, { kind: "blob-missing", sha256: frame.sha256 });
        }
        break;
      case "keep":
      case "kept":
        this.keeper?.takes(peerId, frame, this.now);
        break;
      case "ask":
      case "peers":
      case "relay":
      case "relayed":
      case "undeliverable":
        this.introductions.received(peerId, frame, this.now);
        break;
      case "bye":
      case "part":
        this.dropLink(peerId, session.reason, session.hasParted);
        break;
      case "hello":
      case "ping":
      case "pong":
        break;
    }
    return true;
  }

  private penalise(peerId: PeerId, reason: string): void {
    const link = this.links.get(peerId);
    if (link?.conduct.breach() || link?.session.state === "greeting") this.dropLink(peerId, reason);
  }

  // ---- records

  /** Take what is new; false when nothing is. One bad record does not keep the others from being heard. */
  private recordsReceived(source: PeerId, records: readonly Signed[]): boolean {
    let isNew = false;
    for (const signed of records) {
      if (!this.isNews(signed)) continue;
      isNew = true;
      try {
        this.recordReceived(source, signed);
      } catch (error) {
        if (!(error instanceof RemoteProtocolError)) throw error;
        this.penalise(source, error.message);
      }
    }
    return isNew;
  }

  private recordReceived(source: PeerId, signed: Signed): void {
    if (signed.kind === "manifest") {
      this.manifestReceived(source, signed);
      return;
    }
    if (signed.kind === "vouch") {
      this.takeVouch(signed, source);
      return;
    }
    const record = parse(signed);
    const ledger = this.ledgers.get(hex(record.task));
    if (ledger === undefined) return;
    if (ledger.isVoid(hex(signed.author))) return;
    const awaited = awaitedBy(ledger, signed, record);
    if (awaited !== undefined) {
      this.waiting.hold(source, ledger, awaited, signed);
      return;
    }
    if (!this.roles.check(ledger, signed, record)) return;
    verifySignature(this.verifier, signed);
    if (ledger.add(signed, record, this.now)) this.added(ledger, signed, record, source);
    else this.gossip.markSeen(recordKey(signed));
  }

  private takeVouch(signed: Signed, source: PeerId | null): void {
    // Not marked as seen otherwise: the task that makes it matter may come yet.
    if (this.roles.vouches?.add(signed, this.ledgers.values()) !== true) return;
    this.gossip.markSeen(recordKey(signed));
    if (source === null) return;
    this.saved.push(signed);
    this.gossip.publish(NETWORK_TOPIC, recordKey(signed), signed, this.now, source);
  }

  private added(ledger: Ledger, signed: Signed, record: LedgerRecord, source: PeerId): void {
    if (this.isWorthSaving(ledger, signed, record)) this.saved.push(signed);
    this.spread(ledger, signed, record, source);
    this.workers.get(ledger.taskKey)?.recordAdded(signed, record, this.now);
    this.creators.get(ledger.taskKey)?.recordAdded(signed, record, this.now);
    for (const held of this.waiting.came(ledger, signed, record)) this.recordsReceived(held.source, [held.signed]);
  }

  private spread(ledger: Ledger, signed: Signed, record: LedgerRecord, source: PeerId | null): void {
    const creator = peerIdOf(ledger.manifest.creator);
    this.gossip.publish(ledger.topicOf(record), recordKey(signed), signed, this.now, source, creator);
  }

  private manifestReceived(source: PeerId, signed: Signed): void {
    const task = recordKey(signed);
    if (this.ledgers.has(task)) {
      this.gossip.markSeen(task); // It fell out of the seen cache; what we hold of the task stays.
      return;
    }
    const manifest = openManifest(signed, this.verifier);
    this.gossip.markSeen(task);
    if (timeRefusal(manifest, this.unixS) !== null || !this.hasRoomForTask()) return;
    const ledger = this.ledgerOf(signed, manifest);
    this.ledgers.set(task, ledger);
    this.gossip.publish(NETWORK_TOPIC, task, signed, this.now, source);
    this.notice("task seen", ledger, { peer: manifest.creator, detail: manifest.name });
    if (this.accepting.accepts(ledger, this.slots)) this.startWorker(ledger);
  }

  /** Whether one more task can be held; of those that are over the oldest is forgotten for it. */
  private hasRoomForTask(): boolean {
    if (this.ledgers.size < TASKS_MAX) return true;
    for (const [task, { certificate }] of this.ledgers) {
      if (certificate === null || this.creators.has(task) || this.working.has(task)) continue;
      this.ledgers.delete(task);
      this.workers.delete(task);
      this.keeper?.leave(task);
      this.gossip.leaveAll(task);
      return true;
    }
    return false;
  }

  /** A creator keeps everything its tally rests on; a worker what it must not forget, and the task's state. */
  private isWorthSaving(ledger: Ledger, signed: Signed, record: LedgerRecord): boolean {
    if (record.kind === "lease" || record.kind === "savepoint") return false;
    if (this.creators.has(ledger.taskKey)) return true;
    if (record.kind === "commit" || record.kind === "reveal" || record.kind === "assign") return hex(signed.author) === this.me;
    return record.kind !== "feed" && this.workers.has(ledger.taskKey); // A worker hears a feed again.
  }

  // ---- tasks and roles

  private get unixS(): number {
    return this.now + this.config.epochOffsetS;
  }

  private startWorker(ledger: Ledger): WorkerRole {
    this.saved.push(ledger.signed);
    const role = this.roles.worker(this.config, this.signer, this.rng, ledger, this, this.blobs, this.now);
    this.workers.set(ledger.taskKey, role);
    this.working.set(ledger.taskKey, role);
    return role;
  }

  /** After a change of what or how much to work: begin, go on or rest, task by task. */
  private chooseWorkers(): void {
    for (const ledger of this.ledgers.values()) {
      const role = this.workers.get(ledger.taskKey);
      const isWanted = this.accepting.accepts(ledger, this.slots);
      if (role !== undefined) {
        if (isWanted) role.resume(this.now);
        else role.rest();
      } else if (isWanted && ledger.certificate === null) {
        this.startWorker(ledger).restored(this.ownRecords(ledger), this.now);
      }
    }
  }

  private *ownRecords(ledger: Ledger): Generator<readonly [Signed, LedgerRecord]> {
    for (const signed of ledger.records()) {
      if (signed.kind !== "manifest" && hex(signed.author) === this.me) yield [signed, parse(signed)];
    }
  }

  private publishTask(signed: Signed): void {
    const manifest = openManifest(signed, this.verifier);
    if (hex(manifest.creator) !== this.me) {
      throw new LocalProtocolError("only the creator who signed a task can publish it: use that creator's key");
    }
    const refusal = timeRefusal(manifest, this.unixS);
    if (refusal !== null) throw new LocalProtocolError(refusal);
    const task = recordKey(signed);
    if (this.creators.has(task)) return;
    const ledger = this.ledgerOf(signed, manifest);
    this.ledgers.set(task, ledger);
    this.startCreator(ledger);
    this.saved.push(signed);
    this.isSaving = true;
    this.gossip.publish(NETWORK_TOPIC, task, signed, this.now);
  }

  private ledgerOf(signed: Signed, manifest: Manifest): Ledger {
    const keepCommits = hex(manifest.creator) === this.me;
    return new Ledger(signed, manifest, { keepCommits, clockOffsetS: this.config.epochOffsetS });
  }

  private startCreator(ledger: Ledger): CreatorRole {
    const role = this.roles.creator(this.config, this.signer, this.rng, ledger, this, this.blobs);
    this.creators.set(ledger.taskKey, role);
    this.creating.set(ledger.taskKey, role);
    this.gossip.follow(taskTopic(ledger.task));
    return role;
  }

  private restore(records: readonly Signed[]): void {
    for (const signed of records) {
      if (signed.kind !== "manifest") continue;
      const manifest = openManifest(signed, this.verifier);
      const task = recordKey(signed);
      const ledger = this.ledgerOf(signed, manifest);
      this.ledgers.set(task, ledger);
      if (ledger.keepCommits || this.accepting.accepts(ledger, this.slots)) this.roles.attend(ledger);
      this.gossip.markSeen(task);
    }
    const byTask = new Map<Hex, [Signed, LedgerRecord][]>();
    for (const signed of records) {
      if (signed.kind === "manifest") continue;
      if (signed.kind === "vouch") {
        this.takeVouch(signed, null);
        continue;
      }
      const record = parse(signed);
      const ledger = this.ledgers.get(hex(record.task));
      if (ledger === undefined || !ledger.add(signed, record, this.now)) continue;
      this.gossip.markSeen(recordKey(signed));
      const restored = byTask.get(ledger.taskKey);
      if (restored === undefined) byTask.set(ledger.taskKey, [[signed, record]]);
      else restored.push([signed, record]);
    }
    for (const [task, ledger] of this.ledgers) {
      const restored = byTask.get(task) ?? [];
      if (hex(ledger.manifest.creator) === this.me) {
        this.startCreator(ledger).restored(restored, this.now);
      } else if (ledger.certificate === null && this.accepting.accepts(ledger, this.slots)) {
        this.startWorker(ledger).restored(restored, this.now);
      }
    }
  }

  private advanceRoles(): void {
    this.keeper?.advance(this.now);
    for (const creator of this.creating.values()) creator.advance(this.now);
    this.bench?.fill(this.slots, this.creating.values(), this.working.values(), this.now);
    for (const worker of this.working.values()) worker.advance(this.now);
    for (const task of [...this.working.keys(), ...this.creating.keys()]) {
      if (this.ledgers.get(task)!.certificate === null) continue;
      const worker = this.working.get(task);
      if (worker !== undefined && worker.wakeAt() !== Infinity) continue;
      this.working.delete(task);
      this.creating.delete(task);
    }
    for (let wish = this.wishes.pop(); wish !== undefined; wish = this.wishes.pop()) {
      const providers = wish.makers.map(peerIdOf).filter((peerId) => peerId !== this.peerId);
      // With a root others have it, too.
      if (wish.root === null) for (const provider of providers) this.neighbourhood.want(provider, this.now);
      const asked = providers.length > 0 ? providers : this.links.keys();
      this.exchange.fetch(wish.digest, wish.size, wish.root, asked, this.now);
    }
  }

  // ---- time

  private woke(): void {
    const { now } = this;
    if (now >= this.sessionsAt) this.advanceSessions();
    if (this.gossip.heartbeatDue(now)) {
      this.gossip.heartbeat(now);
      this.isSaving = true;
    }
    this.mover?.advance(now);
    for (const dial of this.neighbourhood.dials(now)) this.outputs.push({ kind: "dialPeer", ...dial });
    this.introductions.seek(now);
    if (now >= this.expireAt) {
      this.expireAt = now + EXPIRE_EVERY_S;
      this.isSaving = true;
      for (const ledger of this.ledgers.values()) ledger.expire(now);
    }
  }

  private advanceSessions(): void {
    this.sessionsAt = Infinity;
    for (const [peerId, link] of this.links) {
      const { session } = link;
      for (const frame of session.advance(this.now)) this.send(peerId, frame);
      if (session.state === "gone") {
        this.dropLink(peerId, session.reason);
        continue;
      }
      if (session.state === "suspected" && !link.isSuspected) {
        link.isSuspected = true;
        this.silent(peerId, "silent");
      }
      this.sessionsAt = Math.min(this.sessionsAt, session.wakeAt());
    }
  }

  // ---- outputs

  private send(peerId: PeerId, frame: Frame): void {
    const channel = frame.kind === "blob-piece" ? Channel.BULK : Channel.CONTROL;
    this.outputs.push({ kind: "sendFrame", peerId, channel, frame });
  }

  private drain(): readonly Output[] {
    for (;;) {
      this.neighbourhood.isMoving = this.mover?.isMoving ?? false;
      const finished = this.mover?.drainFinished() ?? [];
      for (const { digest, isHere } of finished) {
        for (const worker of this.workers.values()) worker.blobArrived(digest, isHere, this.now);
        for (const creator of this.creators.values()) creator.blobArrived(digest, isHere, this.now);
      }
      if (finished.length === 0) break;
      this.advanceRoles();
    }
    for (const [peerId, frame] of this.mover?.drainFrames(this.now) ?? []) this.send(peerId, frame);
    for (const [peerId, frame] of this.introductions.drainFrames()) this.send(peerId, frame);
    this.outputs.push(...this.introductions.drainOutputs());
    for (const [peerId, frame] of this.gossip.drain(this.now)) this.send(peerId, frame);
    const { outputs } = this;
    this.outputs = [];
    if (this.saved.length > 0 && this.isSaving) {
      // First of all: nothing is told to anybody that a crash could make us forget.
      outputs.unshift({ kind: "saveRecords", records: this.saved });
      this.saved = [];
    }
    this.isSaving = false;
    return outputs;
  }
}

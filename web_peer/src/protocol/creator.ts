/**
 * The creator's part in one of its tasks, chunk by chunk: admit, open, assign, settle, accept (spec/ledger.md).
 *
 *     a chunk:  OPEN --votes--> SEALED --enough--> AGREED --result here--> accepted
 *                                  '--two values--> DISPUTED --our own execution--'   (tally.ts)
 *
 * Workers choose what to execute first; the creator chooses who confirms it (dispatching.ts), opens the sealed votes, and
 * executes chunks itself where votes differ, where nobody else is left to ask, or where its own word is needed for the
 * certificate (executing.ts, closing.ts). Its own executions are commits like any other, signed by the creator and
 * sealed to itself: what it has accepted can be rebuilt from the records after a crash at any moment.
 */

import { Absences } from "./absence";
import { openAssignment, sealAssignment } from "./assigning";
import { CUSTODIANS_MAX, custodiansOf, openCommit } from "./batch";
import { equal, fromHex, hex, type Hex } from "./bytes";
import { Closing, type TaskState } from "./closing";
import type { ProtocolConfig } from "./config";
import { type Custodial, refusal } from "./custody";
import { fieldsOf, split, tableOf } from "./credit";
import type { Desk } from "./desk";
import { Dispatch } from "./dispatching";
import type { Lots } from "./drawing";
import { ModuleRefused, RemoteProtocolError } from "./errors";
import { type ChunkInput, type ChunkOutcome, Status } from "./events";
import { Executing } from "./executing";
import type { Keep, Kept } from "./frames";
import { readComparison } from "./gpu/package";
import type { PeerId, Signer } from "./identity";
import { type Ledger, shardTopic } from "./ledger";
import type { Manifest } from "./manifest";
import * as merkle from "./merkle";
import { Gathering } from "./onward";
import { checkInline, type Shown, shownRecords } from "./opening";
import { Presence } from "./presence";
import {
  type Assign,
  type Checkpoint,
  CREDITS_INLINE_BYTES_MAX,
  EVERYTHING,
  type Commit,
  LEAVING_TTL_S,
  type LedgerRecord,
  recordId,
  SHARD_CHUNKS,
  shardOf,
  type Signed,
  type Verdict,
} from "./records";
import { chunksOf } from "./runs";
import { type Copy, Reclaiming } from "./reclaiming";
import { Referee } from "./referee";
import type { Rng } from "./rng";
import type { BlobStore } from "./storage";
import { creatorsSigner } from "./stewarding";
import type { Stewards } from "./stewards";
import type { ChunkTally } from "./tally";
import { commitsOf } from "./voting";

/**
 * A creator that was away asks nobody for anything for this long: what it would ask for may have been done meanwhile, and
 * is on its way to it. A guess; simulations/scenarios/unattended.toml.
 */
const HEAR_OUT_S = 5;

/** How often overdue assignments are looked for: a tenth of the 5 s in which a silent worker's work must be re-run. */
const REVIEW_S = 0.5;

const ADMISSION_WINDOW_S = 60;
const NO_RECORD = new Uint8Array(32);

/** What the creator holds of one chunk. */
export interface ChunkResult {
  readonly chunk: number;
  /** `failed`: nobody gets a result. */
  readonly state: "ok" | "task error" | "failed" | "open";
  readonly digest: Uint8Array | null;
  readonly size: number;
  readonly votes: number;
  readonly agreed: readonly Hex[];
  readonly disagreed: readonly Hex[];
  readonly reasons: readonly string[];
}

/** A task in numbers, for whoever watches. */
export interface Progress {
  readonly state: TaskState;
  readonly chunks: number;
  readonly accepted: number;
  readonly failed: number;
  readonly votes: number;
  readonly workers: number;
  readonly convicted: number;
  readonly workerAudits: number;
  readonly creatorAudits: number;
  readonly bound: number;
  /** Votes that lots chose while we were away, and that count towards a quorum. */
  readonly drawn: number;
}

/** One task of ours. */
export class CreatorRole implements Custodial {
  state: TaskState = "running";
  /** The opened votes, also for whoever checks us. */
  readonly referee: Referee;
  private readonly me: Hex;
  /** Our task's code, if that has results compared as numbers; else empty. */
  private readonly package: Uint8Array;
  /** Opens and seals with the task's key. */
  private readonly signer: Signer;
  private readonly lots: Lots;
  private readonly stewards: Stewards;
  /** Whom each steward asked for a chunk: for us such a vote counts as drawn, or as if we had asked for it. */
  private readonly entrusted = new Map<Hex, Map<number, Set<Hex>>>();
  private readonly presence: Presence;
  private readonly closing: Closing;
  private readonly gathering: Gathering;
  private readonly executing: Executing;
  private readonly dispatch: Dispatch;
  private admittedAt: number[] = [];
  private readonly waitingJoins: Hex[] = [];
  private readonly accepted = new Map<number, Hex>();
  private readonly failed = new Set<number>();
  private votes = 0;
  private mismatches = 0;
  /** What was accepted of chunks that reopened: should something else be accepted now, it was wrong. */
  private readonly retracted = new Map<number, Hex>();
  private seq = 0;
  /** Result -> chunks that have it. */
  private readonly fetching = new Map<Hex, Set<number>>();
  /** Worker -> who keeps its results, the latest first. */
  private readonly custodians = new Map<Hex, readonly Hex[]>();
  private readonly reclaiming: Reclaiming;
  private readonly dirty = new Set<number>();
  private checkpointAt = Infinity;
  private reviewAt = -Infinity;
  private isRestoring = false;
  /** When we have heard what was done in our absence. */
  private askingFrom = -Infinity;
  /** Chunks that we execute for no other reason than that their votes differ. */
  private readonly disputed = new Set<number>();
  private isStirred = true;

  constructor(
    private readonly config: ProtocolConfig,
    signer: Signer,
    private readonly rng: Rng,
    readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
  ) {
    const { manifest } = ledger;
    this.signer = creatorsSigner(signer, manifest);
    this.me = hex(signer.publicKey);
    const { lots, stewards } = Absences.of(ledger);
    this.lots = lots;
    this.stewards = stewards;
    this.presence = new Presence(config, signer, ledger, desk);
    const drawn = (chunk: number): ReadonlySet<Hex> => this.drawn(chunk);
    const asked = (chunk: number): ReadonlySet<Hex> => this.askedForUs(chunk);
    this.package = packageThatCompares(manifest, blobs);
    const comparison = this.package.length > 0 ? readComparison(this.package) : null;
    this.referee = new Referee(this.me, manifest.policy.replication, drawn, comparison, asked);
    this.closing = new Closing(manifest, this.referee, this.failed, rng);
    this.gathering = new Gathering(desk, blobs);
    this.executing = new Executing(
      config,
      ledger,
      (start, length) => this.readInputs(start, length),
      this.gathering,
    );
    const ask = (worker: Hex, home: number, chunks: readonly number[], isUrgent: boolean): void =>
      this.assign(worker, home, chunks, isUrgent);
    const { capacity } = desk.pace(ledger);
    this.dispatch = new Dispatch(config, rng, ledger, this.referee, this.closing, this.executing, ask, capacity);
    this.reclaiming = new Reclaiming(this.signer, ledger, desk, blobs);
    desk.custody.takePart(ledger.taskKey, this);
    for (let shard = 0; shard < ledger.shards; shard++) desk.follow(shardTopic(ledger.task, shard));
  }

  // ---- what happens

  /** Take up a task again from the records of an earlier life. */
  restored(records: Iterable<readonly [Signed, LedgerRecord]>, now: number): void {
    this.isRestoring = true;
    if (this.presence.wasAway(now)) this.askingFrom = now + HEAR_OUT_S;
    for (const [signed, record] of records) {
      if (record.kind === "certificate") {
        // It certifies what was settled by then: votes that came later change nothing, as they did not before.
        this.isRestoring = false;
        this.review([...this.referee.touchedChunks()], now);
        this.isRestoring = true;
      }
      this.recordAdded(signed, record, now);
    }
    this.isRestoring = false;
    for (const worker of this.ledger.joins.keys()) {
      if (!this.ledger.admits.has(worker)) this.waitingJoins.push(worker);
    }
    this.review([...this.referee.touchedChunks()], now);
  }

  /** The ledger has taken a record, our own included when they are restored. */
  recordAdded(signed: Signed, record: LedgerRecord, now: number): void {
    const author = hex(signed.author);
    switch (record.kind) {
      case "join":
        this.dispatch.heard(author, now);
        if (!this.isRestoring) {
          this.waitingJoins.push(author);
          this.admit(now);
        }
        break;
      case "admit":
        if (this.ledger.admits.has(hex(record.worker))) this.admitted(hex(record.worker), now);
        break;
      case "lease":
        if (record.runs.length === 0 && record.ttlS === LEAVING_TTL_S) {
          this.workerSilent(author, [], now);
        } else {
          this.dispatch.leased(author, record, now);
          if (record.runs.length === 0) this.reviewAt = now; // See at once what there is for it.
        }
        break;
      case "commit":
        this.count(signed, author, record, now);
        break;
      case "reveal": {
        const { commit } = this.ledger.commits.get(hex(record.commit))!;
        this.review(this.referee.lookAgain(chunksOf(commit.shard, commit.runs)), now);
        break;
      }
      case "assign":
        this.asked(author, record, now);
        break;
      case "delegate":
        this.delegated(hex(record.steward), now);
        break;
      case "revoke":
        this.revoked(hex(record.steward), now);
        break;
      case "verdict":
        this.makeVoid(hex(record.worker), record.voidTo, now);
        break;
      case "beacon":
      case "checkpoint":
        break;
      case "certificate":
        this.state = "closed";
        break;
    }
    if (!this.isRestoring && this.ledger.equivocators.has(author) && !this.isBanned(author)) {
      this.convict(author, "equivocated", 0, record.kind === "commit" ? recordId(signed) : NO_RECORD, now);
    }
  }

  /** A neighbour is suspected: what it was asked for, and had picked (`left`), goes to others before all else. */
  workerSilent(worker: Hex, left: readonly number[], now: number): void {
    this.dispatch.silent(worker, left, now);
    this.isStirred = true;
  }

  /** A result we fetched is here, or nobody who voted for it delivers it: then others may have kept it. */
  blobArrived(digest: Uint8Array, isHere: boolean, now: number): void {
    this.gathering.arrived(digest, isHere);
    const key = hex(digest);
    if (isHere || !this.reclaiming.begin(key, this.copies(key), now)) this.resultSettled(key, isHere, now);
  }

  /** Whoever has a result for us needs nobody to keep it: we fetch it as soon as it counts. */
  custodyFrame(peerId: PeerId, frame: Keep | Kept): void {
    if (frame.kind === "keep") this.desk.tell(peerId, refusal(frame));
  }

  /** A sealed result that we looked for is here, or nobody we reach has it. */
  keptArrived(sealed: Uint8Array, isHere: boolean, now: number): void {
    for (const { digest, isFound } of this.reclaiming.arrived(sealed, isHere, now)) {
      this.resultSettled(digest, isFound, now);
    }
  }

  private resultSettled(key: Hex, isHere: boolean, now: number): void {
    const chunks = [...(this.fetching.get(key) ?? [])].sort((left, right) => left - right);
    this.fetching.delete(key);
    if (!isHere) {
      // A vote without its result is worth nothing to the creator; its own execution replaces it.
      this.executing.want(chunks);
    }
    this.review(chunks, now);
  }

  /** Our own slots executed chunks for us: they become votes that settle them. */
  executed(job: number, outcomes: readonly ChunkOutcome[], seconds: number, now: number): void {
    if (!this.executing.finished(job, seconds)) return;
    const commits = commitsOf(
      this.signer,
      this.signer.sealKey,
      this.ledger.task,
      () => this.nextSeq(),
      outcomes,
      this.blobs,
      this.rng,
      this.config.inlineResultBytes,
    );
    for (const { commit, leaves } of commits) {
      this.desk.publish(this.ledger, commit);
      this.votes += leaves.length;
      this.review(this.referee.cast(this.me, leaves, commit.seq), now);
    }
  }

  /** Let time pass: overdue assignments, hungry chunks, checkpoints, the end. */
  advance(now: number): void {
    if (this.state === "closed") return;
    const isReviewing = now >= this.reviewAt;
    if (isReviewing) {
      this.isStirred = true;
      this.presence.advance(now, this.dispatch.memberCount);
      this.admit(now);
      this.reviewAt = now + REVIEW_S;
      this.dispatch.review(now);
    }
    if (this.isStirred && now >= this.askingFrom) {
      this.isStirred = false;
      this.dispatch.dispatch(now, this.state === "auditing", isReviewing);
      this.finish(now);
    }
    if (now >= this.checkpointAt) this.checkpoint(now);
  }

  /** The next batch for our own slots, or null. `jobStarted` must follow. */
  takeJob(): readonly ChunkInput[] | null {
    return this.state === "closed" ? null : this.executing.takeJob();
  }

  jobStarted(job: number, batch: readonly ChunkInput[]): void {
    this.executing.jobStarted(job, batch);
  }

  get jobsRunning(): number {
    return this.executing.jobsRunning;
  }

  wakeAt(): number | null {
    if (this.state === "closed") return null;
    const due = Math.min(this.checkpointAt, this.reviewAt);
    return Number.isFinite(due) ? due : null;
  }

  // ---- what a person asks

  progress(): Progress {
    const { ledger } = this;
    const { workerAudits, creatorAudits, bound } = this.closing.assurance(this.isConvicted, this.isAllClosed);
    return {
      state: this.state,
      chunks: ledger.manifest.chunks,
      accepted: this.accepted.size,
      failed: this.failed.size,
      votes: this.votes,
      workers: ledger.admits.size,
      convicted: ledger.verdicts.size,
      workerAudits,
      creatorAudits,
      bound,
      drawn: this.lots.count(),
    };
  }

  /** What is known of one chunk. */
  result(chunk: number): ChunkResult {
    const voters = this.referee.voters(chunk);
    const votes = voters.size;
    const reasons = this.reasons(chunk);
    const value = this.accepted.get(chunk);
    if (value === undefined) {
      const state = this.failed.has(chunk) ? "failed" : "open";
      return { chunk, state, digest: null, size: 0, votes, agreed: [], disagreed: [], reasons };
    }
    const leaf = this.referee.leaf(chunk, value);
    const rank = (worker: Hex): number => (voters.get(worker)!.value === value ? 0 : 1);
    const agreed: Hex[] = [];
    const disagreed: Hex[] = [];
    for (const [worker, vote] of voters) {
      if (vote.value) (this.referee.isSame(chunk, vote.value, value) ? agreed : disagreed).push(worker);
    }
    return {
      chunk,
      state: leaf.status === Status.OK ? "ok" : "task error",
      digest: leaf.digest,
      size: leaf.size,
      votes,
      // Within a tolerance not all of them have the bytes that stand for theirs: those that do come first.
      agreed: agreed.sort((left, right) => rank(left) - rank(right) || (left < right ? -1 : 1)),
      disagreed: disagreed.sort(),
      reasons,
    };
  }

  /** What strangers need to check the certificate: every record up to it, the sealed ones opened (recount.ts). */
  evidence(): Iterable<Shown> {
    return shownRecords(this.signer, this.ledger, this.package);
  }

  /** The accepted result of a chunk, or null while there is none. */
  resultBytes(chunk: number): Uint8Array | null {
    const value = this.accepted.get(chunk);
    if (value === undefined) return null;
    const leaf = this.referee.leaf(chunk, value);
    return leaf.inline ? leaf.data : this.blobs.read(leaf.data, 0, leaf.size);
  }

  // ---- admission and counting

  private admit(now: number): void {
    this.admittedAt = this.admittedAt.filter((at) => now - at < ADMISSION_WINDOW_S);
    const { ledger } = this;
    while (this.waitingJoins.length > 0 && this.admittedAt.length < this.config.admitPerMinute) {
      const worker = this.waitingJoins.shift()!;
      const join = ledger.joins.get(worker)!;
      if (ledger.admits.has(worker) || ledger.isVoid(worker) || this.stewards.has(worker)) continue;
      if (!this.canSealTo(join.sealKey)) continue;
      this.admittedAt.push(now);
      const peer = fromHex(worker);
      const nonce = this.rng.bytes(16);
      this.desk.publish(ledger, { kind: "admit", task: ledger.task, worker: peer, anchor: join.anchor, nonce });
      this.desk.notice("worker admitted", ledger, { peer });
      this.admitted(worker, now);
    }
  }

  /** Whether a worker's seal key is a usable one: with a point of small order nothing could ever be assigned. */
  private canSealTo(sealKey: Uint8Array): boolean {
    try {
      sealAssignment(this.signer, this.rng, sealKey, this.ledger.task, []);
      return true;
    } catch (error) {
      if (error instanceof RemoteProtocolError) return false;
      throw error;
    }
  }

  private admitted(worker: Hex, now: number): void {
    if (!this.ledger.isVoid(worker)) {
      this.dispatch.admitted(worker);
      this.reviewAt = now; // There may be something for it at once.
    }
    this.recredit(worker, now);
    this.review(this.referee.admit(worker), now);
  }

  /** Who shares the reward of a worker's chunks has changed. */
  private recredit(worker: Hex, now: number): void {
    const shards = new Set([...this.referee.votedChunks(worker)].map(shardOf));
    for (const shard of shards) this.markDirty(shard * SHARD_CHUNKS, now);
  }

  private count(signed: Signed, author: Hex, commit: Commit, now: number): void {
    const chunks = chunksOf(commit.shard, commit.runs);
    this.dispatch.committed(author, commit, chunks, now);
    let sealKey = this.signer.sealKey;
    if (author === this.me) {
      this.seq = Math.max(this.seq, commit.seq);
    } else {
      const join = this.ledger.joins.get(author);
      if (join === undefined) return;
      sealKey = join.sealKey;
    }
    let leaves;
    try {
      leaves = openCommit(this.signer, sealKey, signed.author, commit);
      if (this.package.length > 0) checkInline(leaves);
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      if (!this.isRestoring) this.convict(author, "malformed", chunks[0]!, recordId(signed), now);
      // It may have been what we asked for: then others are asked.
      this.review(chunks, now);
      return;
    }
    this.votes += leaves.length;
    if (leaves.some((leaf) => leaf.sealed.length > 0)) {
      const named = custodiansOf(this.signer, sealKey, commit).map(hex);
      const all = new Set([...named, ...(this.custodians.get(author) ?? [])]);
      this.custodians.set(author, [...all].slice(0, CUSTODIANS_MAX));
    }
    const touched = this.referee.cast(author, leaves, commit.seq);
    this.markDirty(chunks[0]!, now);
    if (!this.isRestoring && this.referee.contradictors.has(author) && !this.ledger.isVoid(author)) {
      this.convict(author, "equivocated", chunks[0]!, recordId(signed), now);
    }
    this.review(touched, now);
    if (commit.link.length > 0 && !this.lots.isLinked(author)) {
      this.review(this.referee.lookAgain(this.referee.votedChunks(author)), now);
    }
  }

  private convict(worker: Hex, reason: Verdict["reason"], chunk: number, commit: Uint8Array, now: number): void {
    const { ledger } = this;
    if (this.isBanned(worker)) return;
    const peer = fromHex(worker);
    if (this.stewards.has(worker)) {
      this.desk.publish(ledger, { kind: "revoke", task: ledger.task, steward: peer });
      this.revoked(worker, now);
      this.desk.notice("worker convicted", ledger, { chunk, peer, detail: "steward revoked" });
      return;
    }
    // Honest machines err, too: the first wrong result costs what was done until then, the second one everything.
    const isStrike = reason === "wrong" && !ledger.strikes.has(worker);
    const voidTo = isStrike ? this.referee.lastSeq(worker) : EVERYTHING;
    this.desk.publish(ledger, { kind: "verdict", task: ledger.task, worker: peer, reason, chunk, commit, voidTo });
    this.desk.notice("worker convicted", ledger, { chunk, peer, detail: isStrike ? "a strike" : reason });
    this.makeVoid(worker, voidTo, now);
  }

  private isBanned(worker: Hex): boolean {
    return this.ledger.verdicts.get(worker)?.voidTo === EVERYTHING;
  }

  private makeVoid(worker: Hex, voidTo: number, now: number): void {
    if (voidTo === EVERYTHING) this.dispatch.dismiss(worker, now);
    this.closing.struck(worker);
    this.recredit(worker, now);
    this.review(this.referee.makeVoid(worker, voidTo), now);
  }

  // ---- stewards

  /** Whose votes on a chunk count towards a quorum though we did not ask: lots chose them, or a steward did. */
  private drawn(chunk: number): ReadonlySet<Hex> {
    const byLots = this.lots.workers(chunk, true);
    if (this.stewards.delegations.size === 0) return byLots;
    const drawn = new Set(byLots);
    for (const steward of this.stewards.delegations.keys()) {
      drawn.add(steward);
      for (const worker of this.entrusted.get(steward)?.get(chunk) ?? []) drawn.add(worker);
    }
    return drawn;
  }

  private askedForUs(chunk: number): ReadonlySet<Hex> {
    const asked = new Set<Hex>();
    for (const [steward, { trusted }] of this.stewards.delegations) {
      for (const worker of (trusted && this.entrusted.get(steward)?.get(chunk)) || []) {
        if (!this.stewards.has(worker)) asked.add(worker); // A steward's own vote is no audit, whoever asked it.
      }
    }
    return asked;
  }

  /** We in an earlier life, or a steward, have asked a worker for chunks. */
  private asked(author: Hex, assign: Assign, now: number): void {
    if (author === this.me) this.seq = Math.max(this.seq, assign.seq);
    const worker = hex(assign.worker);
    const join = this.ledger.joins.get(worker);
    if (join === undefined) return;
    let chunks;
    try {
      chunks = openAssignment(this.signer, join.sealKey, assign).chunks;
    } catch (error) {
      if (error instanceof RemoteProtocolError) return; // A steward sealed nonsense.
      throw error;
    }
    if (author === this.me) {
      this.referee.assign(worker, chunks);
      return;
    }
    let entrusted = this.entrusted.get(author);
    if (entrusted === undefined) this.entrusted.set(author, (entrusted = new Map()));
    for (const chunk of chunks) entrusted.set(chunk, new Set([...(entrusted.get(chunk) ?? []), worker]));
    this.review(this.referee.lookAgain(chunks), now);
  }

  private delegated(steward: Hex, now: number): void {
    const asked = this.entrusted.get(steward)?.keys() ?? [];
    this.review([...this.referee.admit(steward), ...this.referee.lookAgain(asked)], now);
  }

  /** Nothing that a steward said counts any more; whom it had admitted waits for us. */
  private revoked(steward: Hex, now: number): void {
    const { ledger } = this;
    const chunks = [...(this.entrusted.get(steward)?.keys() ?? []), ...this.referee.makeVoid(steward, EVERYTHING)];
    this.entrusted.delete(steward);
    for (const worker of ledger.joins.keys()) {
      if (ledger.admits.has(worker)) continue;
      this.dispatch.dismiss(worker, now);
      chunks.push(...this.referee.unadmit(worker));
      if (worker !== steward && !this.waitingJoins.includes(worker)) this.waitingJoins.push(worker);
    }
    if (!this.isRestoring) this.admit(now);
    this.recredit(steward, now);
    this.review(this.referee.lookAgain(new Set(chunks)), now);
  }

  // ---- chunk by chunk

  private review(chunks: readonly number[], now: number): void {
    if (this.isRestoring || this.state === "closed") return;
    this.isStirred = true;
    for (const chunk of chunks) {
      for (const worker of this.referee.chunk(chunk).offenders) {
        // A conviction reviews this chunk as well, and may have convicted the next of them.
        const { offenders } = this.referee.chunk(chunk);
        if (offenders.includes(worker)) this.convict(worker, "wrong", chunk, NO_RECORD, now);
      }
      this.closing.account(chunk);
      this.settle(chunk, this.referee.chunk(chunk), now);
    }
  }

  private settle(chunk: number, tally: ChunkTally, now: number): void {
    const value = this.accepted.get(chunk);
    if (value !== undefined && tally.value !== null && this.referee.isSame(chunk, value, tally.value)) {
      // Another of the votes that agree may stand for them now; its result is inside of it, and replaces the other.
      if (value !== tally.value) this.accepted.delete(chunk);
    } else if (value !== undefined) {
      this.accepted.delete(chunk);
      this.retracted.set(chunk, value);
      this.markDirty(chunk, now);
      this.desk.notice("chunk reopened", this.ledger, { chunk });
    }
    if (tally.state !== "failed" && this.failed.delete(chunk)) this.markDirty(chunk, now);
    if (tally.state !== "disputed" && this.disputed.delete(chunk)) {
      this.executing.forgo(chunk); // A conviction on another chunk has settled this one.
    }
    switch (tally.state) {
      case "open":
        this.dispatch.reopened(chunk);
        break;
      case "sealed":
        this.dispatch.want(chunk, now);
        break;
      case "disputed":
        this.dispatch.satisfied(chunk);
        if (!this.executing.has(chunk)) {
          this.disputed.add(chunk);
          this.executing.want([chunk]);
          this.desk.notice("dispute", this.ledger, { chunk });
        }
        break;
      case "failed":
        this.dispatch.satisfied(chunk);
        if (!this.failed.has(chunk)) {
          this.failed.add(chunk);
          this.markDirty(chunk, now);
          this.desk.notice("chunk failed", this.ledger, { chunk, detail: this.reasons(chunk).join("; ") });
        }
        break;
      case "agreed":
        this.agreed(chunk, tally.value!, now);
        break;
    }
  }

  private agreed(chunk: number, value: Hex, now: number): void {
    if (!this.referee.isSame(chunk, this.retracted.get(chunk) ?? value, value)) {
      this.mismatches++;
      this.closing.mistaken();
    }
    this.retracted.delete(chunk);
    this.closing.agreed(chunk);
    if (this.closing.due(chunk) > 0) this.dispatch.want(chunk, now);
    else this.dispatch.satisfied(chunk);
    if (this.accepted.has(chunk)) return;
    const leaf = this.referee.leaf(chunk, value);
    if (!leaf.inline && this.blobs.size(leaf.data) === null) {
      this.fetchResult(chunk, value, leaf.data, leaf.size);
      return;
    }
    this.accepted.set(chunk, value);
    this.markDirty(chunk, now);
    this.desk.notice("chunk accepted", this.ledger, {
      chunk,
      detail: leaf.status === Status.OK ? "ok" : "task error",
    });
  }

  private fetchResult(chunk: number, value: Hex, digest: Uint8Array, size: number): void {
    const key = hex(digest);
    let waiting = this.fetching.get(key);
    if (waiting === undefined) this.fetching.set(key, (waiting = new Set()));
    if (waiting.has(chunk)) return;
    waiting.add(chunk);
    const makers: Uint8Array[] = [];
    for (const [worker, vote] of this.referee.voters(chunk)) if (vote.value === value) makers.push(fromHex(worker));
    for (const steward of this.stewards.delegations.keys()) makers.push(fromHex(steward));
    this.desk.fetch(digest, size, null, makers);
  }

  /** The sealed copies that votes for a result name. */
  private copies(digest: Hex): Copy[] {
    const copies: Copy[] = [];
    for (const chunk of [...(this.fetching.get(digest) ?? [])].sort((left, right) => left - right)) {
      const leaves = this.referee.copies(chunk);
      for (const maker of [...leaves.keys()].sort()) {
        const leaf = leaves.get(maker)!;
        if (hex(leaf.digest) === digest) copies.push({ maker, leaf, custodians: this.custodians.get(maker)! });
      }
    }
    return copies;
  }

  private reasons(chunk: number): string[] {
    return [...new Set(this.referee.reports(chunk).values())].sort();
  }

  private assign(worker: Hex, shard: number, chunks: readonly number[], isUrgent: boolean): void {
    const { ledger } = this;
    const sealed = sealAssignment(this.signer, this.rng, ledger.joins.get(worker)!.sealKey, ledger.task, chunks, isUrgent);
    this.referee.assign(worker, chunks);
    const peer = fromHex(worker);
    this.desk.publish(ledger, { kind: "assign", task: ledger.task, shard, seq: this.nextSeq(), worker: peer, sealed });
  }

  // ---- the end

  private get isConvicted(): boolean {
    return this.ledger.verdicts.size > 0;
  }

  private get isAllClosed(): boolean {
    return this.accepted.size + this.failed.size === this.ledger.manifest.chunks;
  }

  private finish(now: number): void {
    const isAllClosed = this.isAllClosed;
    this.state = isAllClosed ? "auditing" : "running";
    const isBusy = !this.executing.isEmpty || this.dispatch.isWaiting;
    if (!isAllClosed || isBusy) return;
    const byWorkers = this.dispatch.memberCount > this.ledger.manifest.policy.replication;
    const step = this.closing.nextStep(this.isConvicted, byWorkers);
    if (step.kind === "certify") this.close(now);
    else if (step.kind === "confirm") for (const chunk of step.chunks) this.dispatch.want(chunk, now);
    else this.executing.want(step.chunks);
  }

  private close(now: number): void {
    this.checkpoint(now);
    const { ledger } = this;
    const roots: Uint8Array[] = [];
    for (let shard = 0; shard < ledger.shards; shard++) {
      const checkpoint = ledger.checkpoints.get(shard);
      if (checkpoint !== undefined) roots.push(checkpoint.root);
    }
    const { workerAudits, creatorAudits, bound, confidence } = this.closing.assurance(this.isConvicted, true);
    this.state = "closed";
    this.desk.publish(ledger, {
      kind: "certificate",
      task: ledger.task,
      chunks: ledger.manifest.chunks,
      accepted: this.accepted.size,
      failed: this.failed.size,
      root: merkle.leafHash(...roots),
      executions: this.votes,
      workerAudits,
      creatorAudits,
      mismatches: this.mismatches,
      convicted: ledger.verdicts.size,
      eps: ledger.manifest.policy.eps,
      bound,
      confidence,
    });
    this.desk.notice("task closed", ledger);
  }

  private markDirty(chunk: number, now: number): void {
    this.dirty.add(shardOf(chunk));
    if (this.checkpointAt === Infinity) this.checkpointAt = now + this.config.checkpointS;
  }

  private checkpoint(now: number): void {
    this.checkpointAt = Infinity;
    for (const shard of [...this.dirty].sort((left, right) => left - right)) this.checkpointShard(shard, now);
    this.dirty.clear();
  }

  private checkpointShard(shard: number, now: number): void {
    const { ledger } = this;
    const first = shard * SHARD_CHUNKS;
    const size = ledger.shardSize(shard);
    const accepted = new Uint8Array(Math.ceil(size / 8));
    const failed = new Uint8Array(accepted.length);
    const hashes: Uint8Array[] = [];
    const begun = new Set(ledger.leasedChunks(shard, now));
    const number = new Uint8Array(4);
    const view = new DataView(number.buffer);
    for (let index = 0; index < size; index++) {
      const chunk = first + index;
      if (this.referee.chunk(chunk).state !== "open") begun.add(chunk);
      const value = this.accepted.get(chunk);
      if (value !== undefined) {
        accepted[index >>> 3]! |= 1 << (index & 7);
        view.setUint32(0, chunk);
        hashes.push(merkle.leafHash(number, fromHex(value)));
      } else if (this.failed.has(chunk)) {
        failed[index >>> 3]! |= 1 << (index & 7);
      }
    }
    const previous = ledger.checkpoints.get(shard);
    this.desk.publish(ledger, {
      kind: "checkpoint",
      task: ledger.task,
      shard,
      seq: previous === undefined ? 0 : previous.seq + 1,
      begun: begun.size,
      accepted,
      failed,
      root: merkle.root(hashes),
      ...this.credits(shard, previous),
    });
  }

  /** What a shard's checkpoint says of who earned what; a large table is a blob that workers fetch. */
  private credits(shard: number, previous: Checkpoint | undefined): ReturnType<typeof fieldsOf> {
    const first = shard * SHARD_CHUNKS;
    const confirmers: Hex[][] = [];
    for (let chunk = first; chunk < first + this.ledger.shardSize(shard); chunk++) {
      const value = this.accepted.get(chunk);
      if (value === undefined) continue;
      confirmers.push(this.referee.confirmers(chunk, value).filter((worker) => !this.stewards.has(worker)));
    }
    const table = tableOf(split(this.ledger.manifest.reward, confirmers));
    const said = fieldsOf(table);
    if (table.length > CREDITS_INLINE_BYTES_MAX) this.blobs.put(said.credits, table);
    const isOutdated = previous !== undefined && !equal(previous.credits, said.credits);
    if (isOutdated && previous.creditsSize > CREDITS_INLINE_BYTES_MAX) this.blobs.discard(previous.credits);
    return said;
  }

  private nextSeq(): number {
    this.seq += 1;
    return this.seq;
  }

  private readInputs(start: number, length: number): Uint8Array {
    return this.blobs.read(this.ledger.manifest.inputs!.sha256, start, length);
  }
}

/** Our task's code, if that has results compared as numbers; else nothing. It was checked when it was signed. */
function packageThatCompares(manifest: Manifest, blobs: BlobStore): Uint8Array {
  const { runtime, code } = manifest;
  if (runtime !== "gpu" || blobs.size(code.sha256) === null) return new Uint8Array(0);
  const bytes = blobs.read(code.sha256, 0, code.size);
  try {
    return readComparison(bytes) === null ? new Uint8Array(0) : bytes;
  } catch (error) {
    if (error instanceof ModuleRefused) return new Uint8Array(0); // Then nobody computes it.
    throw error;
  }
}

/**
 * A volunteer's part in one task (spec/ledger.md).
 *
 *     FETCHING --code and inputs here--> JOINING --admit--> WORKING <--nothing open / something open--> IDLE
 *                                           |                  |
 *                                           '---- ban ---------+---- certificate ----> DONE
 *
 * A worker that nobody admits works as a guest: the creator is away, and opens what it finds when it comes back.
 *
 * A worker commits its votes batch by batch, says by leases what it is on, and prefers what the creator asks of it to
 * what it picks itself. It follows one shard at a time and moves on when that shard has nothing left for it.
 */

import { Absences } from "./absence";
import { openAssignment, type Request } from "./assigning";
import { type Leaf, openCommit } from "./batch";
import { equal, hex, type Hex } from "./bytes";
import { ChunkReader, seed } from "./chunks";
import type { ProtocolConfig } from "./config";
import type { Custodial } from "./custody";
import type { Desk } from "./desk";
import { Earning } from "./earning";
import { ProtocolError, RemoteProtocolError } from "./errors";
import { type ChunkInput, type ChunkOutcome, Status } from "./events";
import { BATCHES_LEFT, Following } from "./following";
import type { Keep, Kept } from "./frames";
import { Giving } from "./giving";
import type { PeerId, Signer } from "./identity";
import { Keeping } from "./keeping";
import { findWork } from "./joining";
import { Leasing } from "./leasing";
import { type Ledger, taskTopic } from "./ledger";
import type { BlobRef } from "./manifest";
import { Gathering, type ResultRef, ResultsLacking } from "./onward";
import { pickOpen } from "./picking";
import { piecesOf } from "./pieces";
import {
  EVERYTHING,
  type Assign,
  type Commit,
  type LedgerRecord,
  shardOf,
  type Signed,
} from "./records";
import { chunksOf } from "./runs";
import type { Rng } from "./rng";
import type { BatchSizer } from "./sizing";
import { type Draw, StandingIn } from "./standing_in";
import type { BlobStore } from "./storage";
import { commitsOf } from "./voting";
import { exists, workersAtHome } from "./shards";

/** A worker that hears nothing of the creator for so long picks elsewhere than those who do. */
const ALONE_AFTER_S = 5;

/** The smallest batch a worker picks is this part of a usual one. A guess; simulations/scenarios/liars.toml. */
const SHRUNK_MAX = 8;

export type WorkerState = "fetching" | "joining" | "working" | "idle" | "done";

/** A chunk's input is not here yet, for want of these pieces. */
class InputsLacking extends Error {
  constructor(readonly pieces: bigint) {
    super("pieces of the inputs are lacking");
  }
}

/** One task we work for. */
export class WorkerRole implements Custodial {
  state: WorkerState = "fetching";
  votes = 0;
  private readonly me: Hex;
  private readonly giving: Giving;
  private readonly keeping: Keeping;
  private readonly earning: Earning;
  private readonly gathering: Gathering;
  private readonly reader: ChunkReader;
  private readonly sizer: BatchSizer;
  private readonly following: Following;
  private readonly assigned = new Set<number>();
  /** Assigned or running chunks for which others have waited already. */
  private readonly urgent = new Set<number>();
  private readonly jobs = new Map<number, readonly number[]>();
  /** Chunks we are on whose inputs are on their way. */
  private readonly waiting = new Set<number>();
  private inputsCame = false;
  /** Chunks that we were on, and go on with if nobody else has taken them. */
  private readonly begun = new Set<number>();
  private readonly voted = new Set<number>();
  private readonly standingIn: StandingIn;
  /** What lots chose for the job that is about to start. */
  private drawn: Draw | null = null;
  /** Job -> what lots chose for it. */
  private readonly draws = new Map<number, Draw>();
  private seq = 0;
  private leaseChanged = true;
  private readonly leasing: Leasing;
  private renewAt = Infinity;
  /** Since when too few chunks are open for everybody to pick; null while there are enough. */
  private fewSince: number | null = null;
  private lookAgainAt = Infinity;
  /** A pick looks at a whole shard; having found nothing, we do not look again at every record that comes. */
  private nothingUntil: number;
  /** When we stop waiting for admission. */
  private guestAt: number | null = null;
  /** When we heard last of the creator, or of whoever acts for it. */
  private ledAt: number;
  private isFinishing = false;
  private isResting = false;
  private readonly expiresAt: number;

  constructor(
    private readonly config: ProtocolConfig,
    private readonly signer: Signer,
    private readonly rng: Rng,
    readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
    now: number,
  ) {
    this.me = hex(signer.publicKey);
    this.gathering = new Gathering(desk, blobs);
    this.reader = new ChunkReader(
      ledger.manifest,
      (start, length) => this.readInputs(start, length),
      (refs) => this.gathering.read(refs),
      Absences.of(ledger) && ledger.fed?.inputs,
    );
    this.sizer = desk.pace(ledger).sizer;
    this.following = new Following(config, rng, ledger, desk, now);
    this.standingIn = new StandingIn(config, signer, rng, ledger, desk);
    this.giving = new Giving(config, rng, ledger, desk, blobs, now);
    this.keeping = new Keeping(config, ledger, desk);
    this.earning = new Earning(config, ledger, desk, blobs);
    this.leasing = new Leasing(config, ledger, desk, (at) => this.nextSeq(at));
    this.expiresAt = ledger.manifest.expiresS - config.epochOffsetS;
    this.nothingUntil = now;
    this.ledAt = now;
    desk.custody.takePart(ledger.taskKey, this);
    desk.follow(taskTopic(ledger.task));
    this.fetchMissing(now);
  }

  // ---- what happens

  /**
   * Remember what we voted in an earlier life: never a second vote on a chunk, never a seq used twice.
   *
   * The results of it that are still here, and not accepted, are kept and given to others to keep as new ones are.
   */
  restored(own: Iterable<readonly [Signed, LedgerRecord]>, now: number): void {
    for (const [signed, record] of own) {
      if ((record.kind !== "commit" && record.kind !== "lease") || hex(signed.author) !== this.me) continue;
      this.seq = Math.max(this.seq, record.seq);
      if (record.kind !== "commit") continue;
      for (const chunk of chunksOf(record.shard, record.runs)) this.voted.add(chunk);
      this.rememberMade(record, now);
    }
  }

  /** The ledger has taken somebody's record. */
  recordAdded(signed: Signed, record: LedgerRecord, now: number): void {
    if (this.mayAct(signed.author, now)) this.ledAt = now;
    if (equal(signed.author, this.ledger.manifest.creator)) this.giving.creatorHeard(now);
    switch (record.kind) {
      case "admit":
        if (this.state === "joining" && hex(record.worker) === this.me) this.state = "working";
        break;
      case "assign":
        if (hex(record.worker) === this.me && this.mayAct(signed.author, now)) {
          this.takeAssignment(record, now);
        }
        break;
      case "feed":
        if (this.ledger.fed!.isForked) this.end();
        else this.lookAgain(now);
        break;
      case "savepoint":
        this.keeping.superseded(signed.author, record);
        break;
      case "verdict":
        // A strike is no end: the next results may be right.
        if (hex(record.worker) !== this.me) this.lookAgain(now);
        else if (record.voidTo === EVERYTHING) this.state = "done";
        break;
      case "revoke":
        this.lookAgain(now);
        break;
      case "checkpoint":
        if (!equal(signed.author, this.ledger.manifest.creator)) {
          this.lookAgain(now); // A steward's: the creator may think otherwise, and we keep what we made.
        } else if (this.ledger.creatorEquivocated) {
          this.end(); // It signs one thing here and another there: nobody works for such a creator.
        } else {
          this.release(now);
          this.earning.checkpoint(now);
          this.lookAgain(now);
        }
        break;
      case "certificate":
        this.end();
        this.earning.closed(now);
        break;
    }
  }

  /** Code or inputs came, or nobody has them now. */
  blobArrived(digest: Uint8Array, isHere: boolean, now: number): void {
    this.earning.blobArrived(digest, isHere, now);
    const isInputHere = this.uses(digest) ? isHere : this.gathering.arrived(digest, isHere);
    if (this.state === "fetching") {
      if (this.missing().length === 0) this.join(now);
      else if (!isHere) this.lookAgainAt = now + this.config.blobTimeoutS;
    } else if (this.waiting.size > 0 && isInputHere !== null) {
      this.inputsCame = isInputHere;
      if (isInputHere) return;
      // Nobody we reach has them: others may, and are welcome to these chunks.
      this.waiting.clear();
      this.leaseChanged = true;
      this.lookAgainAt = this.nothingUntil = now + this.config.blobTimeoutS;
    }
  }

  /** Whether a blob is the task's code or inputs. */
  uses(digest: Uint8Array): boolean {
    const { code, inputs } = this.ledger.manifest;
    return equal(digest, code.sha256) || (inputs !== null && equal(digest, inputs.sha256));
  }

  /**
   * A neighbour asks us to keep a result, or answers that it does.
   *
   * @throws RemoteProtocolError when what it asks for cannot be a result of this task.
   */
  custodyFrame(peerId: PeerId, frame: Keep | Kept, now: number): void {
    if (frame.kind === "kept") {
      this.giving.answered(peerId, frame, now);
    } else {
      const isWilling = !this.isDone && !this.isResting && !this.isFinishing && now < this.expiresAt;
      this.keeping.asked(peerId, frame, isWilling, now);
    }
  }

  /** A sealed result is here, or cannot be had: perhaps one we promised to keep. */
  keptArrived(sealed: Uint8Array, isHere: boolean): void {
    this.keeping.arrived(sealed, isHere);
  }

  /** Our own slots executed a batch: commit it. */
  executed(job: number, outcomes: readonly ChunkOutcome[], seconds: number, now: number): void {
    const draw = this.draws.get(job) ?? null;
    this.draws.delete(job);
    if (!this.jobs.delete(job) || this.state === "done") return;
    this.leaseChanged = true;
    this.nothingUntil = now;
    for (const { chunk } of outcomes) this.urgent.delete(chunk);
    this.sizer.finished(outcomes.length, seconds);
    this.vote(outcomes, now, draw);
  }

  /** Leases were released or chunks reopened: there may be something to pick. */
  lookAgain(now: number): void {
    this.nothingUntil = now;
  }

  /** Take nothing new; what runs is still committed. */
  finish(): void {
    this.isFinishing = true;
    this.assigned.clear();
    this.urgent.clear();
    this.waiting.clear();
  }

  /** We were on these chunks before we paused, or in an earlier life. */
  begin(chunks: readonly number[]): void {
    for (const chunk of chunks) if (chunk < this.ledger.manifest.chunks) this.begun.add(chunk);
  }

  /** Stop at once: nobody waits for what we had begun. Results made before are still served. */
  rest(): void {
    this.isResting = true;
    for (const chunks of this.jobs.values()) this.begin(chunks);
    this.cancelJobs();
    this.leaseChanged = true;
  }

  /** Go on after a rest. */
  resume(now: number): void {
    if (!this.isResting) return;
    this.isResting = false;
    this.leaseChanged = true;
    this.lookAgain(now);
  }

  /** Let time pass: fetch again, renew leases, say that we are idle, have results kept. */
  advance(now: number): void {
    this.giving.advance(now);
    if (now >= this.earning.wakeAt) this.earning.advance(new Set([...this.voted].map(shardOf)));
    if (this.isWorking) this.standingIn.advance(now);
    if (now >= this.expiresAt) {
      this.giving.expire();
      this.keeping.releaseAll();
    }
    const isLooking = now >= this.lookAgainAt;
    if (isLooking) this.lookAgainAt = Infinity;
    this.waitForAdmission(now);
    if (this.state === "fetching") {
      if (isLooking) this.fetchMissing(now);
    } else if (this.isWorking && this.areLeasesDue(now)) {
      this.sayLeases(now);
    }
  }

  /** The next batch, or null when there is nothing for us now. `jobStarted` must follow. */
  takeJob(now: number): readonly ChunkInput[] | null {
    this.waitForAdmission(now);
    if (this.isFinishing || this.isResting || !this.isWorking) return null;
    if (this.waiting.size > 0 && !this.inputsCame) return null;
    const size = this.sizer.size(now);
    let chunks = [...this.waiting];
    if (chunks.length === 0) {
      chunks = this.nextAssigned(size);
      this.drawn = chunks.length === 0 ? this.nextDrawn(size, now) : null;
      if (this.drawn !== null) chunks.push(...this.drawn.chunks);
      // One commit for both: cheaper, and nobody sees which of its chunks were asked for.
      else if (chunks.length < size && !chunks.some((chunk) => this.urgent.has(chunk))) chunks.push(...this.nextPicked(now, size - chunks.length, chunks));
    }
    this.waiting.clear();
    this.inputsCame = false;
    if (chunks.length === 0) {
      this.state = "idle";
      return null;
    }
    this.state = "working";
    const batch: ChunkInput[] = [];
    const unreadable: ChunkOutcome[] = [];
    let pieces = 0n;
    const results: ResultRef[] = [];
    for (const chunk of chunks.sort((left, right) => left - right)) {
      try {
        batch.push({ chunk, data: this.reader.read(chunk), seed: seed(this.ledger.task, chunk) });
      } catch (error) {
        if (error instanceof InputsLacking) {
          this.waiting.add(chunk);
          pieces |= error.pieces;
          continue;
        }
        if (error instanceof ResultsLacking) {
          this.waiting.add(chunk);
          results.push(...error.refs);
          continue;
        }
        if (!(error instanceof ProtocolError)) throw error;
        // The creator's inputs do not hold what its manifest says: that is 'no result', and everybody's.
        unreadable.push({
          chunk,
          status: Status.NO_RESULT,
          data: new Uint8Array(),
          detail: `inputs: ${error.message}`,
        });
      }
    }
    if (unreadable.length > 0) this.vote(unreadable, now, this.drawn);
    this.letGo(results);
    if (this.waiting.size > 0) {
      this.leaseChanged = true;
      this.gathering.fetch(results);
      if (pieces !== 0n) this.desk.fetchPieces(this.ledger.manifest.inputs!, pieces);
    }
    return batch.length > 0 ? batch : null;
  }

  jobStarted(job: number, batch: readonly ChunkInput[]): void {
    if (this.drawn !== null) this.draws.set(job, this.drawn);
    this.jobs.set(
      job,
      batch.map(({ chunk }) => chunk),
    );
    this.leaseChanged = true;
  }

  get jobsRunning(): number {
    return this.jobs.size;
  }

  /** Whether something waits here that others have waited for already. */
  get isUrgent(): boolean {
    if (!this.isWorking || this.waiting.size > 0) return false;
    for (const chunk of this.urgent) if (this.assigned.has(chunk)) return true;
    return false;
  }

  /** Put a job that has not begun back for later, for the sake of an urgent one; false when it is as urgent. */
  recall(job: number): boolean {
    const chunks = this.jobs.get(job)!;
    if (this.draws.has(job) || chunks.some((chunk) => this.urgent.has(chunk))) return false;
    this.jobs.delete(job);
    const later = [...this.assigned];
    this.assigned.clear();
    for (const chunk of [...chunks, ...later]) this.assigned.add(chunk);
    return true;
  }

  get isDone(): boolean {
    return this.state === "done";
  }

  /** When to look again: for leases to renew or to run out, and for new work. */
  wakeAt(): number | null {
    if (this.isDone) return Math.min(this.giving.wakeAt(), this.earning.wakeAt);
    const guestAt = this.state === "joining" ? (this.guestAt ?? Infinity) : Infinity;
    const epochAt = this.isWorking ? this.standingIn.wakeAt() : Infinity;
    return Math.min(this.renewAt, this.lookAgainAt, guestAt, epochAt, this.giving.wakeAt(), this.earning.wakeAt);
  }

  // ---- inside

  private get isWorking(): boolean {
    return this.state === "working" || this.state === "idle";
  }

  private waitForAdmission(now: number): void {
    if (this.state !== "joining") return;
    if (this.guestAt === null) {
      this.guestAt = now + this.config.guestAfterS;
    } else if (now >= this.guestAt) {
      this.state = "working";
      this.leaseChanged = true;
    }
  }

  private missing(): BlobRef[] {
    const { code, inputs } = this.ledger.manifest;
    const refs = inputs === null || this.readsPieces ? [code] : [code, inputs];
    return refs.filter((ref) => this.blobs.size(ref.sha256) === null);
  }

  /** Whether we fetch of the inputs what our chunks need only. Where lines begin, only the whole can tell. */
  private get readsPieces(): boolean {
    const { inputs, split } = this.ledger.manifest;
    return inputs !== null && inputs.size > this.config.blobWholeBytes && split.kind !== "lines";
  }

  private fetchMissing(now: number): void {
    const missing = this.missing();
    for (const ref of missing) this.desk.fetch(ref.sha256, ref.size, ref.root, [this.ledger.manifest.creator]);
    if (missing.length === 0) this.join(now);
  }

  private join(now: number): void {
    this.state = "joining";
    const { ledger } = this;
    // There is no choice where there is one shard: what we are asked with our admission finds us listening.
    if (ledger.shards === 1 && this.following.home === null) this.chooseShard(now);
    if (ledger.admits.has(this.me)) this.state = "working";
    // Also when we were invited: our votes count once others know whose they are.
    if (!ledger.joins.has(this.me)) {
      const { sealKey, publicKey } = this.signer;
      const { anchor } = this.standingIn;
      const [epoch, beacon] = this.standingIn.beacon;
      const join = { kind: "join", task: ledger.task, sealKey, anchor, epoch, beacon, work: 0 } as const;
      this.desk.publish(ledger, findWork(join, publicKey, ledger.manifest.policy.powBits));
    }
  }

  private takeAssignment(assign: Assign, now: number): void {
    let request: Request;
    try {
      request = openAssignment(this.signer, this.ledger.manifest.sealKey, assign);
    } catch (error) {
      if (error instanceof RemoteProtocolError) return; // It sealed nonsense to us. Its task is its own loss.
      throw error;
    }
    if (this.isResting) return; // It goes to somebody else when no lease of ours names it.
    const running = this.running();
    for (const chunk of request.chunks) {
      if (chunk < this.ledger.manifest.chunks && !running.has(chunk)) {
        // If we have voted on it and are asked all the same, our commit was lost on its way, perhaps with a link. A
        // second one says the same, and costs less than a task that waits for the first one for ever.
        this.voted.delete(chunk);
        this.assigned.add(chunk);
        if (request.urgent) this.urgent.add(chunk);
      }
    }
    this.fewSince = null;
    // Started at once it is leased at once; behind running work it can wait for company.
    this.renewAt = Math.min(this.renewAt, now + this.config.sayBacklogWithinS);
  }

  /** What lots choose for us while the creator is away, in the shards that we follow. */
  private nextDrawn(size: number, now: number): Draw | null {
    const mine = this.running();
    for (const chunk of this.voted) mine.add(chunk);
    for (const shard of this.following.shards) {
      const draw = this.standingIn.draw(shard, size, mine, now);
      if (draw !== null) return draw;
    }
    return null;
  }

  private vote(outcomes: readonly ChunkOutcome[], now: number, draw: Draw | null = null): void {
    const { ledger } = this;
    const commits = commitsOf(
      this.signer,
      ledger.manifest.sealKey,
      ledger.task,
      () => this.nextSeq(now),
      outcomes.filter((outcome) => !this.voted.has(outcome.chunk)),
      this.blobs,
      this.rng,
      this.config.inlineResultBytes,
      this.giving.custodians(now),
      draw ?? { epoch: this.standingIn.epoch(now) },
      ledger.manifest.onward,
    );
    for (const { commit, leaves } of commits) {
      this.desk.publish(ledger, commit);
      for (const leaf of leaves) {
        this.voted.add(leaf.chunk);
        if (leaf.status !== Status.NO_RESULT) this.votes++;
        this.giving.made(leaf, now);
      }
    }
  }

  private running(): Set<number> {
    const running = new Set(this.waiting);
    for (const chunks of this.jobs.values()) for (const chunk of chunks) running.add(chunk);
    return running;
  }

  private nextAssigned(size: number): number[] {
    const chunks: number[] = [];
    const urgent = [...this.assigned].filter((chunk) => this.urgent.has(chunk));
    for (const chunk of urgent.length > 0 ? urgent : [...this.assigned]) {
      if (chunks.length === size) break;
      // Of one shard, whose turn it is: each shard of a batch has a commit of its own.
      if (chunks.length > 0 && shardOf(chunk) !== shardOf(chunks[0]!)) continue;
      if (!exists(this.ledger, chunk)) continue; // Its feed is on its way.
      this.assigned.delete(chunk);
      if (!this.voted.has(chunk)) chunks.push(chunk);
    }
    return chunks;
  }

  private nextPicked(now: number, sizeMax: number, besides: readonly number[]): readonly number[] {
    if (now < this.nothingUntil) return [];
    const mine = this.running();
    for (const chunk of this.assigned) mine.add(chunk);
    for (const chunk of besides) mine.add(chunk);
    const begun = this.nextBegun(now, sizeMax, mine);
    if (begun === null) {
      this.lookAgainAt = this.following.settledAt;
      return [];
    }
    if (begun.length > 0) return begun;
    let isThere = this.following.home !== null || this.chooseShard(now);
    while (isThere) {
      const shard = this.following.home!;
      const { settledAt } = this.following;
      if (now < settledAt && !this.desk.synced(this.ledger.shardTopic(shard))) {
        this.lookAgainAt = settledAt;
        return [];
      }
      const sharing = BATCHES_LEFT * Math.max(1, workersAtHome(this.ledger, shard));
      const { chunks, left } = pickOpen(this.ledger, shard, sizeMax, mine, this.rng, now, { sharing, alone: this.isAlone(now) });
      // Of a stream the creator deals all out, as long as it is there.
      if (this.ledger.fed === null && left >= sharing * this.worthwhile(now)) {
        this.fewSince = null;
        this.lookAgainAt = Infinity;
        return chunks;
      }
      if (chunks.length > 0) {
        this.fewSince ??= now;
        if (now >= this.fewSince + this.config.creatorFirstS) return chunks; // Nobody deals them out: it is offline.
      }
      // Others are on what is left, or it waits for second votes: come back when leases may have run out.
      this.following.foundEmpty(now);
      isThere = this.chooseShard(now);
    }
    const waitS = this.fewSince === null ? this.config.endgameAfterS : this.config.creatorFirstS;
    this.lookAgainAt = this.nothingUntil = now + waitS;
    return [];
  }

  /** Whether nobody who assigns and accepts has let hear of itself lately, or has admitted us. */
  private isAlone(now: number): boolean {
    return !this.ledger.isAdmitted(this.me) || now - this.ledAt >= ALONE_AFTER_S;
  }

  private mayAct(author: Uint8Array, now: number): boolean {
    return Absences.of(this.ledger).stewards.mayAct(hex(author), now);
  }

  /** Chunks of the smallest batch for which a worker still comes by itself. */
  private worthwhile(now: number): number {
    return Math.max(1, Math.floor(this.sizer.size(now) / SHRUNK_MAX));
  }

  private chooseShard(now: number): boolean {
    if (!this.following.choose(now, this.worthwhile(now))) return false;
    this.leaseChanged = true;
    return true;
  }

  /** Chunks that we were on and that are still ours to do; null: wait until neighbours could have told. */
  private nextBegun(now: number, sizeMax: number, mine: ReadonlySet<number>): readonly number[] | null {
    const { ledger } = this;
    for (const chunk of this.begun) {
      if (this.voted.has(chunk) || ledger.isClosed(chunk) || ledger.hasVoter(chunk)) this.begun.delete(chunk);
    }
    const [first] = this.begun;
    if (first === undefined) return [];
    const shard = shardOf(first);
    if (!this.following.shards.includes(shard)) {
      this.following.follow(shard, now);
      this.leaseChanged = true;
    }
    const topic = ledger.shardTopic(shard);
    const isTold = this.desk.followers(topic).length > 0 && this.desk.synced(topic);
    if (now < this.following.settledAt && !isTold) return null;
    const isOurs = (chunk: number): boolean => ledger.leases.on(chunk, now).every(({ worker }) => worker === this.me);
    const free = [...this.begun].filter((chunk) => !mine.has(chunk) && shardOf(chunk) === shard && isOurs(chunk));
    const chunks = free.slice(0, sizeMax).sort((left, right) => left - right);
    for (const chunk of chunks) this.begun.delete(chunk);
    return chunks;
  }

  /** Whether to say what we are on: at once when that changes; in a stream, where nobody picks, within a second. */
  private areLeasesDue(now: number): boolean {
    if (this.leaseChanged && this.ledger.fed !== null && !this.isResting && !this.isFinishing) {
      this.leaseChanged = false;
      this.renewAt = Math.min(this.renewAt, now + this.config.sayBacklogWithinS);
    }
    return this.leaseChanged || now >= this.renewAt;
  }

  private sayLeases(now: number): void {
    this.leaseChanged = false;
    this.renewAt = Infinity;
    const { home } = this.following;
    if (home === null) return;
    if (this.isResting || (this.isFinishing && this.jobs.size === 0)) {
      this.leasing.leave(home, now);
      return;
    }
    this.renewAt = this.leasing.say(home, [...this.running(), ...this.assigned], now);
  }

  /** A checkpoint says the creator has these results: ours need not be kept any longer. */
  private release(now: number): void {
    this.giving.release(now);
    this.keeping.release();
    for (const chunk of this.assigned) {
      // An accepted chunk may still be wanted as an audit; only failed ones are not.
      if (this.ledger.isClosed(chunk) && !this.ledger.isAccepted(chunk)) this.assigned.delete(chunk);
    }
  }

  private end(): void {
    this.state = "done";
    this.cancelJobs();
    const { code, inputs } = this.ledger.manifest;
    for (const ref of [code, inputs]) if (ref !== null) this.desk.forget(ref.sha256);
    this.letGo([]);
    this.giving.releaseAll();
    this.keeping.releaseAll();
  }

  /** Keep of the results fetched only these. */
  private letGo(needed: readonly ResultRef[]): void {
    this.gathering.letGo(needed, (digest) => this.giving.holds(digest));
  }

  private cancelJobs(): void {
    for (const job of this.jobs.keys()) this.desk.cancel(job);
    this.jobs.clear();
    this.draws.clear();
    this.assigned.clear();
    this.urgent.clear();
    this.waiting.clear();
  }

  private rememberMade(commit: Commit, now: number): void {
    let leaves: readonly Leaf[];
    try {
      leaves = openCommit(this.signer, this.ledger.manifest.sealKey, this.signer.publicKey, commit);
    } catch (error) {
      if (error instanceof RemoteProtocolError) return; // Not as we seal: another program's, that had our keys before.
      throw error;
    }
    for (const leaf of leaves) this.giving.madeBefore(leaf, now);
  }

  private nextSeq(now: number): number {
    // Milliseconds since 1970: a worker that lost its store does not sign an old seq again.
    this.seq = Math.max(this.seq + 1, Math.floor((now + this.config.epochOffsetS) * 1_000));
    return this.seq;
  }

  private readInputs(start: number, length: number): Uint8Array {
    const inputs = this.ledger.manifest.inputs!;
    if (this.blobs.size(inputs.sha256) === null) {
      const needed = piecesOf(start, Math.min(length, inputs.size - start));
      const lacking = needed & ~this.desk.piecesHere(inputs.sha256);
      if (lacking !== 0n) throw new InputsLacking(lacking);
    }
    return this.blobs.read(inputs.sha256, start, length);
  }
}

/**
 * The creator's part in one of its tasks, chunk by chunk: admit, open, assign, settle, accept (spec/ledger.md).
 *
 *     a chunk:  OPEN --votes--> SEALED --enough--> AGREED --result here--> accepted
 *                                  '--two values--> DISPUTED --our own execution--'   (tally.ts)
 *
 * Workers choose what to execute first; the creator chooses who confirms it (dispatching.ts), opens the sealed votes, and
 * executes chunks itself where votes differ, where nobody else is left to ask, or where its own word is needed for the
 * certificate (executing.ts, closing.ts, certifying.ts). Its own executions are commits like any other, signed by the
 * creator and sealed to itself: what it has accepted can be rebuilt from the records after a crash at any moment.
 */

import { Absences } from "./absence";
import { Admitting } from "./admitting";
import { Agenda } from "./agenda";
import { Asking } from "./asking";
import type { Leaf } from "./batch";
import { fromHex, hex, type Hex } from "./bytes";
import { Certifying } from "./certifying";
import { Closing, type TaskState } from "./closing";
import { Collecting } from "./collecting";
import type { ProtocolConfig } from "./config";
import { Convicting } from "./convicting";
import { Counting } from "./counting";
import { type Custodial, refusal } from "./custody";
import type { Desk } from "./desk";
import { Dispatch } from "./dispatching";
import type { Lots } from "./drawing";
import { Entrusted } from "./entrusting";
import { ModuleRefused, RemoteProtocolError } from "./errors";
import type { ChunkInput, ChunkOutcome } from "./events";
import { Executing } from "./executing";
import type { Keep, Kept } from "./frames";
import { readComparison } from "./gpu/package";
import type { PeerId, Signer } from "./identity";
import { type Ledger } from "./ledger";
import type { Manifest } from "./manifest";
import { type Held, Named } from "./named";
import { Gathering } from "./onward";
import { isNamed, type Shown, shownRecords } from "./opening";
import { Presence } from "./presence";
import {
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
import { Referee } from "./referee";
import { type ChunkResult, type Progress, Results } from "./results";
import type { Rng } from "./rng";
import { Settling } from "./settling";
import type { BlobStore } from "./storage";
import { creatorsSigner } from "./stewarding";
import type { Stewards } from "./stewards";
import { commitsOf } from "./voting";

const NO_RECORD = new Uint8Array(32);

/** One task of ours. */
export class CreatorRole implements Custodial {
  /** The opened votes, also for whoever checks us. */
  readonly referee: Referee;
  private readonly me: Hex;
  private readonly agenda = new Agenda();
  private phase: TaskState = "running";
  /** Our task's code, if that has results compared as numbers; else empty. */
  private readonly package: Uint8Array;
  private readonly named: Named;
  /** Opens and seals with the task's key. */
  private readonly signer: Signer;
  private readonly lots: Lots;
  private readonly stewards: Stewards;
  private readonly entrusted: Entrusted;
  private readonly presence: Presence;
  private readonly results: Results;
  private readonly convicting: Convicting;
  private readonly admitting: Admitting;
  private readonly certifying: Certifying;
  private readonly closing: Closing;
  private readonly gathering: Gathering;
  private readonly executing: Executing;
  private readonly asking: Asking;
  private readonly dispatch: Dispatch;
  private readonly collecting: Collecting;
  private readonly counting: Counting;
  private readonly settling: Settling;

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
    this.entrusted = new Entrusted(lots, stewards);
    const drawn = (chunk: number): ReadonlySet<Hex> => this.entrusted.drawn(chunk);
    const asked = (chunk: number): ReadonlySet<Hex> => this.entrusted.askedForUs(chunk);
    this.package = packageThatCompares(manifest, blobs);
    const comparison = this.package.length > 0 ? readComparison(this.package) : null;
    this.named = new Named(this.me, stewards, desk, blobs);
    const read = (leaf: Leaf): Uint8Array | null => this.named.read(leaf);
    this.referee = new Referee(this.me, manifest.policy.replication, drawn, comparison, asked, read, manifest.runtime === "net");
    this.results = new Results(manifest, this.referee, blobs);
    this.convicting = new Convicting(ledger, desk, this.referee);
    this.admitting = new Admitting(config, this.signer, rng, ledger, desk, stewards);
    this.certifying = new Certifying(config, ledger, desk, blobs, this.referee, this.results, stewards);
    this.closing = new Closing(manifest, this.referee, this.results.failed, rng);
    this.gathering = new Gathering(desk, blobs);
    this.executing = new Executing(
      config,
      ledger,
      (start, length) => this.readInputs(start, length),
      this.gathering,
    );
    this.asking = new Asking(this.signer, rng, ledger, desk, this.referee, this.entrusted);
    const ask: Asking["ask"] = (...what) => this.asking.ask(...what);
    const { capacity } = desk.pace(ledger);
    const { referee, closing, executing, named } = this;
    const coming = (chunk: number): readonly Hex[] => named.voters(chunk);
    this.dispatch = new Dispatch(config, rng, ledger, referee, closing, executing, ask, capacity, coming);
    this.collecting = new Collecting(this.signer, ledger, desk, blobs, referee, stewards, named);
    this.counting = new Counting(this.signer, ledger, named, this.collecting, this.package.length > 0);
    this.settling = new Settling(
      this.referee,
      this.results,
      this.closing,
      this.dispatch,
      this.executing,
      this.collecting,
      this.certifying,
      (what, chunk, detail = "") => desk.notice(what, ledger, { chunk, detail }),
    );
    desk.custody.takePart(ledger.taskKey, this);
    for (let shard = 0; shard < ledger.shards; shard++) desk.follow(ledger.shardTopic(shard));
  }

  get state(): TaskState {
    return this.agenda.isClosed ? "closed" : this.phase;
  }

  // ---- what happens

  /** Take up a task again from the records of an earlier life. */
  restored(records: Iterable<readonly [Signed, LedgerRecord]>, now: number): void {
    const { agenda } = this;
    agenda.isRestoring = true;
    if (this.presence.wasAway(now)) agenda.hearOut(now);
    for (const [signed, record] of records) {
      if (record.kind === "certificate") {
        // It certifies what was settled by then: votes that came later change nothing, as they did not before.
        agenda.isRestoring = false;
        this.review([...this.referee.touchedChunks()], now);
        agenda.isRestoring = true;
      }
      this.recordAdded(signed, record, now);
    }
    agenda.isRestoring = false;
    for (const worker of this.admitting.notAdmitted()) this.admitting.joined(worker);
    this.review([...this.referee.touchedChunks()], now);
    if (!agenda.isClosed) this.named.fetch();
  }

  /** The ledger has taken a record, our own included when they are restored. */
  recordAdded(signed: Signed, record: LedgerRecord, now: number): void {
    const author = hex(signed.author);
    switch (record.kind) {
      case "join":
        this.dispatch.heard(author, now);
        if (!this.agenda.isRestoring) {
          this.admitting.joined(author);
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
          if (record.runs.length === 0) this.agenda.reviewSoon(now);
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
      case "assign": {
        const chunks = this.asking.asked(author, record);
        if (chunks !== null) this.review(chunks, now);
        break;
      }
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
      case "savepoint":
        break;
      case "certificate":
        this.agenda.isClosed = true;
        break;
    }
    if (this.ledger.equivocators.has(author) && !this.agenda.isRestoring) {
      this.convict(author, "equivocated", 0, record.kind === "commit" ? recordId(signed) : NO_RECORD, now);
    }
  }

  /** A neighbour is suspected: what it was asked for, and had picked (`left`), goes to others before all else. */
  workerSilent(worker: Hex, left: readonly number[], now: number): void {
    this.dispatch.silent(worker, left, now);
    this.agenda.stir();
  }

  /** A result we fetched is here, or nobody who voted for it delivers it: then others may have kept it. */
  blobArrived(digest: Uint8Array, isHere: boolean, now: number): void {
    this.gathering.arrived(digest, isHere);
    const key = hex(digest);
    if (isHere || !this.collecting.reclaim(key, now)) this.resultSettled(key, isHere, now);
  }

  /** Whoever has a result for us needs nobody to keep it: we fetch it as soon as it counts. */
  custodyFrame(peerId: PeerId, frame: Keep | Kept): void {
    if (frame.kind === "keep") this.desk.tell(peerId, refusal(frame));
  }

  /** A sealed result that we looked for is here, or nobody we reach has it. */
  keptArrived(sealed: Uint8Array, isHere: boolean, now: number): void {
    for (const { digest, isFound } of this.collecting.keptArrived(sealed, isHere, now)) {
      this.resultSettled(digest, isFound, now);
    }
  }

  private resultSettled(key: Hex, isHere: boolean, now: number): void {
    if (this.named.needs(key)) {
      this.counted(this.named.settled(key, isHere), now);
      return;
    }
    const chunks = this.collecting.over(key);
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
      () => this.asking.nextSeq(),
      outcomes,
      this.blobs,
      this.rng,
      this.config.inlineResultBytes,
    );
    for (const { commit, leaves } of commits) {
      this.desk.publish(this.ledger, commit);
      this.counting.votes += leaves.length;
      this.review(this.referee.cast(this.me, leaves, commit.seq), now);
      for (const leaf of leaves) if (isNamed(leaf)) this.counted(this.named.settled(hex(leaf.data), true), now);
    }
  }

  /** Let time pass: overdue assignments, hungry chunks, checkpoints, the end. */
  advance(now: number): void {
    const { agenda } = this;
    if (agenda.isClosed) return;
    const isReviewing = agenda.isReviewDue(now);
    if (isReviewing) {
      agenda.stir();
      this.presence.advance(now, this.dispatch.memberCount);
      this.admit(now);
      agenda.reviewed(now);
      this.dispatch.review(now);
      for (const chunk of this.named.overdue(now)) {
        this.settling.settle(chunk, now);
        // A commit names it, so nobody picks it.
        if (this.referee.chunk(chunk).state === "open") this.dispatch.deal(chunk, now);
      }
    }
    if (agenda.isStirred) {
      const isAuditing = this.phase === "auditing";
      if (agenda.takesTurn(now, isAuditing || isReviewing ? now : this.dispatch.dueAt(now))) {
        this.dispatch.dispatch(now, isAuditing, isReviewing);
        this.finish(now);
      }
    }
    if (now >= this.certifying.checkpointAt) this.certifying.checkpoint(now);
  }

  /** The next batch for our own slots, or null. `jobStarted` must follow. */
  takeJob(): readonly ChunkInput[] | null {
    return this.agenda.isClosed ? null : this.executing.takeJob();
  }

  jobStarted(job: number, batch: readonly ChunkInput[]): void {
    this.executing.jobStarted(job, batch);
  }

  get jobsRunning(): number {
    return this.executing.jobsRunning;
  }

  wakeAt(): number | null {
    if (this.agenda.isClosed) return null;
    const due = Math.min(this.certifying.checkpointAt, this.agenda.reviewAt, this.agenda.turnAt);
    return Number.isFinite(due) ? due : null;
  }

  // ---- what a person asks

  progress(): Progress {
    const { ledger, results } = this;
    const { workerAudits, creatorAudits, bound } = this.closing.assurance(this.convicting.hasAny, results.areComplete);
    return {
      state: this.state,
      chunks: ledger.manifest.chunks,
      accepted: results.accepted.size,
      failed: results.failed.size,
      votes: this.counting.votes,
      workers: ledger.admits.size,
      convicted: ledger.verdicts.size,
      workerAudits,
      creatorAudits,
      bound,
      drawn: this.lots.count(),
    };
  }

  result(chunk: number): ChunkResult {
    return this.results.of(chunk);
  }

  resultBytes(chunk: number): Uint8Array | null {
    return this.results.data(chunk);
  }

  /** What strangers need to check the certificate: every record up to it, the sealed ones opened (recount.ts). */
  evidence(): Iterable<Shown> {
    return shownRecords(this.signer, this.ledger, this.package, (leaf) => this.named.read(leaf));
  }

  // ---- admission and counting

  private admit(now: number): void {
    for (const worker of this.admitting.admit(now)) this.admitted(worker, now);
  }

  private admitted(worker: Hex, now: number): void {
    if (!this.ledger.isVoid(worker)) {
      this.dispatch.admitted(worker);
      this.agenda.reviewSoon(now);
    }
    this.recredit(worker, now);
    this.review(this.referee.admit(worker), now);
  }

  /** Who shares the reward of a worker's chunks has changed. */
  private recredit(worker: Hex, now: number): void {
    const shards = new Set([...this.referee.votedChunks(worker)].map(shardOf));
    for (const shard of shards) this.certifying.changed(shard * SHARD_CHUNKS, now);
  }

  private count(signed: Signed, author: Hex, commit: Commit, now: number): void {
    const chunks = chunksOf(commit.shard, commit.runs);
    this.dispatch.committed(author, commit, chunks, now);
    this.asking.used(author, commit.seq);
    const sealKey = this.counting.sealKey(author);
    if (sealKey === undefined) return;
    const { isRestoring } = this.agenda;
    let ready;
    try {
      ready = this.counting.open(signed, commit, sealKey, !isRestoring, now);
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      if (!isRestoring) this.convict(author, "malformed", chunks[0]!, recordId(signed), now);
      // It may have been what we asked for: then others are asked.
      this.review(chunks, now);
      return;
    }
    this.counted(ready, now);
    if (commit.link.length > 0 && !this.lots.isLinked(author)) {
      this.review(this.referee.lookAgain(this.referee.votedChunks(author)), now);
    }
  }

  private counted(commits: readonly Held[], now: number): void {
    this.executing.want(this.named.lost());
    for (const commit of commits) if (commit.leaves.length > 0) this.cast(commit, now);
  }

  /** Count a commit of which everything is here that counting takes. */
  private cast({ author, seq, commit, leaves, rests }: Held, now: number): void {
    const first = leaves[0]!.chunk;
    const touched = this.referee.cast(author, leaves, seq, rests);
    this.certifying.changed(first, now);
    if (!this.agenda.isRestoring && this.referee.contradictors.has(author) && !this.ledger.isVoid(author)) {
      this.convict(author, "equivocated", first, commit, now);
    }
    this.review(touched, now);
  }

  private convict(worker: Hex, reason: Verdict["reason"], chunk: number, commit: Uint8Array, now: number): void {
    const { ledger } = this;
    if (this.convicting.isBanned(worker)) return;
    if (this.stewards.has(worker)) {
      this.desk.publish(ledger, { kind: "revoke", task: ledger.task, steward: fromHex(worker) });
      this.revoked(worker, now);
      this.convicting.notice(worker, chunk, "steward revoked");
      return;
    }
    this.makeVoid(worker, this.convicting.convict(worker, reason, chunk, commit), now);
  }

  private makeVoid(worker: Hex, voidTo: number, now: number): void {
    if (voidTo === EVERYTHING) this.dispatch.dismiss(worker, now);
    this.closing.struck(worker);
    this.recredit(worker, now);
    this.review(this.referee.makeVoid(worker, voidTo), now);
  }

  // ---- stewards

  private delegated(steward: Hex, now: number): void {
    const asked = this.entrusted.chunks(steward);
    this.review([...this.referee.admit(steward), ...this.referee.lookAgain(asked)], now);
  }

  /** Nothing that a steward said counts any more; whom it had admitted waits for us. */
  private revoked(steward: Hex, now: number): void {
    const chunks = [...this.entrusted.chunks(steward), ...this.referee.makeVoid(steward, EVERYTHING)];
    this.entrusted.revoked(steward);
    for (const worker of this.admitting.notAdmitted()) {
      this.dispatch.dismiss(worker, now);
      chunks.push(...this.referee.unadmit(worker));
      if (worker !== steward) this.admitting.waitsAgain(worker);
    }
    if (!this.agenda.isRestoring) this.admit(now);
    this.recredit(steward, now);
    this.review(this.referee.lookAgain(new Set(chunks)), now);
  }

  // ---- chunk by chunk

  private review(chunks: readonly number[], now: number): void {
    if (this.agenda.isAtRest) return;
    this.agenda.stir();
    for (const chunk of chunks) {
      for (const worker of this.referee.chunk(chunk).offenders) {
        // A conviction reviews this chunk as well, and may have convicted the next of them.
        const { offenders } = this.referee.chunk(chunk);
        if (offenders.includes(worker)) this.convict(worker, "wrong", chunk, NO_RECORD, now);
      }
      this.settling.settle(chunk, now);
    }
  }

  // ---- the end

  private finish(now: number): void {
    const isComplete = this.results.areComplete;
    this.phase = isComplete ? "auditing" : "running";
    const isBusy = !this.executing.isEmpty || this.dispatch.isWaiting;
    if (!isComplete || isBusy || this.named.isWaiting) return;
    const byWorkers = this.dispatch.memberCount > this.ledger.manifest.policy.replication;
    const step = this.closing.nextStep(this.convicting.hasAny, byWorkers);
    if (step.kind === "certify") this.close(now);
    else if (step.kind === "confirm") for (const chunk of step.chunks) this.dispatch.want(chunk, now);
    else this.executing.want(step.chunks);
  }

  private close(now: number): void {
    this.certifying.checkpoint(now);
    const assurance = this.closing.assurance(this.convicting.hasAny, true);
    const certificate = this.certifying.certificate(assurance, this.counting.votes, this.settling.mismatches);
    this.agenda.isClosed = true;
    this.desk.publish(this.ledger, certificate);
    this.desk.notice("task closed", this.ledger);
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

/**
 * One task's records as every peer holds them: a grow-only set and what it says in public (spec/ledger.md).
 *
 *     a worker:  UNKNOWN --join--> GUEST --admit--> ADMITTED --strike--> ADMITTED, its votes until then void
 *                                                      '--ban or equivocation--> VOID
 *
 * Adding a record twice changes nothing, and the order of adding changes nothing about what the set says. Records that
 * cannot matter any more are let go: expired leases, old assignments, checkpoints that a newer one replaces, and commits
 * whose chunks a checkpoint has closed. The creator's tally rests on assignments and commits still: it keeps them, and
 * offers them to nobody.
 *
 * Workers, records and topics are named by hexadecimal text here, because that is what maps can be keyed by.
 */

import type { Absences } from "./absence";
import { hex, type Hex } from "./bytes";
import type { Fed } from "./feeding";
import { Leases } from "./leases";
import { restsOf } from "./lineage";
import type { Manifest } from "./manifest";
import {
  EVERYTHING,
  type Admit,
  type CertificateBody,
  type Checkpoint,
  type Commit,
  type Join,
  type LedgerRecord,
  recordId,
  recordKey,
  type Runs,
  type Savepoint,
  SHARD_CHUNKS,
  type Signed,
  type Verdict,
} from "./records";

export const WORKERS_MAX = 100_000;
/** Chunks of which one worker's savepoints are held: an honest one is on as many as it has cores, mostly. */
const SAVEPOINTS_PER_WORKER_MAX = 16;

/**
 * Workers not admitted yet whose commits are taken, and bytes of commits of each and of all: what a flood of identities
 * may cost everybody while the creator is away. Beyond them a guest's votes wait at the guest itself.
 */
export const GUESTS_MAX = 1_000;
export const GUEST_BYTES_MAX = 4 * 1024 * 1024;
export const GUESTS_BYTES_MAX = 64 * 1024 * 1024;

/** An assignment that its worker has not answered with a lease by then was given to somebody else long ago. */
export const ASSIGN_KEPT_S = 60;

/** Topic of what concerns a whole task: joins, admissions, verdicts, checkpoints, the certificate. */
export function taskTopic(task: Uint8Array): Hex {
  return hex(task);
}

/** Whether bit `index` is set, counting from the least significant bit of the first byte. */
export function bit(bitmap: Uint8Array, index: number): boolean {
  return (((bitmap[index >>> 3] ?? 0) >>> (index & 7)) & 1) === 1;
}

/** A commit and whose it is. */
export interface HeldCommit {
  readonly author: Hex;
  readonly commit: Commit;
}

interface Held {
  readonly topic: Hex;
  readonly signed: Signed;
}

/** Whose work a commit is, its author first, and the seqs of what they signed. */
type Party = readonly [Hex, number];
type Parties = readonly [Party, ...Party[]];

const NOBODY: readonly never[] = [];

/** The public set of one task's records, and the answers a worker needs from it. */
export class Ledger {
  readonly task: Uint8Array;
  readonly taskKey: Hex;
  readonly shards: number;
  readonly joins = new Map<Hex, Join>();
  readonly admits = new Map<Hex, Admit>();
  /** Of each convicted worker the verdict that voids most. */
  readonly verdicts = new Map<Hex, Verdict>();
  /** Of each worker that has one the strike that counts, whether it was banned later or not. */
  readonly strikes = new Map<Hex, Verdict>();
  readonly equivocators = new Set<Hex>();
  readonly checkpoints = new Map<number, Checkpoint>();
  readonly commits = new Map<Hex, HeldCommit>();
  readonly leases = new Leases((id) => this.remove(id));
  /** Beacons and reveals; null until a role attaches what takes them. */
  absences: Absences | null = null;
  /** Of a stream what its creator has fed, once they are attached. */
  fed: Fed | null = null;
  certificate: CertificateBody | null = null;
  creatorEquivocated = false;

  readonly keepCommits: boolean;
  readonly clockOffsetS: number;
  private readonly held = new Map<Hex, Held>();
  private readonly byTopic = new Map<Hex, Set<Hex>>();
  private readonly checkpointIds = new Map<number, Hex>();
  /** Author -> seq -> the first commit seen with it. */
  private readonly seqs = new Map<Hex, Map<number, Hex>>();
  /** Of each commit on a chunk whose work it is. */
  private readonly votersOf = new Map<number, readonly Parties[]>();
  /** Worker -> chunk -> how far it says it was with it: the newest, of chunks that are not closed. */
  private readonly savepoints = new Map<Hex, Map<number, { readonly seq: number; readonly id: Hex }>>();
  readonly voidTos = new Map<Hex, number>();
  private readonly strikeIds = new Map<Hex, Hex>();
  private readonly guestBytes = new Map<Hex, number>();
  private guestsBytes = 0;
  /** Id of an assignment -> when it came, oldest first. */
  private readonly assignedAt = new Map<Hex, number>();

  constructor(
    readonly signed: Signed,
    readonly manifest: Manifest,
    { keepCommits = false, clockOffsetS = 0 } = {},
  ) {
    this.keepCommits = keepCommits;
    this.clockOffsetS = clockOffsetS;
    this.task = recordId(signed);
    this.taskKey = recordKey(signed);
    this.shards = Math.ceil(manifest.chunks / SHARD_CHUNKS);
    this.held.set(this.taskKey, { topic: taskTopic(this.task), signed });
  }

  // ---- adding

  /** Topic of one shard's leases, commits and assignments. An only shard has none of its own. */
  shardTopic(shard: number): Hex {
    return this.shards === 1 ? taskTopic(this.task) : hex(this.task) + shard.toString(16).padStart(8, "0");
  }

  /** Where a record is gossiped. */
  topicOf(record: LedgerRecord): Hex {
    switch (record.kind) {
      case "lease":
      case "commit":
      case "reveal":
      case "assign":
      case "savepoint":
        return this.shardTopic(record.shard);
      default:
        return this.taskKey;
    }
  }

  /** Add a checked record. False when it says nothing new (known, superseded, or of a worker that is void). */
  add(signed: Signed, record: LedgerRecord, now: number): boolean {
    const id = recordKey(signed);
    if (this.held.has(id) || !(this.absences?.takes(id, signed, record, now) ?? this.take(id, signed, record, now))) {
      return false;
    }
    const topic = this.topicOf(record);
    this.held.set(id, { topic, signed });
    let ids = this.byTopic.get(topic);
    if (ids === undefined) this.byTopic.set(topic, (ids = new Set()));
    ids.add(id);
    this.absences?.added(id, signed, record);
    return true;
  }

  // ---- asking

  /** Whether an author's votes count, as far as it is not void. */
  isAdmitted(author: Hex): boolean {
    // A steward's word may come before the join that it is about.
    return (
      author === hex(this.manifest.creator) ||
      (this.joins.has(author) && (this.admits.has(author) || this.absences?.stewards.has(author) === true))
    );
  }

  /** Whether a record of a worker that has joined and was not admitted yet may enter: its creator may be away. */
  hasRoomForGuest(author: Hex, size: number): boolean {
    const used = this.guestBytes.get(author);
    if (!this.joins.has(author) || (used === undefined && this.guestBytes.size >= GUESTS_MAX)) return false;
    return (used ?? 0) + size <= GUEST_BYTES_MAX && this.guestsBytes + size <= GUESTS_BYTES_MAX;
  }

  /** Whether a worker's votes count for nothing, whenever they were or will be cast. */
  isVoid(worker: Hex): boolean {
    return this.voidTo(worker) === EVERYTHING;
  }

  /** The seq up to which a worker's commits are void; below every seq where none is. */
  voidTo(worker: Hex): number {
    return this.voidTos.get(worker) ?? -1;
  }

  shardSize(shard: number): number {
    return Math.min(SHARD_CHUNKS, this.manifest.chunks - shard * SHARD_CHUNKS);
  }

  /** Workers with a commit on this chunk that is not void. */
  voters(chunk: number): Hex[] {
    const counting = (this.votersOf.get(chunk) ?? NOBODY).filter(this.counts);
    return [...new Set(counting.map(([[worker]]) => worker))];
  }

  /** Whether `voters` names anybody. */
  hasVoter(chunk: number): boolean {
    return (this.votersOf.get(chunk) ?? NOBODY).some(this.counts);
  }

  private readonly counts = (parties: Parties): boolean => parties.every(([worker, seq]) => seq > this.voidTo(worker));

  isAccepted(chunk: number): boolean {
    const checkpoint = this.checkpoints.get(Math.floor(chunk / SHARD_CHUNKS));
    return checkpoint !== undefined && bit(checkpoint.accepted, chunk % SHARD_CHUNKS);
  }

  /** Accepted or failed: nobody needs to compute this chunk any more. */
  isClosed(chunk: number): boolean {
    const checkpoint = this.checkpoints.get(Math.floor(chunk / SHARD_CHUNKS));
    const index = chunk % SHARD_CHUNKS;
    return checkpoint !== undefined && (bit(checkpoint.accepted, index) || bit(checkpoint.failed, index));
  }

  /** Ids of what is held in a topic. */
  recordIds(topic: Hex): Iterable<Hex> {
    return this.byTopic.get(topic) ?? NOBODY;
  }

  record(id: Hex): Signed | null {
    return this.held.get(id)?.signed ?? null;
  }

  /** Everything held, in order of arrival. */
  *records(): IterableIterator<Signed> {
    for (const { signed } of this.held.values()) yield signed;
  }

  /** Let go of leases that have run out and of assignments that nobody waits for any more. */
  expire(now: number): void {
    for (const [id, cameAt] of this.assignedAt) {
      if (now - cameAt < ASSIGN_KEPT_S) break;
      this.assignedAt.delete(id);
      this.letGo(id);
    }
    this.leases.expire(now);
  }

  // ---- inside

  /** Let a record say what it says. False when that is nothing new. */
  private take(id: Hex, signed: Signed, record: LedgerRecord, now: number): boolean {
    switch (record.kind) {
      case "join":
        if (this.joins.has(hex(signed.author))) return false;
        this.joins.set(hex(signed.author), record);
        return true;
      case "admit": {
        const worker = hex(record.worker);
        if (this.admits.has(worker)) return false;
        this.setAdmission(worker, record);
        return true;
      }
      case "verdict":
        return this.addVerdict(id, hex(record.worker), record);
      case "checkpoint":
        return this.addCheckpoint(id, record);
      case "certificate":
        if (this.certificate !== null) return false;
        this.certificate = record;
        return true;
      case "commit":
        this.addCommit(id, hex(signed.author), record);
        this.countGuest(signed);
        return true;
      case "lease":
        return !this.isVoid(hex(signed.author)) && this.leases.add(id, hex(signed.author), record, now);
      case "assign":
        this.assignedAt.set(id, now);
        return true;
      case "savepoint":
        return this.addSavepoint(id, hex(signed.author), record);
      default:
        return false;
    }
  }

  /** The admission of a worker that counts, if any does. */
  setAdmission(worker: Hex, admit: Admit | undefined): void {
    if (admit === undefined) this.admits.delete(worker);
    else this.admits.set(worker, admit);
    this.guestsBytes -= this.guestBytes.get(worker) ?? 0;
    this.guestBytes.delete(worker);
  }

  /** Charge a worker that was not admitted yet for what it makes everybody hold. */
  countGuest(signed: Signed): void {
    const author = hex(signed.author);
    if (this.isAdmitted(author)) return;
    this.guestBytes.set(author, (this.guestBytes.get(author) ?? 0) + signed.body.length);
    this.guestsBytes += signed.body.length;
  }

  /** A record that nobody needs to hear of any more. The creator's tally rests on it still. */
  letGo(id: Hex): void {
    if (this.keepCommits) this.byTopic.get(this.held.get(id)!.topic)?.delete(id);
    else this.remove(id);
  }

  /** Forget a record that another one replaces. */
  remove(id: Hex): void {
    const held = this.held.get(id);
    if (held === undefined) return;
    this.held.delete(id);
    this.byTopic.get(held.topic)?.delete(id);
  }

  private addCommit(id: Hex, author: Hex, commit: Commit): void {
    this.commits.set(id, { author, commit });
    let seqs = this.seqs.get(author);
    if (seqs === undefined) this.seqs.set(author, (seqs = new Map()));
    const first = seqs.get(commit.seq);
    if (first === undefined) {
      seqs.set(commit.seq, id);
    } else if (first !== id) {
      // The two signed commits are the proof: everybody who holds both comes to this line.
      this.equivocators.add(author);
      this.voidTos.set(author, EVERYTHING);
      this.leases.release(author);
    }
    const ballot: Parties = [[author, commit.seq], ...restsOf(commit).map(({ maker, seq }): Party => [maker, seq])];
    for (const [start, count] of commit.runs) {
      for (let chunk = start; chunk < start + count; chunk++) {
        this.votersOf.set(chunk, [...(this.votersOf.get(chunk) ?? NOBODY), ballot]);
      }
    }
  }

  /** The newest of a worker replaces those before it. */
  private addSavepoint(id: Hex, author: Hex, { chunk, seq }: Savepoint): boolean {
    let held = this.savepoints.get(author);
    if (held === undefined) this.savepoints.set(author, (held = new Map()));
    const former = held.get(chunk);
    const isFull = former === undefined && held.size >= SAVEPOINTS_PER_WORKER_MAX;
    if (!this.isAdmitted(author) || this.isClosed(chunk) || seq <= this.voidTo(author) || isFull) return false;
    if (former !== undefined) {
      if (former.seq >= seq) return false;
      this.remove(former.id);
    }
    held.set(chunk, { seq, id });
    return true;
  }

  /** One ban and one strike of a worker are held: of two strikes the one that voids more. */
  private addVerdict(id: Hex, worker: Hex, verdict: Verdict): boolean {
    const isBan = verdict.voidTo === EVERYTHING;
    const held = (isBan ? this.verdicts : this.strikes).get(worker);
    if (held !== undefined && held.voidTo >= verdict.voidTo) return false;
    if (isBan) {
      this.leases.release(worker);
    } else {
      this.remove(this.strikeIds.get(worker) ?? "");
      this.strikeIds.set(worker, id);
      this.strikes.set(worker, verdict);
    }
    if ((this.verdicts.get(worker)?.voidTo ?? -1) < verdict.voidTo) this.verdicts.set(worker, verdict);
    if (!this.fed?.isForked) this.voidTos.set(worker, Math.max(this.voidTo(worker), verdict.voidTo));
    return true;
  }

  private addCheckpoint(id: Hex, checkpoint: Checkpoint): boolean {
    const shard = checkpoint.shard;
    const current = this.checkpoints.get(shard);
    if (current !== undefined) {
      const currentId = this.checkpointIds.get(shard)!;
      if (current.seq > checkpoint.seq) return false;
      if (current.seq === checkpoint.seq) {
        // Two signed states of one moment are the proof that the creator plays double: both are kept and passed on. The
        // larger id counts, so that even then all peers come to the same state.
        this.creatorEquivocated = true;
        if (currentId > id) return true;
      } else {
        this.remove(currentId);
      }
    }
    this.checkpoints.set(shard, checkpoint);
    this.checkpointIds.set(shard, id);
    for (const held of this.savepoints.values()) {
      for (const [chunk, savepoint] of held) {
        if (!this.isClosed(chunk)) continue;
        held.delete(chunk);
        this.remove(savepoint.id);
      }
    }
    for (const commitId of this.recordIds(this.shardTopic(shard))) {
      const held = this.commits.get(commitId);
      if (held !== undefined && this.areClosed(held.commit.runs)) {
        this.letGo(commitId);
        const reveal = this.absences?.closed(commitId);
        if (reveal !== undefined) this.letGo(reveal);
        if (!this.keepCommits) {
          this.commits.delete(commitId);
          this.absences?.dropped(commitId, held);
        }
      }
    }
    return true;
  }

  private areClosed(runs: Runs): boolean {
    for (const [start, count] of runs) {
      for (let chunk = start; chunk < start + count; chunk++) if (!this.isClosed(chunk)) return false;
    }
    return true;
  }
}

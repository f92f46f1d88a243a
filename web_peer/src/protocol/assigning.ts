/**
 * Whom the creator asks for second votes, audits and repairs (spec/ledger.md, "Assign").
 *
 *     (worker, chunk):  FREE --assign--> OUTSTANDING --commit--> FREE
 *                         ^                  |
 *                         '-- no lease, too slow, silent or void --'
 *
 * A worker may choose its first executions itself, but never its seconds: two friends would choose the same chunk and
 * agree on a lie. So whoever confirms a chunk is drawn by the creator from all that are eligible, of two candidates the
 * one with less to do (the power of two choices), and cannot tell what its execution is for.
 */

import { concat, type Hex } from "./bytes";
import { array, bool, decode, encode, struct, u32 } from "./codec";
import { NONCE_BYTES, type Signer } from "./identity";
import { type Assign, COMMIT_CHUNKS_MAX, Run, shardOf } from "./records";
import { chunksOf, runsOf } from "./runs";
import { type Rng, sample } from "./rng";

/** What an assignment seals: chunks, and whether others have waited for them; never what they are wanted for. */
const Sealed = struct("Request", { shard: u32, runs: array(Run, { min: 1, max: COMMIT_CHUNKS_MAX }), urgent: bool });

export interface Request {
  readonly chunks: readonly number[];
  readonly urgent: boolean;
}

/** When a worker can begin something else, and how long a chunk takes it. */
export interface WorkerPace {
  readonly freeAt: number;
  readonly chunkS: number;
}

const CONTEXT = new TextEncoder().encode("assign");

/**
 * Ask the owner of `sealKey` for chunks of one shard.
 *
 * @throws RemoteProtocolError when its seal key is not a usable one.
 */
export function sealAssignment(
  signer: Signer,
  rng: Rng,
  sealKey: Uint8Array,
  task: Uint8Array,
  chunks: readonly number[],
  urgent = false,
): Uint8Array {
  const plaintext = encode(Sealed, { shard: shardOf(chunks[0] ?? 0), runs: runsOf(chunks), urgent });
  return signer.seal(sealKey, concat(CONTEXT, task), plaintext, rng.bytes(NONCE_BYTES));
}

/**
 * What is asked by an assignment sealed between `signer` and the owner of `sealKey`.
 *
 * @throws RemoteProtocolError when it does not open, or names no valid chunks.
 */
export function openAssignment(signer: Signer, sealKey: Uint8Array, assign: Assign): Request {
  const asked = decode(Sealed, signer.unseal(sealKey, concat(CONTEXT, assign.task), assign.sealed));
  return { chunks: chunksOf(asked.shard, asked.runs), urgent: asked.urgent };
}

/** Chunks a worker may be asked for before anything is known about its speed. */
const BACKLOG_MIN = 8;
/** Chunks of one assignment, if there are as many: it costs its worker a lease and a commit. */
const SHARE_MIN = 4;
const BACKLOG_MAX = 2 * COMMIT_CHUNKS_MAX;

const NOBODY: ReadonlySet<Hex> = new Set();

/** Chunks of one shard, ascending, that a worker is asked for. */
export interface Portion {
  readonly worker: Hex;
  readonly chunks: readonly number[];
}

/** Everything asked for and not yet committed. */
export class Assignments {
  /** Worker -> chunk -> assigned at. */
  private readonly ofWorker = new Map<Hex, Map<number, number>>();
  private readonly ofChunk = new Map<number, Set<Hex>>();
  /** How long an answer takes, usually. */
  answerS = 0;

  constructor(
    private readonly rng: Rng,
    private readonly batchS: number,
    /** How many chunks each worker may be asked for at a time, so far; it is learnt here. */
    private readonly capacity: Map<Hex, number>,
  ) {}

  /** Workers asked for this chunk who have not answered. */
  workersOn(chunk: number): ReadonlySet<Hex> {
    return this.ofChunk.get(chunk) ?? NOBODY;
  }

  backlog(worker: Hex): number {
    return this.ofWorker.get(worker)?.size ?? 0;
  }

  /** The chunks that anything is outstanding for. */
  chunks(): Iterable<number> {
    return this.ofChunk.keys();
  }

  /** All (worker, chunk, assigned at). Assignments may be withdrawn meanwhile. */
  *outstanding(): Generator<readonly [worker: Hex, chunk: number, at: number]> {
    for (const [worker, chunks] of this.ofWorker) for (const [chunk, at] of chunks) yield [worker, chunk, at];
  }

  /** A worker answered. Quick answers double what it may be asked for at a time, slow ones halve it. */
  committed(worker: Hex, chunks: readonly number[], now: number): void {
    const held = this.ofWorker.get(worker);
    let waitedS: number | null = null;
    for (const chunk of chunks) {
      const at = held?.get(chunk);
      if (at !== undefined) waitedS = Math.max(waitedS ?? 0, now - at);
    }
    if (waitedS !== null) this.answerS = 0.8 * this.answerS + 0.2 * waitedS;
    let capacity = this.capacityOf(worker);
    if (waitedS !== null && waitedS < this.batchS) capacity = Math.min(BACKLOG_MAX, 2 * capacity);
    else if (waitedS !== null && waitedS > 2 * this.batchS) capacity = Math.max(BACKLOG_MIN, Math.floor(capacity / 2));
    // Whatever it waited for: a batch this large was one batch's work.
    this.capacity.set(worker, Math.max(capacity, chunks.length));
    this.withdraw(worker, chunks);
  }

  /** Give up on a worker, for some chunks or for all; the chunks that are free again. */
  withdraw(worker: Hex, chunks: readonly number[] | null = null): number[] {
    const held = this.ofWorker.get(worker);
    if (held === undefined) return [];
    const freed: number[] = [];
    for (const chunk of chunks ?? [...held.keys()]) {
      if (!held.delete(chunk)) continue;
      freed.push(chunk);
      const onChunk = this.ofChunk.get(chunk)!;
      onChunk.delete(worker);
      if (onChunk.size === 0) this.ofChunk.delete(chunk);
    }
    return freed;
  }

  /** Chunks these workers can be asked for now. */
  room(workers: Iterable<Hex>): number {
    let total = 0;
    for (const worker of workers) total += Math.max(0, this.roomOf(worker));
    return total;
  }

  /**
   * Draw workers for chunks that want so many more votes each; what nobody can take now stays wanted.
   *
   * `isExcluded` says which worker must not get a chunk (its voters); workers already on it are left out here. What is
   * returned is outstanding from now on.
   */
  distribute(
    wanted: ReadonlyMap<number, number>,
    candidates: readonly Hex[],
    isExcluded: (worker: Hex, chunk: number) => boolean,
    now: number,
  ): Portion[] {
    const given: Portion[] = [];
    const ascending = [...wanted].sort(([left], [right]) => left - right);
    const copiesMax = ascending.reduce((most, [, count]) => Math.max(most, count), 0);
    for (let copies = 0; copies < copiesMax; copies++) {
      const byShard = new Map<number, number[]>();
      for (const [chunk, count] of ascending) {
        if (count <= copies) continue;
        const shard = shardOf(chunk);
        const chunks = byShard.get(shard);
        if (chunks === undefined) byShard.set(shard, [chunk]);
        else chunks.push(chunk);
      }
      for (const chunks of byShard.values()) {
        const eligible = candidates.filter((worker) => this.roomOf(worker) > 0);
        this.handOut(chunks, eligible, isExcluded, now, given);
      }
    }
    return given;
  }

  /** The same for urgent chunks: each goes to who begins it soonest, whatever else that was asked for. */
  handOver(
    wanted: ReadonlyMap<number, number>,
    pace: ReadonlyMap<Hex, WorkerPace>,
    isExcluded: (worker: Hex, chunk: number) => boolean,
    now: number,
  ): Portion[] {
    const freeAt = new Map([...pace].map(([worker, { freeAt }]) => [worker, freeAt]));
    const given = new Map<string, Portion>();
    for (const [chunk, count] of wanted) {
      for (let copies = 0; copies < count; copies++) {
        const eligible = [...freeAt].filter(
          ([worker]) => !this.workersOn(chunk).has(worker) && !isExcluded(worker, chunk),
        );
        if (eligible.length === 0) break;
        const soonest = Math.min(...eligible.map(([, at]) => at));
        const [[worker, at]] = sample(this.rng, eligible.filter(([, at]) => at === soonest), 1) as [[Hex, number]];
        freeAt.set(worker, at + pace.get(worker)!.chunkS);
        this.take(worker, [chunk], now);
        const key = `${worker} ${shardOf(chunk)}`;
        given.set(key, { worker, chunks: [...(given.get(key)?.chunks ?? []), chunk] });
      }
    }
    return [...given.values()].flatMap(({ worker, chunks }) => {
      const ascending = [...chunks].sort((left, right) => left - right);
      const count = Math.ceil(ascending.length / COMMIT_CHUNKS_MAX);
      const part = (_: unknown, index: number): readonly number[] =>
        ascending.slice(index * COMMIT_CHUNKS_MAX, (index + 1) * COMMIT_CHUNKS_MAX);
      return Array.from({ length: count }, part).map((chunks) => ({ worker, chunks }));
    });
  }

  private handOut(
    chunks: number[],
    eligible: Hex[],
    isExcluded: (worker: Hex, chunk: number) => boolean,
    now: number,
    given: Portion[],
  ): void {
    let left = chunks;
    while (left.length > 0 && eligible.length > 0) {
      const worker = this.leastBusy(sample(this.rng, eligible, 2));
      const share = Math.max(Math.ceil(left.length / eligible.length), SHARE_MIN);
      const limit = Math.min(share, this.roomOf(worker), COMMIT_CHUNKS_MAX);
      const portion: number[] = [];
      const rest: number[] = [];
      for (const chunk of left) {
        const fits = portion.length < limit && !this.workersOn(chunk).has(worker) && !isExcluded(worker, chunk);
        (fits ? portion : rest).push(chunk);
      }
      if (portion.length > 0) {
        this.take(worker, portion, now);
        given.push({ worker, chunks: portion });
      }
      if (portion.length === 0 || this.roomOf(worker) <= 0) eligible.splice(eligible.indexOf(worker), 1);
      left = rest;
    }
  }

  private leastBusy(drawn: readonly Hex[]): Hex {
    const [first, second] = drawn as [Hex, Hex?];
    return second !== undefined && this.backlog(second) < this.backlog(first) ? second : first;
  }

  private capacityOf(worker: Hex): number {
    return this.capacity.get(worker) ?? BACKLOG_MIN;
  }

  private roomOf(worker: Hex): number {
    return this.capacityOf(worker) - this.backlog(worker);
  }

  private take(worker: Hex, chunks: readonly number[], now: number): void {
    let held = this.ofWorker.get(worker);
    if (held === undefined) this.ofWorker.set(worker, (held = new Map()));
    for (const chunk of chunks) {
      held.set(chunk, now);
      const onChunk = this.ofChunk.get(chunk);
      if (onChunk === undefined) this.ofChunk.set(chunk, new Set([worker]));
      else onChunk.add(worker);
    }
  }
}

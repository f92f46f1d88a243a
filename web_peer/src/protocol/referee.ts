/**
 * The creator's view of the votes: every batch opened, tallied chunk by chunk as records come in (spec/ledger.md).
 *
 * `tally.tally` is the definition; this class gives the same answers without counting everything again, because a state
 * depends only on the votes on that chunk and on which commits are void (test/referee.test.ts holds the two together).
 */

import { type Leaf, NO_RESULT } from "./batch";
import { hex, type Hex } from "./bytes";
import { Status } from "./events";
import type { Comparison } from "./gpu/compare";
import { countedValue } from "./opening";
import type { Rest } from "./lineage";
import {
  asCounted,
  type ChunkTally,
  countsBefore,
  differ,
  isVoided,
  type Kin,
  partiesOf,
  type Same,
  tallyChunk,
  type Vote,
} from "./tally";

const NO_CHUNKS: ReadonlySet<number> = new Set();
const NO_WORKERS: ReadonlySet<Hex> = new Set();
const NO_VOTES: ReadonlyMap<Hex, Vote> = new Map();
const NO_LEAVES: ReadonlyMap<Hex, Leaf> = new Map();
const NO_REPORTS: ReadonlyMap<Hex, string> = new Map();

const utf8 = new TextDecoder("utf-8", { ignoreBOM: true });

/** Incremental tally of one task. Methods return the chunks whose state may have changed. */
export class Referee {
  /** Worker -> the seq up to which its commits are void. */
  readonly void = new Map<Hex, number>();
  /** Workers that signed two different values for one chunk; the caller convicts them. */
  readonly contradictors = new Set<Hex>();
  private readonly admitted = new Set<Hex>();
  private readonly votes = new Map<number, Map<Hex, Vote>>();
  /** Chunk -> worker -> all its votes there, of workers that committed it more than once. */
  private readonly several = new Map<number, Map<Hex, Vote[]>>();
  private readonly lastSeqs = new Map<Hex, number>();
  private readonly chunksOf = new Map<Hex, Set<number>>();
  /** Maker -> chunks with votes that rest on a savepoint of it. */
  private readonly restedOn = new Map<Hex, Set<number>>();
  private readonly assigned = new Map<number, Set<Hex>>();
  private readonly leaves = new Map<number, Map<Hex, Leaf>>();
  private readonly sealedCopies = new Map<number, Map<Hex, Leaf>>();
  private readonly noResults = new Map<number, Map<Hex, string>>();
  private readonly cache = new Map<number, ChunkTally>();
  private readonly same: Same;
  private readonly kin: Kin | null;
  /** Value -> class. */
  private readonly classes = new Map<Hex, Hex>();
  /** Worker -> class. */
  private readonly lastClass = new Map<Hex, Hex>();
  /** What was compared already: a large result takes milliseconds. */
  private readonly close = new Map<string, boolean>();

  constructor(
    private readonly creator: Hex,
    private readonly replication: number,
    /** Whose votes on a chunk were drawn by lots; what changes it is told by `lookAgain`. */
    private readonly drawn: (chunk: number) => ReadonlySet<Hex> = () => NO_WORKERS,
    /** How results are compared, where not by their bytes. */
    private readonly comparison: Comparison | null = null,
    /** Whom a steward asked for a chunk for whom the creator answers; `lookAgain` tells of changes, too. */
    private readonly asked: (chunk: number) => ReadonlySet<Hex> = () => NO_WORKERS,
    /** The result of a vote, where results are compared; null of one that is not here, which then is none. */
    private readonly read: (leaf: Leaf) => Uint8Array | null = ({ data }) => data,
    /** Whether votes say what a server answered, which may differ without a lie. */
    private readonly isObserved = false,
  ) {
    this.kin = comparison?.hasClasses === true ? (_, value) => this.classes.get(value) ?? "" : null;
    this.same = comparison === null ? differ : (chunk, one, other) => this.areClose(comparison, chunk, one, other);
  }

  /** Votes of this worker count from now on. */
  admit(worker: Hex): number[] {
    this.admitted.add(worker);
    return this.countedAnew(worker);
  }

  /** Who admitted this worker was revoked: its votes wait for another admission. */
  unadmit(worker: Hex): number[] {
    this.admitted.delete(worker);
    return this.countedAnew(worker);
  }

  /** No commit of this worker up to this seq counts any more; what it voted on there is tainted. */
  makeVoid(worker: Hex, toSeq: number): number[] {
    if (toSeq <= (this.void.get(worker) ?? -1)) return [];
    this.void.set(worker, toSeq);
    return this.countedAnew(worker);
  }

  /** The greatest seq that a worker has cast votes with; a strike voids what was cast until then. */
  lastSeq(worker: Hex): number {
    return this.lastSeqs.get(worker) ?? 0;
  }

  /** The creator asked this worker for these chunks. */
  assign(worker: Hex, chunks: readonly number[]): number[] {
    for (const chunk of chunks) {
      const asked = this.assigned.get(chunk);
      if (asked === undefined) this.assigned.set(chunk, new Set([worker]));
      else asked.add(worker);
    }
    return this.touch(chunks);
  }

  /** Count one opened batch; `rests` are the savepoints of others that it went on from. */
  cast(worker: Hex, leaves: readonly Leaf[], seq: number, rests: readonly Rest[] = []): number[] {
    this.lastSeqs.set(worker, Math.max(seq, this.lastSeq(worker)));
    const chunks = inner(this.chunksOf, worker, () => new Set<number>());
    const touched: number[] = [];
    for (const leaf of leaves) {
      const { chunk } = leaf;
      const data = this.comparison === null ? null : this.read(leaf);
      const value = countedValue(leaf, this.comparison, data);
      const cast = inner(this.votes, chunk, () => new Map<Hex, Vote>());
      const previous = cast.get(worker);
      if (value !== NO_RESULT) {
        const byValue = inner(this.leaves, chunk, () => new Map<Hex, Leaf>());
        if (!byValue.has(value)) byValue.set(value, leaf);
        if (this.comparison !== null && data !== null && leaf.status === Status.OK) {
          const its = hex(this.comparison.classOf(data));
          this.classes.set(value, its);
          this.lastClass.set(worker, its);
        }
      }
      if (previous !== undefined && value !== NO_RESULT && !this.isObserved) {
        const before = this.several.get(chunk)?.get(worker) ?? [previous];
        if (before.some((vote) => vote.value && !this.isSame(chunk, vote.value, value))) this.contradictors.add(worker);
      }
      const vote: Vote = { worker, value, assigned: false, trusted: worker === this.creator, seq, ...(rests.length > 0 && { rests }) };
      for (const { maker } of rests) inner(this.restedOn, maker, () => new Set<number>()).add(chunk);
      if (previous === undefined) {
        cast.set(worker, vote);
      } else {
        const votes = inner(inner(this.several, chunk, () => new Map<Hex, Vote[]>()), worker, () => [previous]);
        votes.push(vote);
        cast.set(worker, this.counting(votes));
      }
      if (value === NO_RESULT) {
        const isReport = leaf.status === Status.NO_RESULT;
        const reason = isReport ? utf8.decode(leaf.data) : "a result that is none of the task's";
        inner(this.noResults, chunk, () => new Map<Hex, string>()).set(worker, reason);
      } else if (leaf.sealed.length > 0) {
        inner(this.sealedCopies, chunk, () => new Map<Hex, Leaf>()).set(worker, leaf);
      }
      chunks.add(chunk);
      touched.push(chunk);
    }
    return this.touch(touched);
  }

  /** The state of one chunk. */
  chunk(chunk: number): ChunkTally {
    let tally = this.cache.get(chunk);
    if (tally === undefined) {
      const counted: Vote[] = [];
      let tainted = false;
      const drawn = this.drawn(chunk);
      const asked = this.asked(chunk);
      for (const vote of this.voters(chunk).values()) {
        if (!vote.trusted && !this.admitted.has(vote.worker)) continue;
        if (this.counts(vote)) {
          const isAssigned = (worker: Hex): boolean => asked.has(worker) || (this.assigned.get(chunk)?.has(worker) ?? false);
          const isChosen = (worker: Hex): boolean => isAssigned(worker) || drawn.has(worker);
          const { worker } = vote;
          counted.push(asCounted({ ...vote, drawn: drawn.has(worker), assigned: isAssigned(worker) }, isChosen));
        }
        if (this.allOf(chunk, vote).some((each) => this.isVoid(each) && this.isAdmitted(each))) tainted = true;
      }
      // A page executes nothing by which it could tell whose fault a vote is that rests on a savepoint.
      const isBlamed = ({ rests = [] }: Vote): boolean => rests.length === 0;
      tally = tallyChunk(counted, this.replication, tainted, chunk, this.same, this.kin, isBlamed);
      this.cache.set(chunk, tally);
    }
    return tally;
  }

  /** Votes on these chunks may count for more, or less, than they did. */
  lookAgain(chunks: Iterable<number>): number[] {
    return this.touch(chunks);
  }

  /** Chunks somebody voted on. */
  touchedChunks(): Iterable<number> {
    return this.votes.keys();
  }

  /** All votes on a chunk by worker, void ones included. */
  voters(chunk: number): ReadonlyMap<Hex, Vote> {
    return this.votes.get(chunk) ?? NO_VOTES;
  }

  /** Whether a vote on a chunk is void, be its author admitted or not. */
  isDisowned(chunk: number): boolean {
    return [...this.voters(chunk).values()].some((vote) =>
      this.allOf(chunk, vote).some((each) => this.isVoid(each)),
    );
  }

  /** Whether two values that were voted for are one result. */
  isSame(chunk: number, one: Hex, other: Hex): boolean {
    return one === other || this.same(chunk, one, other);
  }

  /**
   * Whether a worker's vote could not confirm a chunk that has some: its devices are of another class. Who begins a chunk
   * chooses its class; of several the one with most votes is gone on with.
   */
  isStranger(worker: Hex, chunk: number): boolean {
    const its = this.lastClass.get(worker);
    if (this.kin === null || its === undefined || this.chunk(chunk).state !== "sealed") return false;
    const begun = new Map<Hex, number>();
    for (const vote of this.voters(chunk).values()) {
      if (!vote.value || !(vote.trusted || this.admitted.has(vote.worker)) || this.isVoid(vote)) continue;
      const known = this.kin(chunk, vote.value);
      begun.set(known, (begun.get(known) ?? 0) + 1);
    }
    const [chosen] = [...begun].sort(([one, more], [other, less]) => less - more || (one < other ? -1 : 1));
    return chosen !== undefined && chosen[0] !== its;
  }

  /** Workers whose votes for this result count. */
  confirmers(chunk: number, value: Hex): Hex[] {
    const counting = [...this.voters(chunk).values()].filter(
      (vote) =>
        vote.value &&
        this.isSame(chunk, vote.value, value) &&
        !vote.trusted &&
        this.counts(vote),
    );
    return counting.map(({ worker }) => worker);
  }

  votedChunks(worker: Hex): ReadonlySet<number> {
    return this.chunksOf.get(worker) ?? NO_CHUNKS;
  }

  /** The leaf that carries, or names, the result of this value. */
  leaf(chunk: number, value: Hex): Leaf {
    return this.leaves.get(chunk)!.get(value)!;
  }

  /** The leaves that name a sealed copy of their result, by worker. */
  copies(chunk: number): ReadonlyMap<Hex, Leaf> {
    return this.sealedCopies.get(chunk) ?? NO_LEAVES;
  }

  /** Why workers got no result, by worker. */
  reports(chunk: number): ReadonlyMap<Hex, string> {
    return this.noResults.get(chunk) ?? NO_REPORTS;
  }

  private areClose(comparison: Comparison, chunk: number, one: Hex, other: Hex): boolean {
    const [ours, theirs] = [this.leaf(chunk, one), this.leaf(chunk, other)];
    if (ours.status !== Status.OK || theirs.status !== Status.OK) return false;
    const pair = one < other ? `${one} ${other}` : `${other} ${one}`;
    let isClose = this.close.get(pair);
    if (isClose === undefined) {
      const [left, right] = [this.read(ours), this.read(theirs)];
      this.close.set(pair, (isClose = left !== null && right !== null && comparison.areClose(left, right)));
    }
    return isClose;
  }

  /** Of a worker's votes, and of those that rest on savepoints of it, others may count now; their chunks. */
  private countedAnew(worker: Hex): number[] {
    const chunks = new Set([...this.votedChunks(worker), ...(this.restedOn.get(worker) ?? [])]);
    for (const chunk of chunks) {
      for (const [voter, votes] of this.several.get(chunk) ?? []) this.votes.get(chunk)!.set(voter, this.counting(votes));
    }
    return this.touch(chunks);
  }

  /** Whether the tally heeds one of `voters`. */
  counts(vote: Vote): boolean {
    return this.isAdmitted(vote) && !this.isVoid(vote);
  }

  /** This vote, and all others by its author on the chunk. */
  private allOf(chunk: number, vote: Vote): readonly Vote[] {
    return this.several.get(chunk)?.get(vote.worker) ?? [vote];
  }

  private isAdmitted(vote: Vote): boolean {
    return vote.trusted || [...partiesOf(vote)].every((party) => this.admitted.has(party));
  }

  private isVoid(vote: Vote): boolean {
    return isVoided(vote, this.void);
  }

  /** Of one worker's votes on one chunk the one that counts: the one that says most of those that are not void. */
  private counting(votes: readonly Vote[]): Vote {
    return votes.reduce((best, vote) =>
      !this.counts(best) || (this.counts(vote) && countsBefore(vote, best)) ? vote : best,
    );
  }

  private touch(chunks: Iterable<number>): number[] {
    const touched = [...chunks];
    for (const chunk of touched) this.cache.delete(chunk);
    return touched;
  }
}

function inner<K, V>(outer: Map<K, V>, key: K, make: () => V): V {
  let value = outer.get(key);
  if (value === undefined) outer.set(key, (value = make()));
  return value;
}

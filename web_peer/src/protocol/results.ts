/**
 * What a task has come to: its settled chunks, and what a person asks of them.
 *
 *     a chunk:  OPEN --a value counts, its result is here--> ACCEPTED
 *                ^ '-------nobody gets a result------------> FAILED
 *                '------ votes turn out void, or wrong --------'
 *
 * The creator settles (creator.ts); here it is kept, and read.
 */

import type { Hex } from "./bytes";
import type { TaskState } from "./closing";
import { Status } from "./events";
import type { Manifest } from "./manifest";
import type { Referee } from "./referee";
import type { BlobStore } from "./storage";

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

/** The settled chunks of one task. */
export class Results {
  /** Chunk -> the value that counts. */
  readonly accepted = new Map<number, Hex>();
  readonly failed = new Set<number>();

  constructor(
    private readonly manifest: Manifest,
    private readonly referee: Referee,
    private readonly blobs: BlobStore,
  ) {}

  /** Whether every chunk is closed. */
  get areComplete(): boolean {
    return this.accepted.size + this.failed.size === this.manifest.chunks;
  }

  // ---- what a person asks

  /** What is known of one chunk. */
  of(chunk: number): ChunkResult {
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

  /** Why executions of a chunk gave no result. */
  reasons(chunk: number): string[] {
    return [...new Set(this.referee.reports(chunk).values())].sort();
  }

  /** The accepted result of a chunk, or null while there is none. */
  data(chunk: number): Uint8Array | null {
    const value = this.accepted.get(chunk);
    if (value === undefined) return null;
    const leaf = this.referee.leaf(chunk, value);
    return leaf.inline ? leaf.data : this.blobs.read(leaf.data, 0, leaf.size);
  }
}

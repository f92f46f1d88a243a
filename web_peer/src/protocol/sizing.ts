/**
 * How many chunks make a batch of the wanted length: the cost of a lease and a commit is paid per batch.
 *
 * What one task has taught holds for the next one with the same code: who publishes a task for every few calls would
 * otherwise begin each with a single chunk.
 */

import { type Hex, hex } from "./bytes";
import { COMMIT_CHUNKS_MAX } from "./records";

/** A batch is at most this many times the largest so far: one lucky first chunk must not start an hour of work. */
const GROWTH = 4;

/**
 * Who has been there for so long will be there for about as long again, so of a batch that takes this part of it little
 * is lost on average.
 */
const PART_OF_AGE = 16;

/** No batch is shorter for that reason. */
const YOUNG_S = 0.5;

/** Codes whose pace is remembered, those used last. */
const PACES_KEPT = 64;

/**
 * Learns from finished batches. The first batch is a single chunk.
 *
 * `since` is when this machine came. What a young one is on is lost more often: its batches are shorter.
 */
export class BatchSizer {
  private expectedS: number | null = null;
  private largest = 0;

  constructor(
    private readonly targetS: number,
    private readonly since = -Infinity,
  ) {}

  /** Learn from one batch; recent ones count most. */
  finished(chunks: number, seconds: number): void {
    const chunkS = Math.max(seconds / Math.max(chunks, 1), 1e-7);
    this.expectedS = this.expectedS === null ? chunkS : 0.6 * this.expectedS + 0.4 * chunkS;
    this.largest = Math.max(this.largest, chunks, 1);
  }

  /** Expected seconds per chunk, null before the first. */
  get chunkS(): number | null {
    return this.expectedS;
  }

  /** Chunks of the next batch. */
  size(now: number): number {
    if (this.expectedS === null) return 1;
    const targetS = Math.min(this.targetS, Math.max(YOUNG_S, (now - this.since) / PART_OF_AGE));
    const fitting = Math.floor(targetS / this.expectedS + 0.5);
    return Math.max(1, Math.min(COMMIT_CHUNKS_MAX, fitting, this.largest * GROWTH));
  }
}

/** What is known of one code, from all tasks that have it. */
export interface Pace {
  /** Of us, who execute it. */
  readonly sizer: BatchSizer;
  /** Of each worker, for whom we are the creator (assigning.ts). */
  readonly capacity: Map<Hex, number>;
}

/** The paces of the codes used last. */
export class Paces {
  private readonly ofCode = new Map<Hex, Pace>();

  constructor(
    private readonly batchS: number,
    private readonly since: number,
  ) {}

  /** The pace of a code; a new one if none is known. */
  of(code: Uint8Array): Pace {
    const key = hex(code);
    const pace = this.ofCode.get(key) ?? { sizer: new BatchSizer(this.batchS, this.since), capacity: new Map() };
    this.ofCode.delete(key);
    this.ofCode.set(key, pace);
    if (this.ofCode.size > PACES_KEPT) this.ofCode.delete(this.ofCode.keys().next().value!);
    return pace;
  }
}

/** How many chunks make a batch of the wanted length: the cost of a lease and a commit is paid per batch. */

import { COMMIT_CHUNKS_MAX } from "./records";

/** A batch is at most this many times the largest so far: one lucky first chunk must not start an hour of work. */
const GROWTH = 4;

/** Learns from finished batches. The first batch of a task is a single chunk. */
export class BatchSizer {
  private expectedS: number | null = null;
  private largest = 0;

  constructor(private readonly targetS: number) {}

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
  size(): number {
    if (this.expectedS === null) return 1;
    const fitting = Math.trunc(this.targetS / this.expectedS);
    return Math.max(1, Math.min(COMMIT_CHUNKS_MAX, fitting, this.largest * GROWTH));
  }
}

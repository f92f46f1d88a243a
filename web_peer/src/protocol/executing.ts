/**
 * What the creator executes itself: where votes differ, where nobody else is left, where its own word is needed.
 *
 *     a chunk:  WANTED --job--> RUNNING --outcome--> a vote that settles it (creator.ts)
 */

import { ChunkReader, seed } from "./chunks";
import type { ProtocolConfig } from "./config";
import type { ChunkInput } from "./events";
import type { Ledger } from "./ledger";
import { type Gathering, ResultsLacking } from "./onward";
import { BatchSizer } from "./sizing";

/** The chunks of one task that our own slots are to execute, and its jobs. */
export class Executing {
  private readonly task: Uint8Array;
  private readonly reader: ChunkReader;
  private readonly sizer: BatchSizer;
  private readonly wanted = new Set<number>();
  private readonly jobs = new Map<number, readonly number[]>();

  constructor(
    config: ProtocolConfig,
    ledger: Ledger,
    readInputs: (start: number, length: number) => Uint8Array,
    private readonly gathering: Gathering,
  ) {
    this.task = ledger.task;
    this.reader = new ChunkReader(ledger.manifest, readInputs, (refs) => gathering.read(refs), ledger.fed?.inputs);
    this.sizer = new BatchSizer(config.batchS);
  }

  /** Whether nothing is to be executed, and nothing is being executed. */
  get isEmpty(): boolean {
    return this.wanted.size === 0 && this.jobs.size === 0;
  }

  has(chunk: number): boolean {
    return this.wanted.has(chunk);
  }

  get jobsRunning(): number {
    return this.jobs.size;
  }

  /** Execute these chunks as well. */
  want(chunks: Iterable<number>): void {
    for (const chunk of chunks) this.wanted.add(chunk);
  }

  /** This chunk need not be executed any more; a job that has begun goes on. */
  forgo(chunk: number): void {
    this.wanted.delete(chunk);
  }

  /** The next batch, or null. `jobStarted` must follow. What takes results that are not here waits for them. */
  takeJob(): readonly ChunkInput[] | null {
    if (this.wanted.size === 0) return null;
    const taken = new Set<number>();
    for (const chunks of this.jobs.values()) for (const chunk of chunks) taken.add(chunk);
    const size = this.sizer.size(Infinity);
    const batch: ChunkInput[] = [];
    for (const chunk of this.wanted) {
      if (taken.has(chunk)) continue;
      try {
        batch.push({ chunk, data: this.reader.read(chunk), seed: seed(this.task, chunk) });
      } catch (error) {
        if (!(error instanceof ResultsLacking)) throw error;
        this.gathering.fetch(error.refs);
      }
      if (batch.length >= size) break;
    }
    return batch.length > 0 ? batch : null;
  }

  jobStarted(job: number, batch: readonly ChunkInput[]): void {
    this.jobs.set(
      job,
      batch.map(({ chunk }) => chunk),
    );
  }

  /** A job is over and its chunks are wanted no more; false when it is none of ours. */
  finished(job: number, seconds: number): boolean {
    const chunks = this.jobs.get(job);
    if (chunks === undefined) return false;
    this.jobs.delete(job);
    this.sizer.finished(chunks.length, seconds);
    for (const chunk of chunks) this.wanted.delete(chunk);
    return true;
  }
}

/**
 * What the feeds of a stream say: which chunks there are, with which inputs, and whether more come (spec/streams.md).
 *
 *     a stream:  OPEN --feed--> OPEN --the feed that ends it--> ENDED
 *                  '---- two inputs of one chunk, or two ends ----'--> FORKED
 *
 * A function of the set of feeds, like all that a ledger says: it does not matter in which order they come.
 */

import { equal } from "./bytes";
import type { Feed } from "./records";

/** The chunks of one stream. */
export class Fed {
  readonly inputs = new Map<number, Uint8Array>();
  /** How many chunks it has, once its creator has said so. */
  end: number | null = null;
  /** Chunks from the first on without a gap: all of them, but for feeds that are still on their way. */
  count = 0;
  /** Its creator has signed two things that exclude each other: no verdict of its counts, and nobody computes. */
  isForked = false;
  private last = -1;

  /** Whether all its chunks are here, and no more will come. */
  get isEnded(): boolean {
    return this.end !== null && this.count >= this.end;
  }

  /** Add one feed. False when it says nothing new; of what is forked one proof is enough. */
  add({ first, inputs, ends }: Feed): boolean {
    if (this.isForked) return false;
    let isNew = false;
    for (const [index, input] of inputs.entries()) {
      const known = this.inputs.get(first + index);
      if (known === undefined) {
        this.inputs.set(first + index, input);
        isNew = true;
      } else if (!equal(known, input)) {
        this.isForked = true;
      }
    }
    while (this.inputs.has(this.count)) this.count++;
    const after = first + inputs.length;
    this.last = Math.max(this.last, inputs.length > 0 ? after - 1 : -1);
    if (ends) {
      isNew ||= this.end === null;
      this.isForked ||= this.end !== null && this.end !== after;
      this.end ??= after;
    }
    this.isForked ||= this.end !== null && this.last >= this.end;
    return isNew || this.isForked;
  }
}

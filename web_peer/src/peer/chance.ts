/** Chance from the browser's cryptographic generator, drawn in blocks because each call costs a microsecond. */

import { concat } from "../protocol/bytes";
import type { Rng } from "../protocol/rng";

const BLOCK_BYTES = 4_096;

export class BrowserRng implements Rng {
  private readonly block = new Uint8Array(BLOCK_BYTES);
  private used = BLOCK_BYTES;

  bytes(count: number): Uint8Array {
    if (count > BLOCK_BYTES) return concat(this.bytes(BLOCK_BYTES), this.bytes(count - BLOCK_BYTES));
    if (this.used + count > BLOCK_BYTES) {
      crypto.getRandomValues(this.block);
      this.used = 0;
    }
    this.used += count;
    return this.block.slice(this.used - count, this.used);
  }

  random(): number {
    const drawn = new DataView(this.bytes(8).buffer);
    return ((drawn.getUint32(0) >>> 5) * 2 ** 26 + (drawn.getUint32(4) >>> 6)) / 2 ** 53;
  }

  below(limit: number): number {
    // Rejecting the last, incomplete round keeps every number equally likely.
    const bound = Math.floor(2 ** 32 / limit) * limit;
    for (;;) {
      const drawn = new DataView(this.bytes(4).buffer).getUint32(0);
      if (drawn < bound) return drawn % limit;
    }
  }
}

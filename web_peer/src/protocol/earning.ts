/**
 * Where a worker learns what it earned: from the checkpoints themselves, or from large tables that they name.
 *
 *     a shard's table:  IN THE CHECKPOINT, or WANTED --fetched--> HERE --a newer one is here--> let go
 */

import { equal, hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import type { Ledger } from "./ledger";
import { CREDITS_INLINE_BYTES_MAX } from "./records";
import type { BlobStore } from "./storage";

/** The tables of the shards that a worker of one task voted in. */
export class Earning {
  /** When `advance` has something to do. */
  wakeAt = Infinity;
  /** Shard -> its newest table that we fetched. */
  private readonly here = new Map<number, Uint8Array>();
  private readonly wanted = new Map<Hex, number>();

  constructor(
    private readonly config: ProtocolConfig,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
  ) {}

  /** A checkpoint came. Not each is followed by a fetch: a table changes with every one of them. */
  checkpoint(now: number): void {
    this.wakeAt = Math.min(this.wakeAt, now + this.config.creditEveryS);
  }

  /** The task is closed: these tables are the last ones. */
  closed(now: number): void {
    this.wakeAt = now;
  }

  /** Look for the tables of `shards`, those we voted in: it is time. */
  advance(shards: ReadonlySet<number>): void {
    this.wakeAt = Infinity;
    for (const shard of [...shards].sort((left, right) => left - right)) {
      const checkpoint = this.ledger.checkpoints.get(shard);
      if (checkpoint === undefined || checkpoint.creditsSize <= CREDITS_INLINE_BYTES_MAX) continue;
      const here = this.here.get(shard);
      if (here !== undefined && equal(here, checkpoint.credits)) continue;
      this.wanted.set(hex(checkpoint.credits), shard);
      this.desk.fetch(checkpoint.credits, checkpoint.creditsSize, null, [this.ledger.manifest.creator]);
    }
  }

  /** A table is here, or nobody we reach has it now. */
  blobArrived(digest: Uint8Array, isHere: boolean, now: number): void {
    const shard = this.wanted.get(hex(digest));
    if (shard === undefined) return;
    this.wanted.delete(hex(digest));
    if (!isHere) {
      this.wakeAt = now + this.config.creditEveryS;
      return;
    }
    const before = this.here.get(shard);
    this.here.set(shard, digest);
    if (before !== undefined && ![...this.here.values()].some((each) => equal(each, before))) this.blobs.discard(before);
  }
}

/**
 * How much is left to do in a shard, and for how many. Apart from ledger.ts, because a page needs it only when it works.
 */

import type { Ledger } from "./ledger";
import { SHARD_CHUNKS } from "./records";

/** How many chunks a task has: of a stream those that have been fed. */
export function chunksNow({ fed, manifest }: Ledger): number {
  return fed === null ? manifest.chunks : fed.count;
}

/** Chunks of a shard that there are. */
export function existing(ledger: Ledger, shard: number): number {
  return Math.max(0, Math.min(ledger.shardSize(shard), chunksNow(ledger) - shard * SHARD_CHUNKS));
}

/** Whether a chunk is there to be computed. */
export function exists({ fed, manifest }: Ledger, chunk: number): boolean {
  return fed === null ? chunk < manifest.chunks : fed.inputs.has(chunk);
}

/** Chunks of a shard that, at its last checkpoint, nobody had voted on or leased. */
export function unbegunCount(ledger: Ledger, shard: number): number {
  const size = existing(ledger, shard);
  return size - Math.min(ledger.checkpoints.get(shard)?.begun ?? 0, size);
}

/** Chunks of a shard that the last checkpoint did not close. */
export function openCount(ledger: Ledger, shard: number): number {
  let open = existing(ledger, shard);
  const checkpoint = ledger.checkpoints.get(shard);
  if (checkpoint === undefined) return open;
  for (let at = 0; at < checkpoint.accepted.length; at++) {
    for (let byte = checkpoint.accepted[at]! | checkpoint.failed[at]!; byte !== 0; byte &= byte - 1) open--;
  }
  return Math.max(0, open);
}

/** Workers that say they work in this shard; others only lease what they were asked for. */
export function workersAtHome(ledger: Ledger, shard: number): number {
  let count = 0;
  for (const lease of ledger.leases.all()) if (lease.shard === shard && lease.home === shard) count++;
  return count;
}

/**
 * How much is left to do in a shard, and for how many. Apart from ledger.ts, because a page needs it only when it works.
 */

import type { Ledger } from "./ledger";

/** Chunks of a shard that, at its last checkpoint, nobody had voted on or leased. */
export function unbegunCount(ledger: Ledger, shard: number): number {
  const size = ledger.shardSize(shard);
  return size - Math.min(ledger.checkpoints.get(shard)?.begun ?? 0, size);
}

/** Chunks of a shard that the last checkpoint did not close. */
export function openCount(ledger: Ledger, shard: number): number {
  let open = ledger.shardSize(shard);
  const checkpoint = ledger.checkpoints.get(shard);
  if (checkpoint === undefined) return open;
  for (let at = 0; at < checkpoint.accepted.length; at++) {
    for (let byte = checkpoint.accepted[at]! | checkpoint.failed[at]!; byte !== 0; byte &= byte - 1) open--;
  }
  return open;
}

/** Workers that say they work in this shard; others only lease what they were asked for. */
export function workersAtHome(ledger: Ledger, shard: number): number {
  let count = 0;
  for (const lease of ledger.leases.all()) if (lease.shard === shard && lease.home === shard) count++;
  return count;
}

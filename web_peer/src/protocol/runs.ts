/**
 * Runs of chunks, as records name them: canonical ones from chunks, and chunks from them (spec/ledger.md, "Shards and runs").
 *
 * Apart from records.ts, because a page needs it only when it works.
 */

import { checkRuns, type Runs } from "./records";

/** Canonical runs over a set of chunk indices. */
export function runsOf(chunks: Iterable<number>): Runs {
  const found: [number, number][] = [];
  let last: [number, number] | undefined;
  for (const chunk of [...new Set(chunks)].sort((left, right) => left - right)) {
    if (last !== undefined && last[0] + last[1] === chunk) {
      last[1]++;
    } else {
      last = [chunk, 1];
      found.push(last);
    }
  }
  return found;
}

/**
 * The chunk indices of canonical runs within one shard.
 *
 * @throws RemoteProtocolError when runs are empty, out of order, adjacent, outside the shard, or too many chunks.
 */
export function chunksOf(shard: number, runs: Runs, { allowNone = false } = {}): number[] {
  checkRuns(shard, runs, allowNone);
  const chunks: number[] = [];
  for (const [start, count] of runs) for (let chunk = start; chunk < start + count; chunk++) chunks.push(chunk);
  return chunks;
}

/** The picture of a task's chunks, loaded when somebody looks at it. */

import type { Ledger } from "../protocol/ledger";
import type { ChunkMark } from "./console";

/** Chunks that a picture shows; a task with more is shown by its first ones and its numbers. */
const MARKS_MAX = 65_536;

/** What is known of each chunk of a task that anybody has begun. */
export function chunkMarks(ledger: Ledger, voted: ReadonlySet<number>, now: number): readonly ChunkMark[] {
  const marks: ChunkMark[] = [];
  const last = Math.min(ledger.manifest.chunks, MARKS_MAX);
  for (let chunk = 0; chunk < last; chunk++) {
    const mine = voted.has(chunk);
    const state = stateOf(ledger, chunk, mine, now);
    if (state !== null) marks.push({ chunk, state, mine });
  }
  return marks;
}

function stateOf(ledger: Ledger, chunk: number, mine: boolean, now: number): ChunkMark["state"] | null {
  if (ledger.isAccepted(chunk)) return "accepted";
  if (ledger.isClosed(chunk)) return "failed";
  if (mine || ledger.hasVoter(chunk)) return "voted";
  return ledger.leases.isLeased(chunk, now) ? "begun" : null;
}

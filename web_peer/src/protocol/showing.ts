/** What a reveal shows of a commit, held against the root that its author signed (spec/away.md, "Reveal"). */

import { NO_RESULT, rootOf } from "./batch";
import { equal, hex, type Hex } from "./bytes";
import { RemoteProtocolError } from "./errors";
import { Status } from "./events";
import type { Commit, Reveal } from "./records";
import { chunksOf } from "./runs";

/**
 * Whether these are the votes of a commit.
 *
 * @throws RemoteProtocolError when they are not.
 */
export function checkShown(author: Uint8Array, commit: Commit, { salt, votes }: Reveal): void {
  const chunks = chunksOf(commit.shard, commit.runs);
  if (chunks.length !== votes.length) {
    throw new RemoteProtocolError("another number of votes is shown than the commit names chunks");
  }
  const leaves = votes.map(([status, digest], index) => ({ chunk: chunks[index]!, status, digest }));
  if (!equal(rootOf(commit.task, author, salt, leaves), commit.root)) {
    throw new RemoteProtocolError("the votes shown are not those that the commit's author signed");
  }
}

/** What votes are compared by (tally.ts), of what is shown of one. */
export function shownValue(status: number, digest: Uint8Array): Hex {
  return status === (Status.NO_RESULT as number) ? NO_RESULT : `0${status}${hex(digest)}`;
}

/** What a record may rest on (lineage.ts). Apart from it, because a page that does not work yet takes no records. */

import { equal } from "./bytes";
import { RemoteProtocolError } from "./errors";
import { before } from "./lineage";
import { type Commit, type LedgerRecord, parse, type Savepoint, shardOf } from "./records";

/** Whose savepoints one execution may have gone through: each is as long as a volunteer stays, mostly. */
const MAKERS_MAX = 8;

/**
 * A savepoint, or a commit that went on from one, rests on savepoints of its chunk, each further than the one before.
 *
 * @throws RemoteProtocolError when it does not, or on too many.
 */
export function checkLineage(record: LedgerRecord): void {
  if (record.kind === "savepoint") {
    if (shardOf(record.chunk) !== record.shard) throw new RemoteProtocolError("a savepoint's chunk is not in its shard");
    checkAfter(record, record.chunk, record.number);
  } else if (record.kind === "commit" && record.after !== undefined) {
    const [[chunk, count] = [0, 0], more] = record.runs;
    if (count !== 1 || more !== undefined || record.link.length > 0 || record.after.length === 0) {
      throw new RemoteProtocolError("what goes on from a savepoint is one chunk, that no lot chose");
    }
    checkAfter(record, chunk, Infinity);
  }
}

function checkAfter(record: Commit | Savepoint, chunk: number, number: number): void {
  let makers = 0;
  for (let rest = before(record), below = number; rest !== null; ) {
    const savepoint = rest.kind === "savepoint" ? parse(rest) : null;
    if (savepoint?.kind !== "savepoint" || ++makers > MAKERS_MAX) {
      throw new RemoteProtocolError("a record rests on what is no savepoint, or on too many");
    }
    if (!equal(savepoint.task, record.task) || savepoint.chunk !== chunk || savepoint.number >= below) {
      throw new RemoteProtocolError("a record rests on a savepoint of something else, or of a later moment");
    }
    [rest, below] = [before(savepoint), savepoint.number];
  }
}

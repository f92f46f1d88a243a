/**
 * Whose work a vote is: its author's, and theirs from whose savepoints the execution went on (spec/handover.md).
 *
 *     A computes --savepoint--> falls silent ... B goes on from it --savepoint--> ... C goes on, and votes
 *                                                the vote is C's, and rests on B's and A's
 *
 * Votes that share anybody are one **lineage**, and count as one: what one savepoint has spoilt, all of them have.
 */

import { hex, type Hex } from "./bytes";
import { decode } from "./codec";
import { RemoteProtocolError } from "./errors";
import { type Commit, parse, recordKey, type Savepoint, Signed } from "./records";

/** Whose savepoints one execution may have gone through: each is as long as a volunteer stays, mostly. */
const MAKERS_MAX = 8;

/** A savepoint that a vote rests on. */
export interface Rest {
  readonly maker: Hex;
  readonly seq: number;
  /** Its record id. */
  readonly savepoint: Hex;
}

/** The savepoint of another that a record rests on, as it was signed. */
export function before(record: { readonly after?: Uint8Array }): Signed | null {
  return record.after === undefined || record.after.length === 0 ? null : decode(Signed, record.after);
}

/**
 * What a record rests on are savepoints of its chunk, each further than the one before.
 *
 * @throws RemoteProtocolError when they are not, or too many.
 */
export function checkAfter(record: Commit | Savepoint, chunk: number, number: number): void {
  let makers = 0;
  for (let rest = before(record), below = number; rest !== null; ) {
    const savepoint = rest.kind === "savepoint" ? parse(rest) : null;
    if (savepoint?.kind !== "savepoint" || ++makers > MAKERS_MAX) {
      throw new RemoteProtocolError("a record rests on what is no savepoint, or on too many");
    }
    if (hex(savepoint.task) !== hex(record.task) || savepoint.chunk !== chunk || savepoint.number >= below) {
      throw new RemoteProtocolError("a record rests on a savepoint of something else, or of a later moment");
    }
    [rest, below] = [before(savepoint), savepoint.number];
  }
}

/** The savepoints of others that a record rests on, the first one made first. */
export function restsOf(record: { readonly after?: Uint8Array }): Rest[] {
  const rests: Rest[] = [];
  for (let signed = before(record); signed !== null; ) {
    const savepoint = parse(signed) as Savepoint;
    rests.unshift({ maker: hex(signed.author), seq: savepoint.seq, savepoint: recordKey(signed) });
    signed = before(savepoint);
  }
  return rests;
}

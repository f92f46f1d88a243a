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
import { parse, recordKey, type Savepoint, Signed } from "./records";

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

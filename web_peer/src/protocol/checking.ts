/**
 * Which records may enter a ledger (spec/ledger.md, "Who may sign what").
 *
 * Apart from ledger.ts, because a page that does not work yet takes none: it passes on nothing that it cannot check.
 */

import { equal, hex } from "./bytes";
import { RemoteProtocolError } from "./errors";
import { joiningWork } from "./joining";
import { type Ledger, WORKERS_MAX } from "./ledger";
import { restsOf } from "./lineage";
import {
  type Checkpoint,
  CREDITS_BYTES_MAX,
  CREDITS_INLINE_BYTES_MAX,
  CREDITS_ROW_BYTES,
  EVERYTHING,
  type LedgerRecord,
  type Signed,
} from "./records";
import { checkLineage } from "./resting";
import { isWord } from "./stewards";

/**
 * Whether a record may enter, as far as can be told: false for what only a creator or a steward may say, by somebody who
 * has joined and may be a steward of whom we shall hear. It is not taken now, and comes again.
 *
 * @throws RemoteProtocolError as `checkRecord`.
 */
export function mayEnter(ledger: Ledger, signed: Signed, record: LedgerRecord): boolean {
  const author = hex(signed.author);
  const isStewards = isWord(record) && !equal(signed.author, ledger.manifest.creator);
  if (isStewards && ledger.joins.has(author) && ledger.absences?.stewards.has(author) !== true) return false;
  checkRecord(ledger, signed, record);
  return true;
}

/**
 * Whether a record may enter at all; its signature is checked apart.
 *
 * @throws RemoteProtocolError when it is for another task, by the wrong author, or names what does not exist.
 */
export function checkRecord(ledger: Ledger, signed: Signed, record: LedgerRecord): void {
  if (!equal(record.task, ledger.task)) throw new RemoteProtocolError("a record of another task");
  checkLineage(record);
  if ((signed.kind === "savepoint" || signed.kind === "resumed") && ledger.manifest.runtime !== "wasm") {
    throw new RemoteProtocolError(`a ${signed.kind} in a task whose chunks are executed whole`);
  }
  switch (record.kind) {
    case "join":
      if (joiningWork(record, signed.author) < ledger.manifest.policy.powBits) {
        throw new RemoteProtocolError("a join without its proof of work");
      }
      if (ledger.joins.size >= WORKERS_MAX) throw new RemoteProtocolError("too many workers join this task");
      break;
    case "reveal":
      break;
    case "lease":
    case "commit": {
      const last = record.runs[record.runs.length - 1];
      if (record.shard >= ledger.shards || (last !== undefined && last[0] + last[1] > ledger.manifest.chunks)) {
        throw new RemoteProtocolError("a record names chunks the task does not have");
      }
      if (record.kind === "lease" && record.home >= ledger.shards) {
        throw new RemoteProtocolError("a lease names a home shard the task does not have");
      }
      if (record.kind === "commit" && restsOf(record).some(({ maker }) => !ledger.joins.has(maker))) {
        throw new RemoteProtocolError("a commit rests on a savepoint of who has not joined");
      }
      if (record.kind === "commit" && record.seq === EVERYTHING) {
        throw new RemoteProtocolError("a commit with the last seq there is: no strike could end before it");
      }
      break;
    }
    case "savepoint":
      if (record.chunk >= ledger.manifest.chunks) {
        throw new RemoteProtocolError("a savepoint of a chunk that the task does not have");
      }
      if (record.seq === EVERYTHING) {
        throw new RemoteProtocolError("a savepoint with the last seq there is: no strike could end before it");
      }
      break;
    default:
      if (
        !equal(signed.author, ledger.manifest.creator) &&
        !(isWord(record) && ledger.absences?.stewards.has(hex(signed.author)) === true)
      ) {
        throw new RemoteProtocolError(`a ${signed.kind} that the creator did not sign`);
      }
      if (record.kind === "assign" && record.shard >= ledger.shards) {
        throw new RemoteProtocolError("an assignment names a shard the task does not have");
      }
      if (record.kind === "checkpoint") checkCheckpoint(ledger, record);
      if (record.kind === "verdict" && record.reason !== "wrong" && record.voidTo !== EVERYTHING) {
        throw new RemoteProtocolError("a strike for what no hardware error can cause");
      }
  }
  ledger.absences?.check(signed, record);
}

function checkCheckpoint(
  ledger: Ledger,
  { shard, accepted, failed, credits, creditsSize }: Checkpoint,
): void {
  const size = shard < ledger.shards ? ledger.shardSize(shard) : 0;
  const bytes = Math.ceil(size / 8);
  if (shard >= ledger.shards || accepted.length !== bytes || failed.length !== bytes) {
    throw new RemoteProtocolError("a checkpoint does not fit its shard");
  }
  // Bits beyond the shard, or set in both, would make counts of open chunks negative.
  let clash = size % 8 === 0 ? 0 : (accepted[bytes - 1]! | failed[bytes - 1]!) >>> (size % 8);
  for (let at = 0; at < bytes; at++) clash |= accepted[at]! & failed[at]!;
  if (clash !== 0) {
    throw new RemoteProtocolError("a checkpoint names a chunk twice or one its shard does not have");
  }
  const carried = creditsSize <= CREDITS_INLINE_BYTES_MAX ? creditsSize : 32;
  if (creditsSize > CREDITS_BYTES_MAX || creditsSize % CREDITS_ROW_BYTES !== 0 || credits.length !== carried) {
    throw new RemoteProtocolError("a checkpoint's table of credit does not fit its size");
  }
}

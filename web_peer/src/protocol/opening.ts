/**
 * What a creator shows of a closed task, so that anybody can count its votes again (spec/verification.md, "Evidence").
 *
 * Votes travel sealed between worker and creator. Their Merkle root is public and signed by the worker: whoever is shown
 * the salt and the hashes of a batch can recompute it, and so knows what the worker voted, without seeing any result.
 * What the creator asked of whom is shown as well, and is the creator's word: no root binds it.
 *
 * Where results are compared as numbers (gpu/compare.ts), hashes do not say which votes agree. There the results are
 * shown, too, and beside the manifest the package that says how they are compared.
 */

import { openAssignment } from "./assigning";
import { type Leaf, makeLeaf, NO_RESULT, openBatch, rootOf } from "./batch";
import { concat, equal, hex, type Hex } from "./bytes";
import { array, bytes, bytes32, decode, encode, integer, struct, tuple, u32, type Infer } from "./codec";
import { RemoteProtocolError } from "./errors";
import { Status } from "./events";
import type { Comparison } from "./gpu/compare";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import { type Commit, COMMIT_CHUNKS_MAX, parse, Run, shardOf, Signed } from "./records";
import { chunksOf, runsOf } from "./runs";

/** The first bytes of a file of shown records. What follows is entries, each behind its length as a u32, big-endian. */
export const MAGIC = new TextEncoder().encode("CCRECS1\n");

const LENGTH_BYTES = 4;
const NOTHING = new Uint8Array(0);

/** One record, and what was sealed in it: an opening of its kind, encoded, or nothing. A schema has its type's name. */
export const Shown = struct("Shown", { signed: Signed, opened: bytes() });
export type Shown = Infer<typeof Shown>;

/** A batch's salt, and the status and SHA-256 of every vote in the order of its chunks. */
export const CommitOpening = struct("CommitOpening", {
  salt: bytes({ min: 16, max: 16 }),
  votes: array(tuple(integer(0, 2), bytes32), { min: 1, max: COMMIT_CHUNKS_MAX }),
});

/** The same, where results are compared as numbers, with every result itself; nothing of what is no result. */
export const ComparedOpening = struct("ComparedOpening", {
  salt: bytes({ min: 16, max: 16 }),
  votes: array(tuple(integer(0, 2), bytes32), { min: 1, max: COMMIT_CHUNKS_MAX }),
  results: array(bytes(), { min: 1, max: COMMIT_CHUNKS_MAX }),
});

/** The chunks that were asked for. */
export const AssignOpening = struct("AssignOpening", {
  shard: u32,
  runs: array(Run, { min: 1, max: COMMIT_CHUNKS_MAX }),
});

/** A leaf's value as it counts: where results are compared as numbers, what holds none is no result. */
export function countedValue(leaf: Leaf, comparison: Comparison | null): Hex {
  return comparison !== null && leaf.status === Status.OK && !comparison.isResult(leaf.data) ? NO_RESULT : leaf.value;
}

/**
 * What every commit of a task obeys whose results are compared as numbers.
 *
 * @throws RemoteProtocolError when a leaf only names its result. No honest worker signs that: convict it as malformed.
 */
export function checkInline(leaves: readonly Leaf[]): void {
  if (!leaves.every(({ inline }) => inline)) {
    throw new RemoteProtocolError("a leaf names a result that should be inside of it");
  }
}

/**
 * The creator's records of a task up to its certificate, in the order they came; leases are hints and left out.
 *
 * @param code The task's code, where that says that results are compared as numbers; else empty.
 */
export function* shownRecords(signer: Signer, ledger: Ledger, code: Uint8Array = NOTHING): IterableIterator<Shown> {
  for (const signed of ledger.records()) {
    if (signed.kind === "lease") continue;
    yield { signed, opened: signed.kind === "manifest" ? code : open(signer, ledger, signed, code.length > 0) };
    if (signed.kind === "certificate") return;
  }
}

/**
 * The votes that a commit's author signed. Their leaves name results by hash, where no comparison needs them.
 *
 * @throws RemoteProtocolError when the opening is not that of this commit.
 */
export function openedVotes(
  author: Uint8Array,
  commit: Commit,
  opened: Uint8Array,
  comparison: Comparison | null = null,
): Leaf[] {
  if (comparison === null) return shownVotes(author, commit, decode(CommitOpening, opened));
  const { salt, votes, results } = decode(ComparedOpening, opened);
  return shownVotes(author, commit, { salt, votes }, results);
}

function shownVotes(
  author: Uint8Array,
  commit: Commit,
  opening: Infer<typeof CommitOpening>,
  results: readonly Uint8Array[] | null = null,
): Leaf[] {
  const chunks = chunksOf(commit.shard, commit.runs);
  if (chunks.length !== opening.votes.length) {
    throw new RemoteProtocolError("another number of votes is shown than the commit names chunks");
  }
  if (results !== null && results.length !== opening.votes.length) {
    throw new RemoteProtocolError("another number of results is shown than of votes");
  }
  const leaves = opening.votes.map(([status, digest], index) => {
    const data = results === null || status !== Status.OK ? null : results[index]!;
    if (data !== null) return makeLeaf(chunks[index]!, status as Status, true, data.length, data);
    return makeLeaf(chunks[index]!, status as Status, false, 0, digest);
  });
  if (!equal(rootOf(commit.task, author, opening.salt, leaves), commit.root)) {
    throw new RemoteProtocolError("the votes shown are not those that the commit's author signed");
  }
  return leaves;
}

/**
 * The chunks that an assignment asked for, as its creator says.
 *
 * @throws RemoteProtocolError when this shows no chunks of a shard.
 */
export function openedChunks(opened: Uint8Array): number[] {
  const { shard, runs } = decode(AssignOpening, opened);
  return chunksOf(shard, runs);
}

/** A file of shown records, in pieces. */
export function* writeShown(shown: Iterable<Shown>): IterableIterator<Uint8Array> {
  yield MAGIC;
  for (const entry of shown) {
    const data = encode(Shown, entry);
    const length = new Uint8Array(LENGTH_BYTES);
    new DataView(length.buffer).setUint32(0, data.length);
    yield concat(length, data);
  }
}

/**
 * The entries of such a file, one at a time.
 *
 * @throws RemoteProtocolError when it is no such file, or damaged.
 */
export function* readShown(data: Uint8Array): IterableIterator<Shown> {
  if (!equal(data.subarray(0, MAGIC.length), MAGIC)) {
    throw new RemoteProtocolError("this is no file of a task's records");
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let position = MAGIC.length; position < data.length; ) {
    const begin = position + LENGTH_BYTES;
    position = begin <= data.length ? begin + view.getUint32(begin - LENGTH_BYTES) : Infinity;
    if (position > data.length) throw new RemoteProtocolError("the file of records ends in the middle of one");
    yield decode(Shown, data.subarray(begin, position));
  }
}

/** What a record seals, encoded; nothing where nothing is sealed, or where it does not open. */
function open(signer: Signer, ledger: Ledger, signed: Signed, isCompared: boolean): Uint8Array {
  if (signed.kind !== "commit" && signed.kind !== "assign") return NOTHING;
  const record = parse(signed);
  try {
    if (record.kind === "assign") {
      const join = ledger.joins.get(hex(record.worker));
      if (join === undefined) return NOTHING;
      const { chunks } = openAssignment(signer, join.sealKey, record);
      return encode(AssignOpening, { shard: shardOf(chunks[0]!), runs: runsOf(chunks) });
    }
    if (record.kind !== "commit") return NOTHING;
    const isOwn = equal(signed.author, ledger.manifest.creator);
    const sealKey = isOwn ? signer.sealKey : ledger.joins.get(hex(signed.author))?.sealKey;
    if (sealKey === undefined) return NOTHING;
    const { salt, leaves } = openBatch(signer, sealKey, signed.author, record);
    const votes = leaves.map(({ status, digest }) => [status, digest] as const);
    if (!isCompared) return encode(CommitOpening, { salt, votes });
    checkInline(leaves);
    const results = leaves.map(({ status, data }) => (status === Status.OK ? data : NOTHING));
    return encode(ComparedOpening, { salt, votes, results });
  } catch (error) {
    if (error instanceof RemoteProtocolError) return NOTHING;
    throw error;
  }
}

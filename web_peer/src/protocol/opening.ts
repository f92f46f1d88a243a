/**
 * What a creator shows of a closed task, so that anybody can count its votes again (spec/verification.md, "Evidence").
 *
 * Votes travel sealed between worker and creator. Their Merkle root is public and signed by the worker: whoever is shown
 * the salt and the hashes of a batch can recompute it, and so knows what the worker voted, without seeing any result.
 * What the creator asked of whom is shown as well, and is the creator's word: no root binds it.
 *
 * Where results are compared as numbers (gpu/compare.ts), hashes do not say which votes agree. There the results are
 * shown, too, each large one once, and beside the manifest the package that says how they are compared.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { openAssignment } from "./assigning";
import { type Leaf, makeLeaf, NO_RESULT, openBatch, rootOf } from "./batch";
import { concat, equal, hex, type Hex } from "./bytes";
import { array, bytes, bytes32, decode, encode, integer, struct, tuple, u32, type Infer } from "./codec";
import { RemoteProtocolError } from "./errors";
import { Status } from "./events";
import { CLASS_BYTES, type Comparison } from "./gpu/compare";
import { COMPARED_BYTES_MAX } from "./gpu/package";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import { type Commit, COMMIT_CHUNKS_MAX, parse, Run, shardOf, Signed } from "./records";
import { chunksOf, runsOf } from "./runs";

/** The first bytes of a file of shown records. What follows is entries, each behind its length as a u32, big-endian. */
export const MAGIC = new TextEncoder().encode("CCRECS1\n");

const LENGTH_BYTES = 4;

/** Where results are compared as numbers, those up to this size are inside of their votes: nobody can withhold them. */
const INLINE_BYTES_MAX = 4_096;
const NOTHING = new Uint8Array(0);

/** One record, and what was sealed in it: an opening of its kind, encoded, or nothing. A schema has its type's name. */
export const Shown = struct("Shown", { signed: Signed, opened: bytes() });
export type Shown = Infer<typeof Shown>;

/** A batch's salt, and the status and SHA-256 of every vote in the order of its chunks. */
export const CommitOpening = struct("CommitOpening", {
  salt: bytes({ min: 16, max: 16 }),
  votes: array(tuple(integer(0, 2), bytes32), { min: 1, max: COMMIT_CHUNKS_MAX }),
});

/**
 * The same, where results are compared as numbers, with the results themselves. Nothing stands for what is no result, for
 * a large one that was shown before, and for one that nobody delivered.
 */
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

/** Whether a vote names a result that has to be here before the vote can be compared. */
export function isNamed({ status, inline }: Leaf): boolean {
  return status === Status.OK && !inline;
}

/**
 * A leaf's value as it counts: where results are compared as numbers, what holds none is no result.
 *
 * @param data The result; null is one that nobody delivered, which is none either.
 */
export function countedValue(leaf: Leaf, comparison: Comparison | null, data: Uint8Array | null): Hex {
  if (comparison === null || leaf.status !== Status.OK) return leaf.value;
  return data !== null && comparison.isResult(data) ? leaf.value : NO_RESULT;
}

/**
 * What every commit of a task obeys whose results are compared as numbers.
 *
 * @throws RemoteProtocolError when a result is larger than any of the task, or could be inside of its leaf and is not. No
 *   honest worker signs that: convict it as malformed.
 */
export function checkCompared(leaves: readonly Leaf[]): void {
  if (leaves.some((leaf) => isNamed(leaf) && (leaf.size <= INLINE_BYTES_MAX || leaf.size > COMPARED_BYTES_MAX + CLASS_BYTES))) {
    throw new RemoteProtocolError("a leaf names a result that should be inside of it, or is too large");
  }
}

/**
 * The creator's records of a task up to its certificate, in the order they came; leases and savepoints are hints and left
 * out.
 *
 * @param code The task's code, where that says that results are compared as numbers; else empty.
 * @param read The result of a vote, if it is here.
 */
export function* shownRecords(
  signer: Signer,
  ledger: Ledger,
  code: Uint8Array = NOTHING,
  read: (leaf: Leaf) => Uint8Array | null = ({ data }) => data,
): IterableIterator<Shown> {
  const large = new Set<Hex>();
  const show = (leaf: Leaf): Uint8Array => {
    const digest = hex(leaf.digest);
    if (leaf.status !== Status.OK || large.has(digest)) return NOTHING;
    if (!leaf.inline) large.add(digest);
    return read(leaf) ?? NOTHING;
  };
  for (const signed of ledger.records()) {
    if (signed.kind === "lease" || signed.kind === "savepoint") continue;
    yield { signed, opened: signed.kind === "manifest" ? code : open(signer, ledger, signed, code.length > 0 ? show : null) };
    if (signed.kind === "certificate") return;
  }
}

/**
 * The votes that a commit's author signed. Their leaves name results by hash.
 *
 * @param results Where results are compared as numbers, those that were shown before, by their SHA-256; what is shown with
 *   this commit is added. A vote whose result is not among them then has none: nobody delivered it.
 * @throws RemoteProtocolError when the opening is not that of this commit.
 */
export function openedVotes(
  author: Uint8Array,
  commit: Commit,
  opened: Uint8Array,
  results: Map<Hex, Uint8Array> | null = null,
): Leaf[] {
  if (results === null) return shownVotes(author, commit, decode(CommitOpening, opened));
  const opening = decode(ComparedOpening, opened);
  if (opening.results.length !== opening.votes.length) {
    throw new RemoteProtocolError("another number of results is shown than of votes");
  }
  const leaves = shownVotes(author, commit, opening);
  opening.results.forEach((data, index) => {
    if (data.length === 0) return;
    const { status, data: digest } = leaves[index]!;
    if (status !== Status.OK || !equal(sha256(data), digest)) {
      throw new RemoteProtocolError("a result is shown that is not the one voted for");
    }
    results.set(hex(digest), data);
  });
  return leaves;
}

function shownVotes(
  author: Uint8Array,
  commit: Commit,
  { salt, votes }: { readonly salt: Uint8Array; readonly votes: Infer<typeof CommitOpening>["votes"] },
): Leaf[] {
  const chunks = chunksOf(commit.shard, commit.runs);
  if (chunks.length !== votes.length) {
    throw new RemoteProtocolError("another number of votes is shown than the commit names chunks");
  }
  const leaves = votes.map(([status, digest], index) => makeLeaf(chunks[index]!, status as Status, false, 0, digest));
  if (!equal(rootOf(commit.task, author, salt, leaves), commit.root)) {
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

/**
 * What a record seals, encoded; nothing where nothing is sealed, or where it does not open. `show` has what stands beside
 * a vote where results are compared as numbers.
 */
function open(signer: Signer, ledger: Ledger, signed: Signed, show: ((leaf: Leaf) => Uint8Array) | null): Uint8Array {
  if (signed.kind !== "commit" && signed.kind !== "resumed" && signed.kind !== "assign") return NOTHING;
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
    if (show === null) return encode(CommitOpening, { salt, votes });
    checkCompared(leaves);
    return encode(ComparedOpening, { salt, votes, results: leaves.map(show) });
  } catch (error) {
    if (error instanceof RemoteProtocolError) return NOTHING;
    throw error;
  }
}

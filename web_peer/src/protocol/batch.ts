/**
 * Sealed batches: what a commit hides until it counts (spec/ledger.md, "Commit").
 *
 * The votes of a batch are leaves of a Merkle tree whose root is public, and travel sealed to the creator inside the
 * commit itself: one key agreement per pair of peers and one cipher call per batch, not per chunk. Every leaf is
 * salted, because results are often guessable; the salts derive from one per batch, so that a leaf can be shown alone
 * later.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal, hex, type Hex } from "./bytes";
import { array, bool, bytes, bytes32, decode, encode, integer, struct, tuple } from "./codec";
import { RemoteProtocolError } from "./errors";
import { Status } from "./events";
import type { Signer } from "./identity";
import * as merkle from "./merkle";
import { type Commit, COMMIT_CHUNKS_MAX, RECORD_BYTES_MAX, shardOf } from "./records";
import { chunksOf, runsOf } from "./runs";

/** Sealed leaves of one commit: leaves room for 1,024 runs in the worst case. */
export const BATCH_BYTES_MAX = RECORD_BYTES_MAX - 12 * 1024;

export const DETAIL_BYTES_MAX = 500;

/** Peers that a batch may name as keepers of its large results. */
export const CUSTODIANS_MAX = 8;

/** The value of a vote that reports no result. */
export const NO_RESULT: Hex = "";

/**
 * One vote in the clear. `data` is the result itself when `inline`, otherwise its SHA-256.
 *
 * Without a result `data` is the reason as UTF-8 text, for the creator's eyes. `sealed` is the SHA-256 of the result as
 * it is given to others to keep, sealed to the creator; empty when it is inline or given to nobody. It is no part of
 * what is voted on.
 */
export interface Leaf {
  readonly chunk: number;
  readonly status: Status;
  readonly inline: boolean;
  readonly size: number;
  readonly data: Uint8Array;
  readonly sealed: Uint8Array;
  /** SHA-256 of the result. */
  readonly digest: Uint8Array;
  /** What votes are compared by: the status and the result's hash; all reports of 'no result' are one value. */
  readonly value: Hex;
}

const NOT_SEALED = new Uint8Array();

/** A leaf with all that follows from its data, hashed once. */
export function makeLeaf(
  chunk: number,
  status: Status,
  inline: boolean,
  size: number,
  data: Uint8Array,
  sealed: Uint8Array = NOT_SEALED,
): Leaf {
  const digest = inline ? sha256(data) : data;
  const value = status === Status.NO_RESULT ? NO_RESULT : `0${status}${hex(digest)}`;
  return { chunk, status, inline, size, data, sealed, digest, value };
}

const SALT_BYTES = 16;

const Batch = struct("Batch", {
  salt: bytes({ min: SALT_BYTES, max: SALT_BYTES }),
  leaves: array(
    tuple(integer(0, 2), bool, integer(0, 16 * 1024 * 1024), bytes(), bytes({ max: merkle.HASH_BYTES })),
    { min: 1, max: COMMIT_CHUNKS_MAX },
  ),
  custodians: array(bytes32, { max: CUSTODIANS_MAX }),
});

/** An upper bound on what this leaf adds to a batch. */
export function leafBytes(leaf: Leaf): number {
  return leaf.data.length + leaf.sealed.length + 16;
}

const utf8 = new TextEncoder();
const CONTEXT = utf8.encode("commit");
const LEAF_DOMAIN = utf8.encode("cc/leaf/1\0");

/** What a batch is sealed with besides its leaves: chance, and the keys of those asked to keep its large results. */
export interface SealedWith {
  readonly salt: Uint8Array;
  readonly nonce: Uint8Array;
  readonly custodians?: readonly Uint8Array[];
  readonly epoch?: number;
  /** Of chunks that lots chose: what shows it. */
  readonly link?: Uint8Array;
}

/** A commit of these leaves, which must be of one shard, ascending by chunk and no more than a commit holds. */
export function sealCommit(
  signer: Signer,
  sealKey: Uint8Array,
  task: Uint8Array,
  seq: number,
  leaves: readonly Leaf[],
  { salt, nonce, custodians = [], epoch = 0, link = NOT_SEALED }: SealedWith,
): Commit {
  const batch = encode(Batch, {
    salt,
    leaves: leaves.map((leaf) => [leaf.status, leaf.inline, leaf.size, leaf.data, leaf.sealed] as const),
    custodians,
  });
  return {
    kind: "commit",
    task,
    shard: shardOf(leaves[0]!.chunk),
    seq,
    epoch,
    link,
    runs: runsOf(leaves.map((leaf) => leaf.chunk)),
    root: rootOf(task, signer.publicKey, salt, leaves),
    sealed: signer.seal(sealKey, concat(CONTEXT, task), batch, nonce),
  };
}

/**
 * The leaves of a commit sealed between `signer` and the owner of `sealKey`.
 *
 * @throws RemoteProtocolError when it does not open, does not fit its chunk list, or its root is another one's. The
 *   author signed something no honest worker signs: convict it as malformed.
 */
export function openCommit(signer: Signer, sealKey: Uint8Array, author: Uint8Array, commit: Commit): Leaf[] {
  return openBatch(signer, sealKey, author, commit).leaves;
}

/** As `openCommit`, with the salt: who has it can show the votes to others (opening.ts). */
export function openBatch(
  signer: Signer,
  sealKey: Uint8Array,
  author: Uint8Array,
  commit: Commit,
): { readonly salt: Uint8Array; readonly leaves: Leaf[] } {
  const batch = decode(Batch, signer.unseal(sealKey, concat(CONTEXT, commit.task), commit.sealed));
  const chunks = chunksOf(commit.shard, commit.runs);
  if (chunks.length !== batch.leaves.length) {
    throw new RemoteProtocolError("a commit seals another number of leaves than it names chunks");
  }
  const leaves = batch.leaves.map(([status, inline, size, data, named], index): Leaf => {
    const fits = inline ? data.length === size : data.length === merkle.HASH_BYTES && status !== Status.NO_RESULT;
    if (!fits) throw new RemoteProtocolError("a leaf's data does not fit its size");
    if (named.length > 0 && (inline || named.length !== merkle.HASH_BYTES)) {
      throw new RemoteProtocolError("a leaf names a sealed result that it cannot have");
    }
    return makeLeaf(chunks[index]!, status as Status, inline, size, data, named);
  });
  if (!equal(rootOf(commit.task, author, batch.salt, leaves), commit.root)) {
    throw new RemoteProtocolError("a commit's sealed leaves do not have its root");
  }
  return { salt: batch.salt, leaves };
}

/** Whom the author of a commit that opens asks to keep its large results: their keys. */
export function custodiansOf(signer: Signer, sealKey: Uint8Array, commit: Commit): readonly Uint8Array[] {
  return decode(Batch, signer.unseal(sealKey, concat(CONTEXT, commit.task), commit.sealed)).custodians;
}

/** The public root that binds a worker to these leaves: to their status and digest, whatever else they carry. */
export function rootOf(
  task: Uint8Array,
  worker: Uint8Array,
  salt: Uint8Array,
  leaves: readonly { readonly chunk: number; readonly status: number; readonly digest: Uint8Array }[],
): Uint8Array {
  const prefix = concat(LEAF_DOMAIN, task, worker);
  const chunk = new Uint8Array(4);
  const view = new DataView(chunk.buffer);
  const hashes = leaves.map((leaf) => {
    view.setUint32(0, leaf.chunk);
    const leafSalt = sha256.create().update(salt).update(chunk).digest();
    return merkle.leafHash(prefix, chunk, Uint8Array.of(leaf.status), leaf.digest, leafSalt);
  });
  return merkle.root(hashes);
}

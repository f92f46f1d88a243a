/** From executed chunks to commits: what a worker, or a creator that executes itself, signs. */

import { sha256 } from "@noble/hashes/sha2.js";

import { BATCH_BYTES_MAX, DETAIL_BYTES_MAX, type Leaf, leafBytes, makeLeaf, sealCommit, type SealedWith } from "./batch";
import { concat } from "./bytes";
import { type ChunkOutcome, Status } from "./events";
import { NONCE_BYTES, type Signer } from "./identity";
import { type Commit, COMMIT_CHUNKS_MAX, shardOf } from "./records";
import type { Rng } from "./rng";
import type { BlobStore } from "./storage";

/** A commit ready to be signed, and the votes sealed in it. */
export interface Sealed {
  readonly commit: Commit;
  readonly leaves: readonly Leaf[];
}

const utf8 = new TextEncoder();

/** What results are sealed for that others keep. */
export function resultContext(task: Uint8Array): Uint8Array {
  return concat(utf8.encode("result"), task);
}

/**
 * Commits over these outcomes, as few as their size allows, each of one shard.
 *
 * Results longer than `inlineBytes` are put into the blob store first, so that whoever is told their hash can have
 * them. With `custodians` (the keys of those that are asked to keep them, perhaps none as yet) they are put there
 * sealed as well, so that others can keep them unread. Results that go `onward` to another task are blobs whatever their
 * size.
 */
export function commitsOf(
  signer: Signer,
  sealKey: Uint8Array,
  task: Uint8Array,
  nextSeq: () => number,
  outcomes: Iterable<ChunkOutcome>,
  blobs: BlobStore,
  rng: Rng,
  inlineBytes: number,
  custodians: readonly Uint8Array[] | null = null,
  when: Pick<SealedWith, "epoch" | "link"> = {},
  onward = false,
): Sealed[] {
  const commits: Sealed[] = [];
  let batch: Leaf[] = [];
  let batchBytes = 0;

  function seal(): void {
    const commit = sealCommit(signer, sealKey, task, nextSeq(), batch, {
      salt: rng.bytes(16),
      nonce: rng.bytes(NONCE_BYTES),
      ...when,
      custodians: batch.some((leaf) => leaf.sealed.length > 0) ? (custodians ?? []) : [],
    });
    commits.push({ commit, leaves: batch });
    batch = [];
    batchBytes = 0;
  }

  function sealResult(data: Uint8Array): Uint8Array {
    if (custodians === null) return new Uint8Array();
    const sealed = signer.seal(sealKey, resultContext(task), data, rng.bytes(NONCE_BYTES));
    const digest = sha256(sealed);
    blobs.put(digest, sealed);
    return digest;
  }

  for (const outcome of [...outcomes].sort((left, right) => left.chunk - right.chunk)) {
    const leaf = leafOf(outcome, blobs, inlineBytes, sealResult);
    if (onward && leaf.inline && leaf.status === Status.OK) blobs.put(leaf.digest, leaf.data);
    const first = batch[0];
    if (
      first !== undefined &&
      (shardOf(first.chunk) !== shardOf(leaf.chunk) ||
        batch.length === COMMIT_CHUNKS_MAX ||
        batchBytes + leafBytes(leaf) > BATCH_BYTES_MAX)
    ) {
      seal();
    }
    batch.push(leaf);
    batchBytes += leafBytes(leaf);
  }
  if (batch.length > 0) seal();
  return commits;
}

function leafOf(
  { chunk, status, data, detail }: ChunkOutcome,
  blobs: BlobStore,
  inlineBytes: number,
  sealResult: (data: Uint8Array) => Uint8Array,
): Leaf {
  if (status === Status.NO_RESULT) {
    const reason = utf8.encode(detail).slice(0, DETAIL_BYTES_MAX);
    return makeLeaf(chunk, status, true, reason.length, reason);
  }
  if (data.length <= inlineBytes) return makeLeaf(chunk, status, true, data.length, data);
  const digest = sha256(data);
  blobs.put(digest, data);
  return makeLeaf(chunk, status, false, data.length, digest, sealResult(data));
}

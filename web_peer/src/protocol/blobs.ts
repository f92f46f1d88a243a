/**
 * Blobs: bytes named by their SHA-256, moved in verified pieces (spec/blobs.md).
 *
 * A blob is cut into pieces of 64 KiB; the last may be shorter, and an empty blob has none. A Merkle tree over the
 * pieces lets whoever knows its root check each piece as it arrives, from anybody, in any order.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal } from "./bytes";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import type { BlobRef } from "./manifest";
import * as merkle from "./merkle";
import { PIECE_BYTES } from "./storage";

export { PIECE_BYTES };

/** How many pieces a blob of `size` bytes has. */
export function pieceCount(size: number): number {
  return Math.ceil(size / PIECE_BYTES);
}

/** How many bytes piece `index` of a blob of `size` bytes has. */
export function pieceSize(size: number, index: number): number {
  return Math.min(PIECE_BYTES, size - index * PIECE_BYTES);
}

/** The leaves of a blob's tree, in order. Whoever serves a blob keeps them, to prove pieces with `merkle.proof`. */
export function pieceHashes(data: Uint8Array): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let start = 0; start < data.length; start += PIECE_BYTES) {
    hashes.push(merkle.leafHash(data.subarray(start, start + PIECE_BYTES)));
  }
  return hashes;
}

/** The reference under which `data` can be asked for and checked. */
export function describe(data: Uint8Array): BlobRef {
  return { sha256: sha256(data), size: data.length, root: merkle.root(pieceHashes(data)) };
}

/**
 * The leaf of one piece of a blob, once length and proof are right. Without a root, `proof` is not looked at.
 *
 * @throws RemoteProtocolError when there is no such piece, its length is wrong, or its proof does not lead to the root.
 */
export function checkPiece(
  size: number,
  root: Uint8Array | null,
  index: number,
  data: Uint8Array,
  proof: readonly Uint8Array[],
): Uint8Array {
  const count = pieceCount(size);
  if (!(index >= 0 && index < count)) throw new RemoteProtocolError(`there is no piece ${index}: the blob has ${count}`);
  const expected = pieceSize(size, index);
  if (data.length !== expected) {
    throw new RemoteProtocolError(`piece ${index} has ${data.length} bytes, not ${expected}`);
  }
  const leaf = merkle.leafHash(data);
  if (root !== null && !merkle.verifies(leaf, index, count, proof, root)) {
    throw new RemoteProtocolError(`piece ${index} does not belong to the blob: its proof is wrong`);
  }
  return leaf;
}

/**
 * Collects the pieces of a blob without a known root, and gives the whole once it is complete.
 *
 * Of a result a vote tells only hash and size, so the hash of the whole decides: ask one peer for all pieces, because
 * `whole` cannot tell which of several lied. Results are small enough for the memory; all else has a root (pieces.ts).
 */
export class PieceAssembly {
  private readonly pieces = new Map<number, Uint8Array>();
  private firstMissing = 0;

  constructor(
    readonly digest: Uint8Array,
    readonly size: number,
  ) {}

  get complete(): boolean {
    return this.pieces.size === pieceCount(this.size);
  }

  /** Indices of the pieces that still have to come, ascending; one by one, because a blob may claim any size. */
  *missing(): Generator<number, void> {
    const count = pieceCount(this.size);
    while (this.pieces.has(this.firstMissing)) this.firstMissing++;
    for (let index = this.firstMissing; index < count; index++) if (!this.pieces.has(index)) yield index;
  }

  /**
   * Take one piece; false when it was here already.
   *
   * @throws RemoteProtocolError when there is no such piece, or its length is wrong. Nothing changed; whoever sent it
   *   broke the protocol.
   */
  add(index: number, data: Uint8Array): boolean {
    checkPiece(this.size, null, index, data, []);
    if (this.pieces.has(index)) return false;
    this.pieces.set(index, data);
    return true;
  }

  /**
   * The blob's bytes, checked against its SHA-256.
   *
   * @throws LocalProtocolError when pieces are missing still.
   * @throws RemoteProtocolError when the bytes have another hash: the fault of their sender. All pieces are forgotten,
   *   so `missing` names them again.
   */
  whole(): Uint8Array {
    const count = pieceCount(this.size);
    if (!this.complete) throw new LocalProtocolError(`${count - this.pieces.size} pieces of the blob are missing`);
    const data = concat(...Array.from({ length: count }, (_, index) => this.pieces.get(index)!));
    if (!equal(sha256(data), this.digest)) {
      this.pieces.clear();
      this.firstMissing = 0;
      throw new RemoteProtocolError("the pieces put together are not the blob that was asked for");
    }
    return data;
  }
}

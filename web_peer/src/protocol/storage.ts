/**
 * Where blobs are kept: the one thing the core reads and writes itself.
 *
 * It is an argument, like the random generator. Everything is synchronous, because reading one 64 KiB piece costs less
 * than scheduling it; so a browser's store keeps what the core may ask for in memory, and writes behind.
 *
 *     a blob:  nothing --put--------------------------------------> WHOLE
 *                 '-----begin--> PARTIAL --putPiece …--> --finish----'
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal, hex, type Hex } from "./bytes";

/** What a blob is cut into. It stands here because a page keeps blobs from the start, and checks pieces only with work. */
export const PIECE_BYTES = 64 * 1024;

/** Bytes by their SHA-256. What was put survives a crash; nothing half-written is ever visible. */
export interface BlobStore {
  /** The blob's size in bytes, or null when not all of it is here. */
  size(digest: Uint8Array): number | null;

  /** `length` bytes from `start` (fewer at the end). They must be here: the blob, or these pieces of it. */
  read(digest: Uint8Array, start: number, length: number): Uint8Array;

  /** Keep bytes whose SHA-256 the caller has checked. */
  put(digest: Uint8Array, data: Uint8Array): void;

  /** Take pieces of this blob from now on. */
  begin(digest: Uint8Array, size: number): void;

  /** Keep one checked piece of a blob begun. */
  putPiece(digest: Uint8Array, index: number, data: Uint8Array): void;

  /** All pieces are here. Whether they have the SHA-256: then the blob is whole, else nothing of it is left. */
  finish(digest: Uint8Array): boolean;

  /** Forget a blob, or what is here of it, that nothing refers to any more. */
  discard(digest: Uint8Array): void;
}

/** The pieces of blobs that are not whole, in memory. */
export class Pieces {
  private readonly blobs = new Map<Hex, Map<number, Uint8Array>>();

  begin(digest: Uint8Array): void {
    if (!this.blobs.has(hex(digest))) this.blobs.set(hex(digest), new Map());
  }

  put(digest: Uint8Array, index: number, data: Uint8Array): void {
    // A copy of its own: a piece of a frame would keep the whole frame alive.
    this.blobs.get(hex(digest))!.set(index, data.slice());
  }

  read(digest: Uint8Array, start: number, length: number): Uint8Array | null {
    const pieces = this.blobs.get(hex(digest));
    if (pieces === undefined) return null;
    const first = Math.floor(start / PIECE_BYTES);
    const parts: Uint8Array[] = [];
    for (let index = first; index * PIECE_BYTES < start + length; index++) parts.push(pieces.get(index) ?? new Uint8Array());
    return concat(...parts).subarray(start - first * PIECE_BYTES, start - first * PIECE_BYTES + length);
  }

  /** The blob put together, if it has the SHA-256; its pieces are forgotten. */
  finish(digest: Uint8Array): Uint8Array | null {
    const pieces = this.blobs.get(hex(digest))!;
    const data = concat(...Array.from({ length: pieces.size }, (_, index) => pieces.get(index)!));
    this.discard(digest);
    return equal(sha256(data), digest) ? data : null;
  }

  discard(digest: Uint8Array): void {
    this.blobs.delete(hex(digest));
  }
}

/** Blobs in a map: for simulations and tests. */
export class MemoryBlobStore implements BlobStore {
  private readonly blobs = new Map<Hex, Uint8Array>();
  private readonly pieces = new Pieces();

  size(digest: Uint8Array): number | null {
    return this.blobs.get(hex(digest))?.length ?? null;
  }

  read(digest: Uint8Array, start: number, length: number): Uint8Array {
    return this.blobs.get(hex(digest))?.slice(start, start + length) ?? this.pieces.read(digest, start, length)!;
  }

  put(digest: Uint8Array, data: Uint8Array): void {
    this.blobs.set(hex(digest), data);
  }

  begin(digest: Uint8Array): void {
    this.pieces.begin(digest);
  }

  putPiece(digest: Uint8Array, index: number, data: Uint8Array): void {
    this.pieces.put(digest, index, data);
  }

  finish(digest: Uint8Array): boolean {
    const data = this.pieces.finish(digest);
    if (data !== null) this.put(digest, data);
    return data !== null;
  }

  discard(digest: Uint8Array): void {
    this.blobs.delete(hex(digest));
    this.pieces.discard(digest);
  }
}

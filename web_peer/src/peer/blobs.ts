/**
 * The blobs of a browser peer: in memory, where the core reads and writes them at once, and copied to the store with
 * the next commit.
 *
 * A phone has little memory, so what was used longest ago goes when the cache is full. The network treats a lost blob
 * as one that never was here: it is fetched or computed again.
 */

import { fromHex, hex, type Hex } from "../protocol/bytes";
import { type BlobStore, Pieces } from "../protocol/storage";
import type { StoredBlob } from "./store";

/** Half of what a bundle may have: a tab with more is killed on phones. A guess. */
export const BLOB_BYTES_MAX = 256 * 1024 * 1024;

export class BrowserBlobs implements BlobStore {
  usedBytes = 0;
  /** In order of use, the latest last. */
  private readonly blobs = new Map<Hex, Uint8Array>();
  /** Of blobs that are not whole. They are written down only once they are. */
  private readonly pieces = new Pieces();
  private readonly unwritten = new Map<Hex, Uint8Array>();
  private readonly discarded = new Set<Hex>();

  constructor(
    stored: readonly StoredBlob[],
    private readonly bytesMax = BLOB_BYTES_MAX,
  ) {
    for (const { digest, data } of stored) this.keep(digest, data);
  }

  size(digest: Uint8Array): number | null {
    return this.blobs.get(hex(digest))?.length ?? null;
  }

  read(digest: Uint8Array, start: number, length: number): Uint8Array {
    const name = hex(digest);
    const blob = this.blobs.get(name);
    if (blob === undefined) {
      const pieces = this.pieces.read(digest, start, length);
      if (pieces === null) throw new Error(`the blob ${name} is not here`);
      return pieces;
    }
    this.blobs.delete(name);
    this.blobs.set(name, blob);
    return blob.subarray(start, start + length);
  }

  put(digest: Uint8Array, data: Uint8Array): void {
    const name = hex(digest);
    if (this.blobs.has(name)) return;
    // A copy of its own: a piece of a frame would keep the whole frame alive.
    const blob = data.slice();
    this.discarded.delete(name);
    this.unwritten.set(name, blob);
    this.keep(name, blob);
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
    this.pieces.discard(digest);
    this.drop(hex(digest));
  }

  /** What changed since the last call, for the store. */
  takeChanges(): { readonly blobs: readonly StoredBlob[]; readonly discarded: readonly Hex[] } {
    const blobs = [...this.unwritten].map(([digest, data]) => ({ digest, data }));
    const discarded = [...this.discarded];
    this.unwritten.clear();
    this.discarded.clear();
    return { blobs, discarded };
  }

  get hasChanges(): boolean {
    return this.unwritten.size > 0 || this.discarded.size > 0;
  }

  private keep(name: Hex, data: Uint8Array): void {
    this.blobs.set(name, data);
    this.usedBytes += data.length;
    for (const oldest of this.blobs.keys()) {
      if (this.usedBytes <= this.bytesMax || oldest === name) break;
      this.drop(oldest);
    }
  }

  private drop(name: Hex): void {
    const blob = this.blobs.get(name);
    if (blob === undefined) return;
    this.blobs.delete(name);
    this.usedBytes -= blob.length;
    this.unwritten.delete(name);
    this.discarded.add(name);
  }
}

/** The whole blob. It must be here. */
export function wholeBlob(blobs: BlobStore, digest: Uint8Array | Hex): Uint8Array {
  const name = typeof digest === "string" ? fromHex(digest) : digest;
  return blobs.read(name, 0, blobs.size(name) ?? 0);
}

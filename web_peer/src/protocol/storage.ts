/**
 * Where blobs are kept: the one thing the core reads and writes itself.
 *
 * It is an argument, like the random generator. Everything is synchronous, because reading one 64 KiB piece costs less
 * than scheduling it; so a browser's store keeps what the core may ask for in memory, and writes behind.
 */

import { hex, type Hex } from "./bytes";

/** Bytes by their SHA-256. What was put survives a crash; nothing half-written is ever visible. */
export interface BlobStore {
  /** The blob's size in bytes, or null when it is not here. */
  size(digest: Uint8Array): number | null;

  /** `length` bytes from `start` (fewer at the end). The blob must be here. */
  read(digest: Uint8Array, start: number, length: number): Uint8Array;

  /** Keep bytes whose SHA-256 the caller has checked. */
  put(digest: Uint8Array, data: Uint8Array): void;

  /** Forget a blob that nothing refers to any more. */
  discard(digest: Uint8Array): void;
}

/** Blobs in a map: for simulations and tests. */
export class MemoryBlobStore implements BlobStore {
  private readonly blobs = new Map<Hex, Uint8Array>();

  size(digest: Uint8Array): number | null {
    return this.blobs.get(hex(digest))?.length ?? null;
  }

  read(digest: Uint8Array, start: number, length: number): Uint8Array {
    return this.blobs.get(hex(digest))!.slice(start, start + length);
  }

  put(digest: Uint8Array, data: Uint8Array): void {
    this.blobs.set(hex(digest), data);
  }

  discard(digest: Uint8Array): void {
    this.blobs.delete(hex(digest));
  }
}

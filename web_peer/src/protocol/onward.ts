/**
 * Results of one task as inputs of the next (spec/onward.md).
 *
 *     a result:  WANTED --> asked of its MAKERS --none has it--> asked of ANYBODY linked --> HERE
 *                                                                   '--> UNREACHABLE (asked for again later)
 *
 * The inputs blob of the next task is a table of references, signed with its manifest. The bytes come from whoever made
 * them; the creator, who knows them as its own results, is asked only when no maker has them any more.
 */

import { concat, hex, type Hex } from "./bytes";
import { array, bytes32, decode, encode, type Infer, integer, struct } from "./codec";
import type { Desk } from "./desk";
import type { BlobStore } from "./storage";

/** Makers named for one result: as many as a quorum of three and its audit have. More would only be more to dial. */
const MAKERS_MAX = 4;

/** Results that one chunk takes at most. */
const REFS_MAX = 4_096;

/** A result by name, and the keys of some who made it: a hint, whom to ask first. */
const ResultRef = struct("ResultRef", {
  sha256: bytes32,
  size: integer(0, 16 * 1024 * 1024),
  makers: array(bytes32, { max: MAKERS_MAX }),
});
export type ResultRef = Infer<typeof ResultRef>;

const Refs = array(ResultRef, { min: 1, max: REFS_MAX });

/** The item of an inputs blob that gives a chunk these results. */
export function refsItem(refs: readonly ResultRef[]): Uint8Array {
  return encode(Refs, refs);
}

/**
 * The results that a chunk takes.
 *
 * @throws RemoteProtocolError when the item is no list of references.
 */
export function openRefs(item: Uint8Array): readonly ResultRef[] {
  return decode(Refs, item);
}

/** Not all of these results are here yet. */
export class ResultsLacking extends Error {
  constructor(readonly refs: readonly ResultRef[]) {
    super("results are lacking");
  }
}

/** The results of other tasks that one role needs as inputs: what is here of them, and what is on its way. */
export class Gathering {
  /** What is asked of its makers, and of anybody once they have failed. */
  private readonly coming = new Map<Hex, ResultRef>();
  private readonly widely = new Set<Hex>();
  /** What is here for the sake of this task only. */
  private readonly fetched = new Map<Hex, ResultRef>();

  constructor(
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
  ) {}

  /**
   * These results, one after another.
   *
   * @throws ResultsLacking when some are not here.
   */
  read(refs: readonly ResultRef[]): Uint8Array {
    if (refs.some((ref) => this.isLacking(ref))) throw new ResultsLacking(refs);
    return concat(...refs.filter(({ size }) => size > 0).map(({ sha256, size }) => this.blobs.read(sha256, 0, size)));
  }

  /** Get those of these results that are not here; `arrived` is told of each. */
  fetch(refs: readonly ResultRef[]): void {
    for (const ref of refs) {
      const key = hex(ref.sha256);
      if (!this.isLacking(ref) || this.coming.has(key)) continue;
      this.coming.set(key, ref);
      this.desk.fetch(ref.sha256, ref.size, null, ref.makers);
    }
  }

  /** A blob is here or cannot be had: whether what we want is here now; null while that is not known. */
  arrived(digest: Uint8Array, isHere: boolean): boolean | null {
    const key = hex(digest);
    const ref = this.coming.get(key);
    if (ref === undefined) return null;
    if (!isHere && ref.makers.length > 0 && !this.widely.has(key)) {
      this.widely.add(key);
      this.desk.fetch(digest, ref.size, null, []);
      return null;
    }
    this.coming.delete(key);
    this.widely.delete(key);
    if (isHere) this.fetched.set(key, ref);
    return isHere;
  }

  /**
   * Keep of what was fetched only what is `needed` still: its makers have the rest.
   *
   * What `isOurs` as well, because a chunk gave back what it got, stays in the store.
   */
  letGo(needed: readonly ResultRef[], isOurs: (digest: Uint8Array) => boolean): void {
    const kept = new Set(needed.map(({ sha256 }) => hex(sha256)));
    for (const [key, { sha256 }] of this.fetched) {
      if (kept.has(key)) continue;
      this.fetched.delete(key);
      if (!isOurs(sha256)) this.blobs.discard(sha256);
    }
  }

  private isLacking({ sha256, size }: ResultRef): boolean {
    return size > 0 && this.blobs.size(sha256) !== size;
  }
}

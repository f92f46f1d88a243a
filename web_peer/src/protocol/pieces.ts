/**
 * Pieces of one blob as they come, each proved by the blob's root, and as they are given on (spec/blobs.md).
 *
 *     a piece:  MISSING --its proof leads to the root--> HERE, stored, and given on with the same proof
 *
 * A set of pieces is a whole number whose bit i stands for piece i. Whoever holds a piece holds the siblings of its
 * proof, too: so it can prove the piece to others before it has the rest.
 */

import { checkPiece, PIECE_BYTES, pieceCount } from "./blobs";
import * as merkle from "./merkle";
import type { Rng } from "./rng";
import type { BlobStore } from "./storage";

/** The set of one piece. */
export function only(index: number): bigint {
  return 1n << BigInt(index);
}

/** All pieces of a blob of so many. */
export function all(count: number): bigint {
  return only(count) - 1n;
}

export function contains(pieces: bigint, index: number): boolean {
  return ((pieces >> BigInt(index)) & 1n) === 1n;
}

/** The pieces of a set, ascending. */
export function* members(pieces: bigint): Generator<number, void> {
  const digits = pieces.toString(16);
  for (let at = digits.length - 1, first = 0; at >= 0; at--, first += 4) {
    const digit = parseInt(digits[at]!, 16);
    for (let bit = 0; bit < 4; bit++) if ((digit >> bit) & 1) yield first + bit;
  }
}

export function setOf(indices: Iterable<number>): bigint {
  let pieces = 0n;
  for (const index of indices) pieces |= only(index);
  return pieces;
}

/** The pieces that hold these bytes of a blob. */
export function piecesOf(start: number, length: number): bigint {
  if (length <= 0) return 0n;
  return all(Math.ceil((start + length) / PIECE_BYTES)) - all(Math.floor(start / PIECE_BYTES));
}

/** A piece of a set that is not empty: the next one from a random place on. */
export function draw(pieces: bigint, count: number, rng: Rng): number {
  const start = rng.below(count);
  for (const index of members(pieces >> BigInt(start))) return start + index;
  for (const index of members(pieces)) return index;
  throw new Error("drawn from nothing");
}

/** The known hashes of a blob's tree. A node's number counts level by level, the leaves first. */
export class PieceTree {
  readonly nodes = new Map<number, Uint8Array>();

  constructor(readonly count: number) {}

  /** The whole tree over these leaves. */
  static of(leaves: readonly Uint8Array[]): PieceTree {
    const tree = new PieceTree(leaves.length);
    let number = 0;
    for (let level = leaves; level.length > 0; level = level.length > 1 ? merkle.above(level) : []) {
      for (const node of level) tree.nodes.set(number++, node);
    }
    return tree;
  }

  /** The siblings of a piece that is here. */
  proof(index: number): Uint8Array[] {
    return this.siblings(index).map((number) => this.nodes.get(number)!);
  }

  /** Remember a piece's leaf and siblings, which the caller has checked. */
  learn(index: number, leaf: Uint8Array, proof: readonly Uint8Array[]): void {
    this.nodes.set(index, leaf);
    for (const [at, number] of this.siblings(index).entries()) this.nodes.set(number, proof[at]!);
  }

  /** From a leaf up to the root, the numbers of the siblings. */
  private siblings(index: number): number[] {
    const numbers: number[] = [];
    let base = 0;
    for (let at = index, count = this.count; count > 1; at = at >>> 1, base += count, count = Math.ceil(count / 2)) {
      const sibling = at ^ 1;
      if (sibling < count) numbers.push(base + sibling);
    }
    return numbers;
  }
}

/** A blob of which some pieces are here, in the store, all of them proved. */
export class Partial {
  readonly count: number;
  readonly tree: PieceTree;
  here = 0n;

  constructor(
    private readonly blobs: BlobStore,
    readonly digest: Uint8Array,
    readonly size: number,
    readonly root: Uint8Array,
  ) {
    this.count = pieceCount(size);
    this.tree = new PieceTree(this.count);
    blobs.begin(digest, size);
  }

  get isComplete(): boolean {
    return this.here === all(this.count);
  }

  /**
   * Take one piece; false when it was here already.
   *
   * @throws RemoteProtocolError when it is not this blob's. Nothing changed; whoever sent it broke the protocol.
   */
  add(index: number, data: Uint8Array, proof: readonly Uint8Array[]): boolean {
    const leaf = checkPiece(this.size, this.root, index, data, proof);
    if (contains(this.here, index)) return false;
    this.tree.learn(index, leaf, proof);
    this.blobs.putPiece(this.digest, index, data);
    this.here |= only(index);
    return true;
  }
}

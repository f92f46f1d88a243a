/**
 * Merkle trees over a list of leaves (spec/blobs.md, "Tree").
 *
 * The shape is RFC 6962's: a tree of n leaves has a left subtree of the largest power of two below n. Leaf and inner
 * hashes carry different prefixes, so that an inner node can never be passed off as a leaf.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { equal } from "./bytes";

export const HASH_BYTES = 32;
export const EMPTY_ROOT: Uint8Array = sha256(new Uint8Array(0));

const LEAF = Uint8Array.of(0x00);
const NODE = Uint8Array.of(0x01);

/** Hash of one leaf's bytes, given in parts. */
export function leafHash(...parts: readonly Uint8Array[]): Uint8Array {
  const hash = sha256.create().update(LEAF);
  for (const part of parts) hash.update(part);
  return hash.digest();
}

/** Root over already hashed leaves, in order. The root of no leaves is SHA-256 of nothing. */
export function root(leafHashes: readonly Uint8Array[]): Uint8Array {
  let level = leafHashes;
  while (level.length > 1) level = above(level);
  return level[0] ?? EMPTY_ROOT;
}

/** Siblings from leaf `index` up to the root: what `verifies` needs besides the leaf itself. */
export function proof(leafHashes: readonly Uint8Array[], index: number): Uint8Array[] {
  if (!(index >= 0 && index < leafHashes.length)) throw new RangeError(`there is no leaf ${index}`);
  const siblings: Uint8Array[] = [];
  let at = index;
  for (let level = leafHashes; level.length > 1; level = above(level)) {
    const sibling = level[at ^ 1];
    if (sibling !== undefined) siblings.push(sibling);
    at >>>= 1;
  }
  return siblings;
}

/** Whether the hashed `leaf` stands at `index` of the `count` leaves below `expectedRoot`. */
export function verifies(
  leaf: Uint8Array,
  index: number,
  count: number,
  siblings: readonly Uint8Array[],
  expectedRoot: Uint8Array,
): boolean {
  if (!(index >= 0 && index < count)) return false;
  let node = leaf;
  let taken = 0;
  // Halved by division, not by shifts: an index may have more than 32 bits.
  for (let at = index, left = count; left > 1; at = Math.floor(at / 2), left = Math.ceil(left / 2)) {
    const isRight = at % 2 === 1;
    if (!isRight && at + 1 >= left) continue;
    const sibling = siblings[taken++];
    if (sibling === undefined) return false;
    node = isRight ? inner(sibling, node) : inner(node, sibling);
  }
  return taken === siblings.length && equal(node, expectedRoot);
}

/** Pairing neighbours and carrying an odd last node up unchanged builds exactly RFC 6962's shape. */
export function above(level: readonly Uint8Array[]): readonly Uint8Array[] {
  const paired: Uint8Array[] = [];
  for (let index = 0; index + 1 < level.length; index += 2) paired.push(inner(level[index]!, level[index + 1]!));
  if (level.length % 2 === 1) paired.push(level[level.length - 1]!);
  return paired;
}

function inner(left: Uint8Array, right: Uint8Array): Uint8Array {
  return sha256.create().update(NODE).update(left).update(right).digest();
}

import { sha256 } from "@noble/hashes/sha2.js";
import { expect } from "vitest";

import { checkPiece, describe, PIECE_BYTES, pieceCount, pieceHashes } from "../../src/protocol/blobs";
import { concat } from "../../src/protocol/bytes";
import * as merkle from "../../src/protocol/merkle";
import { Partial } from "../../src/protocol/pieces";
import { MemoryBlobStore } from "../../src/protocol/storage";
import { type Case, expectBytes, expectRefused, fromHex, hex, vectors } from "./read";

const { cases: blobs, piece_bytes, refused_pieces } = vectors("blobs");

/** SHA-256(u32 0) ‖ SHA-256(u32 1) ‖ … (little-endian), cut to size. */
function pattern(size: number): Uint8Array {
  const blocks = Array.from({ length: Math.ceil(size / 32) }, (_, index) => {
    const number = new Uint8Array(4);
    new DataView(number.buffer).setUint32(0, index, true);
    return sha256(number);
  });
  return concat(...blocks).slice(0, size);
}

export const cases: Case[] = [
  { name: "the size of a piece", check: () => expect(PIECE_BYTES).toBe(piece_bytes) },
];

for (const { size, sha256: digest, root, pieces, proofs } of blobs) {
  const data = pattern(size);
  const hashes: Uint8Array[] = pieces.map(fromHex);
  cases.push(
    { name: `${size} bytes: hash`, check: () => expectBytes(describe(data).sha256, digest) },
    { name: `${size} bytes: root`, check: () => expectBytes(describe(data).root, root) },
    { name: `${size} bytes: pieces`, check: () => expect(pieceHashes(data).map(hex)).toEqual(pieces) },
    {
      name: `${size} bytes: put together`,
      check: () => {
        const store = new MemoryBlobStore();
        const partial = new Partial(store, fromHex(digest), size, fromHex(root));
        for (let index = 0; index < pieceCount(size); index++) {
          const piece = data.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES);
          expect(partial.add(index, piece, proofs[index].map(fromHex))).toBe(true);
          expect(partial.tree.proof(index).map(hex)).toEqual(proofs[index]);
        }
        expect(partial.isComplete && store.finish(fromHex(digest))).toBe(true);
        expectBytes(sha256(store.read(fromHex(digest), 0, size)), digest);
      },
    },
  );
  for (let index = 0; index < pieceCount(size); index++) {
    cases.push({
      name: `${size} bytes: proof ${index}`,
      check: () => expect(merkle.proof(hashes, index).map(hex)).toEqual(proofs[index]),
    });
  }
}

const { size, root } = refused_pieces;
const blob = pattern(size);
for (const { why, index, start, bytes, rest, proof } of refused_pieces.pieces) {
  const piece = concat(blob.subarray(start, start + bytes), fromHex(rest));
  cases.push({
    name: `refused: ${why}`,
    check: () =>
      expectRefused(() =>
        checkPiece(size, fromHex(root), index, piece, proof.map(fromHex)),
      ),
  });
}

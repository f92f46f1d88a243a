import { sha256 } from "@noble/hashes/sha2.js";
import { expect } from "vitest";

import { describe, PIECE_BYTES, PieceAssembly, pieceCount, pieceHashes } from "../../src/protocol/blobs";
import { concat } from "../../src/protocol/bytes";
import * as merkle from "../../src/protocol/merkle";
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
        const assembly = new PieceAssembly(fromHex(digest), size, fromHex(root));
        for (const index of assembly.missing()) {
          const piece = data.subarray(index * PIECE_BYTES, (index + 1) * PIECE_BYTES);
          assembly.add(index, piece, proofs[index].map(fromHex));
        }
        expectBytes(sha256(assembly.whole()), digest);
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

const { size, sha256: digest, root } = refused_pieces;
const blob = pattern(size);
for (const { why, index, start, bytes, rest, proof } of refused_pieces.pieces) {
  const piece = concat(blob.subarray(start, start + bytes), fromHex(rest));
  cases.push({
    name: `refused: ${why}`,
    check: () =>
      expectRefused(() =>
        new PieceAssembly(fromHex(digest), size, fromHex(root)).add(index, piece, proof.map(fromHex)),
      ),
  });
}

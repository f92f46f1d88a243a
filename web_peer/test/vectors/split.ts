import { expect } from "vitest";

import { describe } from "../../src/protocol/blobs";
import type { Manifest } from "../../src/protocol/manifest";
import { checkInputs, chunkCount, ChunkReader, seed } from "../../src/protocol/chunks";
import { isNumbers, type Split } from "../../src/protocol/split";
import { camelCase, type Case, expectBytes, expectRefused, fromHex, vectors } from "./read";

const { cases: splits, refused_items, refused_splits, seeds } = vectors("split");

/** As much of a manifest as a split looks at. */
function manifestWith(split: Split, data: Uint8Array | null, chunks: number): Manifest {
  return { split, chunks, inputs: data && describe(data), limits: { memoryBytes: 65_536 } } as Manifest;
}

/** Numbers of a range are written as text, because JSON's lose digits. */
function splitOf(fields: Record<string, string | number | string[]>): Split {
  const value = (field: string | number | string[]): unknown =>
    Array.isArray(field) ? field.map(fromHex) : fields.kind === "range" && field !== "range" ? BigInt(field) : field;
  return Object.fromEntries(
    Object.entries(fields).map(([name, field]) => [camelCase(name), value(field)]),
  ) as unknown as Split;
}

export const cases: Case[] = [];

for (const { name, split: fields, blob, is_numbers, chunks } of splits) {
  const split = splitOf(fields);
  const data = blob === null ? null : fromHex(blob);
  const manifest = manifestWith(split, data, chunks.length);
  cases.push(
    { name: `${name}: numbers or bytes`, check: () => expect(isNumbers(split)).toBe(is_numbers) },
    { name: `${name}: chunks`, check: () => expect(Number(chunkCount(split, data?.length, data))).toBe(chunks.length) },
    { name: `${name}: inputs`, check: () => checkInputs(manifest, data) },
  );
  for (const [index, input] of chunks.entries()) {
    cases.push({
      name: `${name}: input ${index}`,
      check: () => expectBytes(new ChunkReader(manifest, data).read(index), input),
    });
  }
}
for (const { name, blob, chunks } of refused_items) {
  const data = fromHex(blob);
  cases.push({
    name: `refused: ${name}`,
    check: () => expectRefused(() => checkInputs(manifestWith({ kind: "items" }, data, chunks), data)),
  });
}
for (const { name, split, blob, size, chunks } of refused_splits) {
  const data = fromHex(blob);
  const described = manifestWith(splitOf(split), data, chunks);
  const manifest: Manifest = { ...described, inputs: { ...describe(data), size } };
  cases.push({
    name: `refused: ${name}`,
    check: () =>
      expectRefused(() => {
        checkInputs(manifest, data);
        new ChunkReader(manifest, data).read(chunks - 1);
      }),
  });
}
for (const [chunk, expected] of Object.entries(seeds.seeds)) {
  cases.push({
    name: `the seed of chunk ${chunk}`,
    check: () => expect(String(seed(fromHex(seeds.task_id), Number(chunk)))).toBe(expected),
  });
}

import { expect } from "vitest";

import { openRefs, type ResultRef, refsItem } from "../../src/protocol/onward";
import { type Case, expectBytes, expectRefused, fromHex, plain, vectors } from "./read";

const { items, refused } = vectors("onward");

export const cases: Case[] = [];

for (const { name, item, refs } of items) {
  const made: ResultRef[] = refs.map(({ sha256, size, makers }: Record<string, never>) => ({
    sha256: fromHex(sha256!),
    size,
    makers: (makers as unknown as string[]).map(fromHex),
  }));
  cases.push(
    { name: `${name} opens`, check: () => expect(plain(openRefs(fromHex(item)))).toEqual(refs) },
    { name: `${name} is encoded`, check: () => expectBytes(refsItem(made), item) },
  );
}
for (const { name, item } of refused) {
  cases.push({ name: `refused: ${name}`, check: () => expectRefused(() => openRefs(fromHex(item))) });
}

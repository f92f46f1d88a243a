import { expect } from "vitest";

import { readBundle, writeBundle } from "../../src/protocol/bundle";
import { BundleError } from "../../src/protocol/errors";
import { verify } from "../../src/protocol/software";
import { type Case, expectBytes, fromHex, vectors } from "./read";

const { accepted, refused } = vectors("bundle");

const open = (): ReturnType<typeof readBundle> => readBundle(fromHex(accepted.bundle), verify);

export const cases: Case[] = [
  { name: "a bundle opens as its task", check: () => expectBytes(open().taskId, accepted.task_id) },
  { name: "a bundle holds its blobs", check: () => expect([...open().blobs.keys()].sort()).toEqual(accepted.blobs) },
  {
    name: "a bundle is written byte for byte",
    check: () => expectBytes(writeBundle(open().signed, open().blobs), accepted.bundle),
  },
];

for (const { name, bundle } of refused) {
  cases.push({
    name: `refused: ${name}`,
    check: () => expect(() => readBundle(fromHex(bundle), verify)).toThrow(BundleError),
  });
}

import { expect } from "vitest";

import { decode, encode } from "../../src/protocol/codec";
import { Sample } from "../sample";
import { type Case, expectBytes, expectRefused, fromHex, vectors } from "./read";

const { accepted, other_forms, refused } = vectors("codec");

export const cases: Case[] = [];

for (const [index, { bytes, ...fields }] of accepted.entries()) {
  const sample = {
    ...fields,
    digest: fromHex(fields.digest),
    size: Number(fields.size),
    maybe: fields.maybe === null ? null : fromHex(fields.maybe),
  };
  cases.push(
    { name: `sample ${index} encodes`, check: () => expectBytes(encode(Sample, sample), bytes) },
    { name: `sample ${index} decodes`, check: () => expect(decode(Sample, fromHex(bytes))).toEqual(sample) },
  );
}
for (const { bytes, shortest } of other_forms) {
  cases.push({
    name: `another form: ${bytes}`,
    check: () => expectBytes(encode(Sample, decode(Sample, fromHex(bytes))), shortest),
  });
}
for (const { name, bytes } of refused) {
  cases.push({ name: `refused: ${name}`, check: () => expectRefused(() => decode(Sample, fromHex(bytes))) });
}

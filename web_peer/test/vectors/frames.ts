import { expect } from "vitest";

import { FRAME_BYTES_MAX } from "../../src/protocol/config";
import { decodeFrame, encodeFrame, type Frame } from "../../src/protocol/frames";
import { type Case, expectBytes, expectRefused, fromHex, plain, vectors } from "./read";

const { frame_bytes_max, frames, refused } = vectors("frames");

export const cases: Case[] = [
  { name: "the longest frame", check: () => expect(FRAME_BYTES_MAX).toBe(frame_bytes_max) },
];

for (const { name, tag, fields, bytes } of frames) {
  const decoded = (): Frame => decodeFrame(fromHex(bytes));
  cases.push(
    { name: `${name} decodes`, check: () => expect(plain(decoded())).toEqual({ kind: tag, ...fields }) },
    { name: `${name} is encoded again`, check: () => expectBytes(encodeFrame(decoded()), bytes) },
  );
}
for (const { why, bytes } of refused) {
  cases.push({ name: `no frame: ${why}`, check: () => expectRefused(() => decodeFrame(fromHex(bytes))) });
}

import { expect } from "vitest";

import { FRAME_BYTES_MAX } from "../../src/protocol/config";
import { decodeFrame, encodeFrame } from "../../src/protocol/frames";
import { type Case, expectBytes, expectRefused, fromHex, plain, vectors } from "./read";

const { frame_bytes_max, frames, refused } = vectors("frames");

export const cases: Case[] = [
  { name: "the longest frame", check: () => expect(FRAME_BYTES_MAX).toBe(frame_bytes_max) },
];

for (const { name, tag, fields, bytes } of frames) {
  cases.push(
    { name: `${name} decodes`, check: () => expect(plain(decodeFrame(fromHex(bytes)))).toEqual({ kind: tag, ...fields }) },
    { name: `${name} is encoded again`, check: () => expectBytes(encodeFrame(decodeFrame(fromHex(bytes))), bytes) },
  );
}
for (const { why, bytes } of refused) {
  cases.push({ name: `no frame: ${why}`, check: () => expectRefused(() => decodeFrame(fromHex(bytes))) });
}

import { expect } from "vitest";

import { decode, encode } from "../../src/protocol/codec";
import { Manifest, openManifest, taskId, timeRefusal } from "../../src/protocol/manifest";
import { Signed } from "../../src/protocol/records";
import { verify } from "../../src/protocol/software";
import { type Case, expectBytes, expectRefused, fromHex, plain, vectors } from "./read";

const { accepted, refused, key_twice, times } = vectors("manifest");

export function open(record: string): Manifest {
  return openManifest(decode(Signed, fromHex(record)), verify);
}

/** As any MessagePack tool shows it: records are arrays. */
function shown(manifest: Manifest): unknown {
  const vouches = manifest.vouches.map(({ kind, author, body, signature }) => [kind, author, body, signature]);
  return plain({ ...manifest, vouches });
}

export const cases: Case[] = [];

for (const { name, body, record, task_id, fields } of accepted) {
  cases.push(
    { name: `${name} opens`, check: () => expect(shown(open(record))).toEqual(fields) },
    { name: `${name} is encoded again`, check: () => expectBytes(encode(Manifest, open(record)), body) },
    { name: `${name} names its task`, check: () => expectBytes(taskId(decode(Signed, fromHex(record))), task_id) },
  );
}
for (const { name, record } of refused) {
  cases.push({ name: `refused: ${name}`, check: () => expectRefused(() => open(record)) });
}
cases.push({
  name: "a key twice counts with its last value",
  check: () => expect(open(key_twice.record).reward).toBe(key_twice.reward),
});
const manifest = open(accepted[0].record);
for (const { created_s, expires_s, now_s, may_start } of times) {
  const timed = { ...manifest, createdS: created_s, expiresS: expires_s };
  cases.push({
    name: `${may_start ? "may" : "may not"} start at ${now_s}`,
    check: () => expect(timeRefusal(timed, now_s) === null).toBe(may_start),
  });
}

import fc from "fast-check";
import { expect, test } from "vitest";

import { readBundle, writeBundle } from "../src/protocol/bundle";
import { concat, hex } from "../src/protocol/bytes";
import { BundleError, LocalProtocolError } from "../src/protocol/errors";
import { verify } from "../src/protocol/software";
import { fromHex, vectors } from "./vectors/read";

// A run that passed must pass again on the same code.
fc.configureGlobal({ seed: 20_261_122 });

const bundle = fromHex(vectors("bundle").accepted.bundle);
const opened = readBundle(bundle, verify);
const head = Uint8Array.of(0x50, 0x4b, 0x03, 0x04);

/** What these bytes open as; whatever is thrown but a sentence for the person who offered them fails. */
function expectTaskOrSentence(data: Uint8Array): void {
  try {
    expect(hex(readBundle(data, verify).taskId)).toBe(hex(opened.taskId));
  } catch (error) {
    expect(error).toBeInstanceOf(BundleError);
    expect((error as Error).message).not.toContain("\n");
  }
}

test("an opened bundle holds its module and inputs", () => {
  expect(opened.module.length).toBe(opened.manifest.code.size);
  expect(opened.inputs?.length).toBe(opened.manifest.inputs?.size);
});

test("damage anywhere gives the task that was signed or a sentence", () => {
  const damage = fc.array(fc.tuple(fc.nat(bundle.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(damage, (spots) => {
      const damaged = bundle.slice();
      for (const [spot, byte] of spots) damaged[spot] = byte;
      expectTaskOrSentence(damaged);
    }),
    { numRuns: 300 },
  );
});

test("damage to the directory gives the task that was signed or a sentence", () => {
  const directory = bundle.length - 400;
  const damage = fc.array(fc.tuple(fc.integer({ min: directory, max: bundle.length - 1 }), fc.nat(255)), {
    minLength: 1,
    maxLength: 6,
  });
  fc.assert(
    fc.property(damage, (spots) => {
      const damaged = bundle.slice();
      for (const [spot, byte] of spots) damaged[spot] = byte;
      expectTaskOrSentence(damaged);
    }),
    { numRuns: 300 },
  );
});

test("a bundle cut short anywhere is refused", () => {
  for (let length = 0; length < bundle.length; length += 7) {
    expect(() => readBundle(bundle.subarray(0, length), verify)).toThrow(BundleError);
  }
});

test("any bytes after a zip header are refused with a sentence", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
      expect(() => readBundle(concat(head, data), verify)).toThrow(BundleError);
    }),
  );
});

test("a bundle is not written without its blobs", () => {
  expect(() => writeBundle(opened.signed, new Map())).toThrow(LocalProtocolError);
  const altered = new Map([...opened.blobs].map(([name, blob]) => [name, blob.slice(1)]));
  expect(() => writeBundle(opened.signed, altered)).toThrow(LocalProtocolError);
});

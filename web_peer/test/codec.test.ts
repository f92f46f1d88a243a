import { decode as unpack, encode as pack } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { hex } from "../src/protocol/bytes";
import {
  array,
  bool,
  decode,
  encode,
  i64,
  type Infer,
  nullable,
  part,
  type Schema,
  struct,
  tagged,
  text,
  u32,
} from "../src/protocol/codec";
import { LocalProtocolError, RemoteProtocolError } from "../src/protocol/errors";
import { Frame } from "../src/protocol/frames";
import { Manifest } from "../src/protocol/manifest";
import * as records from "../src/protocol/records";
import { Sample } from "./sample";

// A run that passed must pass again on the same code.
fc.configureGlobal({ seed: 20_261_122 });

const SCHEMAS: Readonly<Record<string, Schema<unknown>>> = {
  Sample,
  Manifest,
  Frame,
  Signed: records.Signed,
  Join: records.Join,
  Lease: records.Lease,
  Commit: records.Commit,
  Checkpoint: records.Checkpoint,
  CertificateBody: records.CertificateBody,
};

const corners = fc.constantFrom(127, 128, 255, 256, 65_535, 65_536, 2 ** 32 - 1);
const u32s = fc.oneof(fc.nat(300), fc.nat(2 ** 32 - 1), corners);
const texts = fc.string({ unit: "grapheme", maxLength: 12 }).filter((value) => [...value].length <= 20);

const samples: fc.Arbitrary<Infer<typeof Sample>> = fc.record({
  digest: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  count: u32s,
  size: fc.oneof(u32s, fc.maxSafeNat()),
  share: fc.double({ noNaN: true }),
  text: texts,
  maybe: fc.option(fc.uint8Array({ maxLength: 300 })),
  runs: fc.array(fc.tuple(u32s, u32s), { maxLength: 20 }),
});

/** Anything MessagePack can say. */
const { junk } = fc.letrec((tie) => ({
  leaf: fc.oneof(
    fc.constant(null),
    fc.boolean(),
    fc.bigInt(-(2n ** 63n), 2n ** 64n - 1n),
    u32s,
    fc.double(),
    texts,
    fc.uint8Array({ maxLength: 40 }),
  ),
  junk: fc.oneof(
    { maxDepth: 3 },
    tie("leaf"),
    fc.array(tie("junk"), { maxLength: 8 }),
    fc.dictionary(fc.string({ maxLength: 5 }), tie("junk"), { maxKeys: 4 }),
  ),
}));

function packed(value: unknown): Uint8Array {
  return pack(value, { useBigInt64: true });
}

/** Fail unless these bytes give a value or a `RemoteProtocolError`. */
function expectNothingElse(schema: Schema<unknown>, bytes: Uint8Array): void {
  try {
    decode(schema, bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(RemoteProtocolError);
  }
}

test("what is encoded decodes to the same value", () => {
  fc.assert(
    fc.property(samples, (sample) => {
      expect(decode(Sample, encode(Sample, sample))).toEqual(sample);
    }),
  );
});

test("an independent library writes the same bytes and reads the same value", () => {
  fc.assert(
    fc.property(samples, (sample) => {
      const { digest, count, size, share, text, maybe, runs } = sample;
      const fields = [digest, count, size, share, text, maybe, runs];
      const encoded = encode(Sample, sample);
      expect(unpack(encoded)).toEqual(fields);
      // The library writes a whole float as an integer, which a reader of a float takes as well.
      if (Number.isInteger(share)) expect(decode(Sample, pack(fields))).toEqual({ ...sample, share: share + 0 });
      else expect(hex(pack(fields))).toBe(hex(encoded));
    }),
  );
});

test("64 bits survive, to the last", () => {
  fc.assert(
    fc.property(fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n), (value) => {
      const encoded = encode(i64, value);
      expect(decode(i64, encoded)).toBe(value);
      const isShort = value >= -(2n ** 31n) && value < 2n ** 32n;
      expect(unpack(encoded, { useBigInt64: true })).toBe(isShort ? Number(value) : value);
    }),
  );
  expect(() => decode(i64, packed(2n ** 63n))).toThrow(RemoteProtocolError);
});

for (const [name, schema] of Object.entries(SCHEMAS)) {
  describe(`a ${name} from a stranger`, () => {
    test("of any bytes is a value or a RemoteProtocolError", () => {
      fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => expectNothingElse(schema, bytes)));
    });

    test("of anything well-formed is a value or a RemoteProtocolError", () => {
      fc.assert(fc.property(junk, (value) => expectNothingElse(schema, packed(value))));
    });
  });
}

test("damage to a message gives a value or a RemoteProtocolError", () => {
  const spots = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(samples, spots, fc.nat(), (sample, damage, cut) => {
      const encoded = encode(Sample, sample);
      for (const [spot, byte] of damage) encoded[spot % encoded.length] = byte;
      expectNothingElse(Sample, encoded);
      expectNothingElse(Sample, encoded.subarray(0, cut % encoded.length));
    }),
  );
});

test("nesting without end and huge lengths cost neither stack nor memory", () => {
  const nested = new Uint8Array(1_000_000).fill(0x91);
  const nestedMaps = new Uint8Array(1_000_000).fill(0x81);
  for (const schema of Object.values(SCHEMAS)) {
    expect(() => decode(schema, nested)).toThrow(RemoteProtocolError);
    expect(() => decode(schema, nestedMaps)).toThrow(RemoteProtocolError);
    expect(() => decode(schema, Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff))).toThrow(RemoteProtocolError);
  }
  const many = array(u32);
  expect(() => decode(many, Uint8Array.of(0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2))).toThrow("truncated");
});

test("bytes that were decoded keep nothing else alive", () => {
  const frame = encode(array(records.Signed), []);
  const signed = { kind: "join", author: new Uint8Array(32), body: frame, signature: new Uint8Array(64) } as const;
  const read = decode(records.Signed, encode(records.Signed, signed));
  expect(read.body.buffer.byteLength).toBe(read.body.length);
});

test("a byte order mark is text and stays", () => {
  expect(decode(text(), encode(text(), "\ufeffname"))).toBe("\ufeffname");
});

test("lengths of text are counted in code points", () => {
  const short = text({ min: 2, max: 3 });
  expect(decode(short, encode(short, "😀😀😀"))).toBe("😀😀😀");
  expect(() => decode(short, encode(short, "😀"))).toThrow(RemoteProtocolError);
  expect(() => decode(short, encode(short, "😀😀😀😀"))).toThrow(RemoteProtocolError);
});

test("fields of a part are named in snake case and may come in any order", () => {
  const Limits = part("Limits", { memoryBytes: u32, isHard: bool });
  expect(unpack(encode(Limits, { memoryBytes: 1, isHard: true }))).toEqual({ memory_bytes: 1, is_hard: true });
  expect(decode(Limits, pack({ is_hard: false, memory_bytes: 2 }))).toEqual({ memoryBytes: 2, isHard: false });
  expect(() => decode(Limits, pack({ memory_bytes: 2 }))).toThrow("missing");
});

test("a union is told apart by its kind", () => {
  const Sign = tagged("Sign", { stop: {}, speed: { limit: u32, note: nullable(text()) } });
  expect(unpack(encode(Sign, { kind: "speed", limit: 50, note: null }))).toEqual(["speed", 50, null]);
  expect(decode(Sign, pack(["stop"]))).toEqual({ kind: "stop" });
  for (const other of [[], ["go"], ["stop", 1], ["speed", 50], [1], {}, "stop"]) {
    expect(() => decode(Sign, pack(other))).toThrow(RemoteProtocolError);
  }
});

test("a number that is none is our own mistake", () => {
  const Count = struct("Count", { count: u32 });
  for (const count of [NaN, 1.5, Infinity, 2 ** 53]) {
    expect(() => encode(Count, { count })).toThrow(LocalProtocolError);
  }
});

/** What programs observe and return, bit for bit: protocol/vectors/executions.json, which native nodes run too. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { describe, expect, test } from "vitest";
import { fromHex, hex } from "../src/protocol/bytes";
import { Status } from "../src/protocol/events";
import type { Allowance, Ended } from "../src/sandbox/ended";
import { NO_ROOM, Refused } from "../src/sandbox/ended";
import { u32Leb } from "../src/protocol/wasm/reader";
import { prepareModule } from "../src/sandbox/module";

interface Case {
  readonly name: string;
  readonly module: string;
  readonly input: string;
  readonly numbers: boolean;
  readonly seed: string;
  readonly memory_bytes: number;
  readonly output_bytes: number;
  readonly status: keyof typeof Status;
  readonly data: string;
}

const { cases } = JSON.parse(
  readFileSync(new URL("../../protocol/vectors/executions.json", import.meta.url), "utf8"),
) as { readonly cases: readonly Case[] };

function unpacked(module: string): Uint8Array {
  return new Uint8Array(gunzipSync(Buffer.from(module, "base64")));
}

/**
 * A reactor that tells what it finds at 1,024 and at the end of its memory, and how many pages that has; then writes
 * there, and grows.
 */
function marking(pages: number, growth: number): Uint8Array {
  const last = pages * 65_536 - 4;
  const digits = (value: number): number[] => [0, 7, 14, 21].map((place) => ((value >> place) & 0x7f) | 0x80);
  const number = (value: number): number[] => [0x41, ...digits(value), (value >> 28) & 0x7f];
  const load = (at: number): number[] => [...number(at), 0x28, 2, 0];
  const store = (at: number, ...value: number[]): number[] => [...number(at), ...value, 0x36, 2, 0];
  const run = [
    ...store(0, ...load(1_024)),
    ...store(4, ...load(last)),
    ...store(8, 0x3f, 0),
    ...store(1_024, ...number(-1)),
    ...store(last, ...number(-1)),
    ...[...number(growth), 0x40, 0, 0x1a],
    ...[0x42, 12, 0x0b],
  ];
  const section = (id: number, ...content: number[]): number[] => [id, ...u32Leb(content.length), ...content];
  const text = (letters: string): number[] => [letters.length, ...Buffer.from(letters)];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, 2, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 2, 0x7f, 0x7f, 1, 0x7e),
    ...section(3, 2, 0, 1),
    ...section(5, 1, 1, pages, 32),
    ...section(7, 3, ...text("memory"), 2, 0, ...text("cc_alloc"), 0, 0, ...text("cc_run"), 0, 1),
    ...section(10, 2, ...[4, 0, 0x41, 0, 0x0b], ...[...u32Leb(run.length + 1), 0, ...run]),
  ]);
}

/** Executes chunks of a module; there is room for them here. */
function prepared(module: Uint8Array, allowance: Allowance): (data: Uint8Array, seed: bigint) => Ended {
  const execute = prepareModule(module, allowance);
  return (data, seed) => {
    const ended = execute(data, seed);
    if (ended === NO_ROOM) throw new Error(ended);
    return ended;
  };
}

describe("a chunk of a module", () => {
  test.each(cases)("ends as specified: $name", (vector) => {
    const execute = prepared(unpacked(vector.module), {
      memoryBytes: vector.memory_bytes,
      outputBytes: vector.output_bytes,
      numbers: vector.numbers,
    });
    const first = execute(fromHex(vector.input), BigInt(vector.seed));
    expect([first.status, hex(first.data)]).toEqual([Status[vector.status], vector.data]);
    expect(first.detail !== "").toBe(first.status === Status.NO_RESULT);
    // A fresh instance and a fresh world for every chunk.
    expect(execute(fromHex(vector.input), BigInt(vector.seed))).toEqual(first);
  });

  test("gets the memory limit as its maximum, and no page more", () => {
    const vector = cases.find(({ name }) => name === "memory grows to the limit and no further");
    const module = unpacked(vector?.module ?? "");
    for (const pages of [1, 2, 3, 4, 5, 130, 4_096]) {
      const execute = prepared(module, { memoryBytes: pages * 65_536, outputBytes: 4, numbers: false });
      // It begins with one page and asks twice for two more.
      expect(execute(new Uint8Array(0), 0n).data[0]).toBe(Math.min(5, pages - ((pages - 1) % 2)));
    }
  });

  test.each([
    ["finds nothing of the chunk before it in memory", 1, 0],
    ["finds nothing in a memory too large to be cleared either", 17, 0],
    ["finds memory as small as it was when the chunk before made it larger", 1, 2],
  ])("%s", (_, pages, growth) => {
    const module = marking(pages, growth);
    const execute = prepared(module, { memoryBytes: 32 * 65_536, outputBytes: 64, numbers: false });
    const first = execute(new Uint8Array(0), 0n);
    const data = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, pages, 0, 0, 0);
    expect(first).toEqual({ status: Status.OK, data, detail: "" });
    for (let again = 0; again < 5; again++) expect(execute(new Uint8Array(0), 0n)).toEqual(first);
  });

  test("is not executed when the module is not admitted, or has no valid types", () => {
    const allowance = { memoryBytes: 65_536, outputBytes: 1, numbers: false };
    expect(() => prepareModule(new Uint8Array(8), allowance)).toThrow(Refused);
    const unsound = unpacked(cases[0]?.module ?? "");
    const end = unsound.lastIndexOf(0x0b);
    unsound[end - 1] = 0x01; // where an i64 is left on the stack, a nop
    expect(() => prepareModule(unsound, allowance)).toThrow(Refused);
  });
});

/** JavaScript tasks end as on native nodes: protocol/vectors/javascript.json, in a realm of its own. */

import { readFileSync } from "node:fs";
import { createContext, runInContext } from "node:vm";
import { describe, expect, test } from "vitest";
import { fromHex, hex } from "../src/protocol/bytes";
import { Status } from "../src/protocol/events";
import { readNumbers } from "../src/sandbox/ended";
import type { Ended } from "../src/sandbox/ended";

interface Case {
  readonly name: string;
  readonly source: string;
  readonly input: string;
  readonly numbers: boolean;
  readonly seed: string;
  readonly output_bytes: number;
  readonly status: keyof typeof Status;
  readonly data: string;
}

type Load = (source: string) => (...chunk: [bigint[] | null, Uint8Array, bigint, number]) => Ended;

const FOLDER = new URL("../../protocol/crowdcompute/protocol/javascript/", import.meta.url);

function read(url: URL): string {
  return readFileSync(url, "utf8");
}

const { cases } = JSON.parse(read(new URL("../../protocol/vectors/javascript.json", import.meta.url))) as {
  readonly cases: readonly Case[];
};

// The prelude would freeze the realm of the tests themselves, so it gets another one, and values cross as text.
const realm = createContext();
const libm = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(new URL("libm.wasm", FOLDER)))).exports;
const { load } = (runInContext(read(new URL("prelude.js", FOLDER)), realm) as (libm: object) => { load: Load })(libm);
const foreign = runInContext("(bytes) => new Uint8Array(bytes)", realm) as (bytes: number[]) => Uint8Array;

function ended(vector: Case): readonly [Status, string, string] {
  const input = fromHex(vector.input);
  const args = vector.numbers ? readNumbers(input) : null;
  try {
    const stdin = foreign(vector.numbers ? [] : [...input]);
    const { status, data, detail } = load(vector.source)(args, stdin, BigInt(vector.seed), vector.output_bytes);
    return [status, hex(Uint8Array.from(data)), detail];
  } catch (refusal) {
    return [Status.NO_RESULT, "", (refusal as Error).message];
  }
}

describe("a chunk of JavaScript", () => {
  test.each(cases)("ends as specified: $name", (vector) => {
    const first = ended(vector);
    expect(first.slice(0, 2)).toEqual([Status[vector.status], vector.data]);
    expect(first[0] !== Status.NO_RESULT || first[2] !== "").toBe(true);
    expect(ended(vector)).toEqual(first);
  });
});

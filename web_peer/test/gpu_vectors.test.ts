/** Kernels: the same are admitted, printed alike, and others refused for the same reason as in Python. */

import { readFileSync } from "node:fs";

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { fromHex, hex } from "../src/protocol/bytes";
import { ModuleRefused, ProtocolError } from "../src/protocol/errors";
import { Comparison, type Comparator } from "../src/protocol/gpu/compare";
import { arrange, openPackage } from "../src/protocol/gpu/package";
import { nextGroups } from "../src/protocol/gpu/pacing";
import { parse } from "../src/protocol/gpu/parser";
import { guardedWgsl } from "../src/protocol/gpu/wgsl";

interface Arranged {
  readonly why?: string;
  readonly invocations: number;
  readonly uniform: string;
  readonly input: string;
  readonly input_elements: number;
  readonly outputs: readonly number[];
}

const vectors = JSON.parse(readFileSync(new URL("../../protocol/vectors/gpu.json", import.meta.url), "utf8")) as {
  readonly accepted: readonly {
    readonly source: string;
    readonly fuel: number;
    readonly shares: readonly number[];
    readonly uses_floats: boolean;
    readonly words: number;
    readonly wgsl: readonly string[];
  }[];
  readonly refused: readonly { readonly what: string; readonly source: string; readonly why: string }[];
  readonly packages: readonly { readonly what: string; readonly package: string; readonly why: string | null }[];
  readonly arrangements: readonly {
    readonly what: string;
    readonly package: string;
    readonly input: string;
    readonly numbers: boolean;
    readonly memory_bytes: number;
    readonly output_bytes: number;
    readonly expected: Arranged;
  }[];
  readonly comparisons: readonly {
    readonly what: string;
    readonly comparator: Comparator;
    readonly left: string;
    readonly right: string;
    readonly close: boolean;
    readonly half_as_close: boolean;
  }[];
  readonly pacing: readonly { readonly groups: number; readonly seconds: number; readonly next: number }[];
};
const utf8 = new TextEncoder();

function refusal(attempt: () => unknown): string | null {
  try {
    attempt();
  } catch (error) {
    if (error instanceof ProtocolError) return error.message;
    throw error;
  }
  return null;
}

describe("kernels", () => {
  test.each(vectors.accepted)("kernel %# is printed as the vectors say", ({ source, fuel, shares, ...expected }) => {
    const kernel = parse(utf8.encode(source));
    expect(kernel.usesFloats).toBe(expected.uses_floats);
    expect(kernel.entry.weight).toBe(expected.words);
    expect(guardedWgsl(kernel, fuel, shares).trimEnd().split("\n")).toEqual(expected.wgsl);
  });

  test.each(vectors.refused)("$what is refused", ({ source, why }) => {
    expect(() => parse(utf8.encode(source))).toThrow(ModuleRefused);
    expect(refusal(() => parse(utf8.encode(source)))).toBe(why);
  });
});

test("a damaged kernel is a kernel or refused", () => {
  const sources = vectors.accepted.map(({ source }) => source);
  const words = ["{", "}", "(", ")", ";", "=", "<", ">>", "if", "loop", "let", "array", "1e39", "-1", "&", "@", "/*"];
  const damage = fc.tuple(fc.nat(), fc.nat(30), fc.constantFrom("", ...words));
  fc.assert(
    fc.property(fc.constantFrom(...sources), fc.array(damage, { minLength: 1, maxLength: 4 }), (source, damages) => {
      let text = source;
      for (const [position, length, word] of damages) {
        const at = position % (text.length + 1);
        text = `${text.slice(0, at)} ${word} ${text.slice(at + length)}`;
      }
      refusal(() => guardedWgsl(parse(utf8.encode(text)), 1, [1, 1]));
    }),
  );
});

describe("packages", () => {
  test.each(vectors.packages)("$what", ({ package: code, why }) => {
    const found = refusal(() => openPackage(fromHex(code)));
    // Decoders have words of their own for bytes that are no package.
    if (why?.startsWith("not a valid Package")) expect(found).toMatch(/^not a valid Package/);
    else expect(found).toBe(why);
  });

  test.each(vectors.arrangements)("a chunk: $what", ({ package: code, input, numbers, expected, ...given }) => {
    const task = openPackage(fromHex(code));
    const bounds = { numbers, memoryBytes: given.memory_bytes, outputBytes: given.output_bytes };
    const arranged = (): unknown => {
      const chunk = arrange(task, fromHex(input), bounds);
      return {
        ...{ invocations: chunk.invocations, uniform: hex(chunk.uniform), input: hex(chunk.input) },
        ...{ input_elements: chunk.inputElements, outputs: chunk.outputs },
      };
    };
    if (expected.why !== undefined) expect(refusal(arranged)).toBe(expected.why);
    else expect(arranged()).toEqual(expected);
  });
});

test.each(vectors.comparisons)("comparison: $what", ({ comparator, left, right, ...expected }) => {
  const comparison = new Comparison([{ elements: 1, compare: comparator }]);
  expect(comparison.areClose(fromHex(left), fromHex(right))).toBe(expected.close);
  expect(comparison.halved().areClose(fromHex(left), fromHex(right))).toBe(expected.half_as_close);
});

test.each(vectors.pacing)("after $groups workgroups in $seconds s come $next", ({ groups, seconds, next }) => {
  expect(nextGroups(groups, seconds)).toBe(next);
});

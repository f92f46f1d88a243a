/** Admission agrees with protocol/vectors/modules.json, which native nodes read too. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ModuleRefused } from "../src/protocol/errors";
import { RuleBroken, admit } from "../src/protocol/wasm";

interface Accepted {
  readonly name: string;
  readonly module: string;
  readonly shape: string;
  readonly imports: readonly string[];
  readonly memory_pages_min: number;
  readonly memory_pages_max: number;
}

interface Refused {
  readonly name: string;
  readonly module: string;
  readonly rule: string;
}

const vectors = JSON.parse(readFileSync(new URL("../../protocol/vectors/modules.json", import.meta.url), "utf8")) as {
  readonly accepted: readonly Accepted[];
  readonly refused: readonly Refused[];
};

function unpacked(module: string): Uint8Array {
  return new Uint8Array(gunzipSync(Buffer.from(module, "base64")));
}

function refusal(module: Uint8Array): unknown {
  try {
    admit(module);
  } catch (error) {
    return error;
  }
  return null;
}

describe("admission", () => {
  test.each(vectors.accepted)("admits $name and tells what it is", (vector) => {
    const facts = admit(unpacked(vector.module));
    expect(facts.shape).toBe(vector.shape);
    expect(facts.imports).toEqual(vector.imports);
    expect(facts.memoryPagesMin).toBe(vector.memory_pages_min);
    expect(facts.memoryPagesMax).toBe(vector.memory_pages_max);
  });

  test.each(vectors.refused)("refuses $name by the rule that names it", (vector) => {
    const error = refusal(unpacked(vector.module));
    expect(error).toBeInstanceOf(RuleBroken);
    expect((error as RuleBroken).rule).toBe(vector.rule);
    expect((error as RuleBroken).message.endsWith(`(rule ${vector.rule})`)).toBe(true);
  });

  test("refuses more than eight megabytes unread", () => {
    const error = refusal(new Uint8Array(8 * 1024 * 1024 + 1));
    expect((error as RuleBroken).rule).toBe("module-bytes");
  });

  test("admits or refuses any bytes, and fails in no other way", () => {
    const header = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.boolean(), (bytes, isHeaded) => {
        const error = refusal(isHeaded ? Uint8Array.of(...header, ...bytes) : bytes);
        expect(error === null || error instanceof ModuleRefused).toBe(true);
        expect(String(error)).not.toContain("cannot be read");
      }),
      { numRuns: 2_000, seed: 1 },
    );
  });
});

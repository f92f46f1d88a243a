/**
 * Admission as a filter: modules on stdin, each behind its length as a little-endian u32; for each a line of JSON on
 * stdout.
 *
 * tests/interop/test_differential_modules.py compares the lines with what the Python implementation says.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { ModuleRefused } from "../../src/protocol/errors";
import { admit } from "../../src/protocol/wasm";

const LENGTH_BYTES = 4;
const input = readFileSync(0);
const lines: string[] = [];
for (let position = 0; position < input.length; ) {
  const start = position + LENGTH_BYTES;
  position = start + input.readUInt32LE(position);
  lines.push(JSON.stringify(verdict(new Uint8Array(input.subarray(start, position)))));
}
writeFileSync(1, lines.map((line) => `${line}\n`).join(""));

function verdict(module: Uint8Array): unknown {
  try {
    const facts = admit(module);
    const { shape, imports, memoryPagesMin, memoryPagesMax, functions, bodyBytesMax, sizeBytes } = facts;
    return [shape, imports, memoryPagesMin, memoryPagesMax, functions, bodyBytesMax, sizeBytes];
  } catch (error) {
    if (error instanceof ModuleRefused) return error.message;
    throw error;
  }
}

/**
 * Execution as a filter: one chunk as a line of JSON on stdin, how it ended as a line of JSON on stdout.
 *
 * tests/interop/test_differential_executions.py compares the lines with what native nodes make of the same chunks.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fromHex, hex } from "../../src/protocol/bytes";
import { NO_ROOM } from "../../src/sandbox/ended";
import { prepareModule } from "../../src/sandbox/module";

interface Line {
  readonly module: string;
  readonly input: string;
  readonly seed: string;
  readonly numbers: boolean;
  readonly memoryBytes: number;
  readonly outputBytes: number;
}

const lines = readFileSync(0, "utf8").split("\n").filter(Boolean);
writeFileSync(1, lines.map((line) => `${JSON.stringify(ended(JSON.parse(line) as Line))}\n`).join(""));

function ended({ module, input, seed, ...allowance }: Line): unknown {
  const end = prepareModule(fromHex(module), allowance)(fromHex(input), BigInt(seed));
  if (end === NO_ROOM) throw new Error(end);
  return [end.status, hex(end.data), end.detail];
}

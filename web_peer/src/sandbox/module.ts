/** Execute chunks of a WebAssembly module on this engine, each in a fresh instance (spec/modules.md). */

import { ModuleRefused } from "../protocol/errors";
import type { ModuleFacts } from "../protocol/wasm";
import { PAGE_BYTES, admit } from "../protocol/wasm";
import type { Allowance, Ended, Execute, Keep, SavedState } from "./ended";
import { ERROR_BYTES_MAX, NO_ROOM, NoResult, Refused, noResult, ok, readNumbers, taskError } from "./ended";
import { NoRoom, memories, memoryImport, withMemoryImported } from "./memory";
import { EndOfChunk, Wasi } from "./wasi";

interface Exports {
  readonly _initialize?: () => void;
  readonly cc_seed?: (seed: bigint) => void;
  readonly cc_alloc: (length: number) => number;
  readonly cc_run: (start: number, length: number) => bigint;
  readonly cc_error?: () => bigint;
}

const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const NO_BYTES = new Uint8Array(0);
const UTF_8 = new TextDecoder();
const UTF_8_ENCODER = new TextEncoder();

/**
 * Admit and compile a module.
 *
 * @throws Refused when admission or the engine does not take it.
 */
export function prepareModule(code: Uint8Array, allowance: Allowance): Execute {
  const facts = admitted(code);
  const pagesMax = Math.min(facts.memoryPagesMax, Math.floor(allowance.memoryBytes / PAGE_BYTES));
  if (facts.memoryPagesMin > pagesMax) return () => noResult("memory limit");
  const module = compiled(withMemoryImported(code, facts));
  const nextMemory = memories(facts.memoryPagesMin, pagesMax);
  const run = facts.shape === "command" ? commandOf(module, allowance) : reactorOf(module, allowance);
  return (data, seed, state = null, keep = null) => {
    try {
      return run(nextMemory(), data, seed, state, keep);
    } catch (error) {
      return error instanceof NoRoom ? NO_ROOM : noResult(kindOf(error));
    }
  };
}

/** Executes one chunk in a memory that is new to it. */
type Run = (
  memory: WebAssembly.Memory,
  data: Uint8Array,
  seed: bigint,
  state: SavedState | null,
  keep: Keep | null,
) => Ended;

function admitted(code: Uint8Array): ModuleFacts {
  try {
    return admit(code);
  } catch (error) {
    if (error instanceof ModuleRefused) throw new Refused(error.message);
    throw error;
  }
}

function compiled(code: Uint8Array<ArrayBuffer>): WebAssembly.Module {
  try {
    return new WebAssembly.Module(code);
  } catch (error) {
    throw new Refused(firstLine(error));
  }
}

function reactorOf(module: WebAssembly.Module, { outputBytes }: Allowance): Run {
  return (memory, data, seed) => {
    const exports = new WebAssembly.Instance(module, memoryImport(memory)).exports as unknown as Exports;
    exports._initialize?.();
    exports.cc_seed?.(BigInt.asIntN(64, seed));
    const start = exports.cc_alloc(data.length) >>> 0;
    if (start + data.length > memory.buffer.byteLength) throw new NoResult("cc_alloc returned a place outside memory");
    new Uint8Array(memory.buffer).set(data, start);
    const span = BigInt.asUintN(64, exports.cc_run(start, data.length));
    if (span !== ALL_ONES) return ok(slice(memory, span, outputBytes));
    if (exports.cc_error === undefined) return taskError(NO_BYTES);
    const text = slice(memory, BigInt.asUintN(64, exports.cc_error()), Number.POSITIVE_INFINITY);
    return taskError(text.slice(0, ERROR_BYTES_MAX));
  };
}

/** A copy of the bytes at `start << 32 | length`. */
function slice(memory: WebAssembly.Memory, span: bigint, lengthMax: number): Uint8Array {
  const start = Number(span >> 32n);
  const length = Number(span & 0xffff_ffffn);
  if (start + length > memory.buffer.byteLength) throw new NoResult("the result lies outside memory");
  if (length > lengthMax) throw new NoResult("output limit");
  return new Uint8Array(memory.buffer).slice(start, start + length);
}

function commandOf(module: WebAssembly.Module, { outputBytes, numbers }: Allowance): Run {
  const wasi = new Wasi(outputBytes);
  const imports = wasi.imports(module);
  return (memory, data, seed, state, keep) => {
    const args = numbers ? readNumbers(data).map(String) : [];
    wasi.begin(["chunk", ...args], numbers ? NO_BYTES : new Uint8Array(data), seed, state, keep);
    try {
      const { exports } = new WebAssembly.Instance(module, { ...imports, ...memoryImport(memory) });
      wasi.memory = memory;
      (exports["_start"] as () => void)();
    } catch (error) {
      return exited(wasi, error);
    }
    return ok(wasi.output());
  };
}

/** How a command ended that did not return from `_start`. */
function exited(wasi: Wasi, error: unknown): Ended {
  if (wasi.failure !== "") return noResult(wasi.failure);
  const stderr = UTF_8.decode(wasi.stderr);
  const hasExited = error instanceof EndOfChunk && wasi.exitCode !== null;
  if (!hasExited) return noResult(`${kindOf(error)}\n${stderr}`.trimEnd());
  if (wasi.exitCode === 0) return ok(wasi.output());
  return taskError(UTF_8_ENCODER.encode(`exit ${wasi.exitCode}`), stderr);
}

// What engines say when they trap (V8, SpiderMonkey and JavaScriptCore), and native nodes' names for it.
const TRAPS: readonly (readonly [RegExp, string])[] = [
  [/call stack|recursion/i, "stack overflow"],
  [/unreachable/i, "unreachable"],
  [/table/i, "table out of bounds"],
  [/out of bounds/i, "memory out of bounds"],
  [/(divide|remainder|division) by zero/i, "integer division by zero"],
  [/unrepresentable in integer range|conversion to integer|out of range/i, "bad conversion to integer"],
  [/unrepresentable|integer overflow/i, "integer overflow"],
  [/null/i, "indirect call to null"],
  [/signature/i, "bad signature"],
];

/** Why a chunk has no result, in the words of native nodes as far as the engine lets us tell. */
function kindOf(error: unknown): string {
  if (error instanceof NoResult) return error.message;
  const line = firstLine(error);
  if (/out of memory|cannot allocate/i.test(line)) return "memory limit";
  return `trap: ${TRAPS.find(([words]) => words.test(line))?.[1] ?? line}`;
}

const LINE_CHARACTERS_MAX = 200;

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message || error.name : String(error);
  return (text.trim().split("\n")[0] ?? "").slice(0, LINE_CHARACTERS_MAX);
}

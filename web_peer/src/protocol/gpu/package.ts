/**
 * The code blob of a GPU task (spec/gpu.md, "Package"): a kernel, how a chunk becomes its arguments, and what else is
 * needed to trust a device with it.
 *
 *     package --openPackage--> Task --arrange(input)--> Arrangement: buffers and invocations of one chunk
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { equal } from "../bytes";
import { array, bytes, bytes32, decode, type Infer, integer, part, text } from "../codec";
import { ModuleRefused, RemoteProtocolError } from "../errors";
import { admit } from "../wasm";
import { Comparator, Comparison } from "./compare";
import { parse } from "./parser";
import type { Kernel, Variable } from "./syntax";

const INVOCATIONS_MAX = 2n ** 26n;
/**
 * Fuel times the kernel's words: what one invocation can take at most. A guess at about a second on a slow device, for no
 * dispatch is smaller than one workgroup, and a browser cannot stop one.
 */
const WORK_MAX = 2 ** 28;
/** A result that is compared as numbers: whoever counts needs those of all votes. A tile of 128 by 128 pixels of four. */
export const COMPARED_BYTES_MAX = 262_144;
/** Why a chunk has no result whose floats overflowed, or are none. */
export const NOT_FINITE = "a number that is not finite";
/** Whole numbers up to here are f32 numbers. */
const FLOAT_EXACT = 2n ** 24n;
const WORD = 4;

const name = text({ min: 1, max: 64 });
const formula = text({ min: 1, max: 100 });

const Golden = part("Golden", {
  input: bytes({ max: 65_536 }),
  sha256: bytes32,
  result: bytes({ max: COMPARED_BYTES_MAX }),
});
/** A chunk's input, and its result's hash; where results are compared as numbers, that result, too. */
export type Golden = Infer<typeof Golden>;
const Package = part("Package", {
  schema: integer(1, 1),
  source: bytes(),
  uniform: array(part("Field", { name, value: formula }), { max: 64 }),
  invocations: formula,
  outputs: array(part("Output", { name, elements: integer(1, 2 ** 22), compare: Comparator }), { min: 1, max: 7 }),
  fuel: integer(1, 2 ** 24),
  golden: array(Golden, { min: 1, max: 8 }),
  fallback: bytes(),
});
type Package = Infer<typeof Package>;

/** One chunk as a device gets it. */
export interface Arrangement {
  readonly invocations: number;
  /** Empty when the kernel has none; else whole units of 16 bytes. */
  readonly uniform: Uint8Array;
  /** Empty when the kernel takes none; else at least one element. */
  readonly input: Uint8Array;
  readonly inputElements: number;
  /** Bytes of each output array, in the order in which they make up the result. */
  readonly outputs: readonly number[];
}

/** An opened package: everything in it fits together. */
export interface Task {
  readonly package: Package;
  readonly kernel: Kernel;
  /** How results are compared; null: by their bytes. */
  readonly comparison: Comparison | null;
}

/** Whether what a device has computed may be voted for: a float that is no finite number may not. */
export function isResult({ comparison }: Task, data: Uint8Array): boolean {
  return comparison === null || comparison.areArrays(data);
}

/**
 * Whether a device that makes this of a golden vector computes the task. Floats may differ by half of what votes may:
 * two devices that pass agree with each other as well.
 */
export function proves({ comparison }: Task, golden: Golden, data: Uint8Array): boolean {
  if (equal(sha256(data), golden.sha256)) return true;
  return comparison !== null && comparison.halved().areNear(golden.result, data);
}

/**
 * How results of a code blob are compared; null: by their bytes. It was opened before it was signed, or else nobody
 * computes it.
 *
 * @throws ModuleRefused when it is no package.
 */
export function readComparison(code: Uint8Array): Comparison | null {
  return comparisonOf(decoded(code));
}

function comparisonOf({ outputs }: Package): Comparison | null {
  return outputs.every(({ compare }) => compare.kind === "exact") ? null : new Comparison(outputs);
}

/**
 * The task inside a code blob.
 *
 * @throws ModuleRefused when it is no package, its kernel or its fallback is refused, or they do not fit together.
 */
export function openPackage(code: Uint8Array): Task {
  const opened = decoded(code);
  const kernel = parse(opened.source);
  match("uniform field", kernel.uniform, opened.uniform);
  match("output", kernel.outputs, opened.outputs);
  checkOutputs(kernel, opened);
  const comparison = comparisonOf(opened);
  for (const { isAtomic, family, sourceName } of kernel.outputs) {
    if (isAtomic && family === null) throw new ModuleRefused(`the atomic output ${sourceName} is never written`);
  }
  if (opened.fuel * kernel.entry.weight > WORK_MAX) {
    throw new ModuleRefused(
      `an invocation may take ${opened.fuel} turns of ${kernel.entry.weight} words: their product is at most ${WORK_MAX}`,
    );
  }
  for (const each of [opened.invocations, ...opened.uniform.map(({ value }) => value)]) {
    if (!FORMULA.test(each)) {
      throw new ModuleRefused(`${each} is not a formula: write names and whole numbers with * and / between`);
    }
  }
  for (const { result, sha256: digest } of opened.golden) {
    if (comparison === null && result.length > 0) {
      throw new ModuleRefused("a golden vector holds a result, and results are compared by their bytes");
    }
    if (comparison !== null && !(comparison.areArrays(result) && equal(sha256(result), digest))) {
      throw new ModuleRefused("a golden vector does not hold its result, with which devices' are compared");
    }
  }
  try {
    admit(opened.fallback);
  } catch (error) {
    throw error instanceof ModuleRefused ? new ModuleRefused(`the fallback is refused: ${error.message}`) : error;
  }
  return { package: opened, kernel, comparison };
}

/**
 * Devices round and rearrange floats differently: honest results of floats differ, and so do integers made of them. So
 * each number that comes out of floats is one, and comes with a tolerance.
 */
function checkOutputs(kernel: Kernel, { outputs }: Package): void {
  const within = outputs.filter(({ compare }) => compare.kind === "class").length;
  if (within > 0 && within < outputs.length) {
    throw new ModuleRefused("either every output is compared within classes of devices or none is");
  }
  for (const [position, { type }] of kernel.outputs.entries()) {
    const { name: output, compare } = outputs[position]!;
    const isExact = compare.kind === "exact";
    if (type !== "f32" && !isExact) {
      throw new ModuleRefused(`the output ${output} holds integers, which are compared exactly`);
    }
    if (type !== "f32" && kernel.usesFloats) {
      throw new ModuleRefused(
        `the output ${output} holds integers of a kernel with floats, on which devices do not agree to the bit: put ` +
          "the floats out",
      );
    }
    if (type === "f32" && isExact) {
      throw new ModuleRefused(
        `the output ${output} holds floats, on which devices do not agree to the bit: give a tolerance`,
      );
    }
  }
}

function decoded(code: Uint8Array): Package {
  try {
    return decode(Package, code);
  } catch (error) {
    throw error instanceof RemoteProtocolError ? new ModuleRefused(error.message) : error;
  }
}

function match(what: string, variables: readonly Variable[], given: readonly { readonly name: string }[]): void {
  const declared = variables.map(({ sourceName }) => sourceName).join(", ");
  const named = given.map((each) => each.name).join(", ");
  if (declared !== named) throw new ModuleRefused(`the kernel's ${what}s are ${declared}, the package's ${named}`);
}

/** What a chunk may use, and whether its input is little-endian i64s. */
export interface Bounds {
  readonly numbers: boolean;
  readonly memoryBytes: number;
  readonly outputBytes: number;
}

/**
 * How a chunk with this input is computed.
 *
 * @throws RemoteProtocolError when it cannot be, by the creator's fault: the chunk ends without a result.
 */
export function arrange(task: Task, data: Uint8Array, { numbers, memoryBytes, outputBytes }: Bounds): Arrangement {
  const { kernel, package: opened } = task;
  const known = parameters(data, numbers);
  const invocations = evaluate(opened.invocations, known);
  if (invocations < 1n || invocations > INVOCATIONS_MAX) {
    throw new RemoteProtocolError(`the chunk has ${invocations} invocations, 1 to ${INVOCATIONS_MAX} may be`);
  }
  const fields = kernel.uniform.map((variable, position) => packed(variable, opened.uniform[position]!.value, known));
  const uniform = new Uint8Array(16 * Math.ceil((WORD * fields.length) / 16));
  const view = new DataView(uniform.buffer);
  fields.forEach((value, position) => view.setUint32(WORD * position, value, true));
  const input = kernel.input === null ? new Uint8Array(0) : data;
  if (input.length % WORD !== 0) {
    throw new RemoteProtocolError(`the chunk's input has ${input.length} bytes, which are no whole words`);
  }
  const outputs = kernel.outputs.map(
    ({ isAtomic }, position) => WORD * opened.outputs[position]!.elements * (isAtomic ? 1 : Number(invocations)),
  );
  const result = outputs.reduce((sum, size) => sum + size, 0);
  const allowed = task.comparison === null ? outputBytes : Math.min(outputBytes, COMPARED_BYTES_MAX);
  if (result > allowed) throw new RemoteProtocolError(`the result has ${result} bytes, ${allowed} may be`);
  if (WORD * fields.length + input.length + result > memoryBytes) {
    throw new RemoteProtocolError(`the chunk's arrays do not fit ${memoryBytes} bytes of memory`);
  }
  return {
    invocations: Number(invocations),
    uniform,
    input: input.length === 0 && kernel.input !== null ? new Uint8Array(WORD) : input,
    inputElements: input.length / WORD,
    outputs,
  };
}

// ---- formulas

const TERM = "(?:-?[0-9]{1,19}|[a-z_]+)";
const FORMULA = new RegExp(`^${TERM}(?: ?[*/] ?${TERM})*$`);
const TOKEN = new RegExp(`${TERM}|[*/]`, "g");

/** What formulas may name, of a chunk with this input. */
function parameters(data: Uint8Array, numbers: boolean): ReadonlyMap<string, bigint> {
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  const i64 = (position: number): bigint => view.getBigInt64(8 * position, true);
  const low = (value: bigint): bigint => BigInt.asUintN(32, value);
  if (numbers && data.length === 16) {
    const [start, stop] = [i64(0), i64(1)];
    return new Map([
      ["start", start],
      ["start_low", low(start)],
      ["start_high", low(start >> 32n)],
      ["stop", stop],
      ["stop_low", low(stop)],
      ["stop_high", low(stop >> 32n)],
      ["count", stop - start],
    ]);
  }
  if (numbers && data.length === 32) {
    const names = ["x", "y", "width", "height"].map((each, position) => [each, i64(position)] as const);
    return new Map([...names, ["count", i64(2) * i64(3)]]);
  }
  return new Map([
    ["bytes", BigInt(data.length)],
    ["count", BigInt(Math.floor(data.length / WORD))],
  ]);
}

/** Products and quotients from the left; a quotient is rounded up. */
function evaluate(text: string, known: ReadonlyMap<string, bigint>): bigint {
  let operator = "*";
  let value = 1n;
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "*" || token === "/") {
      operator = token;
      continue;
    }
    const number = /[0-9]$/.test(token) ? BigInt(token) : known.get(token);
    if (number === undefined) {
      throw new RemoteProtocolError(`${token} means nothing here: there are ${[...known.keys()].join(", ")}`);
    }
    if (operator === "*") value *= number;
    else if (number <= 0n) throw new RemoteProtocolError(`${text} divides by ${number}`);
    else value = value > 0n ? (value + number - 1n) / number : value / number;
  }
  return value;
}

/** The value of a field as its word. */
function packed({ type, sourceName }: Variable, text: string, known: ReadonlyMap<string, bigint>): number {
  const value = evaluate(text, known);
  if (type === "f32") {
    if (value > FLOAT_EXACT || value < -FLOAT_EXACT) {
      throw new RemoteProtocolError(`${sourceName} is ${value}, which does not fit f32`);
    }
    return new Uint32Array(Float32Array.of(Number(value)).buffer)[0]!;
  }
  const fits = type === "u32" ? BigInt.asUintN(32, value) : BigInt.asIntN(32, value);
  if (fits !== value) throw new RemoteProtocolError(`${sourceName} is ${value}, which does not fit ${type}`);
  return Number(BigInt.asUintN(32, value));
}

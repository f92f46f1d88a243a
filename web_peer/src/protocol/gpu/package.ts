/**
 * The code blob of a GPU task (spec/gpu.md, "Package"): a kernel, how a chunk becomes its arguments, and what else is
 * needed to trust a device with it.
 *
 *     package --openPackage--> Task --arrange(input)--> Arrangement: buffers and invocations of one chunk
 */

import { array, bytes, bytes32, decode, type Infer, integer, number, part, taggedPart, text } from "../codec";
import { ModuleRefused, RemoteProtocolError } from "../errors";
import { admit } from "../wasm";
import { parse } from "./parser";
import type { Kernel, Variable } from "./syntax";

const INVOCATIONS_MAX = 2n ** 26n;
/**
 * Fuel times the kernel's words: what one invocation can take at most. A guess at about a second on a slow device, for no
 * dispatch is smaller than one workgroup, and a browser cannot stop one.
 */
const WORK_MAX = 2 ** 28;
const WORD = 4;

const name = text({ min: 1, max: 64 });
const formula = text({ min: 1, max: 100 });
const amount = number({ min: 0, max: 1e30 });

const Comparator = taggedPart("Comparator", {
  exact: {},
  ulp: { steps: integer(0, 2 ** 20), absolute: amount },
  tol: { absolute: amount, relative: amount, outliers: number({ min: 0, below: 1 }) },
});
const Package = part("Package", {
  schema: integer(1, 1),
  source: bytes(),
  uniform: array(part("Field", { name, value: formula }), { max: 64 }),
  invocations: formula,
  outputs: array(part("Output", { name, elements: integer(1, 2 ** 22), compare: Comparator }), { min: 1, max: 7 }),
  fuel: integer(1, 2 ** 24),
  golden: array(part("Golden", { input: bytes({ max: 65_536 }), sha256: bytes32 }), { min: 1, max: 8 }),
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
}

/**
 * The task inside a code blob.
 *
 * @throws ModuleRefused when it is no package, its kernel or its fallback is refused, or they do not fit together.
 */
export function openPackage(code: Uint8Array): Task {
  const opened = decoded(code);
  const kernel = parse(opened.source);
  if (kernel.usesFloats) {
    // Devices round and rearrange floats differently: honest votes would differ, and votes compare bytes.
    throw new ModuleRefused("the kernel computes with floats, on which devices do not agree to the bit: use integers");
  }
  match("uniform field", kernel.uniform, opened.uniform);
  match("output", kernel.outputs, opened.outputs);
  for (const { name: output, compare } of opened.outputs) {
    if (compare.kind !== "exact") {
      throw new ModuleRefused(`the output ${output} is compared with a tolerance, and votes compare bytes`);
    }
  }
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
  try {
    admit(opened.fallback);
  } catch (error) {
    throw error instanceof ModuleRefused ? new ModuleRefused(`the fallback is refused: ${error.message}`) : error;
  }
  return { package: opened, kernel };
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
  if (result > outputBytes) throw new RemoteProtocolError(`the result has ${result} bytes, ${outputBytes} may be`);
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
  const fits = type === "u32" ? BigInt.asUintN(32, value) : BigInt.asIntN(32, value);
  if (fits !== value) throw new RemoteProtocolError(`${sourceName} is ${value}, which does not fit ${type}`);
  return Number(BigInt.asUintN(32, value));
}

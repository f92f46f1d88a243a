/**
 * Walk the instructions of one function body: allowed opcodes, limits, and whether a NaN becomes visible.
 *
 * Types are not checked here: the engine does that. What is checked is what engines disagree about or pay dearly for.
 */

import type { Canonical } from "./nan";
import {
  CANONICAL_INSTRUCTIONS,
  SCALAR_OBSERVERS,
  VECTOR_OBSERVERS,
  VECTOR_PRODUCERS,
  isNeverNan,
  matchCanonical,
} from "./nan";
import { BRANCH_TARGETS_MAX, INSTRUCTIONS_MAX, NESTING_MAX, RuleBroken } from "./rules";

/** i32, i64, f32, f64, v128, funcref, externref. */
export const VALUE_TYPES: ReadonlySet<number> = new Set([0x7f, 0x7e, 0x7d, 0x7c, 0x7b, 0x70, 0x6f]);
export const REFERENCE_TYPES: ReadonlySet<number> = new Set([0x70, 0x6f]);
const EMPTY_BLOCK = 0x40;
const INDEX_BYTES_MAX = 5;
const I64_BYTES_MAX = 10;

/** What follows an opcode. */
type Form =
  | "forbidden"
  | "nothing"
  | "number"
  | "two numbers"
  | "block"
  | "end"
  | "branch table"
  | "memory argument"
  | "memory index"
  | "i64"
  | "f32"
  | "f64"
  | "typed select"
  | "reference type"
  | "prefix fc"
  | "prefix fd";

/** The whole numbers from `first` up to, without, `stop`. */
function range(first: number, stop: number): number[] {
  return Array.from({ length: stop - first }, (_, index) => first + index);
}

const FORMS: readonly Form[] = forms();

function forms(): Form[] {
  const table: Form[] = Array.from({ length: 256 }, () => "forbidden");
  const listed: readonly (readonly [Form, readonly number[]])[] = [
    ["nothing", [0x00, 0x01, 0x05, 0x0f, 0x1a, 0x1b, 0xd1, ...range(0x45, 0xc5)]],
    ["number", [0x0c, 0x0d, 0x10, ...range(0x20, 0x27), 0x41, 0xd2]],
    ["two numbers", [0x11]],
    ["block", [0x02, 0x03, 0x04]],
    ["end", [0x0b]],
    ["branch table", [0x0e]],
    ["memory argument", range(0x28, 0x3f)],
    ["memory index", [0x3f, 0x40]],
    ["i64", [0x42]],
    ["f32", [0x43]],
    ["f64", [0x44]],
    ["typed select", [0x1c]],
    ["reference type", [0xd0]],
    ["prefix fc", [0xfc]],
    ["prefix fd", [0xfd]],
  ];
  for (const [form, opcodes] of listed) for (const opcode of opcodes) table[opcode] = form;
  return table;
}

// Behind 0xfc: how many numbers follow. memory.init, data.drop, memory.copy, memory.fill, table.init, elem.drop,
// table.copy, table.grow, table.size, table.fill; 0 to 7 are the saturating truncations.
const FC_NUMBERS: readonly number[] = [0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2, 1, 2, 1, 2, 1, 1, 1];
// Numbers behind 0xfd that mean nothing. 0x100 and above is relaxed SIMD, whose results the engine may choose.
const FD_UNASSIGNED: ReadonlySet<number> = new Set([
  154, 162, 165, 166, 175, 176, 178, 179, 180, 187, 194, 197, 198, 207, 208, 210, 211, 212, 226, 238,
]);
const FD_MEMORY_ARGUMENT: ReadonlySet<number> = new Set([...range(0, 12), ...range(84, 94)]);
const FD_LANE: ReadonlySet<number> = new Set([...range(21, 35), ...range(84, 92)]);
const FD_SIXTEEN_BYTES: ReadonlySet<number> = new Set([12, 13]);

/**
 * Check the instructions of `body` from `position` (behind the locals) to its end.
 *
 * @returns Whether a NaN becomes visible somewhere; false when the body is canonical.
 * @throws RuleBroken when the body is malformed, uses what is not allowed, or is too large.
 */
export function showsNan(body: Uint8Array, position: number, functionIndex: number): boolean {
  return new Walk(body, position, functionIndex).run();
}

class Walk {
  readonly #body: Uint8Array;
  readonly #function: number;
  #position: number;
  #starts: number[] = [];
  #previous = -1;
  #showsNan = false;

  constructor(body: Uint8Array, position: number, functionIndex: number) {
    this.#body = body;
    this.#position = position;
    this.#function = functionIndex;
  }

  run(): boolean {
    const end = this.#body.length;
    let depth = 1;
    while (this.#position < end) {
      this.#starts.push(this.#position);
      if (this.#starts.length > INSTRUCTIONS_MAX) {
        throw new RuleBroken(
          "instructions",
          `function ${this.#function} has more than ${INSTRUCTIONS_MAX} instructions; split it`,
        );
      }
      const opcode = this.#byte();
      const form = FORMS[opcode];
      if (form === "block") {
        depth++;
        if (depth > NESTING_MAX) {
          throw new RuleBroken("nesting", `function ${this.#function} nests deeper than ${NESTING_MAX} blocks`);
        }
      } else if (form === "end") {
        depth--;
        if (depth === 0) break;
      }
      this.#immediates(form, opcode);
      const kind = SCALAR_OBSERVERS.get(opcode);
      if (kind !== undefined) this.#observed(kind);
      this.#previous = opcode;
    }
    if (depth > 0 || this.#position !== end) {
      throw new RuleBroken("malformed", `function ${this.#function} does not end where its body ends`);
    }
    return this.#showsNan;
  }

  #immediates(form: Form | undefined, opcode: number): void {
    switch (form) {
      case "nothing":
      case "end":
        return;
      case "number":
        return this.#skip(INDEX_BYTES_MAX);
      case "memory argument":
        return this.#memoryArgument();
      case "block":
        if (this.#peek() === EMPTY_BLOCK || VALUE_TYPES.has(this.#peek())) this.#position++;
        else this.#skip(INDEX_BYTES_MAX);
        return;
      case "two numbers":
        this.#skip(INDEX_BYTES_MAX);
        return this.#skip(INDEX_BYTES_MAX);
      case "i64":
        return this.#skip(I64_BYTES_MAX);
      case "f32":
        this.#position += 4;
        return;
      case "f64":
        this.#position += 8;
        return;
      case "prefix fc":
        return this.#numericAndBulk();
      case "prefix fd":
        return this.#vector();
      case "branch table":
        return this.#branchTable();
      case "memory index":
        if (this.#byte() !== 0) this.#forbid("uses a second memory");
        return;
      case "typed select":
        if (this.#number() !== 1 || !VALUE_TYPES.has(this.#byte())) this.#forbid("selects a type that is not allowed");
        return;
      case "reference type":
        if (!REFERENCE_TYPES.has(this.#byte())) this.#forbid("uses a reference type that is not allowed");
        return;
      default:
        return this.#forbid(`uses opcode 0x${opcode.toString(16).padStart(2, "0")}, which is not allowed`);
    }
  }

  #forbid(what: string): never {
    throw new RuleBroken("feature", `function ${this.#function} ${what}`);
  }

  /** The instruction just read looks at a float of this kind: it must be canonical by then. */
  #observed(kind: Canonical): void {
    if (!isNeverNan(kind, this.#previous) && !this.#canonicalBefore(kind)) this.#showsNan = true;
  }

  #canonicalBefore(kind: Canonical): boolean {
    const newest = this.#starts.length - 1;
    const first = this.#starts[newest - CANONICAL_INSTRUCTIONS];
    return first !== undefined && matchCanonical(kind, this.#body, first) === this.#starts[newest];
  }

  #vector(): void {
    const operation = this.#number();
    if (operation > 0xff) this.#forbid("uses relaxed SIMD, whose results differ between machines");
    if (FD_UNASSIGNED.has(operation)) this.#forbid(`uses the unassigned opcode 0xfd ${operation}`);
    if (FD_MEMORY_ARGUMENT.has(operation)) this.#memoryArgument();
    if (FD_LANE.has(operation)) this.#position++;
    else if (FD_SIXTEEN_BYTES.has(operation)) this.#position += 16;
    const observed = VECTOR_OBSERVERS.get(operation);
    if (observed !== undefined) this.#observed(observed);
    const produced = VECTOR_PRODUCERS.get(operation);
    if (produced !== undefined && matchCanonical(produced, this.#body, this.#position) === null) this.#showsNan = true;
  }

  #numericAndBulk(): void {
    const operation = this.#number();
    const numbers = FC_NUMBERS[operation];
    if (numbers === undefined) return this.#forbid(`uses opcode 0xfc ${operation}, which is not allowed`);
    for (let index = 0; index < numbers; index++) this.#skip(INDEX_BYTES_MAX);
  }

  #branchTable(): void {
    const count = this.#number();
    if (count > BRANCH_TARGETS_MAX) {
      throw new RuleBroken(
        "branch-targets",
        `function ${this.#function} branches to one of ${count} targets; only ${BRANCH_TARGETS_MAX} are allowed`,
      );
    }
    for (let index = 0; index <= count; index++) this.#skip(INDEX_BYTES_MAX);
  }

  #memoryArgument(): void {
    // Bit 6 names another memory; nothing aligns to more than 2**4 bytes.
    if (this.#number() > 15) this.#forbid("addresses memory in a way that is not allowed");
    this.#skip(INDEX_BYTES_MAX);
  }

  #peek(): number {
    const byte = this.#body[this.#position];
    if (byte === undefined) {
      throw new RuleBroken("malformed", `function ${this.#function} ends inside an instruction`);
    }
    return byte;
  }

  #byte(): number {
    const byte = this.#peek();
    this.#position++;
    return byte;
  }

  #number(): number {
    let value = 0;
    // Multiplied, not shifted: five bytes hold 35 bits.
    for (let place = 1; place <= 2 ** 28; place *= 128) {
      const part = this.#byte();
      value += (part & 0x7f) * place;
      if (part < 0x80) return value;
    }
    throw new RuleBroken("malformed", "a number in a function body is longer than 32 bits");
  }

  #skip(lengthMax: number): void {
    const limit = this.#position + lengthMax;
    while (this.#byte() & 0x80) {
      if (this.#position >= limit) throw new RuleBroken("malformed", "a number in a function body is too long");
    }
  }
}

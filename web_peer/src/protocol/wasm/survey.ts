/**
 * Read a module once, section by section, and hold it against every rule that rewriting cannot mend.
 *
 * `admission` asks in addition that nothing is left to rewrite.
 */

import { equal } from "../bytes";
import { REFERENCE_TYPES, VALUE_TYPES, showsNan } from "./instructions";
import { Reader } from "./reader";
import type { Rule } from "./rules";
import {
  BODY_BYTES_MAX,
  ELEMENTS_MAX,
  EXPORTS_MAX,
  FUNCTIONS_MAX,
  GLOBALS_MAX,
  IMPORTS_MAX,
  LOCALS_MAX,
  MEMORY_PAGES_MAX,
  PARAMETERS_MAX,
  RESULTS_MAX,
  RuleBroken,
  SEGMENTS_MAX,
  TYPES_MAX,
  checkCount,
} from "./rules";
import type { FunctionType } from "./wasi";
import { I32, I64, MODULE, SIGNATURES, functionType } from "./wasi";

export const HEADER = Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00);

export const Section = {
  CUSTOM: 0,
  TYPE: 1,
  IMPORT: 2,
  FUNCTION: 3,
  TABLE: 4,
  MEMORY: 5,
  GLOBAL: 6,
  EXPORT: 7,
  START: 8,
  ELEMENT: 9,
  CODE: 10,
  DATA: 11,
  DATA_COUNT: 12,
} as const;

/** The known sections in the order the binary format prescribes; custom sections may stand anywhere. */
const PARSERS: ReadonlyMap<number, (found: Survey, reader: Reader) => void> = new Map([
  [Section.TYPE, readTypes],
  [Section.IMPORT, readImports],
  [Section.FUNCTION, readFunctions],
  [Section.TABLE, readTables],
  [Section.MEMORY, readMemories],
  [Section.GLOBAL, readGlobals],
  [Section.EXPORT, readExports],
  [Section.START, readStart],
  [Section.ELEMENT, readElements],
  [Section.DATA_COUNT, readDataCount],
  [Section.CODE, readCode],
  [Section.DATA, readData],
]);
const ORDER: readonly number[] = [...PARSERS.keys()];

/** The two kinds of module (spec/modules.md, "Shapes"). */
export type Shape = "reactor" | "command";

/** How many pages or elements a memory or table has at first, and at most if it says so. */
export interface Size {
  readonly minimum: number;
  readonly maximum: number | null;
}

/** One function body: how many bytes it has, and whether it lets a NaN's bits be seen. */
export interface Body {
  readonly sizeBytes: number;
  readonly showsNan: boolean;
}

/** What a structurally sound module contains, in the order it was found. */
export interface Survey {
  hasCustomSections: boolean;
  readonly types: FunctionType[];
  readonly imports: string[];
  /** Imported functions first, then the module's own: the index space of calls and exports. */
  readonly functions: FunctionType[];
  memory: Size | null;
  table: Size | null;
  readonly exports: Map<string, { readonly kind: number; readonly index: number }>;
  readonly bodies: Body[];
}

const MEMORY_KIND = 2;
const FUNCTION_KIND = 0;
const NOTHING = functionType([], []);
const REACTOR_EXPORTS: readonly (readonly [string, FunctionType])[] = [
  ["cc_alloc", functionType([I32], [I32])],
  ["cc_run", functionType([I32, I32], [I64])],
];
const REACTOR_OPTIONAL: readonly (readonly [string, FunctionType])[] = [
  ["_initialize", NOTHING],
  ["cc_seed", functionType([I64], [])],
  ["cc_error", functionType([], [I64])],
];

/**
 * Read `module`.
 *
 * @throws RuleBroken when it is malformed or breaks a rule that rewriting cannot mend, and nothing else.
 */
export function survey(module: Uint8Array): Survey & { readonly memory: Size; readonly shape: Shape } {
  if (!equal(module.subarray(0, HEADER.length), HEADER)) {
    throw new RuleBroken("malformed", "the file is not a WebAssembly module of version 1");
  }
  const found: Survey = {
    hasCustomSections: false,
    types: [],
    imports: [],
    functions: [],
    memory: null,
    table: null,
    exports: new Map(),
    bodies: [],
  };
  const reader = new Reader(module, HEADER.length, module.length);
  let last = -1;
  while (!reader.exhausted) {
    const number = reader.byte();
    const window = reader.window(reader.u32());
    if (number === Section.CUSTOM) {
      found.hasCustomSections = true;
      continue;
    }
    const parse = PARSERS.get(number);
    if (parse === undefined) {
      throw new RuleBroken("feature", `the module has a section ${number}, which is not allowed`);
    }
    const place = ORDER.indexOf(number);
    if (place <= last) throw new RuleBroken("malformed", `section ${number} stands twice or out of order`);
    last = place;
    parse(found, window);
    window.finish(`section ${number}`);
  }
  const own = found.functions.length - found.imports.length;
  if (found.bodies.length !== own) {
    throw new RuleBroken("malformed", `the module declares ${own} functions and has ${found.bodies.length} bodies`);
  }
  const memory = ownMemory(found);
  return { ...found, memory, shape: shapeOf(found) };
}

function readTypes(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("types", count, TYPES_MAX, "types");
  for (let index = 0; index < count; index++) {
    if (reader.byte() !== 0x60) {
      throw new RuleBroken("feature", "the module declares a type that is not a function's");
    }
    const parameters = readValueTypes(reader, "parameters", PARAMETERS_MAX, "parameters in one type");
    const results = readValueTypes(reader, "results", RESULTS_MAX, "results in one type");
    found.types.push({ parameters, results });
  }
}

function readValueTypes(reader: Reader, rule: Rule, maximum: number, what: string): Uint8Array {
  const count = reader.u32();
  checkCount(rule, count, maximum, what);
  const types = reader.take(count);
  for (const valueType of types) checkValueType(valueType);
  return types;
}

function checkValueType(valueType: number): void {
  if (!VALUE_TYPES.has(valueType)) {
    throw new RuleBroken("feature", `the module uses the value type ${hexByte(valueType)}, which is not allowed`);
  }
}

function typeAt(found: Survey, index: number): FunctionType {
  const type = found.types[index];
  if (type === undefined) throw new RuleBroken("malformed", `the module names type ${index} of ${found.types.length}`);
  return type;
}

function readImports(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("imports", count, IMPORTS_MAX, "imports");
  for (let index = 0; index < count; index++) {
    const module = reader.name();
    const name = reader.name();
    const kind = reader.byte();
    const signature = SIGNATURES.get(name);
    if (module !== MODULE || kind !== FUNCTION_KIND || signature === undefined) {
      throw new RuleBroken("import", `the module imports ${quoted(module)} ${quoted(name)}, which is not offered`);
    }
    const type = typeAt(found, reader.u32());
    if (!isSameType(type, signature)) {
      throw new RuleBroken("import", `the module imports ${quoted(name)} with another type than WASI gives it`);
    }
    found.imports.push(name);
    found.functions.push(type);
  }
}

function readFunctions(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("functions", count, FUNCTIONS_MAX, "functions");
  for (let index = 0; index < count; index++) found.functions.push(typeAt(found, reader.u32()));
}

function readSize(reader: Reader): Size {
  const flags = reader.byte();
  if (flags > 1) {
    // Shared, 64-bit or with pages of another size.
    throw new RuleBroken("feature", `a memory or table has the flags ${hexByte(flags)}, which are not allowed`);
  }
  const minimum = reader.u32();
  const maximum = flags === 1 ? reader.u32() : null;
  if (maximum !== null && maximum < minimum) {
    throw new RuleBroken("malformed", "a memory's or table's maximum is below its minimum");
  }
  return { minimum, maximum };
}

function readTables(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("table", count, 1, "tables");
  for (let index = 0; index < count; index++) {
    const tableType = reader.byte();
    if (!REFERENCE_TYPES.has(tableType)) {
      throw new RuleBroken("feature", `a table holds the type ${hexByte(tableType)}, which is not allowed`);
    }
    const size = readSize(reader);
    checkCount("elements", size.minimum, ELEMENTS_MAX, "table elements");
    found.table = size;
  }
}

function readMemories(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("memory", count, 1, "memories");
  for (let index = 0; index < count; index++) {
    const size = readSize(reader);
    checkCount("memory-pages", size.minimum, MEMORY_PAGES_MAX, "pages of initial memory");
    found.memory = size;
  }
}

function readGlobals(_found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("globals", count, GLOBALS_MAX, "globals");
  for (let index = 0; index < count; index++) {
    checkValueType(reader.byte());
    if (reader.byte() > 1) throw new RuleBroken("feature", "a global has flags that are not allowed");
    readConstant(reader);
  }
}

/** One constant instruction and `end`: extended constant expressions are not understood by every engine. */
function readConstant(reader: Reader): void {
  const opcode = reader.byte();
  if (opcode === 0x41 || opcode === 0xd2) reader.skipLeb(5);
  else if (opcode === 0x42) reader.skipLeb(10);
  else if (opcode === 0x43) reader.take(4);
  else if (opcode === 0x44) reader.take(8);
  else if (opcode === 0xfd && reader.u32() === 12) reader.take(16);
  else if (opcode !== 0xd0 || !REFERENCE_TYPES.has(reader.byte())) {
    throw new RuleBroken("feature", "an initial value is not a plain constant");
  }
  if (reader.byte() !== 0x0b) throw new RuleBroken("feature", "an initial value is not a single constant");
}

function readExports(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("exports", count, EXPORTS_MAX, "exports");
  for (let position = 0; position < count; position++) {
    const name = reader.name();
    const kind = reader.byte();
    const index = reader.u32();
    if (found.exports.has(name)) throw new RuleBroken("malformed", `the module exports ${quoted(name)} twice`);
    if (kind > 3) throw new RuleBroken("feature", `the export ${quoted(name)} is of a kind that is not allowed`);
    found.exports.set(name, { kind, index });
  }
}

function readStart(found: Survey, reader: Reader): void {
  functionAt(found, reader.u32());
}

function functionAt(found: Survey, index: number): FunctionType {
  const type = found.functions[index];
  if (type === undefined) {
    throw new RuleBroken("malformed", `the module names function ${index} of ${found.functions.length}`);
  }
  return type;
}

function readElements(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("segments", count, SEGMENTS_MAX, "element segments");
  let total = 0;
  for (let segment = 0; segment < count; segment++) {
    const flags = reader.u32();
    if (flags > 7) throw new RuleBroken("malformed", `an element segment has the flags ${flags}`);
    // Bit 0: not placed at the start. Bit 1: with a table index, or declared only. Bit 2: expressions, not indices.
    if ((flags & 1) === 0) {
      if (flags & 2) reader.u32();
      readConstant(reader);
    }
    const hasExpressions = (flags & 4) !== 0;
    if (flags & 3) {
      const kind = reader.byte();
      if (hasExpressions ? !REFERENCE_TYPES.has(kind) : kind !== 0) {
        throw new RuleBroken("feature", "an element segment is of a kind that is not allowed");
      }
    }
    const length = reader.u32();
    total += length;
    checkCount("elements", total, ELEMENTS_MAX, "elements in its segments");
    for (let element = 0; element < length; element++) {
      if (hasExpressions) readConstant(reader);
      else functionAt(found, reader.u32());
    }
  }
}

function readDataCount(_found: Survey, reader: Reader): void {
  reader.u32();
}

function readData(_found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("segments", count, SEGMENTS_MAX, "data segments");
  for (let segment = 0; segment < count; segment++) {
    const flags = reader.u32();
    if (flags > 2) throw new RuleBroken("malformed", `a data segment has the flags ${flags}`);
    if (flags === 2) reader.u32();
    if (flags !== 1) readConstant(reader);
    reader.take(reader.u32());
  }
}

function readCode(found: Survey, reader: Reader): void {
  const count = reader.u32();
  checkCount("functions", count, FUNCTIONS_MAX, "function bodies");
  for (let own = 0; own < count; own++) {
    const index = found.imports.length + own;
    const type = functionAt(found, index);
    const window = reader.window(reader.u32());
    const body = window.take(window.end - window.position);
    if (body.length > BODY_BYTES_MAX) {
      throw new RuleBroken(
        "body-bytes",
        `function ${index} has ${body.length} bytes; at most ${BODY_BYTES_MAX} are allowed, so split it`,
      );
    }
    const localReader = new Reader(body, 0, body.length);
    let locals = type.parameters.length;
    const groups = localReader.u32();
    for (let group = 0; group < groups; group++) {
      locals += localReader.u32();
      checkValueType(localReader.byte());
      checkCount("locals", locals, LOCALS_MAX, `locals in function ${index}`);
    }
    found.bodies.push({ sizeBytes: body.length, showsNan: showsNan(body, localReader.position, index) });
  }
}

function ownMemory(found: Survey): Size {
  const exported = found.exports.get("memory");
  if (found.memory === null || exported?.kind !== MEMORY_KIND || exported.index !== 0) {
    throw new RuleBroken("shape", "the module has no memory of its own exported as 'memory'");
  }
  return found.memory;
}

/** Tell the shape by the exports. A command is asked for first: Go and Rust programs export both. */
function shapeOf(found: Survey): Shape {
  if (found.exports.has("_start")) {
    checkExport(found, "_start", NOTHING);
    return "command";
  }
  for (const [name, type] of REACTOR_EXPORTS) {
    if (!found.exports.has(name)) {
      throw new RuleBroken("shape", `the module exports neither '_start' nor ${quoted(name)}: it is no task`);
    }
    checkExport(found, name, type);
  }
  for (const [name, type] of REACTOR_OPTIONAL) if (found.exports.has(name)) checkExport(found, name, type);
  const [first] = found.imports;
  if (first !== undefined) {
    throw new RuleBroken("shape", `a module with 'cc_run' imports nothing, but this one imports ${quoted(first)}`);
  }
  return "reactor";
}

function checkExport(found: Survey, name: string, type: FunctionType): void {
  const exported = found.exports.get(name);
  if (exported?.kind !== FUNCTION_KIND || !isSameType(functionAt(found, exported.index), type)) {
    throw new RuleBroken("shape", `the export ${quoted(name)} is not a function of the type it must have`);
  }
}

function isSameType(left: FunctionType, right: FunctionType): boolean {
  return equal(left.parameters, right.parameters) && equal(left.results, right.results);
}

function hexByte(value: number): string {
  return `0x${value.toString(16).padStart(2, "0")}`;
}

const QUOTED_CHARACTERS_MAX = 80;
const ESCAPES: ReadonlyMap<string, string> = new Map([
  ["\\", "\\\\"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
]);

/** The beginning of a stranger's name in quotes, in printable ASCII alone, the way Python's `ascii` writes it. */
function quoted(name: string): string {
  const characters = [...name].slice(0, QUOTED_CHARACTERS_MAX);
  const quote = characters.includes("'") && !characters.includes('"') ? '"' : "'";
  return quote + characters.map((character) => escaped(character, quote)).join("") + quote;
}

function escaped(character: string, quote: string): string {
  const escape = ESCAPES.get(character);
  if (escape !== undefined) return escape;
  if (character === quote) return `\\${quote}`;
  const point = character.codePointAt(0)!;
  if (point >= 0x20 && point < 0x7f) return character;
  if (point < 0x100) return `\\x${point.toString(16).padStart(2, "0")}`;
  return point < 0x1_0000 ? `\\u${point.toString(16).padStart(4, "0")}` : `\\U${point.toString(16).padStart(8, "0")}`;
}

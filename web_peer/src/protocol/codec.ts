/**
 * Bytes to typed values and back (spec/codec.md).
 *
 * A reader and a writer of MessagePack of our own (msgpack.ts), driven by schemas: types, lengths and ranges are checked
 * while decoding, and the nesting followed is the schema's, never the sender's. Whatever is wrong with a peer's bytes
 * comes out as `RemoteProtocolError`. Decoding never produces what gets verified: signatures cover the bytes as they
 * travelled.
 */

import { LocalProtocolError } from "./errors";
import { Reader, Writer } from "./msgpack";

/** How one type travels. `Infer` is the type of its values. */
export interface Schema<T> {
  /** What to call it when it is refused. */
  readonly name: string;
  read(reader: Reader): T;
  write(writer: Writer, value: T): void;
}

export type Infer<S> = S extends Schema<infer T> ? T : never;

/** Fields in the order in which they travel. */
export interface Fields {
  readonly [field: string]: Schema<any>; // eslint-disable-line @typescript-eslint/no-explicit-any
}

type Values<F extends Fields> = { readonly [Name in keyof F]: Infer<F[Name]> };
type Union<V extends { readonly [kind: string]: Fields }> = {
  [Kind in keyof V & string]: { readonly kind: Kind } & Values<V[Kind]>;
}[keyof V & string];

interface Lengths {
  readonly min?: number;
  readonly max?: number;
}

/** Encode a typed value. */
export function encode<T>(schema: Schema<T>, value: T): Uint8Array {
  shared.length = 0;
  schema.write(shared, value);
  return shared.bytes.slice(0, shared.length);
}

/**
 * Decode exactly one value.
 *
 * @throws RemoteProtocolError when the bytes are truncated, trailing, of another shape, or out of a field's range.
 */
export function decode<T>(schema: Schema<T>, bytes: Uint8Array): T {
  const reader = new Reader(bytes, schema.name);
  const value = schema.read(reader);
  if (reader.position !== bytes.length) reader.refuse("there are bytes after the value");
  return value;
}

const shared = new Writer();
const utf8 = new TextEncoder();
// A byte order mark is text like any other; without `ignoreBOM` it would silently vanish from a signed name.
const fatalUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** An integer of at most 53 bits within a range, as a plain number. */
export function integer(min: number, max: number): Schema<number> {
  return {
    name: "integer",
    read(reader) {
      const value = reader.integer();
      if (value < min || value > max) reader.refuse(`${value} is not within ${min} and ${max}`);
      return value;
    },
    write(writer, value) {
      writer.integer(value);
    },
  };
}

export const u32: Schema<number> = integer(0, 2 ** 32 - 1);
/** Counts, sizes and times: 53 bits, so that every language, JavaScript included, reads them as a plain exact number. */
export const u53: Schema<number> = integer(0, Number.MAX_SAFE_INTEGER);

/** An integer of 64 bits and a sign within a range. */
export function bigInteger(min: bigint, max: bigint): Schema<bigint> {
  return {
    name: "integer",
    read(reader) {
      const value = reader.bigInteger();
      if (value < min || value > max) reader.refuse(`${value} is not within ${min} and ${max}`);
      return value;
    },
    write(writer, value) {
      writer.bigInteger(value);
    },
  };
}

export const I64_MIN = -(2n ** 63n);
export const I64_MAX = 2n ** 63n - 1n;
export const i64: Schema<bigint> = bigInteger(I64_MIN, I64_MAX);

/** A number, written as a float of 64 bits. NaN satisfies no range. */
export function number(
  range: { readonly above?: number; readonly min?: number; readonly max?: number; readonly below?: number } = {},
): Schema<number> {
  const { above = -Infinity, min = -Infinity, max = Infinity, below = Infinity } = range;
  const isRanged = Object.keys(range).length > 0;
  return {
    name: "number",
    read(reader) {
      const value = reader.float();
      if (isRanged && !(value > above && value >= min && value <= max && value < below)) {
        reader.refuse(`${value} is out of range`);
      }
      return value;
    },
    write(writer, value) {
      writer.float(value);
    },
  };
}

export const float: Schema<number> = number();

export const bool: Schema<boolean> = {
  name: "boolean",
  read(reader) {
    const head = reader.peek();
    if (head !== 0xc2 && head !== 0xc3) reader.refuse("a boolean was expected");
    reader.position++;
    return head === 0xc3;
  },
  write(writer, value) {
    writer.byte(value ? 0xc3 : 0xc2);
  },
};

/** Bytes, copied: keeping one id must not keep the whole frame it came in. */
export function bytes({ min = 0, max = 2 ** 32 }: Lengths = {}): Schema<Uint8Array> {
  return {
    name: "bytes",
    read(reader) {
      const length = reader.bytesHeader();
      if (length < min || length > max) reader.refuse(`${length} bytes are not within ${min} and ${max}`);
      const begin = reader.take(length);
      return reader.bytes.slice(begin, begin + length);
    },
    write(writer, value) {
      writer.binary(value);
    },
  };
}

/** A SHA-256 digest, a public key, a task id. */
export const bytes32: Schema<Uint8Array> = bytes({ min: 32, max: 32 });
/** An Ed25519 signature. */
export const bytes64: Schema<Uint8Array> = bytes({ min: 64, max: 64 });

/** Text, its length counted in code points, not in JavaScript's UTF-16 units. */
export function text({
  min = 0,
  max = 2 ** 32,
  pattern,
}: Lengths & { readonly pattern?: RegExp } = {}): Schema<string> {
  return {
    name: "text",
    read(reader) {
      const length = reader.textHeader();
      // No code point takes more than four bytes, so most of what is too long is refused unread.
      if (length > 4 * max) reader.refuse(`text of ${length} bytes is too long`);
      const begin = reader.take(length);
      let value: string;
      try {
        value = fatalUtf8.decode(reader.bytes.subarray(begin, begin + length));
      } catch {
        return reader.refuse("text is not valid UTF-8");
      }
      // Each code point takes a byte or more: most text need not be counted to know that it is not too long.
      const points = min === 0 && length <= max ? 0 : codePoints(value);
      if (points < min || points > max) reader.refuse(`text must have ${min} to ${max} characters`);
      if (pattern !== undefined && !pattern.test(value)) reader.refuse(`text must match ${pattern.source}`);
      return value;
    },
    write(writer, value) {
      writer.text(utf8.encode(value));
    },
  };
}

function codePoints(value: string): number {
  let count = 0;
  for (const _ of value) count++;
  return count;
}

/** One of some texts. */
export function literal<const T extends string>(...values: readonly T[]): Schema<T> {
  const names = values.map((value) => utf8.encode(value));
  return {
    name: "literal",
    read(reader) {
      const index = reader.nameIndex(names);
      return index < 0 ? reader.refuse(`one of ${values.join(", ")} was expected`) : values[index]!;
    },
    write(writer, value) {
      writer.text(names[values.indexOf(value)] ?? unknown(value));
    },
  };
}

function unknown(value: string): never {
  throw new LocalProtocolError(`${JSON.stringify(value)} has no place in this message`);
}

/** nil, or a value. */
export function nullable<T>(schema: Schema<T>): Schema<T | null> {
  return {
    name: schema.name,
    read(reader) {
      return reader.isNil() ? null : schema.read(reader);
    },
    write(writer, value) {
      if (value === null) writer.byte(0xc0);
      else schema.write(writer, value);
    },
  };
}

/** Any number of values of one type. */
export function array<T>(schema: Schema<T>, { min = 0, max = 2 ** 32 }: Lengths = {}): Schema<readonly T[]> {
  return {
    name: "array",
    read(reader) {
      const length = reader.arrayHeader();
      if (length < min || length > max) reader.refuse(`an array of ${length} is not within ${min} and ${max}`);
      const values: T[] = [];
      for (let index = 0; index < length; index++) values.push(schema.read(reader));
      return values;
    },
    write(writer, values) {
      writer.array(values.length);
      for (const value of values) schema.write(writer, value);
    },
  };
}

/** A fixed number of values, each of its own type. */
export function tuple<const S extends readonly Schema<any>[]>( // eslint-disable-line @typescript-eslint/no-explicit-any
  ...schemas: S
): Schema<{ readonly [Index in keyof S]: Infer<S[Index]> }> {
  type Value = { readonly [Index in keyof S]: Infer<S[Index]> };
  return {
    name: "tuple",
    read(reader) {
      const length = reader.arrayHeader();
      if (length !== schemas.length) reader.refuse(`an array of ${schemas.length} was expected`);
      const values: unknown[] = [];
      for (const schema of schemas) values.push(schema.read(reader));
      return values as unknown as Value;
    },
    write(writer, value) {
      writer.array(schemas.length);
      for (let index = 0; index < schemas.length; index++) schemas[index]!.write(writer, value[index]);
    },
  };
}

/** A record: a MessagePack array of the fields in order, no more and no fewer. */
export function struct<F extends Fields>(name: string, fields: F): Schema<Values<F>> {
  const order = layout(fields);
  return {
    name,
    read(reader) {
      const length = reader.arrayHeader();
      if (length !== order.length) reader.refuse(`an array of ${order.length} was expected`);
      return readFields(reader, order, {}) as Values<F>;
    },
    write(writer, value) {
      writer.array(order.length);
      writeFields(writer, order, value);
    },
  };
}

/** A `struct` whose kind is told by what surrounds it: values carry `kind`, the wire does not. */
export function body<const K extends string, F extends Fields>(
  kind: K,
  fields: F,
): Schema<{ readonly kind: K } & Values<F>> {
  const order = layout(fields);
  return {
    name: kind,
    read(reader) {
      const length = reader.arrayHeader();
      if (length !== order.length) reader.refuse(`an array of ${order.length} was expected`);
      return readFields(reader, order, { kind }) as { readonly kind: K } & Values<F>;
    },
    write(writer, value) {
      writer.array(order.length);
      writeFields(writer, order, value);
    },
  };
}

/** A union of structs, each an array that begins with the text of its kind. */
export function tagged<const V extends { readonly [kind: string]: Fields }>(
  name: string,
  variants: V,
): Schema<Union<V>> {
  const kinds = Object.keys(variants);
  const names = kinds.map((kind) => utf8.encode(kind));
  const orders = kinds.map((kind) => layout(variants[kind]!));
  return {
    name,
    read(reader) {
      const length = reader.arrayHeader();
      if (length === 0) reader.refuse("its kind is missing");
      const index = reader.nameIndex(names);
      if (index < 0) reader.refuse("its kind is unknown");
      const order = orders[index]!;
      if (length !== order.length + 1) reader.refuse(`an array of ${order.length + 1} was expected`);
      return readFields(reader, order, { kind: kinds[index]! }) as Union<V>;
    },
    write(writer, value) {
      const index = kinds.indexOf(value.kind);
      const order = orders[index] ?? unknown(value.kind);
      writer.array(order.length + 1);
      writer.text(names[index]!);
      writeFields(writer, order, value);
    },
  };
}

/** Part of a manifest: a map with exactly these keys, in snake case on the wire. A key's last value counts. */
export function part<F extends Fields>(name: string, fields: F): Schema<Values<F>> {
  const order = layout(fields);
  return {
    name,
    read(reader) {
      return readKeys(reader, order, {}, null) as Values<F>;
    },
    write(writer, value) {
      writer.map(order.length);
      writeKeys(writer, order, value);
    },
  };
}

/** A union of parts, told apart by the text under the key `kind`. */
export function taggedPart<const V extends { readonly [kind: string]: Fields }>(
  name: string,
  variants: V,
): Schema<Union<V>> {
  const kinds = Object.keys(variants);
  const names = kinds.map((kind) => utf8.encode(kind));
  const orders = kinds.map((kind) => layout(variants[kind]!));
  return {
    name,
    read(reader) {
      const begin = reader.position;
      const length = reader.mapHeader();
      let index = -1;
      // The kind may stand anywhere, and says what the others must be: look for it first, then read from the start.
      for (let entry = 0; entry < length && index < 0; entry++) {
        if (reader.nameIndex(KIND) < 0) {
          reader.skip();
          continue;
        }
        index = reader.nameIndex(names);
        if (index < 0) reader.refuse("its kind is unknown");
      }
      if (index < 0) reader.refuse("its kind is missing");
      reader.position = begin;
      return readKeys(reader, orders[index]!, { kind: kinds[index]! }, names[index]!) as Union<V>;
    },
    write(writer, value) {
      const index = kinds.indexOf(value.kind);
      const order = orders[index] ?? unknown(value.kind);
      writer.map(order.length + 1);
      writer.text(KIND[0]!);
      writer.text(names[index]!);
      writeKeys(writer, order, value);
    },
  };
}

const KIND = [utf8.encode("kind")];

interface Layout {
  readonly length: number;
  readonly fields: readonly string[];
  readonly schemas: readonly Schema<unknown>[];
  readonly keys: readonly Uint8Array[];
}

function layout(fields: Fields): Layout {
  const names = Object.keys(fields);
  return {
    length: names.length,
    fields: names,
    schemas: names.map((name) => fields[name]!),
    keys: names.map((name) => utf8.encode(name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`))),
  };
}

type Open = { [field: string]: unknown };

function readFields(reader: Reader, order: Layout, value: Open): Open {
  for (let index = 0; index < order.length; index++) value[order.fields[index]!] = order.schemas[index]!.read(reader);
  return value;
}

function writeFields(writer: Writer, order: Layout, value: object): void {
  for (let index = 0; index < order.length; index++) {
    order.schemas[index]!.write(writer, (value as Open)[order.fields[index]!]);
  }
}

function readKeys(reader: Reader, order: Layout, value: Open, kind: Uint8Array | null): Open {
  const length = reader.mapHeader();
  let missing = order.length;
  for (let entry = 0; entry < length; entry++) {
    const begin = reader.position;
    const index = reader.nameIndex(order.keys);
    if (index >= 0) {
      const field = order.fields[index]!;
      if (!Object.hasOwn(value, field)) missing--;
      value[field] = order.schemas[index]!.read(reader);
      continue;
    }
    reader.position = begin;
    if (kind === null || reader.nameIndex(KIND) < 0 || reader.nameIndex([kind]) < 0) {
      reader.refuse("a key does not belong here");
    }
  }
  if (missing > 0) reader.refuse("a key is missing");
  return value;
}

function writeKeys(writer: Writer, order: Layout, value: object): void {
  for (let index = 0; index < order.length; index++) {
    writer.text(order.keys[index]!);
    order.schemas[index]!.write(writer, (value as Open)[order.fields[index]!]);
  }
}

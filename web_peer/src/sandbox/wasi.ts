/**
 * The WASI preview 1 subset a command sees: one deterministic world per chunk (spec/modules.md, "WASI subset").
 *
 * Nothing here reaches the outside. The clock moves when it is read, randomness comes from the chunk's seed, and there
 * are three streams, and a place for one savepoint. Each function checks its descriptor, then its counts, then every range of memory it will touch,
 * and only then acts; a range outside memory ends the chunk without a result. executors/wasi.py says the same natively:
 * the two must not differ in anything a program can observe.
 */

import { concat } from "../protocol/bytes";
import { MODULE } from "../protocol/wasm/wasi";
import type { Keep, SavedState } from "./ended";

const SUCCESS = 0;
const BADF = 8;
const INVAL = 28;
const NOSYS = 52;
const SPIPE = 70;

/** What one reading of the clock advances it by; also its resolution. */
const TICK_NS = 1_000_000n;
const RANDOM_BYTES_MAX = 65_536;
const VECTORS_MAX = 1_024;
const SUBSCRIPTIONS_MAX = 1_024;
const SUBSCRIPTION_BYTES = 48;
const EVENT_BYTES = 32;
const CLOCKS = 4;
/** The end of what a chunk wrote to stderr goes into the detail of a failure; the rest is dropped. */
const STDERR_BYTES_KEPT = 1_024;
/** The descriptor that savepoints are read from and written to. */
const SAVEPOINT = 3;
export const SAVEPOINT_BYTES_MAX = 1024 * 1024;

const U32_MAX = 0xffff_ffff;
const U64_MAX = 0xffff_ffff_ffff_ffffn;
const RIGHT_READ = 1n << 1n;
const RIGHT_WRITE = 1n << 6n;

/** Thrown in a host function to leave the guest; the reason is kept in `Wasi`. */
export class EndOfChunk extends Error {}

type Range = readonly [start: number, length: number];

/** The guest's memory at one moment, its bytes and its numbers. Growing detaches both. */
interface View {
  readonly bytes: Uint8Array;
  readonly numbers: DataView;
}

const NO_BYTES = new Uint8Array(0);
const ASCII = new TextEncoder();

/** The host's side of one program's imports; `begin` makes it new for every chunk. */
export class Wasi {
  readonly #outputBytesMax: number;
  /** Until it is set, calls that reach memory end the chunk: no export exists yet. */
  memory: WebAssembly.Memory | null = null;
  exitCode: number | null = null;
  failure = "";
  stderr = NO_BYTES;
  #arguments: readonly Uint8Array[] = [];
  #stdin = NO_BYTES;
  #stdinPosition = 0;
  #stdout: Uint8Array[] = [];
  #stdoutBytes = 0;
  #clockNs = 0n;
  #randomState = 0n;
  #savepoint = NO_BYTES;
  #savepointPosition = 0;
  #keep: Keep | null = null;

  constructor(outputBytesMax: number) {
    this.#outputBytesMax = outputBytesMax;
  }

  /** Forget the last chunk. With a state, go on from there; `keep` is offered the states that follow. */
  begin(
    args: readonly string[],
    stdin: Uint8Array<ArrayBuffer>,
    seed: bigint,
    state: SavedState | null = null,
    keep: Keep | null = null,
  ): void {
    this.memory = null;
    this.exitCode = null;
    this.failure = "";
    this.stderr = NO_BYTES;
    this.#arguments = args.map((argument) => ASCII.encode(`${argument}\0`));
    this.#stdin = stdin;
    this.#stdinPosition = state?.stdinPosition ?? 0;
    this.#stdout = state === null ? [] : [state.output];
    this.#stdoutBytes = totalLength(this.#stdout);
    this.#clockNs = state?.clockNs ?? 0n;
    this.#randomState = BigInt.asUintN(64, state?.randomState ?? seed);
    this.#savepoint = state === null ? NO_BYTES : new Uint8Array(state.savepoint);
    this.#savepointPosition = 0;
    this.#keep = keep;
  }

  output(): Uint8Array {
    return concat(...this.#stdout);
  }

  /** What `module` imports of WASI. Functions we do not know answer `nosys`. */
  imports(module: WebAssembly.Module): WebAssembly.Imports {
    const known = this.#functions();
    const wanted = WebAssembly.Module.imports(module).filter((item) => item.module === MODULE);
    const names = wanted.map(({ name }) => name);
    return { [MODULE]: Object.fromEntries(names.map((name) => [name, known.get(name) ?? (() => NOSYS)])) };
  }

  // ---- memory

  #check(...ranges: readonly Range[]): View {
    if (this.memory === null) throw this.#end("a system call before the module was ready");
    const { buffer } = this.memory;
    for (const [start, length] of ranges) {
      if (start + length > buffer.byteLength) throw this.#end("a system call outside memory");
    }
    return { bytes: new Uint8Array(buffer), numbers: new DataView(buffer) };
  }

  #end(failure: string): EndOfChunk {
    this.failure = failure;
    return new EndOfChunk();
  }

  /** The ranges of a scatter or gather list, all of them inside memory. */
  #vectors(vectors: number, count: number, done: number): View & { readonly ranges: readonly Range[] } {
    const view = this.#check([vectors, 8 * count], [done, 4]);
    const ranges: Range[] = [];
    for (let start = vectors; start < vectors + 8 * count; start += 8) {
      ranges.push([view.numbers.getUint32(start, true), view.numbers.getUint32(start + 4, true)]);
    }
    this.#check(...ranges);
    return { ...view, ranges };
  }

  #functions(): ReadonlyMap<string, (...parameters: never[]) => number> {
    return new Map<string, (...parameters: never[]) => number>([
      ["args_sizes_get", (count: number, size: number) => this.#argsSizesGet(count >>> 0, size >>> 0)],
      ["args_get", (pointers: number, buffer: number) => this.#argsGet(pointers >>> 0, buffer >>> 0)],
      ["environ_sizes_get", (count: number, size: number) => this.#environSizesGet(count >>> 0, size >>> 0)],
      ["environ_get", () => SUCCESS],
      ["clock_res_get", (clock: number, result: number) => this.#clockResGet(clock >>> 0, result >>> 0)],
      ["clock_time_get", (clock: number, _: bigint, result: number) => this.#clockTimeGet(clock >>> 0, result >>> 0)],
      ["random_get", (start: number, count: number) => this.#randomGet(start >>> 0, count >>> 0)],
      [
        "poll_oneoff",
        (subscriptions: number, events: number, count: number, done: number) =>
          this.#pollOneoff(subscriptions >>> 0, events >>> 0, count >>> 0, done >>> 0),
      ],
      [
        "fd_read",
        (descriptor: number, vectors: number, count: number, done: number) =>
          this.#fdRead(descriptor, vectors >>> 0, count >>> 0, done >>> 0),
      ],
      [
        "fd_write",
        (descriptor: number, vectors: number, count: number, done: number) =>
          this.#fdWrite(descriptor, vectors >>> 0, count >>> 0, done >>> 0),
      ],
      ["fd_close", (descriptor: number) => (isStream(descriptor) ? SUCCESS : BADF)],
      ["fd_seek", (descriptor: number) => (isStream(descriptor) ? SPIPE : BADF)],
      ["fd_tell", (descriptor: number) => (isStream(descriptor) ? SPIPE : BADF)],
      ["fd_fdstat_get", (descriptor: number, result: number) => this.#fdFdstatGet(descriptor, result >>> 0)],
      ["fd_fdstat_set_flags", (descriptor: number) => (isStream(descriptor) ? SUCCESS : BADF)],
      ["fd_prestat_get", () => BADF],
      ["fd_prestat_dir_name", () => BADF],
      ["sched_yield", () => SUCCESS],
      ["proc_exit", (code: number) => this.#procExit(code >>> 0)],
    ]);
  }

  // ---- arguments and environment

  #argsSizesGet(count: number, size: number): number {
    const { numbers } = this.#check([count, 4], [size, 4]);
    numbers.setUint32(count, this.#arguments.length, true);
    numbers.setUint32(size, totalLength(this.#arguments), true);
    return SUCCESS;
  }

  #argsGet(pointers: number, buffer: number): number {
    const text = concat(...this.#arguments);
    const { bytes, numbers } = this.#check([pointers, 4 * this.#arguments.length], [buffer, text.length]);
    let start = buffer;
    this.#arguments.forEach((argument, index) => {
      numbers.setUint32(pointers + 4 * index, start, true);
      start += argument.length;
    });
    bytes.set(text, buffer);
    return SUCCESS;
  }

  #environSizesGet(count: number, size: number): number {
    const { numbers } = this.#check([count, 4], [size, 4]);
    numbers.setUint32(count, 0, true);
    numbers.setUint32(size, 0, true);
    return SUCCESS;
  }

  // ---- time and chance

  #clockResGet(clock: number, result: number): number {
    if (clock >= CLOCKS) return INVAL;
    this.#check([result, 8]).numbers.setBigUint64(result, TICK_NS, true);
    return SUCCESS;
  }

  #clockTimeGet(clock: number, result: number): number {
    if (clock >= CLOCKS) return INVAL;
    const { numbers } = this.#check([result, 8]);
    this.#clockNs = smaller(this.#clockNs + TICK_NS, U64_MAX);
    numbers.setBigUint64(result, this.#clockNs, true);
    return SUCCESS;
  }

  #randomGet(start: number, count: number): number {
    if (count > RANDOM_BYTES_MAX) return INVAL;
    const { bytes } = this.#check([start, count]);
    const words = new DataView(new ArrayBuffer(8 * Math.ceil(count / 8)));
    for (let position = 0; position < count; position += 8) words.setBigUint64(position, this.#randomWord(), true);
    bytes.set(new Uint8Array(words.buffer, 0, count), start);
    return SUCCESS;
  }

  /** splitmix64: what is left of a word at the end of a call is thrown away. */
  #randomWord(): bigint {
    this.#randomState = (this.#randomState + 0x9e37_79b9_7f4a_7c15n) & U64_MAX;
    let word = this.#randomState;
    word = ((word ^ (word >> 30n)) * 0xbf58_476d_1ce4_e5b9n) & U64_MAX;
    word = ((word ^ (word >> 27n)) * 0x94d0_49bb_1331_11ebn) & U64_MAX;
    return word ^ (word >> 31n);
  }

  /** Everything waited for has happened at once; only the clock moves, by what was waited for in turn. */
  #pollOneoff(subscriptions: number, events: number, count: number, done: number): number {
    if (count === 0 || count > SUBSCRIPTIONS_MAX) return INVAL;
    const { bytes, numbers } = this.#check(
      [subscriptions, SUBSCRIPTION_BYTES * count],
      [events, EVENT_BYTES * count],
      [done, 4],
    );
    const answers = new Uint8Array(EVENT_BYTES * count);
    let clockNs = this.#clockNs;
    for (let index = 0; index < count; index++) {
      const asked = subscriptions + SUBSCRIPTION_BYTES * index;
      const kind = numbers.getUint8(asked + 8);
      if (kind > 2) return INVAL;
      if (kind === 0) {
        const timeoutNs = numbers.getBigUint64(asked + 24, true);
        const isAbsolute = (numbers.getUint16(asked + 40, true) & 1) !== 0;
        clockNs = isAbsolute ? larger(clockNs, timeoutNs) : smaller(clockNs + timeoutNs, U64_MAX);
      }
      answers.set(bytes.subarray(asked, asked + 8), EVENT_BYTES * index);
      answers[EVENT_BYTES * index + 10] = kind;
    }
    this.#clockNs = clockNs;
    bytes.set(answers, events);
    numbers.setUint32(done, count, true);
    return SUCCESS;
  }

  // ---- streams

  #fdRead(descriptor: number, vectors: number, count: number, done: number): number {
    if (descriptor !== 0 && descriptor !== SAVEPOINT) return BADF;
    if (count > VECTORS_MAX) return INVAL;
    const { bytes, numbers, ranges } = this.#vectors(vectors, count, done);
    const source = descriptor === 0 ? this.#stdin : this.#savepoint;
    const begin = descriptor === 0 ? this.#stdinPosition : this.#savepointPosition;
    let position = begin;
    for (const [start, length] of ranges) {
      const piece = source.subarray(position, position + length);
      bytes.set(piece, start);
      position += piece.length;
    }
    if (descriptor === 0) this.#stdinPosition = position;
    else this.#savepointPosition = position;
    numbers.setUint32(done, position - begin, true);
    return SUCCESS;
  }

  #fdWrite(descriptor: number, vectors: number, count: number, done: number): number {
    if (descriptor !== 1 && descriptor !== 2 && descriptor !== SAVEPOINT) return BADF;
    if (count > VECTORS_MAX) return INVAL;
    const { bytes, numbers, ranges } = this.#vectors(vectors, count, done);
    const total = ranges.reduce((sum, [, length]) => sum + length, 0);
    if (total > (descriptor === SAVEPOINT ? SAVEPOINT_BYTES_MAX : U32_MAX)) return INVAL;
    if (descriptor === 1) {
      this.#stdoutBytes += total;
      if (this.#stdoutBytes > this.#outputBytesMax) throw this.#end("output limit");
      for (const [start, length] of ranges) if (length > 0) this.#stdout.push(bytes.slice(start, start + length));
    } else if (descriptor === SAVEPOINT) {
      // One write is one savepoint. Whether anybody keeps it, the program does not learn.
      this.#keep?.(() => ({
        savepoint: concat(...ranges.map(([start, length]) => bytes.slice(start, start + length))),
        output: this.output(),
        stdinPosition: this.#stdinPosition,
        clockNs: this.#clockNs,
        randomState: this.#randomState,
      }));
    } else {
      for (const [start, length] of ranges) this.#complain(bytes.subarray(start, start + length));
    }
    numbers.setUint32(done, total, true);
    return SUCCESS;
  }

  #complain(text: Uint8Array): void {
    const kept = text.subarray(Math.max(0, text.length - STDERR_BYTES_KEPT));
    this.stderr = new Uint8Array(concat(this.stderr, kept)).slice(-STDERR_BYTES_KEPT);
  }

  #fdFdstatGet(descriptor: number, result: number): number {
    if (!isStream(descriptor)) return BADF;
    const { numbers } = this.#check([result, 24]);
    // Of unknown type, like a pipe: a C library then buffers instead of writing line by line.
    numbers.setBigUint64(result, 0n, true);
    const rights = [RIGHT_READ, RIGHT_WRITE, RIGHT_WRITE, RIGHT_READ | RIGHT_WRITE][descriptor]!;
    numbers.setBigUint64(result + 8, rights, true);
    numbers.setBigUint64(result + 16, 0n, true);
    return SUCCESS;
  }

  // ---- the end

  #procExit(code: number): never {
    this.exitCode = code;
    throw new EndOfChunk();
  }
}

function isStream(descriptor: number): boolean {
  return descriptor >= 0 && descriptor <= SAVEPOINT;
}

function totalLength(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}

function smaller(left: bigint, right: bigint): bigint {
  return left < right ? left : right;
}

function larger(left: bigint, right: bigint): bigint {
  return left > right ? left : right;
}

/**
 * One chunk of a task: its input bytes and its seed (spec/manifest.md, "Split").
 *
 * `range` and `grid` need nothing but the manifest: their chunks are little-endian i64s. `calls` stand in it. `items`,
 * `lines` and `blocks` cut the inputs blob, which may be far larger than memory; so it may be given as a `Reader` instead of as bytes. Of
 * `results` the inputs blob says only which results of an earlier task a chunk gets (onward.ts).
 *
 * What is wrong with the inputs is the creator's fault, for every peer has checked the blob's hash: it comes out as
 * `RemoteProtocolError`, and equally on every peer, in every language.
 *
 * In Python this is a part of split.py; here it is apart because who only looks at a task needs none of it.
 */

import { openAddress } from "./permissions";
import { concat } from "./bytes";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { contentId } from "./identity";
import type { Manifest } from "./manifest";
import { openRefs, type ResultRef } from "./onward";
import { SHARD_CHUNKS } from "./records";
import {
  checkChunkCount,
  CHUNKS_MAX,
  COUNT_BYTES,
  countPlainly,
  END_BYTES,
  expectChunks,
  expectFit,
  type Split,
} from "./split";

/** `read(start, length)`: bytes of the inputs blob, fewer at its end. */
export type Reader = (start: number, length: number) => Uint8Array;
/** The inputs blob; null for `range`, `grid` and `calls`, which have none. */
export type Inputs = Uint8Array | Reader | null;
/** Reads results of earlier tasks, one after another. */
export type Results = (refs: readonly ResultRef[]) => Uint8Array;

const SCAN_BYTES = 1024 * 1024;
const LINE_FEED = 0x0a;

/**
 * The u64 that seeds a chunk's random numbers: the first 8 bytes, little-endian, of a hash over task and chunk.
 *
 * The hash is `contentId("cc/seed/1", task id ‖ chunk as u32 little-endian)`: equal on every peer, different in every
 * chunk, and fixed only once the task is signed, so a creator cannot choose it.
 */
export function seed(taskId: Uint8Array, chunk: number): bigint {
  const index = new Uint8Array(COUNT_BYTES);
  viewOf(index).setUint32(0, chunk, true);
  return viewOf(contentId("cc/seed/1", taskId, index)).getBigUint64(0, true);
}

/**
 * How many chunks `split` makes, as a bigint: a range can make more than a number counts. `items`, `results` and `lines`
 * can only tell with the inputs at hand.
 *
 * @throws LocalProtocolError for one of these without inputs.
 * @throws RemoteProtocolError when the table of an `items` blob does not fit the blob.
 */
export function chunkCount(split: Split, inputsSize = 0, inputs: Inputs = null): bigint {
  switch (split.kind) {
    case "items":
    case "results":
      return BigInt(openItems(inputsSize, readerOf(inputs)).count);
    case "lines":
      return BigInt(lineStarts(inputsSize, readerOf(inputs), split.perChunk).length);
    case "stream":
      return BigInt(SHARD_CHUNKS);
    default:
      return countPlainly(split, inputsSize);
  }
}

/**
 * Check the inputs blob itself: that it gives exactly `chunks` chunks, and every chunk's input is in bounds.
 *
 * A creator does this before signing and whoever opens a bundle does it once; a worker need not, since
 * `ChunkReader.read` checks the part it reads.
 *
 * @throws RemoteProtocolError when it does not. The message is one sentence.
 */
export function checkInputs(manifest: Manifest, inputs: Inputs): void {
  checkCuts(manifest, inputs);
  if (manifest.runtime !== "net" || manifest.split.kind === "results") return;
  const reader = new ChunkReader(manifest, inputs);
  for (let index = 0; index < manifest.chunks; index++) reader.read(index);
}

function checkCuts(manifest: Manifest, inputs: Inputs): void {
  const size = manifest.inputs?.size ?? 0;
  const split = manifest.split;
  if (split.kind !== "items" && split.kind !== "lines" && split.kind !== "results") {
    checkChunkCount(manifest);
    return;
  }
  let boundaries: number[];
  if (split.kind === "lines") {
    boundaries = lineStarts(size, readerOf(inputs), split.perChunk);
    boundaries.push(size);
  } else {
    boundaries = openItems(size, readerOf(inputs)).boundaries();
  }
  expectChunks(manifest.chunks, BigInt(boundaries.length - 1));
  let largest = 0;
  for (let index = 1; index < boundaries.length; index++) {
    largest = Math.max(largest, boundaries[index]! - boundaries[index - 1]!);
  }
  expectFit(largest, manifest);
  if (split.kind !== "results") return;
  const read = readerOf(inputs);
  for (let index = 1; index < boundaries.length; index++) {
    const begin = boundaries[index - 1]!;
    expectFit(sizeOf(openRefs(read(begin, boundaries[index]! - begin))), manifest);
  }
}

/** The inputs of a stream's chunks, as far as they have come. */
export type FedInputs = ReadonlyMap<number, Uint8Array>;
const NOTHING_FED: FedInputs = new Map();

/** Reads the input of any chunk of one task, and remembers where lines begin, which takes one pass to find. */
export class ChunkReader {
  private readonly size: number;
  private starts: number[] | null = null;

  constructor(
    private readonly manifest: Manifest,
    private readonly inputs: Inputs = null,
    private readonly results: Results | null = null,
    private readonly fed: FedInputs = NOTHING_FED,
  ) {
    this.size = manifest.inputs?.size ?? 0;
  }

  /**
   * The input bytes of chunk `index`.
   *
   * @throws LocalProtocolError when there is no such chunk, or a split that needs the inputs blob, or results, was given
   *   none.
   * @throws RemoteProtocolError when the inputs do not hold what the manifest says: the creator's fault. Other chunks
   *   may still be fine.
   */
  read(index: number): Uint8Array {
    const data = this.input(index);
    if (this.manifest.runtime === "net") openAddress(data, this.manifest.permissions);
    return data;
  }

  private input(index: number): Uint8Array {
    const split = this.manifest.split;
    this.expectIndex(index);
    if (split.kind === "range") {
      const begin = split.start + BigInt(index) * split.step;
      const end = begin + split.step;
      return packed(begin, end < split.stop ? end : split.stop);
    }
    if (split.kind === "grid") {
      const columns = Math.ceil(split.width / split.tileWidth);
      const x = (index % columns) * split.tileWidth;
      const y = Math.floor(index / columns) * split.tileHeight;
      const width = Math.min(split.tileWidth, split.width - x);
      const height = Math.min(split.tileHeight, split.height - y);
      return packed(BigInt(x), BigInt(y), BigInt(width), BigInt(height));
    }
    if (split.kind === "calls") {
      expectChunks(this.manifest.chunks, BigInt(split.inputs.length));
      const input = split.inputs[index]!;
      expectFit(input.length, this.manifest);
      return input;
    }
    if (split.kind === "stream") {
      const input = this.fed.get(index);
      if (input === undefined) throw new LocalProtocolError(`chunk ${index} of a stream has not been fed`);
      return input;
    }
    const [begin, end] = this.span(index);
    expectFit(end - begin, this.manifest);
    const data = readerOf(this.inputs)(begin, end - begin);
    if (data.length !== end - begin) {
      throw new RemoteProtocolError(`the inputs blob ends before the input of chunk ${index} does`);
    }
    if (split.kind !== "results") return data;
    const refs = openRefs(data);
    expectFit(sizeOf(refs), this.manifest);
    if (this.results === null) throw new LocalProtocolError(`the results that chunk ${index} takes are not at hand`);
    return this.results(refs);
  }

  /**
   * Where in the inputs blob the input of chunk `index` begins and ends: the pieces a worker has to fetch.
   *
   * Throws as `read` does; a split without inputs has no spans.
   */
  span(index: number): readonly [number, number] {
    const split = this.manifest.split;
    this.expectIndex(index);
    switch (split.kind) {
      case "range":
      case "grid":
      case "calls":
      case "stream":
        throw new LocalProtocolError(`a ${split.kind} split has no inputs blob`);
      case "blocks":
        return [index * split.size, Math.min(this.size, (index + 1) * split.size)];
      case "items":
      case "results": {
        const items = openItems(this.size, readerOf(this.inputs));
        expectChunks(this.manifest.chunks, BigInt(items.count));
        return items.span(index);
      }
      case "lines": {
        this.starts ??= lineStarts(this.size, readerOf(this.inputs), split.perChunk);
        expectChunks(this.manifest.chunks, BigInt(this.starts.length));
        return [this.starts[index]!, this.starts[index + 1] ?? this.size];
      }
    }
  }

  private expectIndex(index: number): void {
    if (!(index >= 0 && index < this.manifest.chunks)) {
      throw new LocalProtocolError(`there is no chunk ${index}: the task has ${this.manifest.chunks}`);
    }
  }
}

/** The input bytes of one chunk: `ChunkReader.read` for a caller who wants only one. */
export function chunkInput(manifest: Manifest, index: number, inputs: Inputs = null): Uint8Array {
  return new ChunkReader(manifest, inputs).read(index);
}

/** An inputs blob for an `items` split: u32 count, one u64 end offset for each item, then the items themselves. */
export function packItems(items: readonly Uint8Array[]): Uint8Array {
  const table = new Uint8Array(COUNT_BYTES + END_BYTES * items.length);
  const view = viewOf(table);
  view.setUint32(0, items.length, true);
  let end = table.length;
  for (const [index, item] of items.entries()) {
    end += item.length;
    view.setBigUint64(COUNT_BYTES + END_BYTES * index, BigInt(end), true);
  }
  return concat(table, ...items);
}

/** The table at the head of an `items` blob: where each item ends, counted from the blob's first byte. */
interface Items {
  readonly count: number;
  span(index: number): readonly [number, number];
  /** Where every item begins, and where the last one ends: checked to cover the blob without a gap. */
  boundaries(): number[];
}

function openItems(size: number, read: Reader): Items {
  const head = read(0, COUNT_BYTES);
  const count = head.length === COUNT_BYTES ? viewOf(head).getUint32(0, true) : 0;
  const tableEnd = COUNT_BYTES + END_BYTES * count;
  if (count > CHUNKS_MAX || tableEnd > size) {
    throw new RemoteProtocolError(`the inputs blob is too short for a table of ${count} items`);
  }

  function ends(first: number, length: number): DataView {
    const raw = read(COUNT_BYTES + END_BYTES * first, END_BYTES * length);
    if (raw.length !== END_BYTES * length) {
      throw new RemoteProtocolError("the inputs blob ends within its table of items");
    }
    return viewOf(raw);
  }

  return {
    count,
    span(index) {
      const begin = index === 0 ? tableEnd : endAt(ends(index - 1, 1), 0);
      const end = endAt(ends(index, 1), 0);
      if (!(tableEnd <= begin && begin <= end && end <= size)) {
        throw new RemoteProtocolError(`item ${index} lies outside the inputs blob`);
      }
      return [begin, end];
    },
    boundaries() {
      const table = [tableEnd];
      const all = ends(0, count);
      let isAscending = true;
      for (let index = 0; index < count; index++) {
        const end = endAt(all, index);
        isAscending &&= end >= table[index]!;
        table.push(end);
      }
      if (!isAscending || table[count] !== size) {
        throw new RemoteProtocolError("the items do not cover the inputs blob in order and to its end");
      }
      return table;
    },
  };
}

function sizeOf(refs: readonly ResultRef[]): number {
  return refs.reduce((sum, { size }) => sum + size, 0);
}

/** Beyond 53 bits an end comes rounded: it lies outside of every blob all the same. */
function endAt(table: DataView, index: number): number {
  return Number(table.getBigUint64(END_BYTES * index, true));
}

/** Where every chunk of `perChunk` lines begins. A last line needs no line feed; nothing after one is no line. */
function lineStarts(size: number, read: Reader, perChunk: number): number[] {
  const starts = size > 0 ? [0] : [];
  let lines = 0;
  for (let windowStart = 0; windowStart < size; windowStart += SCAN_BYTES) {
    const window = read(windowStart, SCAN_BYTES);
    for (let at = window.indexOf(LINE_FEED); at >= 0; at = window.indexOf(LINE_FEED, at + 1)) {
      lines++;
      if (lines % perChunk === 0 && windowStart + at + 1 < size) starts.push(windowStart + at + 1);
    }
  }
  return starts;
}

function readerOf(inputs: Inputs): Reader {
  if (inputs === null) throw new LocalProtocolError("the inputs blob is needed to split this task");
  return inputs instanceof Uint8Array ? (start, length) => inputs.slice(start, start + length) : inputs;
}

/** Little-endian i64s, one after another. */
function packed(...values: readonly bigint[]): Uint8Array {
  const bytes = new Uint8Array(8 * values.length);
  const view = viewOf(bytes);
  for (const [index, value] of values.entries()) view.setBigInt64(8 * index, value, true);
  return bytes;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

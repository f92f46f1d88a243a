/**
 * How a task's work is cut into chunks (spec/manifest.md, "Split"), as far as the manifest alone tells. What a chunk's
 * input is, chunks.ts says: a browser loads that later.
 */

import { array, bigInteger, bytes, bytes32, I64_MAX, i64, type Infer, integer, taggedPart } from "./codec";
import { RemoteProtocolError } from "./errors";
import type { Manifest } from "./manifest";
import { SHARD_CHUNKS } from "./records";

export const CHUNKS_MAX = 2 ** 31 - 1;
/** Chunks whose inputs a manifest may hold. */
const CALLS_MAX = 1_024;
/** The table of an `items` blob: how many, and where each ends. */
export const COUNT_BYTES = 4;
export const END_BYTES = 8;

const positive = integer(1, 2 ** 31 - 1);

/**
 * How the work is cut into chunks.
 *
 * - `range`: chunk i gets the two little-endian i64s `start + i*step` and `min(stop, start + (i+1)*step)`.
 * - `grid`: row by row, chunk i gets the four little-endian i64s x, y, width, height of its tile (edges are cut).
 * - `calls`: chunk i gets input i, as it stands here: a few small ones.
 * - `stream`: chunk i gets input i of those that the creator feeds while the task runs (feeding.ts): `chunks` at most.
 * - `items`: chunk i gets item i of the inputs blob, which begins with a table of offsets (spec/manifest.md).
 * - `lines`: chunk i gets `perChunk` lines of the inputs blob, line feeds included.
 * - `blocks`: chunk i gets bytes `i*size` to `(i+1)*size` of the inputs blob; the last block may be shorter.
 * - `results`: chunk i gets results of the tasks `of`, one after another: those that item i of the inputs blob names.
 */
export const Split = taggedPart("Split", {
  range: { start: i64, stop: i64, step: bigInteger(1n, I64_MAX) },
  grid: { width: positive, height: positive, tileWidth: positive, tileHeight: positive },
  calls: { inputs: array(bytes(), { min: 1, max: CALLS_MAX }) },
  stream: {},
  items: {},
  lines: { perChunk: positive },
  blocks: { size: positive },
  results: { of: array(bytes32, { min: 1, max: 8 }) },
});
export type Split = Infer<typeof Split>;

/** Whether a chunk's input is a few i64s (`range`, `grid`) instead of bytes of a blob. */
export function isNumbers(split: Split): boolean {
  return split.kind === "range" || split.kind === "grid";
}

/** How many chunks a split makes whose inputs need not be looked at, as a bigint: a range can make very many. */
export function countPlainly(
  split: Exclude<Split, { readonly kind: "items" | "lines" | "results" | "stream" }>,
  inputsSize: number,
): bigint {
  switch (split.kind) {
    case "range":
      return split.stop <= split.start ? 0n : ceilDiv(split.stop - split.start, split.step);
    case "grid":
      return (
        ceilDiv(BigInt(split.width), BigInt(split.tileWidth)) * ceilDiv(BigInt(split.height), BigInt(split.tileHeight))
      );
    case "calls":
      return BigInt(split.inputs.length);
    case "blocks":
      return BigInt(Math.ceil(inputsSize / split.size));
  }
}

/**
 * Check `chunks` against the split, as far as that goes without the inputs blob.
 *
 * @throws RemoteProtocolError when inputs are missing or superfluous, or no inputs of that size give that many chunks.
 */
export function checkChunkCount(manifest: Manifest): void {
  const { split, inputs, chunks } = manifest;
  if (split.kind === "stream") {
    const { epochs, onward, permissions } = manifest;
    if (chunks <= SHARD_CHUNKS && inputs === null && epochs === null && !onward && permissions.length === 0) return;
    throw new RemoteProtocolError("a stream is one shard, and has chunks of its own only");
  }
  if (split.kind === "range" || split.kind === "grid" || split.kind === "calls") {
    if (inputs !== null) {
      throw new RemoteProtocolError(`a ${split.kind} split takes no inputs, but the manifest names an inputs blob`);
    }
    expectChunks(chunks, countPlainly(split, 0));
    for (const input of split.kind === "calls" ? split.inputs : []) expectFit(input.length, manifest);
    return;
  }
  if (inputs === null) {
    throw new RemoteProtocolError(`a ${split.kind} split needs inputs, but the manifest names no inputs blob`);
  }
  if (split.kind === "blocks") {
    expectChunks(chunks, countPlainly(split, inputs.size));
    expectFit(Math.min(split.size, inputs.size), manifest);
    return;
  }
  // A line has at least one byte: its line feed.
  const possible =
    split.kind === "lines"
      ? Math.ceil(inputs.size / split.perChunk)
      : Math.floor((inputs.size - COUNT_BYTES) / END_BYTES);
  if (chunks > possible) {
    throw new RemoteProtocolError(
      `the manifest says ${chunks} chunks, but ${inputs.size} bytes of inputs cannot hold them`,
    );
  }
}

/** @throws RemoteProtocolError when a manifest says another number of chunks than its split makes. */
export function expectChunks(stated: number, derived: bigint): void {
  if (BigInt(stated) !== derived) {
    throw new RemoteProtocolError(`the manifest says ${stated} chunks, but its split makes ${derived}`);
  }
}

/** An input larger than the chunk's memory could only waste a volunteer's bandwidth. */
export function expectFit(size: number, manifest: Manifest): void {
  if (size > manifest.limits.memoryBytes) {
    throw new RemoteProtocolError(`a chunk's input of ${size} bytes is larger than the chunk's memory limit`);
  }
}

function ceilDiv(numerator: bigint, denominator: bigint): bigint {
  return (numerator + denominator - 1n) / denominator;
}

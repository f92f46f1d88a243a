/** How one chunk's execution ended, whatever executed it (spec/modules.md, "Executing a chunk"). */

import type { ChunkOutcome } from "../protocol/events";
import { Status } from "../protocol/events";

/** A `ChunkOutcome` that does not know its chunk yet. */
export type Ended = Pick<ChunkOutcome, "status" | "data" | "detail">;

/** All that a program needs to go on as if it had never stopped: its own savepoint, and what it has observed. */
export interface SavedState {
  readonly savepoint: Uint8Array;
  readonly output: Uint8Array;
  readonly stdinPosition: number;
  readonly clockNs: bigint;
  readonly randomState: bigint;
}

/** Is offered the state by which a chunk could go on, whenever its program writes a savepoint. */
export type Keep = (state: () => SavedState) => void;

/**
 * Executes one chunk in a world of its own, from its input and seed; with a state, it goes on from what `keep` was
 * offered in an earlier execution. It never throws.
 */
export type Execute = (
  data: Uint8Array,
  seed: bigint,
  state?: SavedState | null,
  keep?: Keep | null,
) => Ended | typeof NO_ROOM;

/** Nothing was executed: the browser has no place for another memory now, and may have one soon. */
export const NO_ROOM = "no room";

/** What a program's chunks may use, and whether their inputs are little-endian i64s. */
export interface Allowance {
  readonly memoryBytes: number;
  readonly outputBytes: number;
  readonly numbers: boolean;
}

/** How much of a task's error text counts, whatever the output limit. */
export const ERROR_BYTES_MAX = 4_096;

/** The engine, or admission, does not take the program. The message is the reason. */
export class Refused extends Error {}

/** Thrown inside an execution: the chunk ends without a result, and the message is the detail. */
export class NoResult extends Error {}

const NO_BYTES = new Uint8Array(0);

export function ok(data: Uint8Array): Ended {
  return { status: Status.OK, data, detail: "" };
}

/** The task itself reports an error; `text` is part of the vote, `detail` is not. */
export function taskError(text: Uint8Array, detail = ""): Ended {
  return { status: Status.TASK_ERROR, data: text, detail };
}

export function noResult(detail: string): Ended {
  return { status: Status.NO_RESULT, data: NO_BYTES, detail };
}

const NUMBER_BYTES = 8;

/**
 * The little-endian i64s of an input.
 *
 * @throws NoResult when its length is no multiple of 8.
 */
export function readNumbers(data: Uint8Array): bigint[] {
  if (data.length % NUMBER_BYTES !== 0) throw new NoResult("the input is not a row of 64-bit numbers");
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  return Array.from({ length: data.length / NUMBER_BYTES }, (_, index) => view.getBigInt64(NUMBER_BYTES * index, true));
}

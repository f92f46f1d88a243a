/**
 * Set reconciliation: two neighbours learn which record ids of a topic the other lacks (spec/reconcile.md).
 *
 *     the asking side:  ASKING --cells that decode, or all ids--> DONE
 *                         ^  |
 *                         '--' cells that do not: again with a fresh salt and twice the cells; the third time all ids
 *
 * The asking side sends a sketch of its set, from which the other reads how many ids differ, and answers with a table
 * of about twice so many cells: an invertible Bloom lookup table of its set (Goodrich and Mitzenmacher, 2011). Taking
 * our own set out of it leaves the difference. Where that would cost more than all ids, all ids are the answer. The
 * answering side keeps nothing; the asking side keeps one salt and what has come of the answer.
 *
 * Where an id falls follows from a salt drawn for each request: whoever ground its record ids before ground in vain.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal, fromHex, hex, type Hex } from "./bytes";
import { bytes, type Infer, integer, tagged, u32 } from "./codec";
import { RemoteProtocolError } from "./errors";
import type { Rng } from "./rng";

/** Ids of a topic that are compared. Of a larger set the first so many: the rest spreads as news, or not at all. */
export const SET_MAX = 262_144;
/** Requests of one reconciliation. The last is answered with all ids, which cannot fail. */
export const ATTEMPTS = 3;
const SALT_BYTES = 8;
const ID_BYTES = 32;
const FINGERPRINT_BYTES = 8;
/**
 * Counters of a sketch, a byte each. They tell the size of a difference to one part in eight (deviation sqrt(2 / 128));
 * twice as many would cost each comparison 128 bytes and save 5 bytes an id in large ones, half as many would save 64
 * bytes and make one large comparison in six cost more than 150 bytes an id.
 */
export const SKETCH_BYTES = 128;
/** A set of up to so many ids goes without a sketch: it differs from any other by nearly all of that. */
export const SMALL_SET = 16;
/** A check of four bytes and an id. */
export const CELL_BYTES = 36;
const CELL_WORDS = CELL_BYTES / 4;
/** Cells of an id, one in each quarter of the table. */
const HASHES = 4;
export const CELLS_MAX = 131_072;
export const CELLS_PER_FRAME = 1_800;
export const IDS_PER_FRAME = 2_048;

/**
 * Ids that one neighbour's requests may have us hash at once: a set of the largest size and a second attempt at half of
 * it; half a second of one core.
 */
export const ALLOWED_IDS = 400_000;
/** And in the long run: one per cent of one core. */
export const ALLOWED_IDS_PER_S = 5_000;
/** What a request costs at least: small sets must not make requests free. */
export const ALLOWED_IDS_LEAST = 100;

/** Where the digest's words for the four places begin, and the one for the check. */
const PLACES_AT = 8;
const CHECK_AT = 4;
const FINGERPRINT_AT = 24;

const salt = bytes({ min: SALT_BYTES, max: SALT_BYTES });

/** The frames of a reconciliation, by tag. */
export const RECONCILE_FRAMES = {
  /**
   * Which ids of a topic do you hold that I do not, and the other way round? `count` is what the sender holds; the
   * sketch has `SKETCH_BYTES`, or none for a small set.
   */
  reconcile: {
    topic: bytes({ max: 36 }),
    salt,
    attempt: integer(0, ATTEMPTS - 1),
    count: u32,
    fingerprint: bytes({ min: FINGERPRINT_BYTES, max: FINGERPRINT_BYTES }),
    sketch: bytes({ max: SKETCH_BYTES }),
  },
  /** The next cells of the table of the sender's set, which has `cells` in all; 0 says that the two sets are equal. */
  "reconcile-cells": { salt, cells: integer(0, CELLS_MAX), data: bytes({ max: CELLS_PER_FRAME * CELL_BYTES }) },
  /** The next of all ids that the sender holds, `count` in all, one after the other. */
  "reconcile-ids": { salt, count: integer(0, SET_MAX), data: bytes({ max: IDS_PER_FRAME * ID_BYTES }) },
} as const;

export const ReconcileFrame = tagged("Frame", RECONCILE_FRAMES);
export type ReconcileFrame = Infer<typeof ReconcileFrame>;
export type Reconcile = Extract<ReconcileFrame, { readonly kind: "reconcile" }>;
export type Answer = Exclude<ReconcileFrame, Reconcile>;

/** What two sets do not share, ascending. */
export interface Difference {
  readonly kind: "difference";
  /** The neighbour holds these and we do not: ask for them. */
  readonly missing: readonly Hex[];
  /** We hold these and the neighbour does not: offer them. */
  readonly surplus: readonly Hex[];
}

/**
 * Our side of one comparison with one neighbour, from `begin` until `received` returns a difference.
 *
 * Sets may change meanwhile: each call is given what we hold at that moment, and what came since is at most offered to
 * somebody who has it.
 */
export class Reconciliation {
  /** Names the request that is under way; null when none is. */
  salt: Uint8Array | null = null;
  private attempt = 0;
  /** The kind of answer that began to come, and its whole length in cells or ids. */
  private came: Answer["kind"] | null = null;
  private total = 0;
  private parts: Uint8Array[] = [];
  private length = 0;

  constructor(
    private readonly topic: Uint8Array,
    private readonly rng: Rng,
  ) {}

  /** The request to send first. */
  begin(ids: Iterable<Hex>): Reconcile {
    const salt = this.rng.bytes(SALT_BYTES);
    this.salt = salt;
    this.came = null;
    this.parts = [];
    this.length = 0;
    const held = takeIds(ids);
    const { fingerprint, sketch } = summary(digests(salt, packed(held)));
    const { topic, attempt } = this;
    return {
      kind: "reconcile",
      topic,
      salt,
      attempt,
      count: held.length,
      fingerprint,
      sketch: held.length > SMALL_SET ? sketch : new Uint8Array(0),
    };
  }

  /**
   * Take one frame of the answer; `ids` is what we hold now.
   *
   * Returns the difference when it is known, a request to send when the table was too small for it, and null while
   * frames are still to come, as well as for a frame of another request: it was given up, or is not ours.
   *
   * @throws RemoteProtocolError when the frames do not make up one answer. Nothing more will come of this
   * reconciliation.
   */
  received(answer: Answer, ids: Iterable<Hex>): Reconcile | Difference | null {
    const { salt } = this;
    if (salt === null || !equal(answer.salt, salt)) return null;
    this.salt = null; // Whatever is refused below ends it.
    if (!this.take(answer)) {
      this.salt = salt;
      return null;
    }
    const data = concat(...this.parts);
    this.parts = [];
    const held = takeIds(ids);
    let differing: Iterable<Hex> | null = [];
    if (answer.kind === "reconcile-ids") {
      const other = new Set<Hex>();
      for (let at = 0; at < data.length; at += ID_BYTES) other.add(hex(data.subarray(at, at + ID_BYTES)));
      for (const id of held) if (!other.delete(id)) other.add(id);
      differing = other;
    } else if (data.length > 0) {
      differing = decode(salt, data, held);
    }
    if (differing !== null) {
      const ours = new Set(held);
      const ascending = [...differing].sort();
      return {
        kind: "difference",
        missing: ascending.filter((id) => !ours.has(id)),
        surplus: ascending.filter((id) => ours.has(id)),
      };
    }
    this.attempt++;
    if (this.attempt === ATTEMPTS) {
      throw new RemoteProtocolError("a neighbour answers the last request to reconcile with cells");
    }
    return this.begin(held);
  }

  /** Add a frame to what came before; whether the answer is complete. */
  private take(answer: Answer): boolean {
    const isTable = answer.kind === "reconcile-cells";
    const total = isTable ? answer.cells : answer.count;
    const itemBytes = isTable ? CELL_BYTES : ID_BYTES;
    if (this.came === null) {
      this.came = answer.kind;
      this.total = total;
      if (isTable && total % HASHES !== 0) {
        throw new RemoteProtocolError(`a table of ${total} cells has no equal quarters`);
      }
    } else if (this.came !== answer.kind || this.total !== total) {
      throw new RemoteProtocolError("two answers to one request to reconcile");
    }
    if (answer.data.length % itemBytes !== 0 || (total > 0 && answer.data.length === 0)) {
      throw new RemoteProtocolError(`an answer of ${answer.data.length} bytes to a request to reconcile`);
    }
    this.parts.push(answer.data);
    this.length += answer.data.length;
    if (this.length > total * itemBytes) {
      throw new RemoteProtocolError("an answer to a request to reconcile is longer than it said");
    }
    return this.length === total * itemBytes;
  }
}

/**
 * What to send back for a neighbour's request, given the ids that we hold in its topic.
 *
 * It is never longer than all of our ids, and costs a hash and a few additions for each of them, whatever the request
 * says. Whoever serves strangers asks an `Allowance` first.
 *
 * @throws RemoteProtocolError when the sketch is not one.
 */
export function answer(request: Reconcile, ids: Iterable<Hex>): Answer[] {
  const { salt, sketch, attempt, count } = request;
  if (sketch.length !== 0 && sketch.length !== SKETCH_BYTES) {
    throw new RemoteProtocolError(`a sketch of ${sketch.length} bytes`);
  }
  const held = takeIds(ids);
  const least = Math.abs(count - held.length);
  const all = packed(held);
  if (attempt === ATTEMPTS - 1 || (least > 0 && !isCheaper(widthFor(least), held.length))) return allIds(salt, all);
  const hashed = digests(salt, all);
  const ours = summary(hashed);
  if (equal(ours.fingerprint, request.fingerprint)) {
    return [{ kind: "reconcile-cells", salt, cells: 0, data: new Uint8Array(0) }];
  }
  const differing = sketch.length > 0 ? Math.max(least, estimate(ours.sketch, sketch)) : count + held.length;
  const width = widthFor(differing) * 2 ** attempt;
  if (!isCheaper(width, held.length)) return allIds(salt, all);
  const table = emptyTable(width);
  for (let at = 0; at < all.length; at += ID_BYTES) toggle(table, all, hashed, at);
  return cut(tableBytes(table), CELLS_PER_FRAME * CELL_BYTES).map((data) => ({
    kind: "reconcile-cells",
    salt,
    cells: HASHES * width,
    data,
  }));
}

/** How much comparing one neighbour may ask of us: a token bucket of ids to hash. */
export class Allowance {
  private left = ALLOWED_IDS;

  constructor(private at: number) {}

  /** Whether a request over a set of so many ids may be answered now. If not, it stays without an answer. */
  spend(ids: number, now: number): boolean {
    this.left = Math.min(ALLOWED_IDS, this.left + (now - this.at) * ALLOWED_IDS_PER_S);
    this.at = now;
    const cost = Math.max(ALLOWED_IDS_LEAST, Math.min(ids, SET_MAX));
    if (this.left < cost) return false;
    this.left -= cost;
    return true;
  }
}

// ---- sets

function takeIds(ids: Iterable<Hex>): Hex[] {
  const held: Hex[] = [];
  for (const id of ids) {
    if (held.length === SET_MAX) break;
    held.push(id);
  }
  return held;
}

/** Ids one after the other. */
function packed(held: readonly Hex[]): Uint8Array {
  const all = new Uint8Array(held.length * ID_BYTES);
  for (const [index, id] of held.entries()) all.set(fromHex(id), index * ID_BYTES);
  return all;
}

function allIds(salt: Uint8Array, all: Uint8Array): Answer[] {
  const count = all.length / ID_BYTES;
  return cut(all, IDS_PER_FRAME * ID_BYTES).map((data) => ({ kind: "reconcile-ids", salt, count, data }));
}

/** Data cut for frames; one empty part of no data. */
function cut(data: Uint8Array, partBytes: number): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let start = 0; start < Math.max(1, data.length); start += partBytes) {
    parts.push(data.subarray(start, start + partBytes));
  }
  return parts;
}

// ---- where an id falls

/** All the chance that each id has in one request: eight words, used as in spec/reconcile.md, "Words". */
function digests(salt: Uint8Array, ids: Uint8Array): Uint8Array {
  // Salt and id fit one block of SHA-256. There is no domain because nothing here is signed, stored or a name.
  const block = new Uint8Array(SALT_BYTES + ID_BYTES);
  block.set(salt);
  const hashed = new Uint8Array(ids.length);
  for (let at = 0; at < ids.length; at += ID_BYTES) {
    block.set(ids.subarray(at, at + ID_BYTES), SALT_BYTES);
    hashed.set(sha256(block), at);
  }
  return hashed;
}

function summary(hashed: Uint8Array): { readonly fingerprint: Uint8Array; readonly sketch: Uint8Array } {
  const fingerprint = new Uint8Array(FINGERPRINT_BYTES);
  const sketch = new Uint8Array(SKETCH_BYTES); // Its counters wrap at 256.
  for (let at = 0; at < hashed.length; at += ID_BYTES) {
    for (let index = 0; index < FINGERPRINT_BYTES; index++) {
      fingerprint[index]! ^= hashed[at + FINGERPRINT_AT + index]!;
    }
    const chance = hashed[at + 3]!;
    sketch[chance & 127]! += chance < 128 ? 1 : -1;
  }
  return { fingerprint, sketch };
}

/**
 * About how many ids differ: what both hold cancels out, and what is left adds one to a square on average.
 *
 * Counters wrap at 256. That matters from a million ids on, where all ids are sent in any case.
 */
function estimate(ours: Uint8Array, theirs: Uint8Array): number {
  let squares = 0;
  for (let index = 0; index < SKETCH_BYTES; index++) {
    const counter = ((ours[index]! - theirs[index]!) << 24) >> 24;
    squares += counter * counter;
  }
  return squares;
}

/**
 * Cells of a quarter, for a difference estimated so: 1.85 cells an id and four more; of one id, just its four.
 *
 * Four hashes need 1.3; the rest makes up for an estimate that is too small by three deviations, and for some of the
 * bad luck of small tables, where a second request costs less than larger tables would (spec/reconcile.md, "Numbers").
 */
function widthFor(differing: number): number {
  return differing <= 1 ? 1 : 1 + Math.ceil((37 * differing) / 80);
}

/** Whether a table is worth sending instead of all ids. */
function isCheaper(width: number, count: number): boolean {
  const cells = HASHES * width;
  return cells <= CELLS_MAX && cells * CELL_BYTES < count * ID_BYTES;
}

/** A table: each cell is the exclusive or of the ids that fall into it, and of their checks; 9 words, check first. */
interface Table {
  readonly width: number;
  readonly words: Uint32Array;
}

function emptyTable(width: number): Table {
  return { width, words: new Uint32Array(HASHES * width * CELL_WORDS) };
}

function tableBytes({ words }: Table): Uint8Array {
  const data = new Uint8Array(4 * words.length);
  const view = new DataView(data.buffer);
  for (let index = 0; index < words.length; index++) view.setUint32(4 * index, words[index]!);
  return data;
}

function tableOf(data: Uint8Array): Table {
  const table = emptyTable(data.length / CELL_BYTES / HASHES);
  for (let index = 0; index < table.words.length; index++) table.words[index] = word(data, 4 * index);
  return table;
}

function word(data: Uint8Array, at: number): number {
  return ((data[at]! << 24) | (data[at + 1]! << 16) | (data[at + 2]! << 8) | data[at + 3]!) >>> 0;
}

/** The cell of an id in one quarter of the table. */
function place({ width }: Table, hashed: Uint8Array, at: number, quarter: number): number {
  return quarter * width + Math.floor((word(hashed, at + PLACES_AT + 4 * quarter) * width) / 2 ** 32);
}

/** Put the id that is at `at`, with its digest, in, or take it out. */
function toggle(table: Table, ids: Uint8Array, hashed: Uint8Array, at: number): void {
  const { words } = table;
  for (let quarter = 0; quarter < HASHES; quarter++) {
    const begin = place(table, hashed, at, quarter) * CELL_WORDS;
    words[begin]! ^= word(hashed, at + CHECK_AT);
    for (let index = 1; index < CELL_WORDS; index++) words[begin + index]! ^= word(ids, at + 4 * (index - 1));
  }
}

/**
 * The ids in which our set differs from that of a table; null when the table is too small for them.
 *
 * Whatever the table holds, at most one id a cell comes out, and five hashes a cell are computed besides one an id of
 * our set.
 */
function decode(salt: Uint8Array, data: Uint8Array, held: readonly Hex[]): Iterable<Hex> | null {
  const table = tableOf(data);
  const { words } = table;
  const ours = packed(held);
  const hashed = digests(salt, ours);
  for (let at = 0; at < ours.length; at += ID_BYTES) toggle(table, ours, hashed, at);
  const cells = HASHES * table.width;
  const found = new Set<Hex>();
  const pending = Array.from({ length: cells }, (_, index) => index);
  const id = new Uint8Array(ID_BYTES);
  const view = new DataView(id.buffer);
  for (let index = pending.pop(); index !== undefined; index = pending.pop()) {
    const begin = index * CELL_WORDS;
    if (isZero(words, begin, begin + CELL_WORDS)) continue;
    for (let at = 1; at < CELL_WORDS; at++) view.setUint32(4 * (at - 1), words[begin + at]!);
    const digest = digests(salt, id);
    if (words[begin] !== word(digest, CHECK_AT)) continue; // The sum of several. One in 2^32 of those would pass.
    const name = hex(id);
    // No set has such a table: somebody made it up to keep us busy.
    if (found.has(name) || found.size === cells) return null;
    found.add(name);
    toggle(table, id, digest, 0);
    for (let quarter = 0; quarter < HASHES; quarter++) pending.push(place(table, digest, 0, quarter));
  }
  return isZero(words, 0, words.length) ? found : null;
}

function isZero(words: Uint32Array, begin: number, end: number): boolean {
  for (let index = begin; index < end; index++) if (words[index] !== 0) return false;
  return true;
}

/**
 * Who may confirm which chunk while the creator is away: lots that anybody can check (spec/away.md, "Lots").
 *
 *     lot(worker, epoch, chunk) = hash(beacon, nonce of its admission, value of its chain for the epoch, chunk)
 *     drawn when lot < 2 ** age / workers        age: epochs since the chunk was first voted on, from 0
 *
 * Nobody but the worker can compute its lots before it shows the value; it cannot choose them, because its chain was
 * fixed before the nonce was drawn; and no friend can see who else may be drawn. The chance doubles each epoch, so that
 * a chunk is confirmed soon however few of the admitted are still there.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, fromHex, hex, type Hex } from "./bytes";
import { ChainView, lastEpoch, NO_VALUE } from "./epochs";
import type { Ledger } from "./ledger";
import { type Commit, type Reveal, SEEN_BYTES } from "./records";
import { chunksOf } from "./runs";

/** After so many doublings everybody is drawn. */
export const AGE_MAX = 17;

/** Of a guest, which has none: it could choose its lots, and what it confirms counts provisionally only. */
export const NO_NONCE = new Uint8Array(16);

const LOTS = 2 ** 32;
const LOT_DOMAIN = new TextEncoder().encode("cc/lot/1\0");

/** What lots are drawn from in an epoch without the creator: its last beacon, and how many workers there were. */
export interface Absence {
  readonly beacon: Uint8Array;
  readonly workers: number;
}

interface Drawn {
  readonly commitId: Hex;
  readonly author: Hex;
  readonly epoch: number;
  readonly link: Uint8Array;
  readonly seq: number;
}

interface Valid {
  readonly author: Hex;
  readonly epoch: number;
  readonly isBlind: boolean;
}

/** A worker's lot for one chunk, from 0 to 2^32 - 1. */
export function lot(
  task: Uint8Array,
  absence: Absence,
  nonce: Uint8Array,
  link: Uint8Array,
  chunk: number,
): number {
  const number = new Uint8Array(4);
  new DataView(number.buffer).setUint32(0, chunk);
  const digest = sha256(concat(LOT_DOMAIN, task, absence.beacon, nonce, link, number));
  return new DataView(digest.buffer, digest.byteOffset).getUint32(0);
}

/** Whether a lot is small enough for a chunk of this age. */
export function wins(number: number, absence: Absence, age: number): boolean {
  return number * Math.max(1, absence.workers) < LOTS * 2 ** Math.min(age, AGE_MAX);
}

/** Which votes of one task were made because lots chose them: a function of the ledger's records. */
export class Lots {
  private readonly length: number;
  private readonly creator: Hex;
  /** Chunk -> commits that say they were drawn. */
  private readonly drawn = new Map<number, readonly Drawn[]>();
  /** Chunk -> the first epoch in which somebody chose it. */
  private readonly begun = new Map<number, number>();
  /** Chunk -> author of a reveal -> what it had seen. */
  private readonly shown = new Map<number, Map<Hex, ReadonlySet<Hex>>>();
  private readonly chains = new Map<Hex, ChainView>();
  /** Worker -> what it showed of its chain: epoch and value. */
  private readonly links = new Map<Hex, Map<string, readonly [number, Uint8Array]>>();
  private readonly broken = new Set<Hex>();
  /** Of chunks asked for before: the drawn commits that lots did choose. What changes them forgets them. */
  private readonly valid = new Map<number, readonly Valid[]>();
  /** Worker -> how many of these were right. */
  private readonly checked = new Map<Hex, number>();

  constructor(
    private readonly ledger: Ledger,
    private readonly absence: (epoch: number) => Absence | null,
  ) {
    this.length = lastEpoch(ledger.manifest);
    this.creator = hex(ledger.manifest.creator);
  }

  /** The ledger has taken a commit. */
  committed(commitId: Hex, author: Hex, { shard, seq, epoch, link, runs }: Commit): void {
    if (this.length === 0 || author === this.creator) return;
    const isDrawn = link.length > 0;
    if (isDrawn) {
      let links = this.links.get(author);
      if (links === undefined) this.links.set(author, (links = new Map()));
      links.set(`${epoch} ${hex(link)}`, [epoch, link]);
      this.isLinked(author); // A wrong link undoes what was drawn before.
    }
    for (const chunk of chunksOf(shard, runs)) {
      this.valid.delete(chunk);
      if (isDrawn) {
        this.drawn.set(chunk, [...(this.drawn.get(chunk) ?? []), { commitId, author, epoch, link, seq }]);
      } else if (epoch < (this.begun.get(chunk) ?? Infinity) && epoch <= this.length) {
        this.begun.set(chunk, epoch);
      }
    }
  }

  /** The ledger has taken a reveal. */
  revealed(author: Hex, commit: Commit, reveal: Reveal): void {
    const seen = reveal.seen.map(hex);
    for (const chunk of chunksOf(commit.shard, commit.runs)) {
      this.valid.delete(chunk);
      let shown = this.shown.get(chunk);
      if (shown === undefined) this.shown.set(chunk, (shown = new Map()));
      const before = shown.get(author);
      shown.set(author, new Set(before === undefined ? seen : seen.filter((mark) => before.has(mark))));
    }
  }

  /** Somebody became void, or a beacon came. */
  lookAgain(): void {
    this.valid.clear();
  }

  /** A worker has joined, or was admitted: the anchor and the nonce that count may be other ones now. */
  anchored(worker: Hex): void {
    this.valid.clear();
    this.chains.delete(worker);
    this.checked.delete(worker);
    this.broken.delete(worker);
  }

  /** A checkpoint has closed all chunks of a commit. */
  forget(commitId: Hex, commit: Commit): void {
    for (const chunk of chunksOf(commit.shard, commit.runs)) {
      this.valid.delete(chunk);
      const left = (this.drawn.get(chunk) ?? []).filter((drawn) => drawn.commitId !== commitId);
      if (left.length > 0) this.drawn.set(chunk, left);
      else this.drawn.delete(chunk);
    }
  }

  /** How long a chunk has waited for a second vote; null when nobody may be drawn for it in this epoch. */
  age(chunk: number, epoch: number): number | null {
    const begun = this.begun.get(chunk);
    return begun === undefined || epoch <= begun ? null : epoch - begun - 1;
  }

  /** Whether lots choose a worker for a chunk in an epoch. Whether the link is right is not looked at. */
  isDrawn(worker: Hex, link: Uint8Array, epoch: number, chunk: number): boolean {
    const absence = this.absence(epoch);
    const age = this.age(chunk, epoch);
    if (absence === null || age === null) return false;
    const nonce = this.ledger.admits.get(worker)?.nonce ?? NO_NONCE;
    return wins(lot(this.ledger.task, absence, nonce, link, chunk), absence, age);
  }

  /**
   * Whose votes on a chunk were drawn; if `isBlind`, only those made before anybody showed a vote on it.
   *
   * Those are left out that claim an epoch later than `until`.
   */
  workers(chunk: number, isBlind: boolean, until = Infinity): Set<Hex> {
    const workers = new Set<Hex>();
    const drawn = this.drawn.get(chunk);
    if (drawn === undefined) return workers;
    let valid = this.valid.get(chunk);
    if (valid === undefined) {
      valid = drawn
        .filter(
          ({ author, epoch, link, seq }) =>
            seq > this.ledger.voidTo(author) && this.isDrawn(author, link, epoch, chunk) && this.isLinked(author),
        )
        .map((each) => ({ author: each.author, epoch: each.epoch, isBlind: this.isBlind(each, chunk) }));
      this.valid.set(chunk, valid);
    }
    for (const each of valid) if ((each.isBlind || !isBlind) && each.epoch <= until) workers.add(each.author);
    return workers;
  }

  /** How many votes were drawn blindly. */
  count(): number {
    let count = 0;
    for (const chunk of this.drawn.keys()) count += this.workers(chunk, true).size;
    return count;
  }

  /** The commits that say they were drawn for any of these chunks: those for which it matters when they came. */
  commitsOn(chunks: Iterable<number>): Set<Hex> {
    const commits = new Set<Hex>();
    for (const chunk of chunks) for (const { commitId } of this.drawn.get(chunk) ?? []) commits.add(commitId);
    return commits;
  }

  /** Whether somebody else than this worker has shown a vote on a chunk. */
  isShown(chunk: number, besides: Hex): boolean {
    const shown = this.shown.get(chunk);
    return shown !== undefined && shown.size > (shown.has(besides) ? 1 : 0);
  }

  /** Whether all that a worker showed of its chain is right. One wrong value, and it is drawn for nothing. */
  isLinked(worker: Hex): boolean {
    const links = this.links.get(worker);
    if (links === undefined) return true;
    if (this.broken.has(worker)) return false;
    if (this.checked.get(worker) === links.size) return true;
    let chain = this.chains.get(worker);
    if (chain === undefined) {
      const anchor = (this.ledger.admits.get(worker) ?? this.ledger.joins.get(worker))?.anchor ?? NO_VALUE;
      this.chains.set(worker, (chain = new ChainView(anchor, this.length)));
    }
    const view = chain;
    // Each value is looked up after the first time, and a wrong one is the last that is looked at.
    if (![...links.values()].sort((a, b) => a[0] - b[0]).every(([epoch, link]) => view.holds(epoch, link))) {
      this.broken.add(worker);
      this.valid.clear();
    }
    this.checked.set(worker, links.size);
    return !this.broken.has(worker);
  }

  // ---- inside

  /** Whether everybody who showed a vote on this chunk had seen this commit before. Void ones have no say. */
  private isBlind(drawn: Drawn, chunk: number): boolean {
    const mark = hex(fromHex(drawn.commitId).subarray(0, SEEN_BYTES));
    for (const [author, seen] of this.shown.get(chunk) ?? []) {
      if (author !== drawn.author && !this.ledger.isVoid(author) && !seen.has(mark)) return false;
    }
    return true;
  }
}

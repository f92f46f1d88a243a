/**
 * How the only source of a blob shows its pieces, so that it sends none twice while others lack others
 * (spec/blobs.md, "Seeding").
 *
 *     a piece:  UNSHOWN --to one neighbour--> SHOWN --it asks and is served--> GIVEN
 *                  ^-------- link closed --------'
 *
 * Neighbours ask for what they are shown. Once every piece has been given once, the network can do the rest, and
 * everybody is shown everything.
 */

import type { PeerId } from "./identity";
import { all, draw, members, only } from "./pieces";
import type { Rng } from "./rng";

const SHOWN_FIRST = 4;
/** Pieces shown to one neighbour and not served yet. It grows by one with each served: a fast link must not wait. */
export const SHOWN_MAX = 32;

interface Shown {
  /** What it was shown and lacks still. */
  pieces: bigint;
  has: bigint;
  width: number;
}

/** One blob that we have and, as far as we know, nobody else. */
export class Seeding {
  private given = 0n;
  private readonly shown = new Map<PeerId, Shown>();

  constructor(
    readonly count: number,
    private readonly rng: Rng,
  ) {}

  /** Whether every piece has been given. */
  get isDone(): boolean {
    return this.given === all(this.count);
  }

  /** Those that are shown pieces. */
  get neighbours(): Iterable<PeerId> {
    return this.shown.keys();
  }

  /** A neighbour wants all of the blob. */
  joined(peerId: PeerId): void {
    this.shown.set(peerId, { pieces: 0n, has: 0n, width: SHOWN_FIRST });
  }

  left(peerId: PeerId): void {
    this.shown.delete(peerId);
  }

  /** A neighbour says what it has: it need not be shown that. */
  has(peerId: PeerId, pieces: bigint): void {
    const shown = this.shown.get(peerId);
    if (shown === undefined) return;
    shown.has |= pieces & all(this.count);
    shown.pieces &= ~pieces;
  }

  /** A piece goes to a neighbour now. */
  served(peerId: PeerId, index: number): void {
    this.given |= only(index);
    this.has(peerId, only(index));
    const shown = this.shown.get(peerId);
    if (shown !== undefined) shown.width = Math.min(SHOWN_MAX, shown.width + 1);
  }

  /**
   * Pieces to show to a neighbour now, besides those it was shown.
   *
   * They are such as nobody was shown; where there are none left, and it has nothing to ask for, such as others are
   * slow to ask for.
   */
  show(peerId: PeerId): number[] {
    const shown = this.shown.get(peerId);
    if (shown === undefined) return [];
    let others = 0n;
    for (const { pieces } of this.shown.values()) others |= pieces;
    let lacking = all(this.count) & ~this.given & ~shown.has & ~shown.pieces;
    const room = shown.width - [...members(shown.pieces)].length;
    const fresh: number[] = [];
    while (room > fresh.length && lacking !== 0n) {
      const unshown = lacking & ~others;
      if (unshown === 0n && (fresh.length > 0 || shown.pieces !== 0n)) break;
      const index = draw(unshown === 0n ? lacking : unshown, this.count, this.rng);
      lacking &= ~only(index);
      others |= only(index);
      fresh.push(index);
    }
    for (const index of fresh) shown.pieces |= only(index);
    return fresh;
  }
}

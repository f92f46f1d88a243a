/**
 * Which pieces of one blob each neighbour has, and which of them are the rarest (spec/blobs.md, "Which piece").
 *
 * How many neighbours have a piece is a number of few bits. Bit k of all these numbers stands in `planes[k]`, a set of
 * pieces: so the rarest pieces of any set are found in as many steps as there are planes, however many pieces there
 * are.
 */

import type { PeerId } from "./identity";

/** Sets of pieces (pieces.ts) by neighbour. */
export class Availability {
  private readonly sets = new Map<PeerId, bigint>();
  private readonly planes: bigint[] = [];

  /** What this neighbour has. */
  of(peerId: PeerId): bigint {
    return this.sets.get(peerId) ?? 0n;
  }

  /** This neighbour says that it has these. */
  has(peerId: PeerId, pieces: bigint): void {
    const known = this.of(peerId);
    this.sets.set(peerId, known | pieces);
    let carry = pieces & ~known;
    for (let place = 0; carry !== 0n; place++) {
      const plane = this.planes[place] ?? 0n;
      this.planes[place] = plane ^ carry;
      carry &= plane;
    }
  }

  /** This neighbour has gone, or has nothing any more. */
  drop(peerId: PeerId): void {
    let borrow = this.of(peerId);
    this.sets.delete(peerId);
    for (let place = 0; borrow !== 0n; place++) {
      const plane = this.planes[place]!;
      this.planes[place] = plane ^ borrow;
      borrow &= ~plane;
    }
  }

  /** Those of a set that the fewest neighbours have. */
  rarest(pieces: bigint): bigint {
    let rarest = pieces;
    for (let place = this.planes.length - 1; place >= 0; place--) {
      const rarer = rarest & ~this.planes[place]!;
      if (rarer !== 0n) rarest = rarer;
    }
    return rarest;
  }
}

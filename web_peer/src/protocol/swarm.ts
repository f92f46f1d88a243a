/**
 * One blob with a known root that we fetch piece by piece, from all neighbours that have some (spec/blobs.md).
 *
 *     a piece:  LACKING --rarest, of a neighbour with room--> ASKED --its proof holds--> HERE, told to the others
 *                  ^---- link closed, too late ----------------'
 *                        a neighbour with nothing else for us is asked for it, too; who comes second is called off
 *
 * How much is asked of a neighbour at a time follows from how long it takes: about what it gives in `ASK_AHEAD_S`.
 */

import { Availability } from "./availability";
import type { ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import type { BlobPiece, Frame } from "./frames";
import type { Addressed } from "./gossip";
import type { PeerId } from "./identity";
import { all, contains, draw, members, only, type Partial } from "./pieces";
import type { Rng } from "./rng";

/** A piece should come this soon after it was asked for. Less leaves links idle, more asks for what others give sooner. */
const ASK_AHEAD_S = 0.5;
const FIRST_WINDOW = 2;
/** What came is told to neighbours this soon, several pieces together. */
const TELL_WITHIN_S = 0.1;
/** A piece asked for this long ago may be asked of a second neighbour, if that has nothing else for us. */
export const TWICE_AFTER_S = 0.5;
const TOLD_MAX = 256;
const HAVE_BYTES = 8_192;

/** What is here of a blob of `count` pieces, in as few frames as hold it. */
export function haveFrames(digest: Uint8Array, count: number, here: bigint): Frame[] {
  const bits = new Uint8Array(Math.ceil(count / 8));
  for (const index of members(here)) bits[index >> 3]! |= 1 << (index & 7);
  const frames: Frame[] = [];
  for (let start = 0; start < bits.length; start += HAVE_BYTES) {
    frames.push({ kind: "blob-have", sha256: digest, first: 8 * start, bits: bits.slice(start, start + HAVE_BYTES) });
  }
  return frames;
}

/** The pieces that a `blob-have` names. */
export function piecesIn(first: number, bits: Uint8Array): bigint {
  let digits = "0x0";
  for (let at = bits.length - 1; at >= 0; at--) digits += bits[at]!.toString(16).padStart(2, "0");
  return BigInt(digits) << BigInt(first);
}

/** A neighbour that has something of the blob, or may have. */
interface Giver {
  window: number;
  readonly asked: Map<number, number>;
  isLate: boolean;
}

/** One blob being fetched. The exchange finds the neighbours and performs the frames. */
export class Swarm {
  /** Neighbours that are told what we get. */
  readonly followers = new Set<PeerId>();
  isWhole = false;
  private readonly availability = new Availability();
  private wanted = 0n;
  private readonly givers = new Map<PeerId, Giver>();
  /** Pieces asked of one neighbour at least, and not late; and of two. */
  private once = 0n;
  private twice = 0n;
  /** When each of these was first asked for. */
  private readonly askedAt = new Map<number, number>();
  private news: number[] = [];
  private tellAt = Infinity;
  /** When a neighbour with room may be asked for what another was asked for before. */
  private againAt = Infinity;
  /** No piece is late before. */
  private lateAt = Infinity;
  private stuckSince: number | null;

  constructor(
    private readonly config: ProtocolConfig,
    readonly partial: Partial,
    private readonly rng: Rng,
    now: number,
  ) {
    this.stuckSince = now;
  }

  /** What we want and do not have. */
  get lacking(): bigint {
    return this.wanted & ~this.partial.here;
  }

  /** Get these pieces besides those wanted before. */
  want(pieces: bigint): void {
    this.wanted |= pieces;
  }

  /** Get every piece. */
  wantAll(): void {
    this.isWhole = true;
    this.wanted = all(this.partial.count);
  }

  // ---- what neighbours say

  /**
   * A neighbour has these pieces.
   *
   * @throws RemoteProtocolError when the blob has no such pieces.
   */
  has(peerId: PeerId, pieces: bigint): void {
    const { count } = this.partial;
    if (pieces >> BigInt(count) !== 0n) throw new RemoteProtocolError(`the blob has ${count} pieces, not more`);
    if (!this.givers.has(peerId)) this.givers.set(peerId, { window: FIRST_WINDOW, asked: new Map(), isLate: false });
    this.availability.has(peerId, pieces);
  }

  /** A neighbour has nothing for us (any more). */
  drop(peerId: PeerId): void {
    this.availability.drop(peerId);
    this.followers.delete(peerId);
    if (this.givers.delete(peerId)) this.recount();
  }

  /** Whether this neighbour was asked for this piece, and it is not here. */
  expects(peerId: PeerId, index: number): boolean {
    return this.givers.get(peerId)?.asked.has(index) ?? false;
  }

  /**
   * Take a piece that was asked for.
   *
   * @throws RemoteProtocolError when it is not what its proof says. Nothing more is asked of this neighbour.
   */
  received(peerId: PeerId, { index, data, proof }: BlobPiece, now: number): Addressed[] {
    const giver = this.givers.get(peerId)!;
    const tookS = now - giver.asked.get(index)!;
    giver.asked.delete(index);
    let isNew: boolean;
    try {
      isNew = this.partial.add(index, data, proof);
    } catch (error) {
      if (error instanceof RemoteProtocolError) this.drop(peerId);
      throw error;
    }
    if (giver.isLate) {
      giver.isLate = false;
      this.recount();
      this.lateAt = Math.min(this.lateAt, now + this.config.blobTimeoutS);
    }
    if (tookS < ASK_AHEAD_S) giver.window = Math.min(this.config.blobWindow, giver.window + 1);
    else if (tookS > 2 * ASK_AHEAD_S) giver.window = Math.max(1, giver.window - 1);
    if (!isNew) return [];
    this.stuckSince = null;
    this.news.push(index);
    this.tellAt = Math.min(this.tellAt, now + TELL_WITHIN_S);
    const callsOff: Addressed[] = [];
    for (const [otherId, other] of this.givers) {
      if (!other.asked.delete(index)) continue;
      callsOff.push([otherId, { kind: "blob-cancel", sha256: this.partial.digest, pieces: [index] }]);
    }
    this.once &= ~only(index);
    this.twice &= ~only(index);
    this.askedAt.delete(index);
    return callsOff;
  }

  // ---- what we say

  /** Ask these neighbours for what they have, as far as they have room. */
  ask(now: number, peerIds: Iterable<PeerId> = [...this.givers.keys()]): Addressed[] {
    const { lacking } = this;
    const wants: Addressed[] = [];
    if (lacking === 0n) {
      this.stuckSince = null;
      return wants;
    }
    for (const peerId of peerIds) {
      const giver = this.givers.get(peerId);
      if (giver === undefined || giver.isLate) continue;
      const offered = this.availability.of(peerId) & lacking;
      while (giver.asked.size < giver.window) {
        const index = this.next(offered, giver, now);
        if (index === null) break;
        giver.asked.set(index, now);
        this.lateAt = Math.min(this.lateAt, now + this.config.blobTimeoutS);
        wants.push([peerId, { kind: "blob-want", sha256: this.partial.digest, first: index, count: 1 }]);
      }
    }
    if (this.stuckSince === null && [...this.givers.values()].every(({ asked }) => asked.size === 0)) {
      this.stuckSince = now;
    }
    return wants;
  }

  private next(offered: bigint, giver: Giver, now: number): number | null {
    const fresh = offered & ~this.once;
    if (fresh !== 0n) {
      const index = draw(this.availability.rarest(fresh), this.partial.count, this.rng);
      this.once |= only(index);
      this.askedAt.set(index, now);
      return index;
    }
    for (const index of members(offered & this.once & ~this.twice)) {
      if (giver.asked.has(index)) continue;
      const allowedAt = this.askedAt.get(index)! + TWICE_AFTER_S;
      if (now >= allowedAt) {
        this.twice |= only(index);
        return index;
      }
      this.againAt = Math.min(this.againAt, allowedAt);
    }
    return null;
  }

  /** Tell followers what came, when it is time or all has come. */
  tell(now: number): Addressed[] {
    if (now < this.tellAt && !(this.partial.isComplete && this.news.length > 0)) return [];
    const { news } = this;
    this.news = [];
    this.tellAt = Infinity;
    const frames: Addressed[] = [];
    for (let start = 0; start < news.length; start += TOLD_MAX) {
      const pieces = news.slice(start, start + TOLD_MAX);
      for (const peerId of this.followers) {
        if (this.availability.of(peerId) === all(this.partial.count)) continue;
        frames.push([peerId, { kind: "blob-got", sha256: this.partial.digest, pieces }]);
      }
    }
    return frames;
  }

  // ---- time

  /** Let time pass. True when nobody has had anything for us for a while. */
  advance(now: number): boolean {
    if (now >= this.againAt) this.againAt = Infinity;
    if (now >= this.lateAt) this.markLate(now);
    if (this.stuckSince === null || now < this.stuckSince + this.config.blobTimeoutS) return false;
    this.stuckSince = now;
    return true;
  }

  wakeAt(): number {
    const stuckAt = this.stuckSince === null ? Infinity : this.stuckSince + this.config.blobTimeoutS;
    return Math.min(this.tellAt, this.againAt, this.lateAt, stuckAt);
  }

  // ---- inside

  /**
   * Of who has not sent in time what it was asked for nothing more is asked until something comes from it.
   *
   * What it was asked for may be asked of others. If it comes all the same, it is taken.
   */
  private markLate(now: number): void {
    this.lateAt = Infinity;
    for (const giver of this.givers.values()) {
      const oldest = giver.asked.values().next().value;
      if (giver.isLate || oldest === undefined) continue;
      const lateAt = oldest + this.config.blobTimeoutS;
      giver.isLate = lateAt <= now;
      if (!giver.isLate) this.lateAt = Math.min(this.lateAt, lateAt);
    }
    this.recount();
  }

  private recount(): void {
    this.once = this.twice = 0n;
    this.askedAt.clear();
    for (const { asked, isLate } of this.givers.values()) {
      if (isLate) continue;
      for (const [index, at] of asked) {
        if (contains(this.once, index)) this.twice |= only(index);
        this.once |= only(index);
        this.askedAt.set(index, Math.min(at, this.askedAt.get(index) ?? at));
      }
    }
  }
}

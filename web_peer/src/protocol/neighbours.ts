/**
 * Whom to be connected with (spec/session.md, "Neighbours").
 *
 *     KNOWN --dial--> DIALLING --link--> LINKED
 *       ^                |                  |
 *       '---- back off --+------ closed ----'
 *
 * A peer is dialled through a neighbour that named it, through another if that fails, and in the end through the
 * signaling server.
 *
 * Peers that all have as many links as they want would never dial again, and two halves of a network that were cut
 * apart and filled their links among themselves would stay apart. So whoever lacks nothing pays a visit now and then:
 *
 *     LINKED enough --a minute--> dial one peer we are not linked with --link--> leave the link of the visit before
 *
 * or, as often, an older link of ours, which mixes the network. The two oldest links we dialled are never left.
 */

import type { ProtocolConfig } from "./config";
import type { PeerId } from "./identity";
import { type Rng, sample } from "./rng";

const KNOWN_MAX = 1_000;
const WANTED_MAX = 1_000;
/**
 * Peers that are dialled because they have something we need: who names the makers of a thousand results can make all of
 * them up, and each dial is a connection in the making. As many as we may be linked with.
 */
const WANTED_AT_ONCE = 32;
const REDIAL_MAX_S = 60;
const FAILURES_MAX = 8;

/** Neighbours remembered as having named one peer. */
const INTRODUCERS_MAX = 4;

/** A neighbour with so many failed introductions in a row is believed no more while its link lasts. */
const FAILED_INTRODUCTIONS_MAX = 8;

/** The oldest links that we dialled, never left for another: nobody else chose them (eclipse). */
const OURS_KEPT = 2;

/** How often a visit replaces an older link and not the one of the visit before. */
const SWAP_SHARE = 0.5;

interface Known {
  dialAt: number;
  failures: number;
  dialling: boolean;
  introducers: readonly PeerId[];
  /** The neighbour by way of which it is being dialled; null: the signaling server. */
  through: PeerId | null;
}

/** Whom to dial, and by way of which neighbour; null: of the signaling server. */
export interface Dial {
  readonly peerId: PeerId;
  readonly through: PeerId | null;
}

function knownSince(now: number, introducers: readonly PeerId[] = []): Known {
  return { dialAt: now, failures: 0, dialling: false, introducers, through: null };
}

/** Known peers and the links to some of them; says whom to dial next. */
export class Neighbours {
  private readonly config: ProtocolConfig;
  private readonly rng: Rng;
  /** While a large blob is fetched more links are wanted: each link may be slow, and many ways carry more. */
  isMoving = false;
  private readonly known = new Map<PeerId, Known>();
  /** The oldest first; whether we dialled it. */
  private readonly linked = new Map<PeerId, boolean>();
  private readonly wanted = new Set<PeerId>();
  private readonly failedIntroductions = new Map<PeerId, number>();
  private visitAt: number;
  private visiting: PeerId | null = null;
  /** The link of the last visit. */
  private visited: PeerId | null = null;

  constructor(config: ProtocolConfig, rng: Rng, now: number) {
    this.config = config;
    this.rng = rng;
    this.visitAt = this.nextVisit(now);
  }

  private get target(): number {
    return this.isMoving ? this.config.blobNeighbours : this.config.neighboursTarget;
  }

  /** Whether we have fewer links than we want. */
  get isLacking(): boolean {
    return this.linked.size < this.target;
  }

  /** Whether a linked neighbour's introductions are worth trying. */
  introduces(peerId: PeerId): boolean {
    return (this.failedIntroductions.get(peerId) ?? 0) < FAILED_INTRODUCTIONS_MAX;
  }

  /** Whether this link is a visit: its neighbours may be strangers to all of ours. */
  isVisited(peerId: PeerId): boolean {
    return peerId === this.visited;
  }

  /** The signaling server names these. */
  discovered(peerIds: Iterable<PeerId>, now: number): void {
    for (const peerId of peerIds) {
      if (this.known.size < KNOWN_MAX && !this.known.has(peerId)) this.known.set(peerId, knownSince(now));
    }
  }

  /** A neighbour is linked with these. Whether any of them was not known before. */
  introduced(peerIds: Iterable<PeerId>, by: PeerId, now: number): boolean {
    const before = this.known.size;
    for (const peerId of peerIds) {
      if (this.linked.has(peerId) || (!this.known.has(peerId) && this.known.size >= KNOWN_MAX)) continue;
      const known = this.known.get(peerId) ?? knownSince(now);
      this.known.set(peerId, known);
      if (!known.introducers.includes(by)) {
        known.introducers = [...known.introducers, by].slice(-INTRODUCERS_MAX);
        known.dialAt = Math.min(known.dialAt, now);
      }
    }
    return this.known.size > before;
  }

  /** This very peer is needed (it has a result): dial it beyond the target, unless too many are. */
  want(peerId: PeerId, now: number): void {
    if (!this.linked.has(peerId) && this.wanted.size < WANTED_MAX) {
      this.wanted.add(peerId);
      if (!this.known.has(peerId)) this.known.set(peerId, knownSince(now));
    }
  }

  /** A link is up. Which others to close because it takes the place of one; null: there are too many, close this one. */
  opened(peerId: PeerId, now: number, dialled: boolean): readonly PeerId[] | null {
    const known = this.known.get(peerId);
    if (known !== undefined && known.through !== null) this.failedIntroductions.delete(known.through);
    this.known.set(peerId, knownSince(now, known?.introducers));
    this.wanted.delete(peerId);
    if (this.linked.size >= this.config.neighboursMax) return null;
    this.linked.set(peerId, dialled);
    if (peerId !== this.visiting) return [];
    this.visiting = null;
    return this.arrived(peerId);
  }

  /** A link is down, or a dial failed: try the next way at once, or again later, each time twice as late. */
  closed(peerId: PeerId, now: number): void {
    this.linked.delete(peerId);
    if (peerId === this.visiting) this.visiting = null;
    if (peerId === this.visited) this.visited = null;
    this.failedIntroductions.delete(peerId);
    const known = this.known.get(peerId) ?? knownSince(now);
    this.known.set(peerId, known);
    known.dialling = false;
    if (known.through !== null) {
      const introducer = known.through;
      known.through = null;
      known.introducers = known.introducers.filter((other) => other !== introducer);
      if (this.linked.has(introducer)) {
        this.failedIntroductions.set(introducer, (this.failedIntroductions.get(introducer) ?? 0) + 1);
      }
      known.dialAt = now;
      return;
    }
    const pauseS = Math.min(REDIAL_MAX_S, this.config.redialAfterS * 2 ** known.failures);
    known.failures += 1;
    known.dialAt = now + pauseS * (0.5 + this.rng.random());
    // Strangers that come and go with ever new identities must not fill our memory either.
    if (known.failures > FAILURES_MAX || this.known.size > KNOWN_MAX) {
      this.known.delete(peerId);
      this.wanted.delete(peerId);
    }
  }

  /** Whom to dial now, and through whom: wanted ones, others at random until the target is reached, a visit. */
  dials(now: number): Dial[] {
    const visits = now >= this.visitAt;
    if (visits) this.visitAt = this.nextVisit(now);
    if (this.isSatisfied() && !visits) return [];
    const chosen: PeerId[] = [];
    const others: PeerId[] = [];
    for (const [peerId, known] of this.known) {
      if (!known.dialling && known.dialAt <= now && !this.linked.has(peerId)) {
        (this.wanted.has(peerId) ? chosen : others).push(peerId);
      }
    }
    const dialling = this.dialling();
    chosen.splice(Math.max(0, WANTED_AT_ONCE - dialling));
    const missing = this.target - this.linked.size - dialling - chosen.length;
    if (missing > 0) {
      chosen.push(...(others.length <= missing ? others : sample(this.rng, others, missing)));
    } else if (visits && others.length > 0 && !this.isLacking) {
      this.visiting = sample(this.rng, others, 1)[0]!;
      chosen.push(this.visiting);
    }
    return chosen.map((peerId) => ({ peerId, through: this.beginDial(this.known.get(peerId)!) }));
  }

  private beginDial(known: Known): PeerId | null {
    const ways = known.introducers.filter((peerId) => this.linked.has(peerId) && this.introduces(peerId));
    known.dialling = true;
    known.through = sample(this.rng, ways, 1)[0] ?? null;
    return known.through;
  }

  private nextVisit(now: number): number {
    return now + this.config.visitEveryS * (0.5 + this.rng.random());
  }

  /** A visit has become a link: leave another, unless we lack links by now. */
  private arrived(peerId: PeerId): readonly PeerId[] {
    const before = this.visited;
    this.visited = peerId;
    if (before === null || this.linked.size <= this.target) return [];
    const ours = [...this.linked.keys()].filter(
      (other) => this.linked.get(other) && other !== before && other !== peerId,
    );
    const swaps = ours.length > OURS_KEPT && this.rng.random() < SWAP_SHARE;
    return swaps ? sample(this.rng, ours.slice(OURS_KEPT), 1) : [before];
  }

  /** When `dials` has something to say, if nothing happens before. */
  wakeAt(): number {
    if (this.isSatisfied()) return this.visitAt;
    const dialling = this.dialling();
    const room = this.linked.size + dialling < this.target;
    let due = this.visitAt;
    for (const [peerId, known] of this.known) {
      if (!known.dialling && !this.linked.has(peerId) && (this.wanted.has(peerId) ? dialling < WANTED_AT_ONCE : room)) {
        due = Math.min(due, known.dialAt);
      }
    }
    return due;
  }

  private isSatisfied(): boolean {
    return !this.isLacking && this.wanted.size === 0;
  }

  private dialling(): number {
    let count = 0;
    for (const known of this.known.values()) count += known.dialling ? 1 : 0;
    return count;
  }
}

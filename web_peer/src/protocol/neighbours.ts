/**
 * Whom to be connected with (spec/session.md, "Neighbours").
 *
 *     KNOWN --dial--> DIALLING --link--> LINKED
 *       ^                |                  |
 *       '---- back off --+------ closed ----'
 */

import type { ProtocolConfig } from "./config";
import type { PeerId } from "./identity";
import { type Rng, sample } from "./rng";

const KNOWN_MAX = 1_000;
const REDIAL_MAX_S = 60;
const FAILURES_MAX = 8;

interface Known {
  dialAt: number;
  failures: number;
  dialling: boolean;
}

function knownSince(now: number): Known {
  return { dialAt: now, failures: 0, dialling: false };
}

/** Known peers and the links to some of them; says whom to dial next. */
export class Neighbours {
  private readonly config: ProtocolConfig;
  private readonly rng: Rng;
  private readonly known = new Map<PeerId, Known>();
  private readonly linked = new Set<PeerId>();
  private readonly wanted = new Set<PeerId>();

  constructor(config: ProtocolConfig, rng: Rng) {
    this.config = config;
    this.rng = rng;
  }

  discovered(peerIds: Iterable<PeerId>, now: number): void {
    for (const peerId of peerIds) {
      if (this.known.size < KNOWN_MAX && !this.known.has(peerId)) this.known.set(peerId, knownSince(now));
    }
  }

  /** This very peer is needed (it has a result): dial it beyond the target. */
  want(peerId: PeerId, now: number): void {
    if (!this.linked.has(peerId)) {
      this.wanted.add(peerId);
      if (!this.known.has(peerId)) this.known.set(peerId, knownSince(now));
    }
  }

  /** A link is up. False when there are too many, and it should be closed. */
  opened(peerId: PeerId, now: number): boolean {
    this.known.set(peerId, knownSince(now));
    this.wanted.delete(peerId);
    if (this.linked.size >= this.config.neighboursMax) return false;
    this.linked.add(peerId);
    return true;
  }

  /** A link is down, or a dial failed: try again later, each time twice as late. */
  closed(peerId: PeerId, now: number): void {
    this.linked.delete(peerId);
    const known = this.known.get(peerId) ?? knownSince(now);
    this.known.set(peerId, known);
    known.dialling = false;
    const pauseS = Math.min(REDIAL_MAX_S, this.config.redialAfterS * 2 ** known.failures);
    known.failures += 1;
    known.dialAt = now + pauseS * (0.5 + this.rng.random());
    // Strangers that come and go with ever new identities must not fill our memory either.
    if (known.failures > FAILURES_MAX || this.known.size > KNOWN_MAX) {
      this.known.delete(peerId);
      this.wanted.delete(peerId);
    }
  }

  /** Whom to dial now: wanted ones, and others at random until the target is reached. */
  dials(now: number): PeerId[] {
    if (this.isSatisfied()) return [];
    const chosen: PeerId[] = [];
    const others: PeerId[] = [];
    for (const [peerId, known] of this.known) {
      if (!known.dialling && known.dialAt <= now && !this.linked.has(peerId)) {
        (this.wanted.has(peerId) ? chosen : others).push(peerId);
      }
    }
    const missing = this.config.neighboursTarget - this.linked.size - this.dialling() - chosen.length;
    if (missing > 0) chosen.push(...(others.length <= missing ? others : sample(this.rng, others, missing)));
    for (const peerId of chosen) this.known.get(peerId)!.dialling = true;
    return chosen;
  }

  wakeAt(): number | null {
    if (this.isSatisfied()) return null;
    const room = this.linked.size + this.dialling() < this.config.neighboursTarget;
    let due = Infinity;
    for (const [peerId, known] of this.known) {
      if (!known.dialling && !this.linked.has(peerId) && (room || this.wanted.has(peerId))) {
        due = Math.min(due, known.dialAt);
      }
    }
    return due === Infinity ? null : due;
  }

  private isSatisfied(): boolean {
    return this.linked.size >= this.config.neighboursTarget && this.wanted.size === 0;
  }

  private dialling(): number {
    let count = 0;
    for (const known of this.known.values()) count += known.dialling ? 1 : 0;
    return count;
  }
}

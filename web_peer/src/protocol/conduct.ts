/**
 * What a neighbour may cost us: bytes by the second, and breaches until we part (spec/session.md).
 *
 *     a neighbour:  WELCOME --each breach: 10 points--> at the floor, or before its hello: dropped
 */

import type { ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";

const BREACH_POINTS = 10;

/** Of one neighbour over one link. */
export class Conduct {
  private score = 0;
  private tokens: number;

  constructor(
    private readonly config: ProtocolConfig,
    private filledAt: number,
  ) {
    this.tokens = config.linkBytesBurst;
  }

  /**
   * Count bytes that we did not ask for.
   *
   * @throws RemoteProtocolError when they are more than its share.
   */
  charge(size: number, now: number): void {
    const { linkBytesBurst, linkBytesPerS } = this.config;
    this.tokens = Math.min(linkBytesBurst, this.tokens + (now - this.filledAt) * linkBytesPerS) - size;
    this.filledAt = now;
    if (this.tokens < 0) throw new RemoteProtocolError("more control bytes than the link's share");
  }

  /** It sent what the protocol forbids: whether that was once too often. */
  breach(): boolean {
    this.score -= BREACH_POINTS;
    return this.score <= this.config.scoreFloor;
  }
}

/**
 * Which shard of a task a worker picks from, and whose records it hears (spec/ledger.md, "Picking").
 *
 *     a shard:  --chosen at random, by how much of it is open--> HOME --another is chosen--> FOLLOWED --the next--> LEFT
 */

import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import type { Ledger } from "./ledger";
import { type Rng, weighted } from "./rng";
import { unbegunCount } from "./shards";

/** The shard we pick from and the one we came from: assignments may still be on their way there. */
const SHARDS_FOLLOWED = 2;

/** Batches that the open chunks of a shard must make for each of its workers, or they shrink: one running, one next. */
export const BATCHES_LEFT = 2;

/** The shards that one worker follows. */
export class Following {
  /** The shard we pick from. */
  home: number | null = null;
  /** Those whose records we hear, the longest followed first. */
  readonly shards: number[] = [];
  /** When we have heard what others do there, as far as neighbours told. */
  settledAt: number;
  /** Shards in which nothing was open, and until when. */
  private readonly emptyUntil = new Map<number, number>();

  constructor(
    private readonly config: ProtocolConfig,
    private readonly rng: Rng,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    now: number,
  ) {
    this.settledAt = now;
  }

  /** Nothing is open at home, until leases may have run out. */
  foundEmpty(now: number): void {
    this.emptyUntil.set(this.home!, now + this.config.leaseTtlS);
  }

  /**
   * Follow another shard that may have something open, at random by how much; false when there is none. `worthwhile`
   * are the chunks of the smallest batch for which we still come.
   */
  choose(now: number, worthwhile: number): boolean {
    const { ledger } = this;
    const weights: number[] = [];
    let unbegun = 0;
    for (let shard = 0; shard < ledger.shards; shard++) {
      const weight = (this.emptyUntil.get(shard) ?? now) <= now ? unbegunCount(ledger, shard) : 0;
      weights.push(weight);
      unbegun += weight;
    }
    const workers = Math.max(1, ledger.joins.size);
    if (this.home !== null && unbegun < BATCHES_LEFT * workers * worthwhile) {
      // Too little is left for everybody to come for it: to move costs both shards more than a few chunks.
      return false;
    }
    if (unbegun === 0) {
      // Nothing is left to begin, but second votes and audits are asked of whoever says where it listens.
      weights.fill(1);
    }
    this.follow(weighted(this.rng, weights), now);
    return true;
  }

  /** Make a shard our home. */
  follow(shard: number, now: number): void {
    this.home = shard;
    this.desk.follow(this.ledger.shardTopic(shard));
    const before = this.shards.indexOf(shard);
    if (before >= 0) this.shards.splice(before, 1);
    this.shards.push(shard);
    if (this.shards.length > SHARDS_FOLLOWED) this.desk.leave(this.ledger.shardTopic(this.shards.shift()!));
    this.settledAt = now + this.config.settleS;
  }
}

/**
 * Whom stewards asked, and what that is worth to the creator they acted for (spec/stewards.md).
 *
 *     a vote:  a steward's own, or asked for by one --the delegation stands--> counts as drawn by lots
 *                                                   --and is trusted---------> as if we had asked for it
 *
 * What a steward asked is kept whether it may or not: the delegation can come later, and goes with a revocation.
 */

import type { Hex } from "./bytes";
import type { Lots } from "./drawing";
import type { Stewards } from "./stewards";

/** The requests of one task's stewards. */
export class Entrusted {
  /** Steward -> chunk -> whom it asked. */
  private readonly requests = new Map<Hex, Map<number, Set<Hex>>>();

  constructor(
    private readonly lots: Lots,
    private readonly stewards: Stewards,
  ) {}

  /** A steward has asked a worker for chunks. */
  asked(steward: Hex, worker: Hex, chunks: readonly number[]): void {
    let byChunk = this.requests.get(steward);
    if (byChunk === undefined) this.requests.set(steward, (byChunk = new Map()));
    for (const chunk of chunks) byChunk.set(chunk, new Set([...(byChunk.get(chunk) ?? []), worker]));
  }

  /** What a steward asked for. */
  chunks(steward: Hex): Iterable<number> {
    return this.requests.get(steward)?.keys() ?? [];
  }

  revoked(steward: Hex): void {
    this.requests.delete(steward);
  }

  /** Whose votes on a chunk count towards a quorum though we did not ask: lots chose them, or a steward did. */
  drawn(chunk: number): ReadonlySet<Hex> {
    const byLots = this.lots.workers(chunk, true);
    if (this.stewards.delegations.size === 0) return byLots;
    const drawn = new Set(byLots);
    for (const steward of this.stewards.delegations.keys()) {
      drawn.add(steward);
      for (const worker of this.requests.get(steward)?.get(chunk) ?? []) drawn.add(worker);
    }
    return drawn;
  }

  /** Whom a trusted steward asked, as we might have. */
  askedForUs(chunk: number): ReadonlySet<Hex> {
    const asked = new Set<Hex>();
    for (const [steward, { trusted }] of this.stewards.delegations) {
      for (const worker of (trusted && this.requests.get(steward)?.get(chunk)) || []) {
        if (!this.stewards.has(worker)) asked.add(worker); // A steward's own vote is no audit, whoever asked it.
      }
    }
    return asked;
  }
}

/**
 * Results that count and are not here yet.
 *
 *     a result:  ASKED of its makers --none delivers it--> ASKED of who keeps it sealed (reclaiming.ts) --nobody--> LOST
 *                      '------------------------ here: its chunks are accepted --------'
 *
 * What is lost the creator executes itself.
 */

import { CUSTODIANS_MAX, type Leaf } from "./batch";
import { fromHex, hex, type Hex } from "./bytes";
import type { Desk } from "./desk";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import type { Named } from "./named";
import { type Copy, Reclaiming, type Settled } from "./reclaiming";
import type { Referee } from "./referee";
import type { Stewards } from "./stewards";
import type { BlobStore } from "./storage";

/** The fetching of one task's results. */
export class Collecting {
  /** Result -> chunks that have it. */
  private readonly fetching = new Map<Hex, Set<number>>();
  /** Worker -> who keeps its results, the latest first. */
  private readonly custodians = new Map<Hex, readonly Hex[]>();
  private readonly reclaiming: Reclaiming;

  constructor(
    signer: Signer,
    ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
    private readonly referee: Referee,
    private readonly stewards: Stewards,
    private readonly awaited: Named,
  ) {
    this.reclaiming = new Reclaiming(signer, ledger, desk, blobs);
  }

  /** A worker says who keeps its results. */
  keptBy(worker: Hex, custodians: readonly Uint8Array[]): void {
    const all = new Set([...custodians.map(hex), ...(this.custodians.get(worker) ?? [])]);
    this.custodians.set(worker, [...all].slice(0, CUSTODIANS_MAX));
  }

  /** Whether a result is here. */
  has(leaf: Leaf): boolean {
    return leaf.inline || this.blobs.size(leaf.data) !== null;
  }

  /** Ask for a result that counts. */
  fetch(chunk: number, value: Hex, leaf: Leaf): void {
    const key = hex(leaf.data);
    let waiting = this.fetching.get(key);
    if (waiting === undefined) this.fetching.set(key, (waiting = new Set()));
    if (waiting.has(chunk)) return;
    waiting.add(chunk);
    const makers: Uint8Array[] = [];
    for (const [worker, vote] of this.referee.voters(chunk)) if (vote.value === value) makers.push(fromHex(worker));
    for (const steward of this.stewards.delegations.keys()) makers.push(fromHex(steward));
    this.desk.fetch(leaf.data, leaf.size, null, makers);
  }

  /** Look for a result that its makers do not deliver; false when there is no copy to look for. */
  reclaim(digest: Hex, now: number): boolean {
    return this.reclaiming.begin(digest, this.copies(digest), now);
  }

  /** A sealed result came, or nobody we reach has it: results that are found now, or lost. */
  keptArrived(sealed: Uint8Array, isHere: boolean, now: number): Settled[] {
    return this.reclaiming.arrived(sealed, isHere, now);
  }

  /** A result is here, or lost: the chunks that waited for it. */
  over(digest: Hex): number[] {
    const chunks = this.waiting(digest);
    this.fetching.delete(digest);
    return chunks;
  }

  private waiting(digest: Hex): number[] {
    return [...(this.fetching.get(digest) ?? [])].sort((left, right) => left - right);
  }

  /** The sealed copies that votes for a result name. */
  private copies(digest: Hex): Copy[] {
    if (this.awaited.needs(digest)) return this.awaited.copies(digest, this.custodians);
    const copies: Copy[] = [];
    for (const chunk of this.waiting(digest)) {
      const leaves = this.referee.copies(chunk);
      for (const maker of [...leaves.keys()].sort()) {
        const leaf = leaves.get(maker)!;
        if (hex(leaf.digest) === digest) copies.push({ maker, leaf, custodians: this.custodians.get(maker)! });
      }
    }
    return copies;
  }
}

/**
 * How a creator says that it is there: one beacon an epoch (spec/away.md, "Beacons").
 *
 *     AWAY --starts--> THERE since epoch n --each new epoch--> a beacon --stops, or sleeps through an epoch--> AWAY
 */

import { Absences } from "./absence";
import { equal } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import { beaconChain, type Chain, epochAt, lastEpoch } from "./epochs";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";

/** The beacons of one task of ours. */
export class Presence {
  private readonly absences: Absences;
  private readonly chain: Chain | null;
  private since: number | null = null;
  private epoch = 0;

  constructor(
    private readonly config: ProtocolConfig,
    signer: Signer,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
  ) {
    this.absences = Absences.of(ledger);
    const { manifest } = ledger;
    let chain: Chain | null = null;
    if (manifest.epochs !== null) {
      chain = beaconChain(signer, manifest.code.sha256, manifest.createdS, lastEpoch(manifest));
      // A task whose anchor another program made, in a way of its own, gets no beacons from us.
      if (!equal(chain.value(0), manifest.epochs.anchor)) chain = null;
    }
    this.chain = chain;
  }

  /** Whether workers may have done without us until now. */
  wasAway(now: number): boolean {
    return this.absences.absence(this.epochAt(now)) !== null;
  }

  /** Say that we are there, once an epoch. */
  advance(now: number, workers: number): void {
    if (this.chain === null) return;
    const epoch = this.epochAt(now);
    if (this.since === null || epoch > this.epoch + 1) this.since = epoch;
    else if (epoch <= this.epoch) return;
    this.epoch = epoch;
    if (epoch === 0) return;
    const value = this.chain.value(epoch);
    this.desk.publish(this.ledger, {
      kind: "beacon",
      task: this.ledger.task,
      epoch,
      since: this.since,
      value,
      workers,
    });
  }

  private epochAt(now: number): number {
    return epochAt(this.ledger.manifest, now + this.config.epochOffsetS);
  }
}

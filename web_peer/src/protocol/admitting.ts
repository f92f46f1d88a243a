/**
 * Which workers a task takes, and how fast (spec/ledger.md, "Admission").
 *
 *     a worker:  JOINED --its turn, so many a minute--> ADMITTED --its steward is revoked--> JOINED
 */

import { sealAssignment } from "./assigning";
import { fromHex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import { RemoteProtocolError } from "./errors";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import type { Rng } from "./rng";
import type { Stewards } from "./stewards";

const WINDOW_S = 60;

/** The queue at the door of one task. */
export class Admitting {
  private admittedAt: number[] = [];
  private readonly waiting: Hex[] = [];

  constructor(
    private readonly config: ProtocolConfig,
    private readonly signer: Signer,
    private readonly rng: Rng,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly stewards: Stewards,
  ) {}

  joined(worker: Hex): void {
    this.waiting.push(worker);
  }

  /** Whoever has joined, and no more than that. */
  notAdmitted(): Hex[] {
    return [...this.ledger.joins.keys()].filter((worker) => !this.ledger.admits.has(worker));
  }

  /** Who admitted it was not entitled to. */
  waitsAgain(worker: Hex): void {
    if (!this.waiting.includes(worker)) this.waiting.push(worker);
  }

  /** Admit whoever may come in now; each as it is admitted. */
  *admit(now: number): Generator<Hex> {
    this.admittedAt = this.admittedAt.filter((at) => now - at < WINDOW_S);
    const { ledger } = this;
    while (this.waiting.length > 0 && this.admittedAt.length < this.config.admitPerMinute) {
      const worker = this.waiting.shift()!;
      const join = ledger.joins.get(worker)!;
      if (ledger.admits.has(worker) || ledger.isVoid(worker) || this.stewards.has(worker)) continue;
      if (!this.canSealTo(join.sealKey)) continue;
      this.admittedAt.push(now);
      const peer = fromHex(worker);
      const nonce = this.rng.bytes(16);
      this.desk.publish(ledger, { kind: "admit", task: ledger.task, worker: peer, anchor: join.anchor, nonce });
      this.desk.notice("worker admitted", ledger, { peer });
      yield worker;
    }
  }

  /** Whether a worker's seal key is a usable one: with a point of small order nothing could ever be assigned. */
  private canSealTo(sealKey: Uint8Array): boolean {
    try {
      sealAssignment(this.signer, this.rng, sealKey, this.ledger.task, []);
      return true;
    } catch (error) {
      if (error instanceof RemoteProtocolError) return false;
      throw error;
    }
  }
}

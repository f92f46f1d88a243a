/**
 * What lies cost: verdicts on the workers of one task (spec/ledger.md, "verdict").
 *
 *     a worker:  CLEAN --one wrong result--> STRUCK, its votes until then void --another--> BANNED
 *                  '--------a commit that does not open, or equivocation------------------^
 */

import { fromHex, type Hex } from "./bytes";
import type { Desk } from "./desk";
import type { Ledger } from "./ledger";
import { EVERYTHING, type Verdict } from "./records";
import type { Referee } from "./referee";

/** The verdicts of one task's creator. */
export class Convicting {
  constructor(
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly referee: Referee,
  ) {}

  /** Whether anybody was convicted. */
  get hasAny(): boolean {
    return this.ledger.verdicts.size > 0;
  }

  isBanned(worker: Hex): boolean {
    return this.ledger.verdicts.get(worker)?.voidTo === EVERYTHING;
  }

  /** Say that a worker lied: the seq up to which that voids what it did. `commit` is the record that shows it, or zeros. */
  convict(worker: Hex, reason: Verdict["reason"], chunk: number, commit: Uint8Array): number {
    const { ledger } = this;
    // Honest machines err, too: the first wrong result costs what was done until then, the second one everything.
    const isStrike = reason === "wrong" && !ledger.strikes.has(worker);
    const voidTo = isStrike ? this.referee.lastSeq(worker) : EVERYTHING;
    const verdict = { task: ledger.task, worker: fromHex(worker), reason, chunk, commit, voidTo };
    this.desk.publish(ledger, { kind: "verdict", ...verdict });
    this.notice(worker, chunk, isStrike ? "a strike" : reason);
    return voidTo;
  }

  notice(worker: Hex, chunk: number, detail: string): void {
    this.desk.notice("worker convicted", this.ledger, { chunk, peer: fromHex(worker), detail });
  }
}

/**
 * The assignments of one task, and the numbers of what its creator signs (spec/ledger.md, "Assign").
 *
 *     an assignment:  ours, now or in an earlier life --> a vote that it brings is an audit
 *                     a steward's --> what that is worth depends on its delegation (entrusting.ts)
 *
 * Whom to ask for what is chosen in dispatching.ts.
 */

import { openAssignment, sealAssignment } from "./assigning";
import { fromHex, hex, type Hex } from "./bytes";
import type { Desk } from "./desk";
import type { Entrusted } from "./entrusting";
import { RemoteProtocolError } from "./errors";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import type { Assign } from "./records";
import type { Referee } from "./referee";
import type { Rng } from "./rng";

/** What workers of one task were asked for, by whoever may. */
export class Asking {
  private readonly me: Hex;
  private seq = 0;

  constructor(
    /** Seals and opens with the task's keys. */
    private readonly signer: Signer,
    private readonly rng: Rng,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly referee: Referee,
    private readonly entrusted: Entrusted,
  ) {
    this.me = hex(signer.publicKey);
  }

  nextSeq(): number {
    this.seq += 1;
    return this.seq;
  }

  /** Somebody's record has this number: if it is ours, we use none up to it again. */
  used(author: Hex, seq: number): void {
    if (author === this.me) this.seq = Math.max(this.seq, seq);
  }

  /** Ask a worker that listens in a shard for chunks. */
  ask(worker: Hex, shard: number, chunks: readonly number[], isUrgent: boolean): void {
    const { ledger } = this;
    const sealed = sealAssignment(this.signer, this.rng, ledger.joins.get(worker)!.sealKey, ledger.task, chunks, isUrgent);
    this.referee.assign(worker, chunks);
    const peer = fromHex(worker);
    this.desk.publish(ledger, { kind: "assign", task: ledger.task, shard, seq: this.nextSeq(), worker: peer, sealed });
  }

  /** We in an earlier life, or a steward, have asked a worker for chunks: those to look at again, if it is worth that. */
  asked(author: Hex, assign: Assign): readonly number[] | null {
    this.used(author, assign.seq);
    const worker = hex(assign.worker);
    const join = this.ledger.joins.get(worker);
    if (join === undefined) return null;
    let chunks;
    try {
      chunks = openAssignment(this.signer, join.sealKey, assign).chunks;
    } catch (error) {
      if (error instanceof RemoteProtocolError) return null; // A steward sealed nonsense.
      throw error;
    }
    if (author === this.me) {
      this.referee.assign(worker, chunks);
      return null;
    }
    this.entrusted.asked(author, worker, chunks);
    return this.referee.lookAgain(chunks);
  }
}

/**
 * How a sealed commit becomes votes that count (spec/ledger.md, "Sealed batches").
 *
 *     a commit:  SEALED --it opens--> HELD until the results that it only names are here (named.ts) --> COUNTED
 *                   '--it does not--> its author is convicted (convicting.ts)
 */

import { custodiansOf, openCommit } from "./batch";
import { hex, type Hex } from "./bytes";
import type { Collecting } from "./collecting";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import { restsOf } from "./lineage";
import type { Held, Named } from "./named";
import { checkCompared } from "./opening";
import { type Commit, recordId, type Signed } from "./records";

/** The commits of one task, as they are opened. */
export class Counting {
  /** Executions that somebody told us of, our own among them. */
  votes = 0;

  constructor(
    /** Opens with the task's keys. */
    private readonly signer: Signer,
    private readonly ledger: Ledger,
    private readonly named: Named,
    private readonly collecting: Collecting,
    /** Whether results are compared as numbers: then counting takes their bytes. */
    private readonly isCompared: boolean,
  ) {}

  /** What an author's commits are sealed with; undefined of whom we know no join. */
  sealKey(author: Hex): Uint8Array | undefined {
    const { joins, manifest } = this.ledger;
    return author === hex(manifest.creator) ? manifest.sealKey : joins.get(author)?.sealKey;
  }

  /**
   * What can be counted now that a commit came; `isFetching` gets what it lacks at once.
   *
   * @throws RemoteProtocolError when it does not open, or not to votes of this task.
   */
  open(signed: Signed, commit: Commit, sealKey: Uint8Array, isFetching: boolean, now: number): Held[] {
    const author = hex(signed.author);
    const leaves = openCommit(this.signer, sealKey, signed.author, commit);
    if (this.isCompared) checkCompared(leaves);
    this.votes += leaves.length;
    if (leaves.some((leaf) => leaf.sealed.length > 0)) {
      this.collecting.keptBy(author, custodiansOf(this.signer, sealKey, commit));
    }
    const whole: Held = { author, seq: commit.seq, commit: recordId(signed), leaves, rests: restsOf(commit) };
    return this.isCompared ? this.named.take(whole, isFetching, now) : [whole];
  }
}

/**
 * What follows from the votes on one chunk, each time they say something else (spec/ledger.md).
 *
 *     a chunk:  OPEN --votes--> SEALED --enough--> AGREED --result here--> accepted
 *                                  '--two values--> DISPUTED --our own execution--'   (tally.ts)
 */

import type { Hex } from "./bytes";
import type { Certifying } from "./certifying";
import type { Closing } from "./closing";
import type { Collecting } from "./collecting";
import type { Dispatch } from "./dispatching";
import { type Notable, Status } from "./events";
import type { Executing } from "./executing";
import type { Referee } from "./referee";
import type { Results } from "./results";
import type { ChunkTally } from "./tally";

/** The chunks of one task, as its creator settles them. */
export class Settling {
  /** Accepted results that turned out wrong. */
  mismatches = 0;
  /** Chunks that we execute for no other reason than that their votes differ. */
  private readonly disputed = new Set<number>();
  /** What was accepted of chunks that reopened: should something else be accepted now, it was wrong. */
  private readonly retracted = new Map<number, Hex>();

  constructor(
    /** Says what the votes say. */
    private readonly referee: Referee,
    /** Keeps what holds, which only this module changes. */
    private readonly results: Results,
    /** Draws the audits of what agrees, and counts them. */
    private readonly closing: Closing,
    /** Has others execute what wants votes. */
    private readonly dispatch: Dispatch,
    /** Has our own slots execute what is in dispute. */
    private readonly executing: Executing,
    /** Gets the bytes of a result that counts. */
    private readonly collecting: Collecting,
    /** Says in the next checkpoint what has changed. */
    private readonly certifying: Certifying,
    /** Tells whoever watches what became of a chunk. */
    private readonly notice: (what: Notable, chunk: number, detail?: string) => void,
  ) {}

  /** The votes on a chunk, or what is here of its result, have changed. */
  settle(chunk: number, now: number): void {
    this.closing.account(chunk);
    const tally = this.referee.chunk(chunk);
    this.takeBack(chunk, tally, now);
    switch (tally.state) {
      case "disputed":
        if (!this.executing.has(chunk)) {
          this.disputed.add(chunk);
          this.executing.want([chunk]);
          this.notice("dispute", chunk);
        }
        break;
      case "failed":
        if (!this.results.failed.has(chunk)) {
          this.results.failed.add(chunk);
          this.certifying.changed(chunk, now);
          this.notice("chunk failed", chunk, this.results.reasons(chunk).join("; "));
        }
        break;
      case "agreed":
        this.agreed(chunk, tally.value!, now);
        break;
    }
    this.dispatch.voted(chunk, now);
  }

  /** Hold no longer to what the votes do not say any more. */
  private takeBack(chunk: number, tally: ChunkTally, now: number): void {
    const { accepted, failed } = this.results;
    const value = accepted.get(chunk);
    if (value !== undefined && tally.value !== null && this.referee.isSame(chunk, value, tally.value)) {
      // Another of the votes that agree may stand for them now; its result is inside of it, and replaces the other.
      if (value !== tally.value) accepted.delete(chunk);
    } else if (value !== undefined) {
      accepted.delete(chunk);
      this.retracted.set(chunk, value);
      this.certifying.changed(chunk, now);
      this.notice("chunk reopened", chunk);
    }
    if (tally.state !== "failed" && failed.delete(chunk)) this.certifying.changed(chunk, now);
    if (tally.state !== "disputed" && this.disputed.delete(chunk)) {
      this.executing.forgo(chunk); // A conviction on another chunk has settled this one.
    }
  }

  private agreed(chunk: number, value: Hex, now: number): void {
    if (!this.referee.isSame(chunk, this.retracted.get(chunk) ?? value, value)) {
      this.mismatches++;
      this.closing.mistaken();
    }
    this.retracted.delete(chunk);
    this.closing.agreed(chunk);
    if (this.results.accepted.has(chunk)) return;
    const leaf = this.referee.leaf(chunk, value);
    if (!this.collecting.has(leaf)) {
      this.collecting.fetch(chunk, value, leaf);
      return;
    }
    this.results.accepted.set(chunk, value);
    this.certifying.changed(chunk, now);
    this.notice("chunk accepted", chunk, leaf.status === Status.OK ? "ok" : "task error");
  }
}

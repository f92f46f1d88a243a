/**
 * When a creator acts on what comes (creator.ts).
 *
 *     a task:  RESTORING --the records of an earlier life are read--> HEARING OUT --HEAR_OUT_S, had it been away--> ASKING
 *                                                                                           ASKING --certificate--> CLOSED
 *
 * While restoring nothing follows from what is read, and while hearing out nobody is asked for anything. A life that begins
 * with its task is ASKING at once.
 */

/** How often overdue assignments are looked for: a tenth of the 5 s in which a silent worker's work must be re-run. */
const REVIEW_S = 0.5;

/**
 * A creator that was away asks nobody for anything for this long: what it would ask for may have been done meanwhile, and
 * is on its way to it. A guess; simulations/scenarios/unattended.toml.
 */
const HEAR_OUT_S = 5;

/** What one task's creator has to look at, and when. */
export class Agenda {
  isRestoring = false;
  /** The certificate is signed. */
  isClosed = false;
  /** When to look for what is overdue. */
  reviewAt = -Infinity;
  /** Whether something has changed since we last asked. */
  isStirred = true;
  /** When to ask for what is wanted; never while nothing has changed. */
  turnAt = Infinity;
  private askingFrom = -Infinity;

  /** Whether nothing follows from what the votes say. */
  get isAtRest(): boolean {
    return this.isRestoring || this.isClosed;
  }

  /** We were away. */
  hearOut(now: number): void {
    this.askingFrom = now + HEAR_OUT_S;
  }

  /** Something has changed: there may be something to ask for, or nothing any more. */
  stir(): void {
    this.isStirred = true;
  }

  /** There may be something for a worker at once. */
  reviewSoon(now: number): void {
    this.reviewAt = now;
  }

  isReviewDue(now: number): boolean {
    return now >= this.reviewAt;
  }

  reviewed(now: number): void {
    this.reviewAt = now + REVIEW_S;
  }

  /** Whether to ask now for what is wanted, which may wait until `dueAt`: once for all that has stirred since. */
  takesTurn(now: number, dueAt: number): boolean {
    this.turnAt = Math.max(this.askingFrom, dueAt);
    if (now < this.turnAt) return false;
    this.isStirred = false;
    this.turnAt = Infinity;
    return true;
  }
}

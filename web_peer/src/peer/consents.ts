/**
 * Consent before the first cycle: a person says yes to one creator's task, and it is remembered for 30 days.
 *
 * A task id is the hash of what its creator signed, so a new version of a task is another task and asks anew.
 */

import type { Hex } from "../protocol/bytes";
import type { ConsentState } from "./console";
import type { Store, StoredConsent } from "./store";

export const REMEMBERED_S = 30 * 24 * 3_600;

export class Consents {
  private readonly byTask: Map<Hex, StoredConsent>;

  constructor(
    private readonly store: Store,
    stored: readonly StoredConsent[],
    private readonly unixS: () => number,
  ) {
    this.byTask = new Map(stored.map((consent) => [consent.taskId, consent]));
  }

  /** Note an answer; resolves once it would survive a crash. */
  async answer(taskId: Hex, creator: Hex, given: boolean): Promise<void> {
    const consent = { taskId, creator, given, atS: this.unixS() };
    this.byTask.set(taskId, consent);
    await this.store.keepConsent(consent);
  }

  isGiven(taskId: Hex): boolean {
    return this.stateOf(taskId).state === "given";
  }

  stateOf(taskId: Hex): ConsentState {
    const consent = this.byTask.get(taskId);
    if (consent === undefined) return { state: "none", expiresS: null };
    if (!consent.given) return { state: "refused", expiresS: null };
    const expiresS = consent.atS + REMEMBERED_S;
    return { state: this.unixS() < expiresS ? "given" : "expired", expiresS };
  }

  get hasAny(): boolean {
    return [...this.byTask.keys()].some((taskId) => this.isGiven(taskId));
  }
}

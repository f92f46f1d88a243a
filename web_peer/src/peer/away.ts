/** What is known of a task while its creator is away, for the screens (spec/away.md). Fetched when one asks. */

import { beginsAt, epochAt } from "../protocol/epochs";
import type { Ledger } from "../protocol/ledger";
import { type ProvisionalState, provisionalTally } from "../protocol/provisional";
import type { AwayView } from "./console";

/** Null while the creator is there, and where this page has taken no part in the task and cannot tell. */
export function awayView(ledger: Ledger, now: number): AwayView | null {
  const { absences, manifest } = ledger;
  if (absences === null || ledger.certificate !== null) return null;
  const [last] = absences.newestBeacon();
  const epoch = Math.max(last, epochAt(manifest, now + ledger.clockOffsetS));
  if (absences.absence(epoch) === null) return null;
  const { chunks, found } = provisionalTally(ledger, absences, epoch);
  const standings = [...chunks.values()];
  const count = (state: ProvisionalState): number => standings.filter((standing) => standing.state === state).length;
  const provisional = standings.filter(({ state }) => state === "provisional");
  return {
    // It said that it was there until the end of that epoch.
    sinceS: beginsAt(manifest, last + 1),
    provisional: provisional.length,
    bySteward: count("steward"),
    sealed: count("sealed"),
    disputed: count("disputed"),
    credibility: provisional.length === 0 ? null : Math.min(...provisional.map(({ credibility }) => credibility)),
    liarsFound: found.size,
  };
}

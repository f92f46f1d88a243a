/**
 * Disputes while the creator is away: settled for the time being by whom lots send (spec/away.md, "Juries").
 *
 *     DISPUTED --margin of votes--> settled: who voted otherwise counts for nothing, until the creator says otherwise
 *
 * By the time votes are shown, a chunk is so old that lots choose many: the very votes that they bring are the jury.
 * Whoever is drawn may have seen both values, but not which is right.
 */

import type { Hex } from "./bytes";
import type { Policy } from "./manifest";

/** Votes by which one value must lead, and the share of liars above which it must lead by more. */
export const MARGIN = 7;
export const MARGIN_AMONG_MANY_LIARS = 10;
export const MANY_LIARS = 0.2;

/** A dispute decided provisionally: for which value, and by how many votes. */
export interface Settled {
  readonly value: Hex;
  readonly margin: number;
}

/** By how many votes one value must lead. Few workers cannot give many votes: then by half of the others. */
export function marginNeeded({ liars }: Policy, workers: number): number {
  const margin = liars > MANY_LIARS ? MARGIN_AMONG_MANY_LIARS : MARGIN;
  return Math.max(1, Math.min(margin, Math.floor((workers - 1) / 2)));
}

/**
 * The value that leads by the margin, of votes as worker -> value; null while none does.
 *
 * As ever, of votes that workers chose themselves one counts for each value.
 */
export function settle(
  votes: ReadonlyMap<Hex, Hex>,
  drawn: ReadonlySet<Hex>,
  margin: number,
): Settled | null {
  const cast = new Map<Hex, { all: number; drawn: number }>();
  for (const [worker, value] of votes) {
    let counted = cast.get(value);
    if (counted === undefined) cast.set(value, (counted = { all: 0, drawn: 0 }));
    counted.all++;
    if (drawn.has(worker)) counted.drawn++;
  }
  const ranked = [...cast]
    .map(([value, counted]) => ({ value, support: Math.min(counted.all, 1 + counted.drawn) }))
    .sort((a, b) => b.support - a.support || (a.value < b.value ? -1 : 1));
  const [first, second] = ranked;
  if (first === undefined) return null;
  const lead = first.support - (second?.support ?? 0);
  return lead >= margin ? { value: first.value, margin: lead } : null;
}

/**
 * Which of these disputes (chunk -> its voters) want a jury now: to find one liar settles most of what it disputes.
 *
 * In the order of their chunks, those of whose voters at most one has a trial already.
 */
export function onTrial(disputes: ReadonlyMap<number, Iterable<Hex>>): Set<number> {
  const trials = new Set<number>();
  const tried = new Set<Hex>();
  for (const [chunk, voters] of [...disputes].sort(([a], [b]) => a - b)) {
    const all = [...voters];
    if (all.filter((voter) => tried.has(voter)).length >= 2) continue;
    trials.add(chunk);
    for (const voter of all) tried.add(voter);
  }
  return trials;
}

/** How likely such a jury is wrong, if each of its members lies in the share that the policy assumes. */
export function chanceOfError({ liars }: Policy, margin: number): number {
  return liars <= 0 ? 0 : 1 / (1 + ((1 - liars) / liars) ** margin);
}

/**
 * What the records say while the creator is away: results that count until it is back (spec/away.md).
 *
 *     per chunk:  OPEN --votes--> SEALED --shown, enough equal ones--> PROVISIONAL --checkpoint--> FINAL
 *                                    '--two values--> DISPUTED --jury--> PROVISIONAL
 *
 * A pure function of the records and of the number of the epoch, equal on every peer that holds the same, in strata:
 *
 * 1. who is void: equivocators and whom the creator convicted, as everywhere (tally.ts), and who showed two values;
 * 2. the votes of all others that have joined, one per worker and chunk. Sealed ones are votes without a value, until
 *    it is too late to show them: then they are none;
 * 3. juries on disputes, each from the votes of 2, and whom they find to lie: void as well, provisionally;
 * 4. the state of each chunk from the votes that are left. One somebody void voted on needs two (taint).
 *
 * The creator opens the commits themselves and comes to its own conclusions; nothing here binds it.
 */

import type { Absences } from "./absence";
import { NO_RESULT } from "./batch";
import { hex, type Hex } from "./bytes";
import { chanceOfError, marginNeeded, onTrial, settle, type Settled } from "./jury";
import type { Ledger } from "./ledger";
import type { Policy } from "./manifest";
import { type Commit } from "./records";
import { chunksOf } from "./runs";
import { isSettled } from "./stewards";
import { shownValue } from "./showing";
import { saysMore, type Value, votesNeeded } from "./tally";

/** Epochs after which a vote that its worker chose itself may be shown: who was drawn in the next one has voted. */
export const REVEAL_AFTER = 2;
/** Epochs after which a vote may be shown that lots chose: after those that it confirms. */
export const DRAWN_REVEAL_AFTER = 3;
/** Epochs that it waits besides, for the votes that must come before it. */
export const REVEAL_PATIENCE = 4;
/** Epochs after that in which a vote can still come to be shown: its worker may be out of reach for one. */
export const LATE_AFTER = 2;

export type ProvisionalState = "open" | "sealed" | "disputed" | "provisional" | "steward" | "final";

/** One chunk's state. */
export interface Standing {
  readonly state: ProvisionalState;
  /** A vote's (tally.ts). */
  readonly value: Hex | null;
  /** The probability that it is right. */
  readonly credibility: number;
  /** Votes it still needs. */
  readonly missing: number;
  /** Workers that voted on it, in whatever way. */
  readonly voters: number;
}

/** What the records say at one epoch. Chunks that are not named are open. */
export interface Provisional {
  /** Everybody whose votes count for nothing. */
  readonly void: ReadonlySet<Hex>;
  /** Of these, whom juries found to lie. */
  readonly found: ReadonlySet<Hex>;
  /** By chunk, ascending. */
  readonly chunks: ReadonlyMap<number, Standing>;
  /** Disputed chunks that juries are on: the others wait for what these find. */
  readonly trials: ReadonlySet<number>;
}

type Votes = Map<number, Map<Hex, Value>>;

/** Whose votes on a chunk were drawn, and which of them were cast blindly. */
interface Draws {
  readonly drawn: ReadonlySet<Hex>;
  readonly blind: ReadonlySet<Hex>;
}

/** The epoch from which on a commit may be shown, if the creator is away then. */
export function revealDue(commit: Commit): number {
  return commit.epoch + (commit.link.length > 0 ? DRAWN_REVEAL_AFTER : REVEAL_AFTER);
}

/** Count what has been shown by an epoch. */
export function provisionalTally(ledger: Ledger, absences: Absences, epoch: number): Provisional {
  const { policy } = ledger.manifest;
  const { lots } = absences;
  const { votes, voters, isVoid, tainted } = cast(ledger, absences, epoch);
  let workers = 0;
  for (const worker of ledger.joins.keys()) if (!isVoid.has(worker)) workers++;
  const margin = marginNeeded(policy, workers);
  const settled = new Map<number, Settled>();
  const found = new Set<Hex>();
  for (const [chunk, byWorker] of votes) {
    const shown = shownOf(byWorker);
    if (new Set(shown.values()).size < 2) continue;
    const verdict = settle(shown, lots.workers(chunk, false, epoch + 1), margin);
    if (verdict === null) continue;
    settled.set(chunk, verdict);
    for (const [worker, value] of shown) if (value !== verdict.value) found.add(worker);
  }
  const left = new Map<number, Map<Hex, Value>>();
  const draws = new Map<number, Draws>();
  for (const [chunk, byWorker] of votes) {
    left.set(chunk, new Map([...byWorker].filter(([worker]) => !found.has(worker))));
    draws.set(chunk, { drawn: lots.workers(chunk, false, epoch + 1), blind: lots.workers(chunk, true, epoch + 1) });
  }
  const confirmed = confirmedVotes(left, draws);
  const chunks = new Map<number, Standing>();
  const disputes = new Map<number, Iterable<Hex>>();
  for (const [chunk, all] of [...voters].sort(([a], [b]) => a - b)) {
    if (ledger.isClosed(chunk)) {
      chunks.set(chunk, { state: "final", value: null, credibility: 0, missing: 0, voters: 0 });
      continue;
    }
    if (isSettled(ledger, chunk)) {
      chunks.set(chunk, told("steward", all.size));
      continue;
    }
    const byWorker = left.get(chunk) ?? new Map<Hex, Value>();
    const isTainted = tainted.has(chunk) || byWorker.size < (votes.get(chunk)?.size ?? 0);
    const needed = votesNeeded(policy.replication, isTainted);
    const verdict = settled.get(chunk);
    const standing =
      verdict === undefined
        ? standingOf(policy, byWorker, draws.get(chunk), needed, confirmed, all.size)
        : told("provisional", all.size, verdict.value, 1 - chanceOfError(policy, verdict.margin));
    chunks.set(chunk, standing);
    if (standing.state === "disputed") disputes.set(chunk, byWorker.keys());
  }
  return { void: new Set([...isVoid, ...found]), found, chunks, trials: onTrial(disputes) };
}

/**
 * One minus the chance that a value is wrong: the smaller of what its votes and its voters' records leave.
 *
 * The smaller, not the product: friends may know of each other (research: verification section 1.3).
 */
export function credibility({ liars }: Policy, weight: number, confirmed: readonly number[]): number {
  const least = confirmed.length > 0 ? Math.min(...confirmed) : 0;
  const byRecord = least > 0 ? liars / ((1 - liars) ** 2 * Math.E * least) : 1;
  return 1 - Math.min(byRecord, liars ** weight);
}

// ---- inside

/** Strata 1 and 2. */
function cast(ledger: Ledger, absences: Absences, epoch: number) {
  const all: Votes = new Map();
  const voters = new Map<number, Set<Hex>>();
  const tainted = new Set<number>();
  const isVoid = new Set([...ledger.joins.keys()].filter((worker) => ledger.isVoid(worker)));
  const creator = hex(ledger.manifest.creator);
  for (const [id, { author, commit }] of ledger.commits) {
    if (author === creator) continue;
    const chunks = chunksOf(commit.shard, commit.runs);
    for (const chunk of chunks) entry(voters, chunk, () => new Set<Hex>()).add(author);
    // Of what rests on a savepoint only the creator can tell who is to blame for it, if it is wrong.
    if (commit.after !== undefined) continue;
    if (commit.seq <= ledger.voidTo(author)) {
      // Of a strike as well, which leaves what was committed later alone.
      for (const chunk of chunks) tainted.add(chunk);
      continue;
    }
    const shown = absences.reveals.get(id);
    if (shown === undefined && epoch > revealDue(commit) + REVEAL_PATIENCE + LATE_AFTER) continue;
    for (const [index, chunk] of chunks.entries()) {
      // The ledger has held what is shown against the commit's root.
      const value: Value = shown === undefined ? null : shownValue(...shown.votes[index]!);
      const byWorker = entry(all, chunk, () => new Map<Hex, Value>());
      const before = byWorker.get(author);
      if (before && value && before !== value) isVoid.add(author);
      if (before === undefined || saysMore(value, before)) byWorker.set(author, value);
    }
  }
  const votes: Votes = new Map();
  for (const [chunk, byWorker] of all) {
    const left = new Map([...byWorker].filter(([worker]) => !isVoid.has(worker)));
    votes.set(chunk, left);
    if (left.size < byWorker.size) tainted.add(chunk);
  }
  return { votes, voters, isVoid, tainted };
}

function shownOf(votes: ReadonlyMap<Hex, Value>): Map<Hex, Hex> {
  const shown = new Map<Hex, Hex>();
  for (const [worker, value] of votes) if (value) shown.set(worker, value);
  return shown;
}

/** How many votes of each worker others have confirmed blindly. */
function confirmedVotes(votes: Votes, draws: ReadonlyMap<number, Draws>): Map<Hex, number> {
  const confirmed = new Map<Hex, number>();
  for (const [chunk, byWorker] of votes) {
    const blind = draws.get(chunk)!.blind;
    for (const [worker, value] of byWorker) {
      if (!value) continue;
      for (const other of blind) {
        if (other === worker || byWorker.get(other) !== value) continue;
        confirmed.set(worker, (confirmed.get(worker) ?? 0) + 1);
        break;
      }
    }
  }
  return confirmed;
}

/** Stratum 4 for one chunk without a jury's word. */
function standingOf(
  policy: Policy,
  votes: ReadonlyMap<Hex, Value>,
  draws: Draws | undefined,
  needed: number,
  confirmed: ReadonlyMap<Hex, number>,
  voters: number,
): Standing {
  const shown = shownOf(votes);
  const [value, another] = new Set(shown.values());
  if (another !== undefined) return told("disputed", voters);
  if (value !== undefined && Math.min(shown.size, 1 + common(draws?.drawn, shown)) >= needed) {
    // Votes that may have been copied fill a quorum for the time being, and say nothing for its value.
    const weight = Math.min(shown.size, 1 + common(draws?.blind, shown));
    const records = [...shown.keys()].map((worker) => confirmed.get(worker) ?? 0);
    return told("provisional", voters, value, credibility(policy, weight, records));
  }
  const waiting = new Map([...votes].filter(([, its]) => its !== NO_RESULT));
  const missing = Math.max(0, needed - Math.min(waiting.size, 1 + common(draws?.drawn, waiting)));
  return told(votes.size > 0 ? "sealed" : "open", voters, null, 0, missing);
}

function told(
  state: ProvisionalState,
  voters: number,
  value: Hex | null = null,
  credible = 0,
  missing = 0,
): Standing {
  return { state, value, credibility: credible, missing, voters };
}

function common(workers: ReadonlySet<Hex> | undefined, votes: ReadonlyMap<Hex, Value>): number {
  let count = 0;
  for (const worker of workers ?? []) if (votes.has(worker)) count++;
  return count;
}

function entry<K, V>(map: Map<K, V>, key: K, make: () => V): V {
  let value = map.get(key);
  if (value === undefined) map.set(key, (value = make()));
  return value;
}

/**
 * The tally: what a set of records says, whatever order it came in (spec/ledger.md, "Tally").
 *
 *     per chunk:  OPEN --votes--> SEALED --enough equal votes--> AGREED
 *                   ^                '------- two values ------> DISPUTED --referee--> AGREED
 *                   '--- a voter is convicted: its votes are void (taint) ---'
 *
 * A pure function of the set, evaluated in strata so that nothing depends on arrival:
 *
 * 1. validity (the ledger admits no invalid record);
 * 2. equivocators: two different commits of one worker with one seq, or two values for one chunk: all its votes are
 *    void;
 * 3. the creator's verdicts: the commits of a convicted worker are void up to the greatest seq that one of them names,
 *    which is all of them when it was banned;
 * 4. the votes that count, one per worker and chunk, by admitted workers in the commits that 2 and 3 left over;
 * 5. each chunk's state from the votes on that chunk alone.
 *
 * Only the creator can open sealed batches. For everybody else a vote has no value, and a chunk is OPEN or SEALED.
 *
 * Values are equal or not, but for tasks whose results are compared with a tolerance (spec/gpu.md, "Comparators"). There
 * `Same` says which values of a chunk are one result; that is symmetric and not transitive, so one value stands for all
 * (`pivotOf`) or none does.
 *
 * Votes that rest on each other's savepoints are one vote (lineage.ts), and void as soon as one of those is.
 *
 * Workers, commits and values are compared and looked up all the time, so here they are hexadecimal text.
 */

import { NO_RESULT } from "./batch";
import type { Hex } from "./bytes";
import type { Rest } from "./lineage";
import { EVERYTHING } from "./records";

export type ChunkState = "open" | "sealed" | "disputed" | "agreed" | "failed";

/** The status byte and SHA-256 of the result; null while sealed; `NO_RESULT` when the worker says that it got none. */
export type Value = Hex | null;

/**
 * One worker's word on one chunk.
 *
 * `assigned` says that the creator chose this worker for this chunk; a worker that chose the chunk itself may have a
 * friend on it, so only one such vote counts towards a quorum. `trusted` is the creator's own execution: it settles the
 * chunk.
 */
export interface Vote {
  readonly worker: Hex;
  readonly value: Value;
  readonly assigned: boolean;
  readonly trusted: boolean;
  /** Of the commit it was cast in. */
  readonly seq: number;
  /** Lots chose it, while the creator was away (drawing.ts): it counts towards a quorum, and is no audit. */
  readonly drawn?: boolean;
  /** The savepoints of others that its execution went on from. */
  readonly rests?: readonly Rest[];
}

/** Distinct workers without a result that mark a chunk failed (DESIGN section 5). */
export const NO_RESULTS_TO_FAIL = 3;

/** Whether two different values of a chunk are one result. */
export type Same = (chunk: number, one: Hex, other: Hex) => boolean;

/** `Same` where results are compared by their bytes. */
export const differ: Same = () => false;

/** The class of devices that a value of a chunk was computed in. */
export type Kin = (chunk: number, value: Hex) => Hex;

/** Stratum 5 for one chunk. */
export interface ChunkTally {
  readonly state: ChunkState;
  /** The agreed value. */
  readonly value: Hex | null;
  /** Votes still needed. */
  readonly missing: number;
  /** Workers whose counted vote differs from the creator's own execution. */
  readonly offenders: readonly Hex[];
  /** Assigned votes that agree beyond what the quorum needed: audits. */
  readonly extra: number;
}

/** A chunk a convicted worker voted on needs two votes at least: whoever co-signed its lie may be its friend. */
export function votesNeeded(replication: number, tainted: boolean): number {
  return tainted ? Math.max(replication, 2) : replication;
}

const NOBODY: readonly Hex[] = [];

function told(state: ChunkState, value: Hex | null, missing: number, extra = 0): ChunkTally {
  return { state, value, missing, offenders: NOBODY, extra };
}

/**
 * The state of one chunk from the votes that count on it. The order of `votes` does not matter. Of what was observed
 * instead of computed two honest workers may say two things: then nobody is an offender.
 */
export function tallyChunk(
  votes: Iterable<Vote>,
  replication: number,
  tainted: boolean,
  chunk = 0,
  same: Same = differ,
  kin: Kin | null = null,
  /** Whether a wrong vote that rests on a savepoint is its author's fault. Of records alone it is. */
  isBlamed: (vote: Vote) => boolean = () => true,
  isObserved = false,
): ChunkTally {
  const needed = votesNeeded(replication, tainted);
  const cast: Vote[] = [];
  let sealed = 0;
  let noResults = 0;
  let trusted: Value = null;
  for (const vote of votes) {
    if (vote.trusted) trusted = vote.value;
    else if (vote.value === null) sealed++;
    else if (vote.value === NO_RESULT) noResults++;
    else cast.push(vote);
  }
  if (trusted !== null) {
    if (trusted === NO_RESULT) return told("failed", null, 0);
    if (isObserved) return told("agreed", trusted, 0);
    const own = trusted;
    const others = cast.filter(({ value }) => value !== own && !same(chunk, value!, own));
    const offenders = new Set(others.filter(isBlamed).map((vote) => vote.worker));
    return { state: "agreed", value: trusted, missing: 0, offenders: [...offenders].sort(), extra: 0 };
  }
  if (cast.length > 0) {
    if (kin !== null) return tallyClasses(chunk, cast, needed, same, kin);
    const pivot = pivotOf(chunk, new Set(cast.map(({ value }) => value!)), same);
    if (pivot === null) return told("disputed", null, 0);
    const weight = weightOf(cast);
    if (weight < needed) return told("sealed", null, needed - weight);
    return told("agreed", pivot, 0, Math.min(weight - needed, askedOf(cast)));
  }
  if (noResults >= NO_RESULTS_TO_FAIL) return told("failed", null, 0);
  if (sealed > 0 || noResults > 0) return told("sealed", null, Math.max(0, needed - sealed));
  return told("open", null, needed);
}

/**
 * Votes of one class count together. Those of others confirm nothing, and dispute it if they are not near. All that were
 * asked for beyond the quorum are audits, of whatever class: who audits is nobody's choice.
 */
function tallyClasses(chunk: number, cast: readonly Vote[], needed: number, same: Same, kin: Kin): ChunkTally {
  const votesFor = new Map<Hex, Vote[]>();
  for (const vote of cast) {
    const votes = votesFor.get(vote.value!);
    if (votes === undefined) votesFor.set(vote.value!, [vote]);
    else votes.push(vote);
  }
  const values = [...votesFor.keys()].sort();
  const classes = new Set(values.map((value) => kin(chunk, value)));
  const areNear = (one: Hex, place: number): boolean => values.slice(place + 1).every((other) => same(chunk, one, other));
  if (classes.size < values.length || !values.every(areNear)) return told("disputed", null, 0);
  const agreed = values.find((value) => weightOf(votesFor.get(value)!) >= needed);
  if (agreed === undefined) {
    return told("sealed", null, needed - Math.max(...[...votesFor.values()].map(weightOf)));
  }
  const votes = votesFor.get(agreed)!;
  const extra = Math.min(weightOf(votes) - needed, askedOf(votes));
  return told("agreed", agreed, 0, extra + askedOf(cast) - askedOf(votes));
}

/** A lineage is one vote, and of those that workers chose themselves only one counts. */
function weightOf(votes: readonly Vote[]): number {
  const apart = lineages(votes);
  const chosen = apart.filter((lineage) => lineage.some(({ assigned, drawn }) => assigned || drawn === true));
  return Math.min(apart.length, chosen.length + 1);
}

/** Lineages with a vote that was asked for and rests on nobody's savepoint. */
function askedOf(votes: readonly Vote[]): number {
  return lineages(votes).filter((lineage) => lineage.some(({ assigned }) => assigned)).length;
}

/** The votes, those together that share a maker or an author with each other, directly or by way of others. */
function lineages(votes: readonly Vote[]): readonly (readonly Vote[])[] {
  if (!votes.some(({ rests }) => rests !== undefined && rests.length > 0)) return votes.map((vote) => [vote]);
  let found: { readonly parties: Set<Hex>; readonly votes: Vote[] }[] = [];
  for (const vote of votes) {
    const joined = { parties: partiesOf(vote), votes: [vote] };
    found = found.filter(({ parties, votes: others }) => {
      if ([...parties].every((party) => !joined.parties.has(party))) return true;
      for (const party of parties) joined.parties.add(party);
      joined.votes.push(...others);
      return false;
    });
    found.push(joined);
  }
  return found.map(({ votes: together }) => together);
}

/** Whose work a vote is. */
export function partiesOf({ worker, rests = [] }: Pick<Vote, "worker" | "rests">): Set<Hex> {
  return new Set([worker, ...rests.map(({ maker }) => maker)]);
}

/** Whether a vote counts for nothing, given up to which seq everybody's records are void. */
export function isVoided({ worker, seq, rests = [] }: Pick<Vote, "worker" | "seq" | "rests">, to: ReadonlyMap<Hex, number>): boolean {
  return seq <= (to.get(worker) ?? -1) || rests.some((rest) => rest.seq <= (to.get(rest.maker) ?? -1));
}

/**
 * A vote that rests on others' savepoints is no audit, and counts towards a quorum as a chosen one only where everybody
 * was chosen whose work it is.
 */
export function asCounted(vote: Vote, isChosen: (worker: Hex) => boolean): Vote {
  if (vote.rests === undefined || vote.rests.length === 0) return vote;
  return { ...vote, assigned: false, drawn: [...partiesOf(vote)].every(isChosen) };
}

/** The value that all others are one result with, of several the first; null where there is none. */
function pivotOf(chunk: number, values: ReadonlySet<Hex>, same: Same): Hex | null {
  const [first] = values;
  if (values.size === 1) return first!;
  if (same === differ) return null;
  const stands = (pivot: Hex): boolean => [...values].every((value) => value === pivot || same(chunk, pivot, value));
  return [...values].sort().find(stands) ?? null;
}

/** One commit as the tally sees it: whose, which batch, and its votes by chunk (values null while sealed). */
export interface Ballot {
  readonly worker: Hex;
  readonly seq: number;
  readonly commit: Hex;
  readonly values: ReadonlyMap<number, Value>;
  readonly rests?: readonly Rest[];
}

/** What the whole set says; chunks ascending. */
export interface Tally {
  /** Worker -> the seq up to which its commits are void. */
  readonly void: ReadonlyMap<Hex, number>;
  readonly chunks: ReadonlyMap<number, ChunkTally>;
}

/** Stratum 2: workers that signed two commits with one seq, or two different results of one chunk. */
export function equivocators(ballots: Iterable<Ballot>, same: Same = differ, isObserved = false): Set<Hex> {
  const said = new Map<Hex, { readonly commits: Map<number, Hex>; readonly values: Map<number, Hex[]> }>();
  const found = new Set<Hex>();
  for (const ballot of ballots) {
    let before = said.get(ballot.worker);
    if (before === undefined) said.set(ballot.worker, (before = { commits: new Map(), values: new Map() }));
    const commit = before.commits.get(ballot.seq);
    if (commit === undefined) before.commits.set(ballot.seq, ballot.commit);
    else if (commit !== ballot.commit) found.add(ballot.worker);
    for (const [chunk, value] of ballot.values) {
      if (value === null || value === NO_RESULT || isObserved) continue;
      const results = before.values.get(chunk);
      if (results === undefined) before.values.set(chunk, [value]);
      else if (!results.includes(value)) {
        if (!results.every((other) => same(chunk, value, other))) found.add(ballot.worker);
        results.push(value);
      }
    }
  }
  return found;
}

/** Everything besides the ballots that the tally is a function of. */
export interface Electorate {
  readonly replication: number;
  readonly creator: Hex;
  readonly admitted: { has(worker: Hex): boolean };
  /** Of each worker with a verdict the seq up to which its commits are void. */
  readonly convicted: Iterable<readonly [Hex, number]>;
  /** Whether the creator asked this worker for this chunk. */
  isAssigned(worker: Hex, chunk: number): boolean;
  /** Whether lots chose a worker for a chunk while the creator was away; nobody, if not given. */
  isDrawn?(worker: Hex, chunk: number): boolean;
  /** Which values are one result; none but equal ones, if not given. */
  readonly same?: Same;
  /** In which class of devices a value was computed; all in one, if not given. */
  readonly kin?: Kin | null;
  /** Whether votes say what a server answered, which may differ without a lie; not, if not given. */
  readonly isObserved?: boolean;
}

/** All strata at once, from nothing but the set: the definition that every incremental ledger must agree with. */
export function tally(ballots: readonly Ballot[], electorate: Electorate): Tally {
  const { replication, creator, admitted, same = differ, kin = null, isObserved = false } = electorate;
  const voided = new Map(electorate.convicted);
  for (const worker of equivocators(ballots, same, isObserved)) voided.set(worker, EVERYTHING);
  const votes = new Map<number, Map<Hex, Vote>>();
  const tainted = new Set<number>();
  for (const ballot of ballots) {
    const { worker, seq, values, rests } = ballot;
    const trusted = worker === creator;
    if (!trusted && ![...partiesOf(ballot)].every((party) => admitted.has(party))) continue;
    const isVoid = isVoided(ballot, voided);
    for (const [chunk, value] of values) {
      if (isVoid) {
        tainted.add(chunk);
        continue;
      }
      let cast = votes.get(chunk);
      if (cast === undefined) votes.set(chunk, (cast = new Map()));
      const previous = cast.get(worker);
      const drawn = electorate.isDrawn?.(worker, chunk) ?? false;
      const assigned = electorate.isAssigned(worker, chunk);
      const vote: Vote = { worker, value, assigned, trusted, seq, drawn, ...(rests && { rests }) };
      // Of several commits on one chunk the one that says most counts: a result before 'no result' before sealed.
      if (previous === undefined || countsBefore(vote, previous)) cast.set(worker, vote);
    }
  }
  const touched = [...new Set([...votes.keys(), ...tainted])].sort((left, right) => left - right);
  const chunks = new Map<number, ChunkTally>();
  for (const chunk of touched) {
    const isChosen = (worker: Hex): boolean =>
      electorate.isAssigned(worker, chunk) || (electorate.isDrawn?.(worker, chunk) ?? false);
    const counted = [...(votes.get(chunk)?.values() ?? [])].map((vote) => asCounted(vote, isChosen));
    chunks.set(chunk, tallyChunk(counted, replication, tainted.has(chunk), chunk, same, kin, undefined, isObserved));
  }
  return { void: voided, chunks };
}

/**
 * Whether of two votes of one worker on one chunk this one counts. Of two that say the same it is the one that rests on
 * more: nobody's vote becomes independent by being cast again.
 */
export function countsBefore(vote: Vote, other: Vote): boolean {
  if (saysMore(vote.value, other.value)) return true;
  return !saysMore(other.value, vote.value) && orderOf(vote) > orderOf(other);
}

/** Text in whose order the savepoints are that votes rest on, one after another. */
function orderOf({ rests = [] }: Vote): string {
  return rests.map(({ maker, seq, savepoint }) => `${maker} ${String(seq).padStart(16, "0")} ${savepoint}`).join(" ");
}

/**
 * Of one worker's votes on one chunk: a result says more than 'no result', and that more than a sealed vote. Of two
 * results, which only a tolerance allows, the first in order counts: so that no order of arrival does.
 */
export function saysMore(value: Value, than: Value): boolean {
  if (value && than) return value < than;
  return said(value) > said(than);
}

function said(value: Value): number {
  return value === null ? 0 : value === NO_RESULT ? 1 : 2;
}

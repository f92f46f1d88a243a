/**
 * Which chunks are worth executing next (spec/ledger.md, "Picking").
 *
 *     open:      no vote, no live lease, not closed  -> a worker takes a run of them from a random point on
 *     few left:  less than a batch for everybody     -> workers say they are idle, and the creator deals them out
 *     end game:  all are under somebody's lease      -> the creator asks idle workers for second copies
 *
 * There is no scheduler: a random starting point and leases, which are hints, keep collisions at about N*D/T chunks
 * (N workers, D gossip delay, T seconds a batch; research: verification section 3.5). The point must be unpredictable,
 * so that nobody can arrange to meet a friend: it comes from the worker's own generator. When few are left everybody would
 * take the same ones before hearing of it, so the creator, who is one, gives them out. In the end game it is the creator
 * who asks as well, because a copy that a worker chose itself could not count towards a quorum (assigning.ts).
 */

import type { Ledger } from "./ledger";
import { SHARD_CHUNKS } from "./records";
import type { Rng } from "./rng";
import { existing } from "./shards";
import { isSettled } from "./stewards";

/** Workers on one outstanding chunk in the end game, the first included. */
export const COPIES_MAX = 2;

/** Chunks somebody knows of: a set, or the keys of a map. */
export interface Chunks {
  has(chunk: number): boolean;
}

/** What was picked, and how many chunks are open in the shard besides those that are ours. */
export interface Picked {
  readonly chunks: number[];
  readonly left: number;
}

/**
 * Where so many times the chunks are left that all who pick there take soon, each half of them has room for everybody: in
 * a denser half more would begin the same chunks before they hear of each other. A guess; simulations/scenarios/liars.toml.
 */
const ROOMY = 16;

/**
 * Up to `size` open chunks of a shard, ascending.
 *
 * Where few are left, no more than a fair share when `sharing` batches are to be made of them. Where there is room, who
 * works `alone`, so that it hears nothing of what the creator has begun, begins in the other half of what is not closed.
 */
export function pickOpen(
  ledger: Ledger,
  shard: number,
  size: number,
  mine: Chunks,
  rng: Rng,
  now: number,
  { sharing = 1, alone = false }: { readonly sharing?: number; readonly alone?: boolean } = {},
): Picked {
  const first = shard * SHARD_CHUNKS;
  const count = existing(ledger, shard);
  if (count === 0) return { chunks: [], left: 0 };
  const open: number[] = [];
  for (let chunk = first; chunk < first + count; chunk++) {
    if (!mine.has(chunk) && isOpen(ledger, chunk, now)) open.push(chunk);
  }
  const left = open.length;
  const middle = left >= ROOMY * sharing * size ? middleOf(ledger, first, count) : count;
  const start = first + (alone && middle < count ? middle + rng.below(count - middle) : rng.below(middle));
  const behind = open.findIndex((chunk) => chunk >= start);
  const fair = Math.min(size, Math.ceil(left / sharing));
  const chunks = behind < 0 ? open : [...open.slice(behind), ...open.slice(0, behind)];
  return { chunks: chunks.slice(0, fair).sort((one, other) => one - other), left };
}

/** The place in a shard that has as many chunks that are not closed before it as behind it, or one more. */
function middleOf(ledger: Ledger, first: number, count: number): number {
  const left: number[] = [];
  for (let index = 0; index < count; index++) if (!isSettled(ledger, first + index)) left.push(index);
  const last = left[Math.ceil(left.length / 2) - 1] ?? 0;
  return Math.max(1, Math.min(last + 1, count - 1));
}

/** Whether nobody has computed this chunk and nobody says to be on it. */
export function isOpen(ledger: Ledger, chunk: number, now: number): boolean {
  return !isSettled(ledger, chunk) && !ledger.hasVoter(chunk) && !ledger.leases.isLeased(chunk, now);
}

/** An outstanding chunk worth a second copy: on the fewest workers, then leased longest ago. Or null. */
export function pickEndgame(
  ledger: Ledger,
  shard: number,
  mine: Chunks,
  rng: Rng,
  now: number,
  leasedForS: number,
): number | null {
  let choice: { chunk: number; copies: number; since: number; chance: number } | null = null;
  for (const chunk of ledger.leases.chunks(shard, now)) {
    if (mine.has(chunk) || ledger.hasVoter(chunk) || isSettled(ledger, chunk)) continue;
    const leases = ledger.leases.on(chunk, now);
    const copies = leases.length;
    const since = Math.min(...leases.map((lease) => lease.since.get(chunk)!));
    if (copies >= COPIES_MAX || now - since < leasedForS) continue;
    // Chance breaks ties, or everybody idle would take the same chunk.
    const chance = rng.random();
    const difference =
      choice === null ? -1 : copies - choice.copies || since - choice.since || chance - choice.chance;
    if (difference < 0) choice = { chunk, copies, since, chance };
  }
  return choice?.chunk ?? null;
}

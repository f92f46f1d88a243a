/**
 * Where all chance comes from: an argument of the core, like time.
 *
 * Salts, nonces, picks and audits are drawn from it, so a real peer passes a generator over `crypto.getRandomValues`.
 */

export interface Rng {
  /** A number from 0 up to but not including 1. */
  random(): number;
  /** A whole number from 0 up to but not including `limit`, which is 1 to 2^32. */
  below(limit: number): number;
  bytes(count: number): Uint8Array;
}

/** The whole numbers below `count` in random order, drawn one by one as they are asked for. */
export function* permutation(rng: Rng, count: number): Generator<number, undefined> {
  const moved = new Map<number, number>();
  for (let last = count - 1; last >= 0; last--) {
    const at = rng.below(last + 1);
    yield moved.get(at) ?? at;
    moved.set(at, moved.get(last) ?? last);
    moved.delete(last);
  }
}

/** Up to `count` different items, drawn without replacement. */
export function sample<T>(rng: Rng, items: readonly T[], count: number): T[] {
  const order = permutation(rng, items.length);
  return Array.from({ length: Math.min(count, items.length) }, () => items[order.next().value!]!);
}

/** An index, drawn with a chance proportional to its weight. At least one weight must be above zero. */
export function weighted(rng: Rng, weights: readonly number[]): number {
  let point = rng.random() * weights.reduce((total, weight) => total + weight, 0);
  let last = 0;
  for (const [index, weight] of weights.entries()) {
    if (weight <= 0) continue;
    last = index;
    point -= weight;
    if (point < 0) break;
  }
  return last;
}

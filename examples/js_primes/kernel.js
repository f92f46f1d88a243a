// Prime numbers of one range: how many there are, and the largest gap between two of them.
//
// In:  [start, stop), two numbers of a `range` split.
// Out: JSON { start, count, first, last, gap: { size, after } }; first, last and gap are null where there are too few.

/** The primes up to `limit`, by the sieve of Eratosthenes. */
function primesUpTo(limit) {
  const composite = new Uint8Array(limit + 1);
  const primes = [];
  for (let n = 2; n <= limit; n++) {
    if (composite[n]) continue;
    primes.push(n);
    for (let multiple = n * n; multiple <= limit; multiple += n) composite[multiple] = 1;
  }
  return primes;
}

export default function ([start, stop]) {
  const composite = new Uint8Array(stop - start);
  for (const prime of primesUpTo(Math.floor(Math.sqrt(stop)))) {
    const first = Math.max(prime * prime, Math.ceil(start / prime) * prime);
    for (let multiple = first; multiple < stop; multiple += prime) composite[multiple - start] = 1;
  }
  const result = { start, count: 0, first: null, last: null, gap: null };
  for (let n = Math.max(2, start); n < stop; n++) {
    if (composite[n - start]) continue;
    result.count += 1;
    result.first ??= n;
    if (result.last !== null && (result.gap === null || n - result.last > result.gap.size)) {
      result.gap = { size: n - result.last, after: result.last };
    }
    result.last = n;
  }
  return result;
}

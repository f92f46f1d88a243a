import fc from "fast-check";
import { expect, test } from "vitest";

import { isOpen, pickEndgame, pickOpen } from "../src/protocol/picking";
import { SeededRng } from "./seeded";
import { alice, bob, carol, Task } from "./task";

// A run that passed must pass again on the same code.
fc.configureGlobal({ seed: 20_261_122 });

const CHUNKS = 40;
const NONE = new Set<number>();
const someChunks = fc.uniqueArray(fc.nat(CHUNKS - 1)).map((chunks) => new Set(chunks));

test("only what nobody has and nobody is on is picked", () => {
  const sizes = fc.integer({ min: 1, max: CHUNKS });
  fc.assert(
    fc.property(fc.tuple(someChunks, someChunks, someChunks, someChunks), sizes, fc.nat(), (sets, size, seed) => {
      const [voted, leased, closed, mine] = sets;
      const task = new Task(CHUNKS);
      task.vote(alice, voted);
      task.lease(bob, leased, 0);
      task.close(closed);
      const all = Array.from({ length: CHUNKS }, (_, chunk) => chunk);
      const free = all.filter((chunk) => ![voted, leased, closed, mine].some((taken) => taken.has(chunk)));
      const { chunks: picked, left } = pickOpen(task.ledger, 0, size, mine, new SeededRng(seed), 1);
      expect(picked).toEqual([...picked].sort((left, right) => left - right));
      expect(picked.length).toBe(Math.min(size, free.length));
      expect(left).toBe(free.length);
      expect(free).toEqual(expect.arrayContaining(picked));
      expect(picked.every((chunk) => isOpen(task.ledger, chunk, 1))).toBe(true);
    }),
  );
});

test("a lease that has run out frees its chunks", () => {
  const task = new Task(CHUNKS);
  task.lease(bob, Array.from({ length: CHUNKS }, (_, chunk) => chunk), 0);
  expect(pickOpen(task.ledger, 0, 5, NONE, new SeededRng(1), 14.9)).toEqual({ chunks: [], left: 0 });
  expect(pickOpen(task.ledger, 0, 5, NONE, new SeededRng(1), 15).chunks).toHaveLength(5);
});

test("where few are left, nobody takes more than a fair share", () => {
  const task = new Task(CHUNKS);
  task.vote(alice, Array.from({ length: CHUNKS - 9 }, (_, chunk) => chunk));
  expect(pickOpen(task.ledger, 0, 100, NONE, new SeededRng(1), 0, { sharing: 4 })).toMatchObject({ left: 9, chunks: { length: 3 } });
});

test.each([false, true])("every chunk of a half is as likely to be picked first (alone: %s)", (alone) => {
  const { ledger } = new Task(CHUNKS);
  const rng = new SeededRng(7);
  const counts = new Array<number>(CHUNKS).fill(0);
  for (let draw = 0; draw < 2_000; draw++) counts[pickOpen(ledger, 0, 1, NONE, rng, 0, { alone }).chunks[0]!]!++;
  const half = alone ? counts.slice(CHUNKS / 2) : counts.slice(0, CHUNKS / 2);
  const chiSquared = half.reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0);
  expect(chiSquared).toBeLessThan(43.8); // once in a thousand seeds
});

test("the halves are of what is not closed", () => {
  const task = new Task(CHUNKS);
  task.close(new Set(Array.from({ length: 20 }, (_, chunk) => chunk)));
  for (let seed = 0; seed < 50; seed++) {
    const first = (alone: boolean): number => pickOpen(task.ledger, 0, 1, NONE, new SeededRng(seed), 0, { alone }).chunks[0]!;
    expect(first(false)).toBeLessThan(30);
    expect(first(true)).toBeGreaterThanOrEqual(30);
  }
});

test.each([false, true])("where there is no room everybody begins anywhere (alone: %s)", (alone) => {
  const { ledger } = new Task(CHUNKS);
  const begun = new Set<number>();
  for (let seed = 0; seed < 500; seed++) {
    begun.add(pickOpen(ledger, 0, 1, NONE, new SeededRng(seed), 0, { sharing: 3, alone }).chunks[0]!);
  }
  expect(begun.size).toBe(CHUNKS);
});

test("the end game copies the longest leased chunk that nobody copies yet", () => {
  const task = new Task(CHUNKS);
  const pick = (now: number, mine: ReadonlySet<number> = NONE): number | null =>
    pickEndgame(task.ledger, 0, mine, new SeededRng(1), now, 2);
  task.lease(alice, [1, 2], 0);
  task.lease(bob, [5], 3);
  expect(pick(1)).toBeNull();
  expect([1, 2]).toContain(pick(4));
  expect(pick(6, new Set([1, 2]))).toBe(5);
  task.lease(carol, [1, 2], 4);
  expect(pick(6)).toBe(5); // no chunk is worth a third copy
  task.vote(bob, [5]);
  expect(pick(6)).toBeNull();
});

test("a closed chunk is not copied", () => {
  const task = new Task(CHUNKS);
  task.lease(alice, [1], 0);
  task.close([1]);
  expect(pickEndgame(task.ledger, 0, NONE, new SeededRng(1), 10, 1)).toBeNull();
});

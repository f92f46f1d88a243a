/** Whom the creator asks: everybody eligible by chance, nobody twice, and no more than each can take. */

import fc from "fast-check";
import { expect, test } from "vitest";

import { Assignments } from "../src/protocol/assigning";
import { COMMIT_CHUNKS_MAX, SHARD_CHUNKS, shardOf } from "../src/protocol/records";
import { SeededRng } from "./seeded";

const WORKERS = ["a", "b", "c", "d", "e", "f"];
const nobody = (): boolean => false;

function assignments(seed = 1): Assignments {
  return new Assignments(new SeededRng(seed), 2, new Map());
}

function wanting(count: number): Map<number, number> {
  return new Map(Array.from({ length: count }, (_, chunk) => [chunk, 1]));
}

test("nobody is asked twice for a chunk, nor for one it voted on", () => {
  const chunk = fc.nat({ max: 3 * SHARD_CHUNKS });
  const wanted = fc.array(fc.tuple(chunk, fc.integer({ min: 1, max: 3 })), { maxLength: 60 });
  const voted = fc.array(fc.tuple(fc.constantFrom(...WORKERS), chunk), { maxLength: 60 });
  fc.assert(
    fc.property(wanted, voted, fc.subarray(WORKERS), fc.nat(99), (wanted, voted, candidates, seed) => {
      const books = assignments(seed);
      const votes = new Set([
        ...voted.map(([worker, chunk]) => `${worker} ${chunk}`),
        ...wanted.slice(0, 20).map(([chunk], index) => `${WORKERS[index % 6]} ${chunk}`),
      ]);
      const isVoter = (worker: string, chunk: number): boolean => votes.has(`${worker} ${chunk}`);
      const asked = new Set<string>();
      for (const now of [0, 1]) {
        for (const { worker, chunks } of books.distribute(new Map(wanted), candidates, isVoter, now)) {
          expect(candidates).toContain(worker);
          expect(chunks).toEqual([...new Set(chunks)].sort((left, right) => left - right));
          expect(new Set(chunks.map(shardOf)).size).toBe(1);
          expect(chunks.length).toBeLessThanOrEqual(COMMIT_CHUNKS_MAX);
          for (const chunk of chunks) {
            expect(asked).not.toContain(`${worker} ${chunk}`);
            expect(isVoter(worker, chunk)).toBe(false);
            asked.add(`${worker} ${chunk}`);
          }
        }
      }
      expect(new Set([...books.outstanding()].map(([worker, chunk]) => `${worker} ${chunk}`))).toEqual(asked);
    }),
    { seed: 1 },
  );
});

test("whoever is free gets what is wanted", () => {
  const books = assignments();
  const given = books.distribute(new Map([[0, 2], [1, 1]]), WORKERS, nobody, 0);
  expect(given.flatMap(({ chunks }) => chunks).sort()).toEqual([0, 0, 1]);
  expect(books.workersOn(0).size).toBe(2);
  expect([...books.chunks()]).not.toEqual([]);
});

test("what nobody has room for stays wanted", () => {
  const books = assignments();
  const taken = books.distribute(wanting(100), ["a"], nobody, 0).flatMap(({ chunks }) => chunks);
  expect(taken.length).toBe(8);
  expect(books.room(["a"])).toBe(0);
  expect(books.distribute(wanting(100), ["a"], nobody, 0)).toEqual([]);
});

test("quick answers widen what a worker is asked for, and slow ones narrow it", () => {
  const books = assignments();
  const chunks = [...wanting(8).keys()];
  const answered = (worker: string, afterS: number): number => {
    books.distribute(wanting(8), [worker], nobody, 0);
    books.committed(worker, chunks, afterS);
    return books.room([worker]);
  };
  expect([answered("a", 0.1), answered("a", 100), answered("b", 100)]).toEqual([16, 8, 8]);
});

test("withdrawn chunks are free for others", () => {
  const books = assignments();
  books.distribute(wanting(2), ["a"], nobody, 0);
  expect([books.withdraw("a", [0]), books.withdraw("a"), books.withdraw("a")]).toEqual([[0], [1], []]);
  expect([...books.chunks()]).toEqual([]);
  expect(books.distribute(wanting(1), ["b"], nobody, 1)).toEqual([{ worker: "b", chunks: [0] }]);
});

test("seconds are drawn from everybody, so that no friend can be arranged", () => {
  const counts = new Map(WORKERS.map((worker) => [worker, 0]));
  for (let seed = 0; seed < 600; seed++) {
    const [given] = assignments(seed).distribute(wanting(1), WORKERS, nobody, 0);
    counts.set(given!.worker, counts.get(given!.worker)! + 1);
  }
  const unevenness = [...counts.values()].reduce((sum, count) => sum + (count - 100) ** 2 / 100, 0);
  expect(unevenness).toBeLessThan(20.5); // once in a thousand draws of seeds
});

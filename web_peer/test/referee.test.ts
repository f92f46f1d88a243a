/** The creator's incremental tally gives what the pure one gives, after every single step. */

import fc from "fast-check";
import { expect, test } from "vitest";

import { type Leaf, makeLeaf } from "../src/protocol/batch";
import { hex } from "../src/protocol/bytes";
import { Status } from "../src/protocol/events";
import { Comparison } from "../src/protocol/gpu/compare";
import { countedValue } from "../src/protocol/opening";
import { EVERYTHING } from "../src/protocol/records";
import { Referee } from "../src/protocol/referee";
import { type Ballot, type ChunkTally, differ, equivocators, type Kin, type Same, tally, type Value } from "../src/protocol/tally";

const CREATOR = "creator";
const WORKERS = ["alice", "bob", "carol", "dave"];
const CHUNKS = [0, 1, 2, 3];

function leaf(chunk: number, result: string | null): Leaf {
  const data = new TextEncoder().encode(result ?? "trap");
  return makeLeaf(chunk, result === null ? Status.NO_RESULT : Status.OK, true, data.length, data);
}

function stepOf(...results: string[]) {
  const voted = fc.tuple(fc.constantFrom(...CHUNKS), fc.option(fc.constantFrom(...results)));
  const votes = fc.uniqueArray(voted, { minLength: 1, maxLength: 3, selector: ([chunk]) => chunk });
  const worker = fc.constantFrom(...WORKERS);
  return fc.oneof(
    fc.record({ what: fc.constant("cast" as const), worker: fc.constantFrom(CREATOR, ...WORKERS), votes }),
    fc.record({ what: fc.constantFrom("admit" as const, "void" as const, "strike" as const), worker }),
    fc.record({ what: fc.constant("assign" as const), worker, votes }),
  );
}

// As f32, of which neighbours are close, and the last is none.
const NUMBERS = ["\0\0\0\x04", "\0\0\0\x05", "\0\0\x40\x05", "none!"];
const comparison = new Comparison([{ elements: 1, compare: { kind: "tol", absolute: 5e-36, relative: 0, outliers: 0 } }]);
const within = new Comparison([{ elements: 1, compare: { kind: "class", absolute: 5e-36, relative: 0, outliers: 0 } }]);
const CLASSED = NUMBERS.slice(0, 3).flatMap((each) => ["\0", "a", "b"].map((its) => each + its.repeat(32)));
const bytesOf = new Map([...NUMBERS, ...CLASSED].map((each) => [leaf(0, each).value, leaf(0, each).data]));
const near =
  (comparing: Comparison): Same =>
  (_, one, other) =>
    comparing.areClose(bytesOf.get(one)!, bytesOf.get(other)!);
const classOf: Kin = (_, value) => hex(within.classOf(bytesOf.get(value)!));

test.each([
  { how: "by their bytes", step: stepOf("right", "wrong"), comparison: null, same: differ, kin: null },
  { how: "as numbers", step: stepOf(...NUMBERS), comparison, same: near(comparison), kin: null },
  { how: "within classes", step: stepOf(...CLASSED), comparison: within, same: near(within), kin: classOf },
])("after every step the referee says what the whole set says, of results compared $how", (compared) => {
  const { step, same } = compared;
  fc.assert(
    fc.property(fc.array(step, { maxLength: 14 }), fc.integer({ min: 1, max: 3 }), (steps, replication) => {
      const referee = new Referee(CREATOR, replication, undefined, compared.comparison);
      const ballots: Ballot[] = [];
      const admitted = new Set<string>();
      const convicted = new Map<string, number>();
      const assigned = new Set<string>();
      const before = new Map(CHUNKS.map((chunk) => [chunk, referee.chunk(chunk)]));
      for (const each of steps) {
        const touched = new Set<number>();
        const touch = (chunks: readonly number[]): void => chunks.forEach((chunk) => touched.add(chunk));
        switch (each.what) {
          case "cast": {
            const leaves = each.votes.map(([chunk, result]) => leaf(chunk, result));
            const values = new Map<number, Value>(leaves.map((each) => [each.chunk, countedValue(each, compared.comparison, each.data)]));
            ballots.push({ worker: each.worker, seq: ballots.length, commit: `commit ${ballots.length}`, values });
            touch(referee.cast(each.worker, leaves, ballots.length - 1));
            // The creator's role convicts whoever contradicts itself, itself included should it ever happen.
            expect(referee.contradictors).toEqual(equivocators(ballots, same));
            for (const contradictor of referee.contradictors) touch(referee.makeVoid(contradictor, EVERYTHING));
            break;
          }
          case "admit":
            admitted.add(each.worker);
            touch(referee.admit(each.worker));
            break;
          case "void":
            convicted.set(each.worker, EVERYTHING);
            touch(referee.makeVoid(each.worker, EVERYTHING));
            break;
          case "strike":
            if (convicted.has(each.worker) || !ballots.some(({ worker }) => worker === each.worker)) break;
            convicted.set(each.worker, referee.lastSeq(each.worker));
            touch(referee.makeVoid(each.worker, referee.lastSeq(each.worker)));
            break;
          case "assign": {
            const chunks = each.votes.map(([chunk]) => chunk);
            for (const chunk of chunks) assigned.add(`${each.worker} ${chunk}`);
            touch(referee.assign(each.worker, chunks));
          }
        }
        const whole = tally(ballots, {
          replication,
          creator: CREATOR,
          admitted,
          convicted,
          isAssigned: (worker, chunk) => assigned.has(`${worker} ${chunk}`),
          same,
          kin: compared.kin,
        });
        expect(referee.void).toEqual(whole.void);
        const nothing: ChunkTally = { state: "open", value: null, missing: replication, offenders: [], extra: 0 };
        for (const chunk of CHUNKS) {
          const now = referee.chunk(chunk);
          expect(now).toEqual(whole.chunks.get(chunk) ?? nothing);
          if (!touched.has(chunk)) expect(now).toEqual(before.get(chunk));
          before.set(chunk, now);
        }
      }
    }),
    { seed: 1, numRuns: 200 },
  );
});

test("a chunk is confirmed by the class that began it, and audited by anybody", () => {
  const referee = new Referee(CREATOR, 2, undefined, within);
  for (const worker of WORKERS) referee.admit(worker);
  const [north, south] = [CLASSED[1]!, CLASSED[2]!];
  referee.cast("alice", [leaf(0, north)], 1);
  referee.cast("bob", [leaf(1, south)], 1);
  expect(WORKERS.map((worker) => referee.isStranger(worker, 0))).toEqual([false, true, false, false]);
  referee.assign("carol", [0]);
  referee.cast("carol", [leaf(0, north)], 1);
  expect(referee.chunk(0).state).toBe("agreed");
  expect(referee.isStranger("bob", 0)).toBe(false);
});

test("it does not matter whether a worker was asked before or after its vote came", () => {
  for (const isAskedFirst of [true, false]) {
    const referee = new Referee(CREATOR, 2);
    for (const worker of WORKERS) referee.admit(worker);
    referee.cast("alice", [leaf(0, "right")], 1);
    expect(referee.chunk(0).missing).toBe(1);
    if (isAskedFirst) referee.assign("bob", [0]);
    referee.cast("bob", [leaf(0, "right")], 1);
    if (!isAskedFirst) {
      expect(referee.chunk(0).state).toBe("sealed");
      referee.assign("bob", [0]);
    }
    expect(referee.chunk(0).state).toBe("agreed");
  }
});

test("the reasons for no result are kept by worker", () => {
  const referee = new Referee(CREATOR, 1);
  referee.cast("alice", [makeLeaf(0, Status.NO_RESULT, true, 4, Uint8Array.of(0xff, 0x74, 0x72, 0x61))], 1);
  expect([...referee.reports(0)]).toEqual([["alice", "\ufffdtra"]]);
});

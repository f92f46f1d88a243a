/** The creator's incremental tally gives what the pure one gives, after every single step. */

import fc from "fast-check";
import { expect, test } from "vitest";

import { type Leaf, makeLeaf } from "../src/protocol/batch";
import { Status } from "../src/protocol/events";
import { EVERYTHING } from "../src/protocol/records";
import { Referee } from "../src/protocol/referee";
import { type Ballot, type ChunkTally, equivocators, tally, type Value } from "../src/protocol/tally";

const CREATOR = "creator";
const WORKERS = ["alice", "bob", "carol", "dave"];
const CHUNKS = [0, 1, 2, 3];

function leaf(chunk: number, result: string | null): Leaf {
  const data = new TextEncoder().encode(result ?? "trap");
  return makeLeaf(chunk, result === null ? Status.NO_RESULT : Status.OK, true, data.length, data);
}

const results = fc.option(fc.constantFrom("right", "wrong"));
const votes = fc.uniqueArray(fc.tuple(fc.constantFrom(...CHUNKS), results), {
  minLength: 1,
  maxLength: 3,
  selector: ([chunk]) => chunk,
});
const step = fc.oneof(
  fc.record({ what: fc.constant("cast" as const), worker: fc.constantFrom(CREATOR, ...WORKERS), votes }),
  fc.record({ what: fc.constantFrom("admit" as const, "void" as const, "strike" as const), worker: fc.constantFrom(...WORKERS) }),
  fc.record({ what: fc.constant("assign" as const), worker: fc.constantFrom(...WORKERS), votes }),
);

test("after every step the referee says what the whole set says", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 14 }), fc.integer({ min: 1, max: 3 }), (steps, replication) => {
      const referee = new Referee(CREATOR, replication);
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
            const values = new Map<number, Value>(leaves.map(({ chunk, value }) => [chunk, value]));
            ballots.push({ worker: each.worker, seq: ballots.length, commit: `commit ${ballots.length}`, values });
            touch(referee.cast(each.worker, leaves, ballots.length - 1));
            // The creator's role convicts whoever contradicts itself, itself included should it ever happen.
            expect(referee.contradictors).toEqual(equivocators(ballots));
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

import { expect, test } from "vitest";

import { LEASES_PER_WORKER_MAX } from "../src/protocol/leases";
import { ASSIGN_KEPT_S } from "../src/protocol/ledger";
import { EVERYTHING, SHARD_CHUNKS } from "../src/protocol/records";
import { alice, bob, carol, creator, keyOf, Task } from "./task";
import { workersAtHome } from "../src/protocol/shards";

const CHUNKS = 40;

test("a lease lasts its time from arrival and is then let go", () => {
  const task = new Task(CHUNKS);
  const { ledger } = task;
  task.lease(alice, [3, 4], 100);
  expect(ledger.leases.on(4, 114.9).map((lease) => lease.worker)).toEqual([keyOf(alice)]);
  expect(ledger.leases.chunks(0, 114.9)).toEqual([3, 4]);
  expect(ledger.leases.on(4, 115)).toEqual([]);
  ledger.expire(115);
  expect([...ledger.recordIds(ledger.shardTopic(0))]).toEqual([]);
  expect([...ledger.leases.all()]).toEqual([]);
});

test("a newer lease replaces the older one whole, and remembers since when", () => {
  const task = new Task(CHUNKS);
  task.lease(alice, [3, 4], 0);
  task.lease(alice, [4], 5, 2);
  expect(task.ledger.leases.chunks(0, 6)).toEqual([4]);
  expect(task.ledger.leases.of(keyOf(alice), 0)?.since.get(4)).toBe(0);
  expect(task.lease(alice, [9], 6, 1)).toBe(false);
  expect(task.lease(alice, [9], 6, 2)).toBe(false);
  expect(workersAtHome(task.ledger, 0)).toBe(1);
});

test("a worker has leases in so many shards and no more", () => {
  const task = new Task(100 * SHARD_CHUNKS);
  const taken = Array.from({ length: 100 }, (_, shard) =>
    task.add(alice, { kind: "lease", task: task.ledger.task, shard, home: 0, seq: 1, ttlS: 15, runs: [] }),
  );
  expect(taken.filter(Boolean)).toHaveLength(LEASES_PER_WORKER_MAX);
});

test("a void or silent worker holds no lease", () => {
  const task = new Task(CHUNKS);
  const { ledger } = task;
  task.lease(alice, [3], 0);
  ledger.leases.release(keyOf(alice));
  expect(ledger.leases.chunks(0, 1)).toEqual([]);
  task.lease(bob, [3], 0);
  const commit = new Uint8Array(32);
  const worker = bob.publicKey;
  const ban = { kind: "verdict", task: ledger.task, worker, reason: "malformed", chunk: 0, commit } as const;
  task.add(creator, { ...ban, voidTo: EVERYTHING });
  expect(ledger.leases.chunks(0, 1)).toEqual([]);
  expect(task.lease(bob, [3], 1, 2)).toBe(false);
});

test("a strike voids the commits until then, and a ban all", () => {
  const task = new Task(CHUNKS);
  const { ledger } = task;
  const strike = {
    kind: "verdict",
    task: ledger.task,
    worker: alice.publicKey,
    reason: "wrong",
    chunk: 1,
    commit: new Uint8Array(32),
    voidTo: 5,
  } as const;
  task.vote(alice, [0, 1], 5);
  task.add(creator, strike);
  task.vote(alice, [2], 4);
  task.vote(alice, [1], 6);
  expect(ledger.isVoid(keyOf(alice))).toBe(false);
  expect([0, 1, 2].map((chunk) => ledger.voters(chunk))).toEqual([[], [keyOf(alice)], []]);
  expect(task.add(creator, { ...strike, voidTo: EVERYTHING })).toBe(true);
  expect(ledger.isVoid(keyOf(alice))).toBe(true);
  expect(ledger.hasVoter(1)).toBe(false);
  expect(ledger.strikes.get(keyOf(alice))?.voidTo).toBe(5);
});

test("an assignment is let go when nobody waits for it any more", () => {
  const task = new Task(CHUNKS);
  const { ledger } = task;
  const sealed = new Uint8Array(0);
  const topic = ledger.shardTopic(0);
  for (const [seq, now] of [10, 20].entries()) {
    task.add(creator, { kind: "assign", task: ledger.task, shard: 0, seq, worker: alice.publicKey, sealed }, now);
  }
  ledger.expire(10 + ASSIGN_KEPT_S - 0.1);
  expect([...ledger.recordIds(topic)]).toHaveLength(2);
  ledger.expire(10 + ASSIGN_KEPT_S);
  expect([...ledger.recordIds(topic)]).toHaveLength(1);
});

test("commits are let go when all their chunks are closed, but their voters stay", () => {
  const task = new Task(CHUNKS);
  task.vote(alice, [0, 1]);
  task.vote(bob, [1, 2]);
  task.close([0, 1]);
  expect([...task.ledger.commits.values()].map(({ author }) => author)).toEqual([keyOf(bob)]);
  expect(task.ledger.voters(0)).toEqual([keyOf(alice)]);
  // A late one is kept until the next checkpoint: it may be an audit on its way to the creator.
  task.vote(carol, [0]);
  expect(task.ledger.commits.size).toBe(2);
  task.close([0, 1, 2], 1);
  expect(task.ledger.commits.size).toBe(0);
});

test("the creator's ledger lets no commit go", () => {
  const task = new Task(CHUNKS, true);
  task.vote(alice, [0, 1]);
  task.vote(bob, [1, 2]);
  task.close([0, 1]);
  const { ledger } = task;
  const [letGo, listed] = [...ledger.commits.keys()];
  // Its tally rests on them, and nobody else needs to hear of the one that workers have let go.
  expect([...ledger.recordIds(ledger.shardTopic(0))].filter((id) => ledger.commits.has(id))).toEqual([listed]);
  expect(ledger.record(letGo!)).not.toBeNull();
});

test("two commits with one seq void their author, even when one was let go", () => {
  const task = new Task(CHUNKS);
  task.vote(alice, [0]);
  task.close([0]);
  task.vote(alice, [5]);
  expect([...task.ledger.equivocators]).toEqual([keyOf(alice)]);
  expect(task.ledger.voters(5)).toEqual([]);
});

/** Chunks that go on where they were (spec/modules.md, "Savepoints"): the vectors, and what a tab keeps. */

import { expect, test } from "vitest";

import { fromHex, hex } from "../src/protocol/bytes";
import { Status } from "../src/protocol/events";
import { Savepoints, type StoredSavepoint } from "../src/peer/savepoints";
import type { Store } from "../src/peer/store";
import type { Execution, Job } from "../src/sandbox/client";
import type { SavedState } from "../src/sandbox/ended";
import { prepareModule } from "../src/sandbox/module";
import { vectors } from "./vectors/read";

const { module, input, seed, output_bytes, result, rounds, states } = vectors("savepoints");

function execute(state: SavedState | null): { readonly result: string; readonly states: SavedState[] } {
  const code = new Uint8Array(Buffer.from(module, "base64"));
  const run = prepareModule(code, { memoryBytes: 65_536, outputBytes: output_bytes, numbers: false });
  const kept: SavedState[] = [];
  const ended = run(fromHex(input), BigInt(seed), state, (make) => kept.push(make()));
  if (ended === "no room") throw new Error(ended);
  expect(ended.status).toBe(Status.OK);
  return { result: hex(ended.data), states: kept };
}

test("a chunk's states are those of the native peer", () => {
  const all = execute(null);
  expect(all.result).toBe(result);
  expect(all.states).toHaveLength(rounds);
  for (const { number, savepoint, output, stdin_position, clock_ns, random_state } of states) {
    const state = all.states[number - 1]!;
    expect([hex(state.savepoint), hex(state.output), state.stdinPosition]).toEqual([savepoint, output, stdin_position]);
    expect([String(state.clockNs), String(state.randomState)]).toEqual([clock_ns, random_state]);
  }
});

test("from every savepoint on a chunk gives the same bytes", () => {
  for (const [number, state] of execute(null).states.entries()) {
    const rest = execute(state);
    expect(rest.result).toBe(result);
    expect(rest.states).toHaveLength(rounds - number - 1);
  }
});

/** What a tab's database does with values, without a browser. */
function storage(): Pick<Store, "read" | "write"> & { readonly values: Map<string, unknown> } {
  const values = new Map<string, unknown>();
  const read = (name: string): Promise<unknown> => Promise.resolve(structuredClone(values.get(name)));
  const write = (name: string, value: unknown): Promise<void> => Promise.resolve(void values.set(name, value));
  return { values, read: read as Store["read"], write: write as Store["write"] };
}

const TASK = "07".repeat(32);
const JOB = { job: 1, chunks: [{ chunk: 3, data: new Uint8Array(), seed: 0n }] } as unknown as Job;
const STATE: SavedState = {
  ...{ savepoint: new Uint8Array([1]), output: new Uint8Array([2]), stdinPosition: 3 },
  ...{ clockNs: 4n, randomState: 5n },
};

/** A sandbox that saves once and ends as told. */
function sandbox(execution: Execution | null): { seen: (SavedState | null)[]; run: (job: Job) => Promise<Execution | null> } {
  const seen: (SavedState | null)[] = [];
  return {
    seen,
    run: (job) => {
      seen.push(job.savepoints!.load(3));
      job.savepoints!.save(3, STATE);
      return Promise.resolve(execution);
    },
  };
}

test("what a tab was on it goes on with after a reload, until it is done", async () => {
  const store = storage();
  const before = await Savepoints.open(store);
  const cancelled = sandbox(null);
  expect(await before.run(cancelled, TASK, JOB)).toBeNull();
  expect(cancelled.seen).toEqual([null]);

  const after = await Savepoints.open(store);
  expect([...after.begun()]).toEqual([{ kind: "workBegun", taskId: TASK, chunks: [3] }]);
  const outcome = { chunk: 3, status: Status.OK, data: new Uint8Array(), detail: "" };
  const done = sandbox({ outcomes: [outcome], seconds: 1 });
  await after.run(done, TASK, JOB);
  expect(done.seen).toEqual([STATE]);
  expect([...after.begun()]).toEqual([]);
  expect([...(await Savepoints.open(store)).begun()]).toEqual([]);
});

test("the oldest savepoints go when there is no room", async () => {
  const store = storage();
  const savepoints = await Savepoints.open(store);
  const large = { ...STATE, output: new Uint8Array(15 * 1024 * 1024) };
  const job = { ...JOB, chunks: [1, 2, 3].map((chunk) => ({ chunk, data: new Uint8Array(), seed: 0n })) };
  const run = (asked: Job): Promise<null> => {
    for (const { chunk } of asked.chunks) asked.savepoints!.save(chunk, large);
    return Promise.resolve(null);
  };
  await savepoints.run({ run }, TASK, job);
  expect([...savepoints.begun()]).toEqual([{ kind: "workBegun", taskId: TASK, chunks: [2, 3] }]);
  expect(store.values.get(`savepoint ${TASK} 1`)).toBeNull();
  expect((store.values.get(`savepoint ${TASK} 3`) as StoredSavepoint).chunk).toBe(3);
});

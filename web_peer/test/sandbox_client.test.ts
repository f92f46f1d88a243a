/**
 * What the peer's end of the sandbox does with jobs, and with Workers that lie, die or say nothing. The other ends are
 * played here, over real ports; tests/interop/test_browser_sandbox.py has the real ones.
 */

import { afterEach, describe, expect, test } from "vitest";
import type { ChunkInput, ChunkOutcome } from "../src/protocol/events";
import { Status } from "../src/protocol/events";
import type { Execution, Job } from "../src/sandbox/client";
import { SandboxClient } from "../src/sandbox/client";
import type { FromPage, FromTaskWorker, ToPage, ToTaskWorker } from "../src/sandbox/messages";

type Answer = unknown;
/** What a Worker says to one message; nothing for silence. */
type Worker = (message: ToTaskWorker) => readonly Answer[];

const opened: MessagePort[] = [];
const clients: SandboxClient[] = [];

afterEach(() => {
  for (const client of clients.splice(0)) client.close();
  for (const port of opened.splice(0)) port.close();
});

interface Played {
  readonly client: SandboxClient;
  readonly said: readonly (ToPage | ToTaskWorker)[];
  /** A Worker has been told to run something. */
  readonly running: Promise<void>;
}

/** A client whose page starts these Workers, one after the other, the last one again and again. */
function sandbox(slots: number, ...workers: readonly Worker[]): Played {
  const said: (ToPage | ToTaskWorker)[] = [];
  let started = 0;
  let ran = (): void => undefined;
  const running = new Promise<void>((resolve) => (ran = resolve));
  const openPage = (): Promise<MessagePort> => {
    const { port1, port2 } = new MessageChannel();
    port2.onmessage = ({ data }: MessageEvent<ToPage>) => {
      said.push(data);
      if (data.kind === "ping") port2.postMessage({ kind: "pong" } satisfies FromPage);
      if (data.kind !== "start") return;
      const worker = workers[Math.min(started++, workers.length - 1)]!;
      const { port } = data;
      opened.push(port);
      port.onmessage = (event: MessageEvent<ToTaskWorker>) => {
        said.push(event.data);
        if (event.data.kind === "run") ran();
        for (const answer of worker(event.data)) port.postMessage(answer);
      };
    };
    opened.push(port2);
    return Promise.resolve(port1);
  };
  const client = new SandboxClient(slots, openPage);
  client.js = { prelude: "", libm: new Uint8Array(0) };
  clients.push(client);
  return { client, said, running };
}

function job(number: number, chunks: number, changes: Partial<Job> = {}): Job {
  return {
    job: number,
    runtime: "wasm",
    codeId: "aa",
    code: Uint8Array.of(1),
    limits: { memoryBytes: 65_536, outputBytes: 8, seconds: 20 },
    numbers: false,
    chunks: Array.from({ length: chunks }, (_, chunk) => ({ chunk, data: Uint8Array.of(chunk), seed: 0n })),
    ...changes,
  };
}

function echo({ chunk, data }: ChunkInput): ChunkOutcome {
  return { chunk, status: Status.OK, data, detail: "" };
}

const LOADED: FromTaskWorker = { kind: "loaded", refusal: "" };

function report(outcomes: readonly ChunkOutcome[], isDone = true): FromTaskWorker {
  return { kind: "report", outcomes, isDone };
}

/** Loads everything, and answers a run with what `run` makes of it. */
function worker(run: (chunks: readonly ChunkInput[], isCautious: boolean) => readonly Answer[]): Worker {
  return (message) => {
    if (message.kind === "load") return [LOADED];
    return message.kind === "run" ? run(message.chunks, message.isCautious) : [];
  };
}

const honest = worker((chunks) => [report(chunks.slice(0, 1).map(echo), false), report(chunks.slice(1).map(echo))]);
const silent = worker(() => []);

function statuses(execution: Execution | null): readonly Status[] {
  return (execution?.outcomes ?? []).map(({ status }) => status);
}

function details(execution: Execution | null): readonly string[] {
  return (execution?.outcomes ?? []).map(({ detail }) => detail);
}

describe("jobs", () => {
  test("are answered in the order of their chunks", async () => {
    const { client } = sandbox(1, honest);
    const asked = job(1, 5);
    expect((await client.run(asked))?.outcomes).toEqual(asked.chunks.map(echo));
    expect((await client.run(job(2, 0)))?.outcomes).toEqual([]);
  });

  test("run in the order they came, as many at a time as there are slots", async () => {
    const { client, said } = sandbox(2, honest);
    const ended: number[] = [];
    await Promise.all([1, 2, 3, 4].map((number) => client.run(job(number, 1)).then(() => ended.push(number))));
    expect(ended).toEqual([1, 2, 3, 4]);
    expect(said.filter(({ kind }) => kind === "start")).toHaveLength(2);
    expect(said.filter(({ kind }) => kind === "load")).toHaveLength(2);
  });

  test("wait while there are no slots", async () => {
    const { client, said } = sandbox(0, honest);
    const answer = client.run(job(1, 1));
    expect(said).toEqual([]);
    client.resize(1);
    expect(statuses(await answer)).toEqual([Status.OK]);
  });

  test("that are cancelled, waiting or running, are answered with null, and leave their slot to others", async () => {
    const { client, said, running } = sandbox(1, silent, honest);
    const first = client.run(job(1, 1));
    const waiting = client.run(job(2, 1));
    const next = client.run(job(3, 1));
    client.cancel(2);
    expect(await waiting).toBeNull();
    await running;
    client.cancel(1);
    expect(await first).toBeNull();
    expect(statuses(await next)).toEqual([Status.OK]);
    client.cancel(99);
    expect(said.filter(({ kind }) => kind === "run")).toHaveLength(2);
  });

  test("of one code share what was compiled, up to eight programs", async () => {
    const { client, said } = sandbox(1, honest);
    const codes = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "0"];
    for (const [number, codeId] of codes.entries()) await client.run(job(number, 1, { codeId }));
    expect(said.filter(({ kind }) => kind === "load")).toHaveLength(10);
    expect(said.filter(({ kind }) => kind === "forget")).toEqual([
      { kind: "forget", program: 0 },
      { kind: "forget", program: 1 },
    ]);
  });

  test("of a script run in Workers where nothing else ever runs", async () => {
    const { client, said } = sandbox(1, honest);
    await client.run(job(1, 1));
    await client.run(job(2, 1, { runtime: "js", codeId: "bb" }));
    await client.run(job(3, 1, { runtime: "js", codeId: "bb" }));
    await client.run(job(4, 1, { runtime: "js", codeId: "cc" }));
    await client.run(job(5, 1));
    const kinds = said.map(({ kind }) => kind).filter((kind) => kind === "start" || kind === "run");
    expect(kinds).toEqual(["start", "run", "start", "run", "run", "start", "run", "start", "run"]);
    // What scripts run in goes to them alone.
    expect(said.flatMap((each) => (each.kind === "load" ? [each.js !== null] : []))).toEqual([false, true, true, false]);
  });

  test("of more than eight megabytes go in parts", async () => {
    const { client, said } = sandbox(1, honest);
    const data = new Uint8Array(5 * 1024 * 1024);
    const chunks = [0, 1, 2].map((chunk) => ({ chunk, data, seed: 0n }));
    await client.run(job(1, 3, { chunks, limits: { memoryBytes: 65_536, outputBytes: data.length, seconds: 20 } }));
    expect(said.filter(({ kind }) => kind === "run")).toHaveLength(3);
  });
});

describe("a chunk", () => {
  const limits = { memoryBytes: 65_536, outputBytes: 8, seconds: 0.05 };
  /** Never ends chunk 2; gathers what it made before, unless it shall be cautious. */
  const stuckAtTwo = worker((chunks, isCautious) => {
    const ended = chunks.filter(({ chunk }) => chunk !== 2);
    if (ended.length === chunks.length) return [report(ended.map(echo))];
    return isCautious ? ended.filter(({ chunk }) => chunk < 2).map((chunk) => report([echo(chunk)], false)) : [];
  });

  test("that takes too long alone gets no result", async () => {
    const { client } = sandbox(1, stuckAtTwo);
    const execution = await client.run(job(1, 5, { limits }));
    expect(statuses(execution)).toEqual([Status.OK, Status.OK, Status.NO_RESULT, Status.OK, Status.OK]);
    expect(execution?.outcomes[2]?.detail).toBe("time limit 0.05 s");
  });

  test("that was the only one is known to be the cause at once", async () => {
    const { client } = sandbox(1, silent);
    expect(details(await client.run(job(1, 1, { limits })))).toEqual(["time limit 0.05 s"]);
    expect(client.lost.workers).toBe(1);
  });
});

describe("a Worker that", () => {
  const lies: readonly (readonly [string, Worker])[] = [
    ["answers for another chunk", worker(([first]) => [report([{ ...echo(first!), chunk: 7 }])])],
    ["leaves chunks out", worker(() => [report([])])],
    ["gives more than it may", worker(([first]) => [report([{ ...echo(first!), data: new Uint8Array(4_097) }])])],
    ["makes up a status", worker(([first]) => [{ ...report([]), outcomes: [{ ...echo(first!), status: 3 }] }])],
    ["gives text for bytes", worker(([first]) => [{ ...report([]), outcomes: [{ ...echo(first!), data: "x" }] }])],
    ["says nothing that can be read", worker(() => [null])],
    ["says what was not asked", worker(() => [LOADED])],
  ];

  test.each(lies)("%s is ended, and the chunk gets no result after another try", async (_, liar) => {
    const { client } = sandbox(1, liar);
    const execution = await client.run(job(1, 1));
    expect(statuses(execution)).toEqual([Status.NO_RESULT]);
    expect(details(execution)[0]).toContain("worker misbehaved");
  });

  test.each(lies)("%s costs nothing when the next one is honest", async (_, liar) => {
    const { client } = sandbox(1, liar, honest);
    expect(statuses(await client.run(job(1, 3)))).toEqual([Status.OK, Status.OK, Status.OK]);
  });

  test("refuses a code is not asked again", async () => {
    const refusing: Worker = (message) => (message.kind === "load" ? [{ ...LOADED, refusal: "it is odd" }] : []);
    const { client, said } = sandbox(1, refusing);
    expect(details(await client.run(job(1, 2)))).toEqual(Array(2).fill("module refused: it is odd"));
    expect(details(await client.run(job(2, 1)))).toEqual(["module refused: it is odd"]);
    expect(said.filter(({ kind }) => kind === "load")).toHaveLength(1);
  });

  test("tells its story in five hundred characters at most", async () => {
    const chatty = worker((chunks) => [report(chunks.map((chunk) => ({ ...echo(chunk), detail: "x".repeat(9_999) })))]);
    const { client } = sandbox(1, chatty);
    expect(details(await client.run(job(1, 1)))[0]).toHaveLength(500);
  });
});

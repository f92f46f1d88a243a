/** Jobs at the pace their owner allows. The task Workers are played here, over real ports. */

import { afterEach, expect, test } from "vitest";
import type { Execute } from "../src/protocol/events";
import { Status } from "../src/protocol/events";
import { Lanes } from "../src/peer/lanes";
import { SandboxClient } from "../src/sandbox/client";
import type { FromTaskWorker, ToPage, ToTaskWorker } from "../src/sandbox/messages";

const CODE = Uint8Array.of(1);
const WORK_MS = 20;

const ports: MessagePort[] = [];
const sandboxes: SandboxClient[] = [];
afterEach(() => {
  for (const sandbox of sandboxes.splice(0)) sandbox.close();
  for (const port of ports.splice(0)) port.close();
});

/** Lanes over a sandbox whose Workers take `WORK_MS` for each job, and what came of it. */
function lanes(): { lanes: Lanes; begun: number[]; done: number[]; next: () => Promise<number> } {
  const begun: number[] = [];
  const done: number[] = [];
  let heard = (_job: number): void => undefined;
  const openPage = (): Promise<MessagePort> => {
    const { port1, port2 } = new MessageChannel();
    ports.push(port2);
    port2.onmessage = ({ data }: MessageEvent<ToPage>) => {
      if (data.kind !== "start") return;
      ports.push(data.port);
      data.port.onmessage = (event: MessageEvent<ToTaskWorker>) => work(data.port, event.data, begun);
    };
    return Promise.resolve(port1);
  };
  const sandbox = new SandboxClient(0, openPage);
  sandboxes.push(sandbox);
  const made = new Lanes(sandbox, (order) => {
    done.push(order.job);
    heard(order.job);
  });
  return { lanes: made, begun, done, next: () => new Promise((resolve) => (heard = resolve)) };
}

function work(port: MessagePort, message: ToTaskWorker, begun: number[]): void {
  if (message.kind === "load") port.postMessage({ kind: "loaded", refusal: "" } satisfies FromTaskWorker);
  if (message.kind !== "run") return;
  begun.push(message.chunks[0]!.chunk);
  const outcomes = message.chunks.map(({ chunk }) => ({ chunk, status: Status.OK, data: CODE, detail: "" }));
  setTimeout(() => port.postMessage({ kind: "report", outcomes, isDone: true } satisfies FromTaskWorker), WORK_MS);
}

/** A job of one chunk; both have the same number. */
function order(job: number): Execute {
  return {
    kind: "execute",
    job,
    taskId: "aa",
    runtime: "wasm",
    code: CODE,
    limits: { memoryBytes: 65_536, outputBytes: 8, seconds: 20 },
    numbers: false,
    chunks: [{ chunk: job, data: CODE, seed: 0n }],
  };
}

test("nothing runs without a lane, and one job after the other with one", async () => {
  const { lanes: made, begun, done, next } = lanes();
  made.add(order(1), CODE);
  made.add(order(2), CODE);
  expect([made.slots, made.executing]).toEqual([0, 0]);
  made.pace(1, 1);
  expect(made.executing).toBe(1);
  await next();
  expect(begun).toEqual([1]);
  await next();
  expect([begun, done]).toEqual([[1, 2], [1, 2]]);
});

test("a cancelled job is never answered, whether it waits or runs", async () => {
  const { lanes: made, done, next } = lanes();
  for (const job of [1, 2, 3]) made.add(order(job), CODE);
  made.pace(1, 1);
  made.cancel(2);
  made.cancel(1);
  expect(await next()).toBe(3);
  expect(done).toEqual([3]);
});

test("a lane rests after its work, and whoever asks for full power need not wait for that", async () => {
  const { lanes: made, begun, next } = lanes();
  made.pace(1, 0.001);
  made.add(order(1), CODE);
  made.add(order(2), CODE);
  await next();
  // The rest is a thousand times as long as the work was.
  expect([made.executing, begun]).toEqual([0, [1]]);
  made.pace(1, 1);
  expect(made.executing).toBe(1);
  expect(await next()).toBe(2);
});

test("draining lets what runs end and begins nothing, until it is taken back", async () => {
  const { lanes: made, done, next } = lanes();
  made.pace(1, 1);
  made.add(order(1), CODE);
  made.add(order(2), CODE);
  await new Promise<void>((resolve) => made.drain(resolve));
  expect([done, made.executing]).toEqual([[1], 0]);
  made.undrain();
  expect(await next()).toBe(2);
});

/**
 * A task Worker: where strangers' code is compiled and runs. Started by the sandbox's page, it serves messages on the
 * port it is given. It holds no key, reaches no network, and is ended from outside when a chunk takes too long.
 */

import type { ChunkOutcome } from "../protocol/events";
import type { Execute, SavedState } from "./ended";
import { NO_ROOM, Refused, noResult } from "./ended";
import type { ExecuteLater } from "./kernel";
import type * as KernelScript from "./kernel_script";
import { prepareScript } from "./script";
import type { FromTaskWorker, ToTaskWorker } from "./messages";
import { prepareModule } from "./module";

/**
 * Outcomes of short chunks gather this long before they are told: telling costs more than a tiny chunk. What is lost
 * with a Worker that never ends its next chunk is no more than this, and is computed again.
 */
const REPORT_INTERVAL_MS = 2;
/** A report leaves early when it holds this much. */
const REPORT_BYTES = 256 * 1024;

/** A Worker that was ended may keep its memories for two seconds in Chromium, and leave no room for others so long. */
const ROOM_RETRY_MS = 100;
const ROOM_ATTEMPTS = 50;

// Held here because a script's world has no clock.
const nowMs = performance.now.bind(performance);
const later = self.setTimeout.bind(self);

const programs = new Map<number, Execute>();
/** Those that take their time: kernels. */
const kernels = new Map<number, ExecuteLater>();

/** Leads to the page's GPU, if this Worker may use that. */
let gpuPort: MessagePort | null = null;

self.onmessage = ({ ports: [port, gpu] }: MessageEvent) => {
  if (port === undefined) return;
  self.onmessage = null;
  gpuPort = gpu ?? null;
  port.onmessage = ({ data }: MessageEvent<ToTaskWorker>) => serve(port, data);
};

function serve(port: MessagePort, message: ToTaskWorker): void {
  switch (message.kind) {
    case "load":
      void load(message).then((refusal) => port.postMessage({ kind: "loaded", refusal } satisfies FromTaskWorker));
      return;
    case "forget":
      programs.delete(message.program);
      kernels.delete(message.program);
      return;
    case "run": {
      const kernel = kernels.get(message.program);
      return kernel === undefined ? run(port, message) : void runKernel(port, message, kernel);
    }
  }
}

/** Compile what `message` holds; the reason when it is refused. */
async function load(message: ToTaskWorker & { kind: "load" }): Promise<string> {
  const { program, code, allowance, js, kernelScript } = message;
  try {
    if (kernelScript !== null) {
      const prepared = await scriptOf(kernelScript).prepare(code, allowance, gpuPort);
      if (typeof prepared === "string") return prepared;
      kernels.set(program, prepared);
    } else programs.set(program, js === null ? prepareModule(code, allowance) : await prepareScript(code, allowance, js));
    return "";
  } catch (error) {
    return error instanceof Refused ? error.message : `it cannot be loaded: ${String(error)}`;
  }
}

let evaluated: typeof KernelScript | null = null;

function scriptOf(source: string): typeof KernelScript {
  // It is built as `var script = …`, which the global scope gets from an indirect eval.
  evaluated ??= globalThis.eval(`${source}\nscript`) as typeof KernelScript;
  return evaluated;
}

/** A kernel's chunks are never tiny, so each one is told. */
async function runKernel(
  port: MessagePort,
  { chunks, power }: ToTaskWorker & { kind: "run" },
  execute: ExecuteLater,
): Promise<void> {
  for (const [position, { chunk, data: input }] of chunks.entries()) {
    const { status, data, detail } = await execute(input, power);
    const outcomes = [{ chunk, status, data, detail }];
    port.postMessage({ kind: "report", outcomes, isDone: position === chunks.length - 1 } satisfies FromTaskWorker);
  }
}

function run(port: MessagePort, message: ToTaskWorker & { kind: "run" }): void {
  const { program, chunks, isCautious, states, saveEveryMs } = message;
  const execute = programs.get(program);
  if (execute === undefined) throw new Error(`program ${program} was never loaded`);
  let outcomes: ChunkOutcome[] = [];
  let bytes = 0;
  let next = 0;
  const report = (isDone: boolean): void => {
    port.postMessage({ kind: "report", outcomes, isDone } satisfies FromTaskWorker);
    outcomes = [];
    bytes = 0;
  };
  let attempts = 0;
  const step = (): void => {
    const dueMs = nowMs() + REPORT_INTERVAL_MS;
    while (next < chunks.length && nowMs() < dueMs) {
      const { chunk, data: input, seed } = chunks[next]!;
      let saveAtMs = nowMs() + saveEveryMs;
      const keep = (state: () => SavedState): void => {
        if (nowMs() < saveAtMs) return;
        saveAtMs = nowMs() + saveEveryMs;
        port.postMessage({ kind: "saved", chunk, state: state() } satisfies FromTaskWorker);
      };
      let ended = execute(input, seed, states[next] ?? null, keep);
      if (ended === NO_ROOM) {
        if (++attempts < ROOM_ATTEMPTS) {
          report(false); // Waiting does not count as the chunk's time.
          return void later(step, ROOM_RETRY_MS);
        }
        ended = noResult("memory limit");
      }
      const { status, data, detail } = ended;
      attempts = 0;
      next++;
      outcomes.push({ chunk, status, data, detail });
      bytes += data.length;
      if (isCautious || bytes >= REPORT_BYTES) report(false);
    }
    if (next === chunks.length) return report(true);
    if (outcomes.length > 0) report(false);
    afterThisTask(step);
  };
  step();
}

// No timer, which would wait, and no promise, which would not let go; and a script's world has neither.
const { port1: turnstile, port2: beyond } = new MessageChannel();

/**
 * Let what waits happen before `next`. Chromium lets a Worker that was ended run on for two seconds, unless it comes to
 * the end of a task before.
 */
function afterThisTask(next: () => void): void {
  beyond.onmessage = next;
  turnstile.postMessage(null);
}

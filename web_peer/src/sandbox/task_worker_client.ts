/**
 * One task Worker seen from the peer: started, spoken to, ended.
 *
 * What it says is checked like a stranger's words, since the code inside may have taken it over: whatever is wrong with
 * it is `WorkerLost`, and the Worker is to be ended.
 */

import type { ChunkInput, ChunkOutcome } from "../protocol/events";
import { Status } from "../protocol/events";
import { CLASS_BYTES } from "../protocol/gpu/compare";
import type { Hex } from "../protocol/bytes";
import type { Runtime } from "../protocol/manifest";
import { countdown } from "./countdown";
import type { Allowance, SavedState } from "./ended";
import { ERROR_BYTES_MAX } from "./ended";
import type { GpuChoice } from "./gpu_messages";
import type { JsParts } from "./javascript";
import type { FromTaskWorker, ToTaskWorker } from "./messages";
import { SAVEPOINT_BYTES_MAX } from "./wasi";

const DETAIL_CHARACTERS = 500;
const PROGRAMS_PER_WORKER = 8;
/** The slowest real module tried (Go, 2.1 MB) compiled in 2.7 s natively. */
const COMPILE_S_MAX = 60;
/** How late a report may be: the time limit is exact to this. */
const REPORT_SLACK_S = 0.1;
/** A Worker that waits for room says so now and then; one that only says so is as good as silent. */
const EMPTY_REPORTS_MAX = 64;
/** The least a port carries (a guess, low): a batch's own bytes must not count as its first chunk's time. */
const PORT_BYTES_PER_S = 20_000_000;

/** A code together with what its chunks may use: what a Worker keeps compiled. */
export interface Program {
  readonly codeId: Hex;
  readonly runtime: Runtime;
  readonly code: Uint8Array;
  readonly allowance: Allowance;
  /** Where a kernel may run. */
  readonly gpu: GpuChoice;
}

/** Where the states of one task's chunks are kept, from which they go on after a pause or a reload. */
export interface Savepoints {
  load(chunk: number): SavedState | null;
  save(chunk: number, state: SavedState): void;
}

/** What an ended Worker may cost a chunk that writes savepoints. A guess: less than in a node, for tabs end often. */
const SAVE_EVERY_MS = 2_000;

/** Why a Worker is of no use any more. */
export type Loss = "silent" | "died" | "page lost" | "ended";

export class WorkerLost extends Error {
  readonly loss: Loss;

  constructor(loss: Loss, message: string) {
    super(message);
    this.loss = loss;
  }
}

/** A Worker that runs. After `WorkerLost`, end it and start another. */
export class TaskWorkerClient {
  readonly #port: MessagePort;
  readonly #gpu: GpuChoice;
  readonly #loaded = new Map<string, number>();
  readonly #heard: unknown[] = [];
  #programs = 0;
  #script: Hex | null = null;
  #lost: WorkerLost | null = null;
  #wake: () => void = () => undefined;

  /** `gpu` is what the Worker was started with. */
  constructor(port: MessagePort, gpu: GpuChoice) {
    this.#port = port;
    this.#gpu = gpu;
    port.onmessage = ({ data }: MessageEvent<unknown>) => {
      this.#heard.push(data);
      this.#wake();
    };
    port.onmessageerror = () => this.lose("died", "worker misbehaved: it sent what cannot be read");
  }

  /** Whoever waits for a word of it gets `WorkerLost`. */
  lose(loss: Loss, message: string): void {
    this.#lost ??= new WorkerLost(loss, message);
    this.#port.close();
    this.#wake();
  }

  /** Whether it may execute `program`: a script, and the GPU, have Workers of their own. */
  suits(program: Program): boolean {
    const { codeId, runtime } = program;
    if (this.#lost !== null || this.#gpu !== gpuFor(program)) return false;
    return runtime === "js" ? this.#programs === 0 || this.#script === codeId : this.#script === null;
  }

  /** Whether it has compiled `program`. */
  has(program: Program): boolean {
    return this.#loaded.has(keyOf(program));
  }

  /**
   * Compile `program` unless it is compiled already; `js` is what a script runs in, `script` what a kernel does.
   *
   * @returns Its number, and why it is refused, empty when it is not.
   * @throws WorkerLost
   */
  async load(program: Program, js: JsParts | null, script: string): Promise<{ number: number; refusal: string }> {
    const { codeId, runtime, code, allowance } = program;
    const key = keyOf(program);
    const known = this.#loaded.get(key);
    if (known !== undefined) {
      this.#loaded.delete(key);
      this.#loaded.set(key, known); // the newest now
      return { number: known, refusal: "" };
    }
    const [oldest] = this.#loaded;
    if (oldest !== undefined && this.#loaded.size >= PROGRAMS_PER_WORKER) {
      this.#loaded.delete(oldest[0]);
      this.#say({ kind: "forget", program: oldest[1] });
    }
    const number = this.#programs++;
    if (runtime === "js") this.#script = codeId;
    const kernelScript = runtime === "gpu" ? script : null;
    this.#say({ kind: "load", program: number, code, allowance, js: runtime === "js" ? js : null, kernelScript });
    const { refusal } = await this.#receive("loaded", COMPILE_S_MAX);
    if (refusal === "") this.#loaded.set(key, number);
    return { number, refusal: refusal.slice(0, DETAIL_CHARACTERS) };
  }

  /**
   * Execute `chunks`, and push their outcomes as they are reported.
   *
   * @throws WorkerLost with `silent` when one takes longer than `seconds`.
   */
  async run(
    number: number,
    chunks: readonly ChunkInput[],
    isCautious: boolean,
    { seconds, outputBytes }: { readonly seconds: number; readonly outputBytes: number },
    power: number,
    outcomes: ChunkOutcome[],
    savepoints: Savepoints | null = null,
    saveEveryMs = SAVE_EVERY_MS,
  ): Promise<void> {
    // Not from a state that may have been what took the last Worker down.
    const states = chunks.map(({ chunk }) => (isCautious ? null : (savepoints?.load(chunk) ?? null)));
    this.#say({ kind: "run", program: number, chunks, isCautious, power, states, saveEveryMs });
    let savedMs = -Infinity;
    const onSaved = ({ chunk, state }: FromTaskWorker & { kind: "saved" }): void => {
      // A Worker that was taken over gets no more than twice the pace it was asked for.
      const isEarly = performance.now() < savedMs + saveEveryMs / 2;
      if (isEarly || state.output.length > outputBytes || !chunks.some((each) => each.chunk === chunk)) return;
      savedMs = performance.now();
      savepoints?.save(chunk, state);
    };
    const sentBytes = chunks.reduce((sum, chunk) => sum + chunk.data.length, 0);
    let limitS = seconds + REPORT_SLACK_S + sentBytes / PORT_BYTES_PER_S;
    let reported = 0;
    let emptyReports = 0;
    for (let isDone = false; !isDone; limitS = seconds + REPORT_SLACK_S) {
      const report = await this.#receive("report", limitS, onSaved);
      emptyReports = report.outcomes.length > 0 ? 0 : emptyReports + 1;
      if (emptyReports > EMPTY_REPORTS_MAX) throw new WorkerLost("silent", "worker reports nothing");
      for (const outcome of report.outcomes) {
        const asked = chunks[reported++];
        const isTooLong = outcome.data.length > Math.max(outputBytes + CLASS_BYTES, ERROR_BYTES_MAX);
        if (asked === undefined || outcome.chunk !== asked.chunk || isTooLong) {
          throw new WorkerLost("died", "worker misbehaved: it reported what was not asked for");
        }
        const { chunk, status, data, detail } = outcome;
        outcomes.push({ chunk, status, data, detail: detail.slice(0, DETAIL_CHARACTERS) });
      }
      isDone = report.isDone;
    }
    if (reported < chunks.length) throw new WorkerLost("died", "worker misbehaved: it left chunks out");
  }

  #say(message: ToTaskWorker): void {
    if (this.#lost === null) this.#port.postMessage(message);
  }

  /** The next message, which must be of this kind, within the time it has. */
  async #receive<Kind extends FromTaskWorker["kind"]>(
    kind: Kind,
    seconds: number,
    onSaved: ((saved: FromTaskWorker & { kind: "saved" }) => void) | null = null,
  ): Promise<FromTaskWorker & { kind: Kind }> {
    let isLate = false;
    const stop = countdown(seconds, () => {
      isLate = true;
      this.#wake();
    });
    try {
      for (;;) {
        while (this.#heard.length === 0) {
          if (this.#lost !== null) throw this.#lost;
          if (isLate) throw new WorkerLost("silent", `worker silent for ${seconds} s`);
          await new Promise<void>((resolve) => (this.#wake = resolve));
        }
        const message = this.#heard.shift();
        if (!isFromTaskWorker(message)) {
          throw new WorkerLost("died", "worker misbehaved: it sent a message that cannot be read");
        }
        if (message.kind === kind) return message as FromTaskWorker & { kind: Kind };
        if (message.kind !== "saved" || onSaved === null) {
          throw new WorkerLost("died", `worker misbehaved: it sent ${message.kind} instead of ${kind}`);
        }
        onSaved(message);
        // A Worker that says so again and again does not win time by it.
        if (isLate) throw new WorkerLost("silent", `worker silent for ${seconds} s`);
      }
    } finally {
      stop();
    }
  }
}

/** What a Worker for `program` may use of the GPU. */
export function gpuFor({ runtime, gpu }: Program): GpuChoice {
  return runtime === "gpu" ? gpu : "off";
}

function keyOf({ codeId, runtime, allowance: { memoryBytes, outputBytes, numbers } }: Program): string {
  return [codeId, runtime, memoryBytes, outputBytes, numbers].join();
}

function isFromTaskWorker(message: unknown): message is FromTaskWorker {
  if (!isObject(message)) return false;
  if (message["kind"] === "loaded") return typeof message["refusal"] === "string";
  if (message["kind"] === "saved") return typeof message["chunk"] === "number" && isSavedState(message["state"]);
  const { outcomes, isDone } = message;
  return (
    message["kind"] === "report" &&
    typeof isDone === "boolean" &&
    Array.isArray(outcomes) &&
    outcomes.every((outcome) => isOutcome(outcome))
  );
}

function isSavedState(state: unknown): state is SavedState {
  if (!isObject(state)) return false;
  const { savepoint, output, stdinPosition, clockNs, randomState } = state;
  return (
    savepoint instanceof Uint8Array &&
    savepoint.length <= SAVEPOINT_BYTES_MAX &&
    output instanceof Uint8Array &&
    Number.isSafeInteger(stdinPosition) &&
    typeof clockNs === "bigint" &&
    typeof randomState === "bigint"
  );
}

const STATUSES: ReadonlySet<unknown> = new Set(Object.values(Status));

function isOutcome(outcome: unknown): outcome is ChunkOutcome {
  return (
    isObject(outcome) &&
    typeof outcome["chunk"] === "number" &&
    STATUSES.has(outcome["status"]) &&
    outcome["data"] instanceof Uint8Array &&
    typeof outcome["detail"] === "string"
  );
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null;
}

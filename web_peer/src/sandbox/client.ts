/**
 * The sandbox as the peer's Worker sees it: jobs go in, outcomes come out, and time limits are kept.
 *
 * Jobs wait in the order they came; each runs on one slot, served by one task Worker at a time:
 *
 *     no Worker --start--> IDLE --run--> RUNNING --done--> IDLE
 *                                           └── time limit, death, cancellation: ended, then no Worker
 *
 * The clock is here, because a page's timers sleep when its tab is hidden; the knife is the sandbox's page, since only
 * the page that started a Worker can end it. The page itself may crash with what runs below it, which fires no event:
 * while jobs run it is pinged, and replaced when it stays silent.
 *
 * Executing is deterministic, so a chunk whose outcome was lost with a Worker simply runs again, and only a chunk known
 * to be the cause ends without a result.
 */

import type { Hex } from "../protocol/bytes";
import type { ChunkInput, ChunkOutcome } from "../protocol/events";
import { Status } from "../protocol/events";
import type { Limits, Runtime } from "../protocol/manifest";
import { countdown } from "./countdown";
import type { GpuChoice } from "./gpu_messages";
import type { JsParts } from "./javascript";
import type { FromPage, ToPage } from "./messages";
import type { Program, Savepoints } from "./task_worker_client";
import { gpuFor, TaskWorkerClient, WorkerLost } from "./task_worker_client";

const PING_INTERVAL_MS = 1_000;
/** A page answers a ping in milliseconds; several in a row stay unanswered only when nobody is there. */
const PINGS_UNANSWERED_MAX = 5;
/** A page that takes longer to start is tried again. It took 90 ms on an idle machine. */
const PAGE_START_S = 30;
/** A job with more input than this goes to its Worker in parts. */
const RUN_BYTES = 8 * 1024 * 1024;
/**
 * After a Worker was lost, so many chunks report one by one before the rest go fast again: more than the tiny chunks
 * whose outcomes a Worker gathers before it reports.
 */
const CAUTIOUS_CHUNKS = 256;
const REFUSALS_KEPT = 256;

/** One order: chunks of one task. The caller has checked that `codeId` is the SHA-256 of `code`. */
export interface Job {
  readonly job: number;
  /** The task, where its chunks' states are worth keeping. */
  readonly taskId?: Hex;
  readonly runtime: Runtime;
  readonly codeId: Hex;
  readonly code: Uint8Array;
  readonly limits: Limits;
  /** The inputs are little-endian i64s (spec/modules.md, "Command"). */
  readonly numbers: boolean;
  readonly chunks: readonly ChunkInput[];
  /** Where a kernel may run; nowhere if not said. */
  readonly gpu?: GpuChoice;
  /** The share of its time that a kernel computes; it keeps the rests itself. */
  readonly power?: number;
  /** Where states of its chunks are kept; nowhere if not said. */
  readonly savepoints?: Savepoints;
}

/** The outcomes of a job in the order asked for, and how long they took together, waiting for a slot not counted. */
export interface Execution {
  readonly outcomes: readonly ChunkOutcome[];
  readonly seconds: number;
}

interface Order {
  readonly job: Job;
  readonly program: Program;
  readonly resolve: (execution: Execution | null) => void;
  readonly outcomes: ChunkOutcome[];
  seconds: number;
  isCancelled: boolean;
  /** It ran when the sandbox's page died, so it runs alone until it is known not to be the cause. */
  isSuspected: boolean;
}

interface Slot {
  order: Order | null;
  worker: { readonly number: number; readonly client: TaskWorkerClient } | null;
}

/** Executes chunks in a sandbox that `openPage` makes, and makes anew when it has died. */
export class SandboxClient {
  readonly #openPage: () => Promise<MessagePort>;
  readonly #slots: Slot[] = [];
  readonly #waiting: Order[] = [];
  readonly #refusals = new Map<Hex, string>();
  #slotsMax = 0;
  #opening: Promise<MessagePort> | null = null;
  #page: MessagePort | null = null;
  #workersStarted = 0;
  #unanswered = 0;
  #pinging: ReturnType<typeof setInterval> | null = null;
  /** What scripts run in. To be set before the first job that is one. */
  js: JsParts | null = null;
  /** The script that kernels run in. To be set before the first job that is one. */
  kernelScript = "";
  /** How often a Worker, or the whole sandbox, had to be replaced. */
  readonly lost = { workers: 0, pages: 0 };

  constructor(slots: number, openPage: () => Promise<MessagePort>) {
    this.#openPage = openPage;
    this.resize(slots);
  }

  /** Run this many jobs at a time from now on. What runs goes on. The page is opened before the first job comes. */
  resize(slots: number): void {
    this.#slotsMax = slots;
    if (slots > 0) void this.#openedPage();
    while (this.#slots.length < slots) this.#slots.push({ order: null, worker: null });
    this.#shrink();
    this.#dispatch();
  }

  /**
   * Execute the job's chunks, each in a world of its own.
   *
   * Whatever goes wrong with the code, a chunk or a Worker becomes NO_RESULT with its kind as the detail.
   *
   * @returns Null when the job was cancelled.
   */
  run(job: Job): Promise<Execution | null> {
    const { runtime, codeId, code, limits, numbers } = job;
    if (runtime === "js" && this.js === null) throw new Error("a script came before what scripts run in");
    const { memoryBytes, outputBytes } = limits;
    const program = { runtime, codeId, code, gpu: job.gpu ?? "off", allowance: { memoryBytes, outputBytes, numbers } };
    return new Promise((resolve) => {
      const order = { job, program, resolve, outcomes: [], seconds: 0, isCancelled: false, isSuspected: false };
      this.#waiting.push(order);
      this.#dispatch();
    });
  }

  /** Take a job out of the queue, or end its Worker at once. Unknown jobs are ignored. */
  cancel(job: number): void {
    const position = this.#waiting.findIndex((order) => order.job.job === job);
    for (const order of position < 0 ? [] : this.#waiting.splice(position, 1)) order.resolve(null);
    for (const slot of this.#slots) {
      if (slot.order?.job.job !== job) continue;
      slot.order.isCancelled = true;
      this.#endWorker(slot);
    }
    this.#dispatch();
  }

  /** Cancel everything. */
  close(): void {
    for (const { job } of [...this.#waiting]) this.cancel(job.job);
    for (const { order } of this.#slots) if (order !== null) this.cancel(order.job.job);
    this.resize(0);
    this.#watch();
  }

  /**
   * Forget the page: whoever made it removes it now, with everything that still runs there. False when there is none.
   *
   * Cancelling is enough to be rid of a job, not of its cost: Chromium lets an ended Worker that does not pause by itself
   * run on for two seconds, where a removed page is gone at once. Cancel what runs before.
   */
  forgetPage(): boolean {
    if (this.#page === null) return false;
    this.#page.close();
    this.#page = this.#opening = null;
    for (const slot of this.#slots) {
      slot.worker?.client.lose("ended", "worker ended");
      slot.worker = null;
    }
    return true;
  }

  // ---- which job runs where

  #dispatch(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      const running = this.#slots.filter(({ order }) => order !== null);
      const mustBeAlone = next.isSuspected || running.some(({ order }) => order?.isSuspected);
      if (running.length >= (mustBeAlone ? Math.min(1, this.#slotsMax) : this.#slotsMax)) return;
      const slot = this.#slotFor(next.program);
      if (slot === undefined) return;
      this.#waiting.shift();
      slot.order = next;
      void this.#serve(slot, next);
    }
  }

  /** A free slot, if possible one that has compiled the program. */
  #slotFor(program: Program): Slot | undefined {
    const free = this.#slots.filter(({ order }) => order === null);
    return free.find(({ worker }) => worker?.client.has(program)) ?? free[0];
  }

  async #serve(slot: Slot, order: Order): Promise<void> {
    this.#watch();
    const startedMs = performance.now();
    const isComplete = await this.#execute(slot, order);
    order.seconds += (performance.now() - startedMs) / 1_000;
    slot.order = null;
    if (order.isCancelled) order.resolve(null);
    else if (isComplete) order.resolve({ outcomes: order.outcomes, seconds: order.seconds });
    else {
      order.isSuspected = true;
      this.#waiting.unshift(order);
    }
    this.#shrink();
    this.#watch();
    this.#dispatch();
  }

  #shrink(): void {
    while (this.#slots.length > this.#slotsMax) {
      const position = this.#slots.findLastIndex(({ order }) => order === null);
      const [slot] = position < 0 ? [] : this.#slots.splice(position, 1);
      if (slot === undefined) return;
      this.#endWorker(slot);
    }
  }

  // ---- running one job

  /** Fill in the order's outcomes; false when the sandbox's page died meanwhile and the job may be the cause. */
  async #execute(slot: Slot, order: Order): Promise<boolean> {
    const { job, program, outcomes } = order;
    let isCautious = order.isSuspected;
    let hasDiedCompiling = order.isSuspected;
    while (outcomes.length < job.chunks.length && !order.isCancelled) {
      const refusal = this.#refusals.get(program.codeId);
      if (refusal !== undefined) {
        for (const { chunk } of job.chunks.slice(outcomes.length)) outcomes.push(withoutResult(chunk, refusal));
        break;
      }
      const client = await this.#workerFor(slot, program);
      if (order.isCancelled) break;
      let isCompiled = false;
      try {
        const { number, refusal: reason } = await client.load(program, this.js, this.kernelScript);
        if (reason !== "") {
          this.#refuse(program, reason);
          continue;
        }
        isCompiled = true;
        const chunks = part(job.chunks, outcomes.length, isCautious ? CAUTIOUS_CHUNKS : Infinity);
        const power = job.runtime === "gpu" ? (job.power ?? 1) : 1;
        const limits = { ...job.limits, seconds: job.limits.seconds / power };
        await client.run(number, chunks, isCautious, limits, power, outcomes, job.savepoints);
        isCautious = false;
        this.#acquit(order);
      } catch (error) {
        if (!(error instanceof WorkerLost)) throw error;
        if (order.isCancelled) break;
        this.#endWorker(slot);
        this.lost.workers++;
        const { loss, message } = error;
        if (loss === "page lost" && !order.isSuspected) return false;
        if (!isCompiled) {
          if (loss === "silent") this.#refuse(program, "it takes too long to compile");
          else if (hasDiedCompiling) this.#refuse(program, `while compiling, the ${message}`);
          hasDiedCompiling = true;
          continue;
        }
        // Which chunk ran is known if it was the last, or if each was reported: from now on, each is.
        const culprit = job.chunks[outcomes.length];
        if (culprit !== undefined && (isCautious || outcomes.length === job.chunks.length - 1)) {
          const detail = loss === "silent" ? `time limit ${job.limits.seconds} s` : message;
          outcomes.push(withoutResult(culprit.chunk, detail));
        }
        isCautious = true;
      }
    }
    return true;
  }

  /** What was running when the page died has now run to its end. */
  #acquit(order: Order): void {
    if (!order.isSuspected) return;
    order.isSuspected = false;
    this.#dispatch();
  }

  #refuse({ codeId, runtime }: Program, reason: string): void {
    this.#refusals.set(codeId, `${runtime === "js" ? "script" : "module"} refused: ${reason}`);
    const [oldest] = this.#refusals.keys();
    if (oldest !== undefined && this.#refusals.size > REFUSALS_KEPT) this.#refusals.delete(oldest);
  }

  /** The slot's Worker, started first when there is none that suits. */
  async #workerFor(slot: Slot, program: Program): Promise<TaskWorkerClient> {
    if (slot.worker?.client.suits(program)) return slot.worker.client;
    this.#endWorker(slot);
    const page = await this.#openedPage();
    const { port1, port2 } = new MessageChannel();
    const gpu = gpuFor(program);
    const worker = { number: ++this.#workersStarted, client: new TaskWorkerClient(port1, gpu) };
    slot.worker = worker;
    page.postMessage({ kind: "start", worker: worker.number, port: port2, gpu } satisfies ToPage, [port2]);
    return worker.client;
  }

  #endWorker(slot: Slot): void {
    const { worker } = slot;
    if (worker === null) return;
    slot.worker = null;
    worker.client.lose("ended", "worker ended");
    this.#page?.postMessage({ kind: "end", worker: worker.number } satisfies ToPage);
  }

  // ---- the page

  /** The page's port, once there is a page. */
  #openedPage(): Promise<MessagePort> {
    this.#opening ??= this.#open();
    return this.#opening;
  }

  /** Ask for a page until one has come, whichever. */
  #open(): Promise<MessagePort> {
    return new Promise((resolve) => {
      let stop = (): void => undefined;
      const ask = (): void => {
        stop = countdown(PAGE_START_S, () => {
          this.lost.pages++;
          ask();
        });
        void this.#openPage().then((page) => {
          stop();
          page.onmessage = ({ data }: MessageEvent<FromPage>) => this.#hear(data);
          this.#page = page;
          this.#unanswered = 0;
          resolve(page);
        });
      };
      ask();
    });
  }

  #hear(message: FromPage): void {
    this.#unanswered = 0;
    if (message.kind !== "died") return;
    const slot = this.#slots.find(({ worker }) => worker?.number === message.worker);
    slot?.worker?.client.lose("died", `worker died: ${message.detail}`);
  }

  /** Ping the page while something runs in it. */
  #watch(): void {
    const isBusy = this.#slots.some(({ order }) => order !== null);
    if (isBusy === (this.#pinging !== null)) return;
    if (this.#pinging !== null) clearInterval(this.#pinging);
    this.#unanswered = 0;
    this.#pinging = isBusy ? setInterval(() => this.#ping(), PING_INTERVAL_MS) : null;
  }

  #ping(): void {
    if (this.#page === null) return;
    this.#page.postMessage({ kind: "ping" } satisfies ToPage);
    if (++this.#unanswered > PINGS_UNANSWERED_MAX) this.#losePage();
  }

  /** The page is dead: the next job that needs a Worker opens another. */
  #losePage(): void {
    this.lost.pages++;
    this.#page?.close();
    this.#page = this.#opening = null;
    for (const slot of this.#slots) {
      slot.worker?.client.lose("page lost", "sandbox died");
      slot.worker = null;
    }
  }
}

function withoutResult(chunk: number, detail: string): ChunkOutcome {
  return { chunk, status: Status.NO_RESULT, data: new Uint8Array(0), detail };
}

/** As many chunks from `first` on as go into one message: at least one, at most `countMax`. */
function part(chunks: readonly ChunkInput[], first: number, countMax: number): readonly ChunkInput[] {
  let bytes = 0;
  let stop = first;
  while (stop < chunks.length && stop - first < countMax) {
    bytes += chunks[stop]!.data.length;
    if (bytes > RUN_BYTES && stop > first) break;
    stop++;
  }
  return chunks.slice(first, stop);
}

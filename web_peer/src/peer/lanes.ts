/**
 * Executes jobs in a few lanes, each at the pace its owner allows.
 *
 *     a job:  WAITING --a lane is free--> RUNNING --ended--> answered, and the lane rests
 *                |                          |
 *                '-------- cancel ----------'--> gone: stopped at once, never answered
 *
 * At a power of one half a lane rests as long as it computed. The batch just made is handed over before the rest, so
 * nobody waits for it.
 */

import { hex } from "../protocol/bytes";
import type { ChunkOutcome, Execute } from "../protocol/events";
import type { SandboxClient } from "../sandbox/client";

interface Job {
  readonly order: Execute;
  readonly module: Uint8Array;
}

export class Lanes {
  private readonly waiting: Job[] = [];
  private readonly running = new Map<number, Job>();
  private readonly resting = new Set<ReturnType<typeof setTimeout>>();
  private count = 0;
  private power = 1;
  private isDraining = false;
  private onDrained: () => void = () => {};

  constructor(
    private readonly sandbox: Pick<SandboxClient, "run" | "cancel" | "resize">,
    private readonly onDone: (order: Execute, outcomes: readonly ChunkOutcome[], seconds: number) => void,
  ) {}

  /** Chunks being executed at this moment. */
  get executing(): number {
    let chunks = 0;
    for (const { order } of this.running.values()) chunks += order.chunks.length;
    return chunks;
  }

  /** How many jobs run at a time. */
  get slots(): number {
    return this.count;
  }

  /** How many jobs at a time, and which share of the time each lane computes (0.1 to 1). */
  pace(count: number, power: number): void {
    this.count = count;
    this.sandbox.resize(count);
    // Whoever asks for more power should not have to wait for a rest that was measured by the old one.
    if (power > this.power) this.wake();
    this.power = power;
    this.fill();
  }

  add(order: Execute, module: Uint8Array): void {
    this.waiting.push({ order, module });
    this.fill();
  }

  /** Stop a job now, wherever it is. It is not answered any more. */
  cancel(job: number): void {
    const at = this.waiting.findIndex(({ order }) => order.job === job);
    if (at >= 0) this.waiting.splice(at, 1);
    if (this.running.delete(job)) this.sandbox.cancel(job);
    this.settle();
    this.fill();
  }

  /** Begin nothing new; `onDrained` is called once nothing runs. `undrain` takes it back. */
  drain(onDrained: () => void): void {
    this.isDraining = true;
    this.onDrained = onDrained;
    this.settle();
  }

  undrain(): void {
    this.isDraining = false;
    this.fill();
  }

  private fill(): void {
    while (!this.isDraining && this.running.size + this.resting.size < this.count) {
      const job = this.waiting.shift();
      if (job === undefined) return;
      this.running.set(job.order.job, job);
      void this.run(job);
    }
  }

  private async run({ order, module }: Job): Promise<void> {
    const { job, taskId, runtime, code, limits, numbers, chunks } = order;
    const execution = await this.sandbox.run({ job, taskId, runtime, codeId: hex(code), code: module, limits, numbers, chunks, power: this.power });
    if (execution === null || !this.running.delete(job)) return;
    if (runtime !== "gpu") this.rest(execution.seconds); // Kernels rest between dispatches.
    this.onDone(order, execution.outcomes, execution.seconds);
    this.settle();
    this.fill();
  }

  private rest(workedS: number): void {
    const restMs = 1_000 * workedS * (1 / this.power - 1);
    if (restMs < 1) return;
    const timer = setTimeout(() => {
      this.resting.delete(timer);
      this.fill();
    }, restMs);
    this.resting.add(timer);
  }

  private wake(): void {
    for (const timer of this.resting) clearTimeout(timer);
    this.resting.clear();
  }

  private settle(): void {
    if (this.isDraining && this.running.size === 0) this.onDrained();
  }
}

/** Kernels on the GPU that the sandbox's page lends this Worker (gpu_host.ts). */

import { OUT_OF_BOUNDS } from "../protocol/gpu/guard";
import type { Arrangement, Task } from "../protocol/gpu/package";
import { GROUPS_FIRST, nextGroups, restS } from "../protocol/gpu/pacing";
import { guardedWgsl } from "../protocol/gpu/wgsl";
import type { Ended } from "./ended";
import { noResult, ok } from "./ended";
import type { Bindings, FromGpu, GpuCall, ToGpu } from "./gpu_messages";

const STATUS_BYTES = 4;

// Held here because a script's world has neither.
const nowMs = performance.now.bind(performance);
const later = setTimeout.bind(globalThis);

class CallFailed extends Error {
  constructor(
    message: string,
    readonly isLost: boolean,
  ) {
    super(message);
  }
}

/** A compiled kernel. It never throws, and says null when its device is gone. */
export type DeviceProgram = (chunk: Arrangement, power: number) => Promise<Ended | null>;

/** The page's GPU, asked over a port. */
export class Gpu {
  private calls = 0;
  private readonly asked = new Map<number, { resolve: (answer: number | Uint8Array) => void; reject: (e: Error) => void }>();

  constructor(private readonly port: MessagePort) {
    port.onmessage = ({ data }: MessageEvent<FromGpu>) => {
      const asker = this.asked.get(data.call);
      this.asked.delete(data.call);
      if ("answer" in data) asker?.resolve(data.answer);
      else asker?.reject(new CallFailed(data.error, data.isLost));
    };
  }

  /**
   * Compile a kernel.
   *
   * @throws Error when there is no device for it, or the browser does not take it.
   */
  async prepare(task: Task): Promise<DeviceProgram> {
    const { kernel } = task;
    const shares = task.package.outputs.map(({ elements }) => elements);
    const bindings: Bindings = [
      ...(kernel.uniform.length > 0 ? [{ binding: kernel.uniformBinding, type: "uniform" as const }] : []),
      ...(kernel.input === null ? [] : [{ binding: kernel.input.binding, type: "read-only-storage" as const }]),
      ...kernel.outputs.map(({ binding }) => ({ binding, type: "storage" as const })),
    ];
    const wgsl = guardedWgsl(kernel, task.package.fuel, shares);
    const program = (await this.ask({ kind: "prepare", wgsl, bindings })) as number;
    return async (chunk, power) => {
      let run = 0;
      try {
        run = (await this.ask({ kind: "begin", program, chunk })) as number;
        await this.dispatch(run, chunk, kernel.workgroupSize, power);
        const bytes = (await this.ask({ kind: "read", run })) as Uint8Array;
        const end = bytes.length - STATUS_BYTES;
        const status = new DataView(bytes.buffer, bytes.byteOffset).getUint32(end, true);
        if (status !== 0) return noResult(status & OUT_OF_BOUNDS ? "an index out of bounds" : "fuel limit");
        return ok(bytes.slice(0, end));
      } catch (error) {
        if (error instanceof CallFailed && error.isLost) return null;
        return noResult(`the device failed: ${String(error)}`);
      } finally {
        if (run > 0) this.ask({ kind: "close", run }).catch(() => undefined);
      }
    };
  }

  /** Run all invocations, in as many dispatches as keep each one short, and rest between them. */
  private async dispatch(run: number, chunk: Arrangement, workgroupSize: number, power: number): Promise<void> {
    let next = GROUPS_FIRST;
    for (let base = 0; base < chunk.invocations; ) {
      const groups = Math.min(next, Math.ceil((chunk.invocations - base) / workgroupSize));
      const words = new Uint32Array([base, chunk.invocations, chunk.inputElements, 0]);
      const startedMs = nowMs();
      await this.ask({ kind: "dispatch", run, groups, words });
      const seconds = (nowMs() - startedMs) / 1_000;
      next = nextGroups(groups, seconds);
      base += groups * workgroupSize;
      const restMs = 1_000 * restS(seconds, power);
      if (restMs >= 1) await new Promise((resolve) => later(resolve, restMs));
    }
  }

  private ask(asked: GpuCall): Promise<number | Uint8Array> {
    const call = ++this.calls;
    return new Promise((resolve, reject) => {
      this.asked.set(call, { resolve, reject });
      this.port.postMessage({ call, ...asked } satisfies ToGpu);
    });
  }
}

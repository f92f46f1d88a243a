/**
 * The GPU of the sandbox's page, for one task Worker that may use it (spec/gpu.md).
 *
 *     no device --prepare--> READY --the browser takes it away--> LOST, and the next `prepare` opens another
 */

import { ENTRY, RUN_BINDING, STATUS_BINDING } from "../protocol/gpu/guard";
import type { Arrangement } from "../protocol/gpu/package";
import type { FromGpu, GpuCall, GpuChoice, ToGpu } from "./gpu_messages";

const STATUS_BYTES = 4;
const RUN_BYTES = 16;

interface Program {
  readonly pipeline: GPUComputePipeline;
  readonly layouts: readonly GPUBindGroupLayout[];
  readonly bindings: readonly number[];
}

interface Run {
  readonly pipeline: GPUComputePipeline;
  readonly groups: readonly GPUBindGroup[];
  readonly outputs: readonly GPUBuffer[];
  readonly status: GPUBuffer;
  readonly guard: GPUBuffer;
}

export class GpuHost {
  private device: GPUDevice | null = null;
  private count = 0;
  private readonly programs = new Map<number, Program>();
  private readonly runs = new Map<number, Run>();

  constructor(
    private readonly port: MessagePort,
    private readonly choice: GpuChoice,
  ) {
    port.onmessage = ({ data }: MessageEvent<ToGpu>) => {
      this.perform(data).then(
        (answer) => this.say({ call: data.call, answer }),
        (error: unknown) => {
          // A run that lost its device is told so, whatever the browser says of it.
          const isLost = this.device === null && data.kind !== "prepare";
          this.say({ call: data.call, error: error instanceof Error ? error.message : String(error), isLost });
        },
      );
    };
  }

  /** The Worker is gone. What it has sent to the device ends by itself. */
  close(): void {
    this.port.close();
    this.device?.destroy();
    this.lose();
  }

  private say(message: FromGpu): void {
    this.port.postMessage(message);
  }

  private async perform(call: GpuCall): Promise<number | Uint8Array> {
    switch (call.kind) {
      case "prepare":
        return this.prepare(call);
      case "begin":
        return this.begin(found(this.programs, call.program), call.chunk);
      case "dispatch":
        return this.dispatch(found(this.runs, call.run), call.groups, call.words);
      case "read":
        return this.read(found(this.runs, call.run));
      case "close": {
        const run = this.runs.get(call.run);
        this.runs.delete(call.run);
        for (const buffer of run === undefined ? [] : [...run.outputs, run.status, run.guard]) buffer.destroy();
        return 0;
      }
    }
  }

  private get opened(): GPUDevice {
    if (this.device === null) throw new Error("the device was lost");
    return this.device;
  }

  private lose(): void {
    this.device = null;
    this.programs.clear();
    this.runs.clear();
  }

  private async open(): Promise<GPUDevice> {
    if (this.device !== null) return this.device;
    const adapter = await (navigator as { readonly gpu?: GPU }).gpu?.requestAdapter({ powerPreference: "high-performance" });
    if (adapter === undefined || adapter === null) throw new Error("there is no GPU that pages may use");
    const { info } = adapter;
    const isSoftware = info.isFallbackAdapter || /swiftshader|llvmpipe|software/i.test(`${info.architecture} ${info.device}`);
    if (isSoftware && this.choice !== "software") throw new Error("a processor plays the GPU: a module is faster");
    const device = await adapter.requestDevice();
    this.device = device;
    void device.lost.then(() => {
      if (this.device === device) this.lose();
    });
    return device;
  }

  private async prepare({ wgsl, bindings }: GpuCall & { kind: "prepare" }): Promise<number> {
    const device = await this.open();
    const entry = (binding: number, type: GPUBufferBindingType): GPUBindGroupLayoutEntry => {
      return { binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } };
    };
    const own = bindings.map(({ binding, type }) => entry(binding, type));
    const layouts = [own, [entry(STATUS_BINDING, "storage"), entry(RUN_BINDING, "uniform")]].map((entries) =>
      device.createBindGroupLayout({ entries }),
    );
    const pipeline = await device.createComputePipelineAsync({
      layout: device.createPipelineLayout({ bindGroupLayouts: layouts }),
      compute: { module: device.createShaderModule({ code: wgsl }), entryPoint: ENTRY },
    });
    this.programs.set(++this.count, { pipeline, layouts, bindings: bindings.map(({ binding }) => binding) });
    return this.count;
  }

  private begin({ pipeline, layouts, bindings }: Program, chunk: Arrangement): number {
    const device = this.opened;
    const { UNIFORM, STORAGE, COPY_DST, COPY_SRC } = GPUBufferUsage;
    const largest = Math.max(chunk.input.length, ...chunk.outputs);
    if (largest > Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize)) {
      throw new Error("an array is larger than this device can hold");
    }
    // WebGPU clears what it allocates.
    const buffer = (usage: number, size: number): GPUBuffer => device.createBuffer({ size, usage });
    const filled = (usage: number, bytes: Uint8Array): GPUBuffer[] => {
      if (bytes.length === 0) return [];
      const made = buffer(usage | COPY_DST, bytes.length);
      device.queue.writeBuffer(made, 0, bytes as Uint8Array<ArrayBuffer>);
      return [made];
    };
    const outputs = chunk.outputs.map((size) => buffer(STORAGE | COPY_SRC, size));
    const own = [...filled(UNIFORM, chunk.uniform), ...filled(STORAGE, chunk.input), ...outputs];
    const status = buffer(STORAGE | COPY_SRC, STATUS_BYTES);
    const guard = buffer(UNIFORM | COPY_DST, RUN_BYTES);
    const resources = [
      own.map((each, position) => ({ binding: bindings[position]!, resource: { buffer: each } })),
      [
        { binding: STATUS_BINDING, resource: { buffer: status } },
        { binding: RUN_BINDING, resource: { buffer: guard } },
      ],
    ];
    const groups = resources.map((entries, group) => device.createBindGroup({ layout: layouts[group]!, entries }));
    this.runs.set(++this.count, { pipeline, groups, outputs, status, guard });
    return this.count;
  }

  private async dispatch(run: Run, count: number, words: Uint32Array<ArrayBuffer>): Promise<number> {
    const { queue } = this.opened;
    queue.writeBuffer(run.guard, 0, words);
    const encoder = this.opened.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(run.pipeline);
    run.groups.forEach((group, position) => pass.setBindGroup(position, group));
    pass.dispatchWorkgroups(count);
    pass.end();
    queue.submit([encoder.finish()]);
    await queue.onSubmittedWorkDone();
    return 0;
  }

  private async read({ outputs, status }: Run): Promise<Uint8Array> {
    const device = this.opened;
    const { MAP_READ, COPY_DST } = GPUBufferUsage;
    const read = [...outputs, status];
    const staging = device.createBuffer({
      size: read.reduce((sum, { size }) => sum + size, 0),
      usage: MAP_READ | COPY_DST,
    });
    const encoder = device.createCommandEncoder();
    let position = 0;
    for (const buffer of read) {
      encoder.copyBufferToBuffer(buffer, 0, staging, position, buffer.size);
      position += buffer.size;
    }
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const bytes = new Uint8Array(staging.getMappedRange().slice(0));
    staging.destroy();
    return bytes;
  }
}

function found<T>(all: ReadonlyMap<number, T>, number: number): T {
  const one = all.get(number);
  if (one === undefined) throw new Error("the device was lost");
  return one;
}

/**
 * What a task Worker asks of the sandbox's page, which has the GPU: browsers give none to a Worker without an origin.
 *
 *     task Worker ── ToGpu ──► sandbox page     one port for each Worker; calls are numbered, and each is answered
 *                 ◄─ FromGpu ─
 *
 * The Worker keeps the time: timers of pages sleep when the tab is hidden.
 */

import type { Arrangement } from "../protocol/gpu/package";

/** Whether kernels may go to the GPU. Software is a processor that plays one, more slowly than a module: for tests. */
export type GpuChoice = "off" | "on" | "software";

/** The kernel's own bindings in group 0, in the order of uniform, input and outputs. */
export type Bindings = readonly { readonly binding: number; readonly type: GPUBufferBindingType }[];

export type GpuCall =
  /** Compile a text; answered by the program's number. */
  | { readonly kind: "prepare"; readonly wgsl: string; readonly bindings: Bindings }
  /** Allocate and fill a chunk's buffers; answered by the run's number. */
  | { readonly kind: "begin"; readonly program: number; readonly chunk: Arrangement }
  /** Send workgroups and wait for them; `words` are the guard's. Answered by 0. */
  | { readonly kind: "dispatch"; readonly run: number; readonly groups: number; readonly words: Uint32Array<ArrayBuffer> }
  /** Answered by the bytes of all outputs and, last, of the status word. */
  | { readonly kind: "read"; readonly run: number }
  /** Let go of a chunk's buffers. Answered by 0. */
  | { readonly kind: "close"; readonly run: number };

export type ToGpu = { readonly call: number } & GpuCall;

export type FromGpu =
  | { readonly call: number; readonly answer: number | Uint8Array }
  | { readonly call: number; readonly error: string; readonly isLost: boolean };

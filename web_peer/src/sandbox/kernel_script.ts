/**
 * What kernels run in, as one script that a task Worker evaluates with the first of them: most never need it. Nothing
 * but values passes between the two, for each has classes of its own.
 */

import { Gpu } from "./device";
import type { Allowance } from "./ended";
import { Refused } from "./ended";
import { type ExecuteLater, prepareKernel } from "./kernel";

/** `prepareKernel`, with the reason as text when it is refused; `port` leads to the page's GPU if that may be used. */
export async function prepare(
  code: Uint8Array,
  allowance: Allowance,
  port: MessagePort | null,
): Promise<ExecuteLater | string> {
  gpu ??= port === null ? null : new Gpu(port);
  try {
    return await prepareKernel(code, allowance, gpu);
  } catch (error) {
    if (error instanceof Refused) return error.message;
    throw error;
  }
}

let gpu: Gpu | null = null;

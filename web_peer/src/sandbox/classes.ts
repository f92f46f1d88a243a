/**
 * Which devices compute the same floats: a class is measured, not declared (spec/gpu.md, "Classes").
 *
 *     probe.wgsl on a device --> its numbers --'
 *                                               +--> SHA-256: the class, at the end of each result of the device
 *     the task's golden vectors --> results ---'
 */

import { sha256 } from "@noble/hashes/sha2.js";

import source from "../../../protocol/crowdcompute/protocol/gpu/probe.wgsl?raw";
import { concat } from "../protocol/bytes";
import { CLASS_BYTES, Comparison } from "../protocol/gpu/compare";
import type { Arrangement, Task } from "../protocol/gpu/package";
import { parse } from "../protocol/gpu/parser";

const INVOCATIONS = 1_024;
/** Of each invocation. */
const NUMBERS = 32;

/** The class of all fallbacks, for modules compute the same everywhere. */
export const MODULE = new Uint8Array(CLASS_BYTES);

/** The probe as a task that a device compiles. */
export function probe(): Task {
  const text = new TextEncoder().encode(source);
  const outputs = [
    { name: "out", elements: NUMBERS, compare: { kind: "tol", absolute: 1e30, relative: 0, outliers: 0 } },
  ] as const;
  return {
    package: {
      schema: 1,
      source: text,
      uniform: [],
      invocations: String(INVOCATIONS),
      outputs: [...outputs],
      fuel: 16,
      golden: [],
      fallback: new Uint8Array(),
    },
    kernel: parse(text),
    comparison: new Comparison(outputs),
  };
}

/** What it computes. */
export const PROBED: Arrangement = {
  invocations: INVOCATIONS,
  uniform: new Uint8Array(new Uint32Array([0x5eed, 0, 0, 0]).buffer),
  input: new Uint8Array(),
  inputElements: 0,
  outputs: [4 * NUMBERS * INVOCATIONS],
};

/** The class of a device that makes this of the probe, and these arrays of a task's golden vectors. */
export function classOf(probed: Uint8Array, golden: readonly Uint8Array[]): Uint8Array {
  const domain = new TextEncoder().encode("cc/class/1\0");
  return sha256(concat(domain, sha256(probed), ...golden.map((each) => sha256(each))));
}

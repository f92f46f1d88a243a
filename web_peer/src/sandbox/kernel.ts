/**
 * Execute chunks of a GPU task (spec/gpu.md): on a device where the person allows it and it proves itself, else as the
 * module that the package brings for that.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal } from "../protocol/bytes";
import { ModuleRefused, RemoteProtocolError } from "../protocol/errors";
import { Status } from "../protocol/events";
import {
  arrange,
  isResult,
  NOT_FINITE,
  openPackage,
  proves,
  type Arrangement,
  type Bounds,
  type Golden,
  type Task,
} from "../protocol/gpu/package";
import { restS } from "../protocol/gpu/pacing";
import { classOf, MODULE, probe, PROBED } from "./classes";
import type { DeviceProgram, Gpu } from "./device";
import type { Allowance, Ended, Execute } from "./ended";
import { NO_ROOM, Refused, noResult } from "./ended";
import { prepareModule } from "./module";

/** Executes one chunk, resting so that it computes a share `power` of its time. It never throws. */
export type ExecuteLater = (data: Uint8Array, power: number) => Promise<Ended>;

/** How often a device that was lost is opened anew for a program before it stays with its module. */
const LOSSES_MAX = 3;

// Held here because a script's world has neither.
const nowMs = performance.now.bind(performance);
const later = setTimeout.bind(globalThis);

/**
 * Open a package and have whatever computes it prove itself; without `gpu` that is its module.
 *
 * @throws Refused when no peer executes it, or its module does not reproduce the golden vectors.
 */
export async function prepareKernel(code: Uint8Array, allowance: Allowance, gpu: Gpu | null): Promise<ExecuteLater> {
  const task = opened(code);
  let device = await onDevice(task, allowance, gpu);
  let module: Execute | null = device === null ? await asModule(task, allowance) : null;
  let losses = 0;
  return async (data, power) => {
    let chunk: Arrangement;
    try {
      chunk = arrange(task, data, allowance);
    } catch (error) {
      return noResult(error instanceof RemoteProtocolError ? error.message : String(error));
    }
    while (device !== null) {
      const ended = await device.program(chunk, power);
      if (ended !== null) return finite(task, ended, device.itsClass);
      device = ++losses < LOSSES_MAX ? await onDevice(task, allowance, gpu) : null;
    }
    try {
      module ??= await asModule(task, allowance);
    } catch (error) {
      return noResult(String(error));
    }
    const startedMs = nowMs();
    const ended = await withRoom(module, data);
    const restMs = 1_000 * restS((nowMs() - startedMs) / 1_000, power);
    if (restMs >= 1) await pause(restMs);
    const expected = chunk.outputs.reduce((sum, size) => sum + size, 0);
    if (ended.status !== Status.OK) return ended;
    if (ended.data.length === expected) return finite(task, ended, MODULE);
    return noResult(`the fallback's result has ${ended.data.length} bytes, a kernel's ${expected}`);
  };
}

function opened(code: Uint8Array): Task {
  try {
    return openPackage(code);
  } catch (error) {
    throw error instanceof ModuleRefused ? new Refused(error.message) : error;
  }
}

/** A task on a device that has proved itself. */
interface OnDevice {
  readonly program: DeviceProgram;
  /** What each result ends with, where results are compared within classes of devices. */
  readonly itsClass: Uint8Array;
}

/** The task on this browser's GPU; null when there is none for it. */
async function onDevice(task: Task, allowance: Bounds, gpu: Gpu | null): Promise<OnDevice | null> {
  if (gpu === null) return null;
  try {
    const program = await gpu.prepare(task);
    const execute = async (data: Uint8Array): Promise<Ended> =>
      (await program(arrange(task, data, allowance), 1)) ?? noResult("the device was lost");
    const proofs: Uint8Array[] = [];
    const failed = await firstFailed(task, execute, (golden, data) => {
      proofs.push(data);
      return proves(task, golden, data);
    });
    if (failed !== null) return null;
    if (task.comparison?.hasClasses !== true) return { program, itsClass: MODULE };
    const probed = await (await gpu.prepare(probe()))(PROBED, 1);
    return probed?.status === Status.OK ? { program, itsClass: classOf(probed.data, proofs) } : null;
  } catch {
    return null; // Whatever the reason, the module computes the same.
  }
}

async function asModule(task: Task, allowance: Allowance): Promise<Execute> {
  const module = prepareModule(task.package.fallback, allowance);
  const failed = await firstFailed(
    task,
    (data) => withRoom(module, data),
    (golden, data) => equal(sha256(data), golden.sha256),
  );
  if (failed !== null) throw new Refused(`its fallback does not reproduce golden vector ${failed}`);
  return module;
}

async function firstFailed(
  task: Task,
  execute: (data: Uint8Array) => Promise<Ended>,
  isRight: (golden: Golden, data: Uint8Array) => boolean,
): Promise<number | null> {
  for (const [number, golden] of task.package.golden.entries()) {
    const { status, data } = await execute(golden.input);
    if (status !== Status.OK || !isRight(golden, data)) return number;
  }
  return null;
}

/** What a peer votes for: results end with their device's class where that counts, and without finite floats are none. */
function finite(task: Task, ended: Ended, itsClass: Uint8Array): Ended {
  if (ended.status !== Status.OK) return ended;
  if (!isResult(task, ended.data)) return noResult(NOT_FINITE);
  return task.comparison?.hasClasses === true ? { ...ended, data: concat(ended.data, itsClass) } : ended;
}

const ROOM_RETRY_MS = 100;
const ROOM_ATTEMPTS = 50;

async function withRoom(module: Execute, data: Uint8Array): Promise<Ended> {
  for (let attempt = 0; attempt < ROOM_ATTEMPTS; attempt++) {
    const ended = module(data, 0n);
    if (ended !== NO_ROOM) return ended;
    await pause(ROOM_RETRY_MS);
  }
  return noResult("memory limit");
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => later(resolve, ms));
}

/**
 * States of chunks that were running, from which this tab goes on after a pause, a reload or its end.
 *
 *     a chunk:  RUNNING --savepoint--> kept --a newer one--> kept --its outcome, no room--> dropped
 *
 * They are in memory and in the store, each under a name of its own. They are nobody's but ours: a vote that rests on
 * another's state would be that other's vote (spec/modules.md, "Savepoints").
 */

import type { Hex } from "../protocol/bytes";
import type { WorkBegun } from "../protocol/events";
import type { Execution, Job, SandboxClient } from "../sandbox/client";
import type { SavedState } from "../sandbox/ended";
import type { Store } from "./store";

/** The oldest go first. A guess: a lane has one. */
const BYTES_MAX = 32 * 1024 * 1024;

export interface StoredSavepoint {
  readonly taskId: Hex;
  readonly chunk: number;
  readonly state: SavedState;
}

export type SavepointName = `savepoint ${string}`;

export class Savepoints {
  /** The latest saved last. */
  private readonly saved = new Map<SavepointName, StoredSavepoint>();

  private constructor(private readonly store: Pick<Store, "read" | "write">) {}

  static async open(store: Pick<Store, "read" | "write">): Promise<Savepoints> {
    const opened = new Savepoints(store);
    for (const name of (await store.read("savepoints")) ?? []) {
      const saved = await store.read(name);
      if (saved) opened.saved.set(name, saved);
    }
    return opened;
  }

  /** The chunks that could go on, for the core. */
  *begun(): Generator<WorkBegun> {
    const chunks = new Map<Hex, number[]>();
    for (const { taskId, chunk } of this.saved.values()) chunks.set(taskId, [...(chunks.get(taskId) ?? []), chunk]);
    for (const [taskId, each] of chunks) yield { kind: "workBegun", taskId, chunks: each };
  }

  /** Execute a job: its chunks go on from what is kept of them, and what they save is kept while they run. */
  async run(client: Pick<SandboxClient, "run">, taskId: Hex, job: Job): Promise<Execution | null> {
    const savepoints = {
      load: (chunk: number) => this.saved.get(nameOf(taskId, chunk))?.state ?? null,
      save: (chunk: number, state: SavedState) => this.save({ taskId, chunk, state }),
    };
    const execution = await client.run({ ...job, savepoints });
    for (const { chunk } of execution?.outcomes ?? []) this.drop(nameOf(taskId, chunk));
    return execution;
  }

  private save(saved: StoredSavepoint): void {
    const name = nameOf(saved.taskId, saved.chunk);
    this.saved.delete(name);
    this.saved.set(name, saved);
    this.write(name, saved);
    let bytes = 0;
    for (const { state } of this.saved.values()) bytes += state.savepoint.length + state.output.length;
    for (const [oldest, { state }] of this.saved) {
      if (bytes <= BYTES_MAX || oldest === name) break;
      bytes -= state.savepoint.length + state.output.length;
      this.drop(oldest);
    }
    this.write("savepoints", [...this.saved.keys()]);
  }

  private drop(name: SavepointName): void {
    if (!this.saved.delete(name)) return;
    this.write("savepoints", [...this.saved.keys()]);
    this.write(name, null);
  }

  /** What cannot be kept costs time at worst. */
  private write: Store["write"] = async (name, value) => this.store.write(name, value).catch(() => undefined);
}

function nameOf(taskId: Hex, chunk: number): SavepointName {
  return `savepoint ${taskId} ${chunk}`;
}

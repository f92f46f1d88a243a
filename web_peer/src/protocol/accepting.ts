/**
 * Which tasks a peer works for: what its volunteer allows, and what the task asks of it.
 *
 *     a task:  SEEN --acceptable--> worked for --not any more--> rests --again--> goes on      (peer.ts, worker.ts)
 */

import { equal, hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Ledger } from "./ledger";
import type { Manifest } from "./manifest";
import type { WorkerRole } from "./worker";

/** What a task may ask too much of. */
export type Exceeded = "fetches" | "memory" | "time" | "inputs" | "proof of work";

/** Of what a task asks a worker for more than our configuration gives; null when it fits. */
export function exceeded(config: ProtocolConfig, { limits, inputs, policy, runtime }: Manifest): Exceeded | null {
  if (runtime === "net") return "fetches";
  if (limits.memoryBytes > config.memoryBytesMax) return "memory";
  if (limits.seconds > config.secondsMax) return "time";
  if (inputs !== null && inputs.size > config.blobBytesMax) return "inputs";
  return policy.powBits > config.powBitsMax ? "proof of work" : null;
}

/** The choice of one peer. */
export class Accepting {
  /** The only tasks that the volunteer wants, if it chose any. */
  chosen: ReadonlySet<Hex> | null = null;
  /** Nothing is begun any more. */
  isFinishing = false;

  constructor(
    private readonly config: ProtocolConfig,
    /** Our key: nobody works for a task of its own. */
    private readonly me: Hex,
    /** The tasks that are worked for, or were. */
    private readonly workers: ReadonlyMap<Hex, WorkerRole>,
  ) {}

  /** Whether to work for a task with so many slots. */
  accepts({ taskKey, manifest }: Ledger, slots: number): boolean {
    const { config } = this;
    const creator = hex(manifest.creator);
    return (
      config.work &&
      slots > 0 &&
      (this.chosen === null || this.chosen.has(taskKey)) &&
      !this.isFinishing &&
      creator !== this.me &&
      config.runtimes.has(manifest.runtime) &&
      (config.acceptCreators === null || config.acceptCreators.has(creator)) &&
      exceeded(config, manifest) === null &&
      this.bytesFor(taskKey, manifest) <= config.creatorBytesMax
    );
  }

  /** Code and inputs of this task and of the others we work on for the same creator. */
  private bytesFor(taskKey: Hex, manifest: Manifest): number {
    const tasks = new Map([[taskKey, manifest]]);
    for (const [key, { isDone, ledger }] of this.workers) if (!isDone) tasks.set(key, ledger.manifest);
    const sizes = new Map<Hex, number>();
    for (const { creator, code, inputs } of tasks.values()) {
      if (!equal(creator, manifest.creator)) continue;
      for (const ref of [code, inputs]) if (ref !== null) sizes.set(hex(ref.sha256), ref.size);
    }
    let total = 0;
    for (const size of sizes.values()) total += size;
    return total;
  }
}

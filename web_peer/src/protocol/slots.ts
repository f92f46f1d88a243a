/**
 * What a peer executes, and in which order its roles get a slot.
 *
 *     a job:  waiting --a slot is free--> running --executed--> votes
 *                '--- recalled for an urgent one: its chunks wait with their role
 *
 * Every slot is kept busy and one job waits, so that a slot never idles between batches.
 */

import type { ProtocolConfig } from "./config";
import type { CreatorRole } from "./creator";
import type { ChunkInput, Output } from "./events";
import type { Runtime } from "./manifest";
import { Paces } from "./sizing";
import { isNumbers } from "./split";
import type { WorkerRole } from "./worker";

type Role = WorkerRole | CreatorRole;

/** The jobs of one peer. `emit` takes an output of the peer. */
export class Slots {
  readonly paces: Paces;
  private readonly own: number;
  private readonly jobs = new Map<number, Role>();
  private nextJob = 0;

  constructor(
    config: ProtocolConfig,
    private readonly emit: (output: Output) => void,
    now: number,
  ) {
    this.paces = new Paces(config.batchS, now);
    this.own = Math.min(1, config.slots);
  }

  /** Whether nothing is being executed. */
  get isIdle(): boolean {
    return this.jobs.size === 0;
  }

  /** A job is done; whose it was, unless it was cancelled. */
  finished(job: number): Role | undefined {
    const role = this.jobs.get(job);
    this.jobs.delete(job);
    return role;
  }

  /** Nobody needs this job any more. */
  cancel(job: number): void {
    if (this.jobs.delete(job)) this.emit({ kind: "cancelJob", job });
  }

  /** Have the roles' next batches executed: `count` at the same time. */
  fill(count: number, creators: Iterable<CreatorRole>, working: Iterable<WorkerRole>, now: number): void {
    const room = count > 0 ? count + 1 : 0;
    // What our own task still needs from us is executed even while we rest from other people's.
    const ownRoom = Math.max(room, this.own);
    for (const creator of creators) while (this.jobs.size < ownRoom && this.start(creator, creator.takeJob()));
    const workers = [...working];
    for (const worker of workers) {
      if (worker.isUrgent && this.jobs.size >= room) this.recall(worker.ledger.manifest.runtime, count);
    }
    if (this.jobs.size >= room) return;
    // The task with the fewest jobs goes first, so that several tasks share the slots.
    const rank = (role: WorkerRole): number => (role.isUrgent ? -1 : role.jobsRunning);
    if (workers.length > 1) workers.sort((left, right) => rank(left) - rank(right));
    for (const worker of workers) while (this.jobs.size < room && this.start(worker, worker.takeJob(now)));
  }

  /** Execute a batch for a role; false when it has none. */
  private start(role: Role, batch: readonly ChunkInput[] | null): boolean {
    if (batch === null) return false;
    const job = ++this.nextJob;
    const { taskKey: taskId, manifest } = role.ledger;
    const { runtime, code, limits, split } = manifest;
    const numbers = isNumbers(split);
    this.emit({ kind: "execute", job, taskId, runtime, code: code.sha256, limits, numbers, chunks: batch });
    this.jobs.set(job, role);
    role.jobStarted(job, batch);
    return true;
  }

  /** Make room for an urgent job: the job that came last waits still, if there are more than slots. */
  private recall(runtime: Runtime, count: number): void {
    const jobs = [...this.jobs].filter(([, role]) => role.ledger.manifest.runtime === runtime);
    if (jobs.length <= count) return;
    const [job, role] = jobs.pop()!;
    if ("recall" in role && role.recall(job)) this.cancel(job);
  }
}

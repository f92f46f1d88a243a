/**
 * What a worker says that it is on, so that others begin something else (spec/ledger.md, "Leases").
 *
 *     a shard:  UNSAID --a chunk of it is ours--> SAID --half its time is over, or something else is ours--> SAID anew
 *                                                  '--nothing of it is ours any more--> runs out; or we leave, and end it
 */

import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import type { Ledger } from "./ledger";
import { COMMIT_CHUNKS_MAX, LEAVING_TTL_S, type Runs, shardOf } from "./records";
import { runsOf } from "./runs";

/** Runs of one lease: a scattered backlog is not worth a record of ten kilobytes every few seconds. */
const LEASE_RUNS_MAX = 512;

/** What we said of a shard, and until when it lasts. */
interface Said {
  readonly runs: Runs;
  readonly until: number;
}

/** The leases of one worker in one task. */
export class Leasing {
  private readonly said = new Map<number, Said>();

  constructor(
    private readonly config: ProtocolConfig,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly nextSeq: (now: number) => number,
  ) {}

  /**
   * Publish what we are on where that changed or is about to run out; idle, say so in the shard we work in, `home`.
   * `ours` is what runs, and behind it what is to run. Returns when to say it again.
   */
  say(home: number, ours: Iterable<number>, now: number): number {
    // What runs comes first; a lease names no more chunks than a commit, and the rest of the backlog can wait.
    const byShard = new Map<number, number[]>();
    for (const chunk of ours) {
      const shard = shardOf(chunk);
      const chunks = byShard.get(shard);
      if (chunks === undefined) byShard.set(shard, [chunk]);
      else if (chunks.length < COMMIT_CHUNKS_MAX) chunks.push(chunk);
    }
    if (byShard.size === 0) byShard.set(home, []);
    for (const shard of this.said.keys()) if (!byShard.has(shard)) this.said.delete(shard);
    const ttlS = this.config.leaseTtlS;
    for (const [shard, chunks] of byShard) {
      const runs = runsOf(chunks).slice(0, LEASE_RUNS_MAX);
      const said = this.said.get(shard);
      if (said === undefined || now >= said.until - ttlS / 2 || !isSame(said.runs, runs)) {
        this.said.set(shard, { runs, until: now + ttlS });
        this.publish(shard, home, ttlS, runs, now);
      }
    }
    let again = Infinity;
    for (const { until } of this.said.values()) again = Math.min(again, until - ttlS / 2);
    return again;
  }

  /** End our leases before their time, so that others need not wait for them to run out. */
  leave(home: number, now: number): void {
    for (const shard of this.said.keys()) this.publish(shard, home, LEAVING_TTL_S, [], now);
    this.said.clear();
  }

  private publish(shard: number, home: number, ttlS: number, runs: Runs, now: number): void {
    const { ledger } = this;
    this.desk.publish(ledger, { kind: "lease", task: ledger.task, shard, home, seq: this.nextSeq(now), ttlS, runs });
  }
}

function isSame(left: Runs, right: Runs): boolean {
  return (
    left.length === right.length &&
    left.every(([first, count], index) => first === right[index]![0] && count === right[index]![1])
  );
}

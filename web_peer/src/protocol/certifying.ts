/**
 * What is signed of a task's results: checkpoints while it runs, a certificate at the end (spec/ledger.md).
 *
 *     a shard:  CLEAN --something of it is settled, or reopens--> DIRTY --checkpointS later, or at the end--> CLEAN
 */

import { equal, fromHex, type Hex } from "./bytes";
import type { Assurance } from "./closing";
import type { ProtocolConfig } from "./config";
import { fieldsOf, split, tableOf } from "./credit";
import type { Desk } from "./desk";
import type { Ledger } from "./ledger";
import * as merkle from "./merkle";
import {
  type CertificateBody,
  type Checkpoint,
  CREDITS_INLINE_BYTES_MAX,
  SHARD_CHUNKS,
  shardOf,
} from "./records";
import type { Referee } from "./referee";
import type { Results } from "./results";
import type { Stewards } from "./stewards";
import type { BlobStore } from "./storage";

/** The creator's signed words on the results of one task. */
export class Certifying {
  checkpointAt = Infinity;
  private readonly dirty = new Set<number>();

  constructor(
    private readonly config: ProtocolConfig,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
    private readonly referee: Referee,
    private readonly results: Results,
    private readonly stewards: Stewards,
  ) {}

  /** The next checkpoint of this chunk's shard says something else than the last. */
  changed(chunk: number, now: number): void {
    this.dirty.add(shardOf(chunk));
    if (this.checkpointAt === Infinity) this.checkpointAt = now + this.config.checkpointS;
  }

  /** Say what has changed. */
  checkpoint(now: number): void {
    this.checkpointAt = Infinity;
    for (const shard of [...this.dirty].sort((left, right) => left - right)) {
      this.desk.publish(this.ledger, this.stateOf(shard, now));
    }
    this.dirty.clear();
  }

  /** The last word; all chunks are closed, and all checkpoints said. */
  certificate(assurance: Assurance, executions: number, mismatches: number): CertificateBody {
    const { ledger, results } = this;
    const roots: Uint8Array[] = [];
    for (let shard = 0; shard < ledger.shards; shard++) {
      const checkpoint = ledger.checkpoints.get(shard);
      if (checkpoint !== undefined) roots.push(checkpoint.root);
    }
    return {
      kind: "certificate",
      task: ledger.task,
      chunks: ledger.manifest.chunks,
      accepted: results.accepted.size,
      failed: results.failed.size,
      root: merkle.leafHash(...roots),
      executions,
      ...assurance,
      mismatches,
      convicted: ledger.verdicts.size,
      eps: ledger.manifest.policy.eps,
    };
  }

  private stateOf(shard: number, now: number): Checkpoint {
    const { ledger, results } = this;
    const first = shard * SHARD_CHUNKS;
    const size = ledger.shardSize(shard);
    const accepted = new Uint8Array(Math.ceil(size / 8));
    const failed = new Uint8Array(accepted.length);
    const hashes: Uint8Array[] = [];
    const begun = new Set(ledger.leases.chunks(shard, now));
    const number = new Uint8Array(4);
    const view = new DataView(number.buffer);
    for (let index = 0; index < size; index++) {
      const chunk = first + index;
      if (this.referee.chunk(chunk).state !== "open") begun.add(chunk);
      const value = results.accepted.get(chunk);
      if (value !== undefined) {
        accepted[index >>> 3]! |= 1 << (index & 7);
        view.setUint32(0, chunk);
        hashes.push(merkle.leafHash(number, fromHex(value)));
      } else if (results.failed.has(chunk)) {
        failed[index >>> 3]! |= 1 << (index & 7);
      }
    }
    const previous = ledger.checkpoints.get(shard);
    return {
      kind: "checkpoint",
      task: ledger.task,
      shard,
      seq: previous === undefined ? 0 : previous.seq + 1,
      begun: begun.size,
      accepted,
      failed,
      root: merkle.root(hashes),
      ...this.credits(shard, previous),
    };
  }

  /** What a shard's checkpoint says of who earned what; a large table is a blob that workers fetch. */
  private credits(shard: number, previous: Checkpoint | undefined): ReturnType<typeof fieldsOf> {
    const first = shard * SHARD_CHUNKS;
    const confirmers: Hex[][] = [];
    for (let chunk = first; chunk < first + this.ledger.shardSize(shard); chunk++) {
      const value = this.results.accepted.get(chunk);
      if (value === undefined) continue;
      confirmers.push(this.referee.confirmers(chunk, value).filter((worker) => !this.stewards.has(worker)));
    }
    const table = tableOf(split(this.ledger.manifest.reward, confirmers));
    const said = fieldsOf(table);
    if (table.length > CREDITS_INLINE_BYTES_MAX) this.blobs.put(said.credits, table);
    const isOutdated = previous !== undefined && !equal(previous.credits, said.credits);
    if (isOutdated && previous.creditsSize > CREDITS_INLINE_BYTES_MAX) this.blobs.discard(previous.credits);
    return said;
  }
}

/**
 * The leases of one task as every peer holds them: who says that it is on which chunks (spec/ledger.md, "Leases").
 *
 *     of a worker in a shard:  NONE --lease--> LIVE --its next lease--> LIVE, on what that names
 *                                ^--time over, or its worker is silent or void--'
 *
 * Leases are hints: nobody is bound by one, and what is let go of is forgotten. What a worker says in public is chosen in
 * leasing.ts.
 */

import type { Hex } from "./bytes";
import { type Lease, SHARD_CHUNKS } from "./records";

/** Shards one worker can have live leases in: an honest one is in a few, a hostile one would fill our memory. */
export const LEASES_PER_WORKER_MAX = 64;

/** What one worker says it is on in one shard. Its next lease replaces this one whole. */
export interface LiveLease {
  readonly worker: Hex;
  readonly shard: number;
  readonly home: number;
  readonly seq: number;
  readonly recordId: Hex;
  readonly expiresAt: number;
  /** Chunk -> when this worker first leased it, on our clock. */
  readonly since: ReadonlyMap<number, number>;
}

const NONE: readonly LiveLease[] = [];

/** The live leases of one task. */
export class Leases {
  /** Worker -> shard -> its lease there. */
  private readonly byWorker = new Map<Hex, Map<number, LiveLease>>();
  private readonly byChunk = new Map<number, readonly LiveLease[]>();

  constructor(
    /** Lets go of the record of a lease that is replaced or over. */
    private readonly remove: (recordId: Hex) => void,
  ) {}

  /** Take what a worker says. False when it is nothing new, or of more shards than it may lease in. */
  add(id: Hex, author: Hex, lease: Lease, now: number): boolean {
    const shard = lease.shard;
    const current = this.of(author, shard);
    if (current !== undefined && current.seq >= lease.seq) return false;
    if (current === undefined && (this.byWorker.get(author)?.size ?? 0) >= LEASES_PER_WORKER_MAX) return false;
    if (current !== undefined) this.end(current);
    const since = new Map<number, number>();
    const live: LiveLease = {
      worker: author,
      shard,
      home: lease.home,
      seq: lease.seq,
      recordId: id,
      expiresAt: now + lease.ttlS,
      since,
    };
    for (const [start, count] of lease.runs) {
      for (let chunk = start; chunk < start + count; chunk++) {
        since.set(chunk, current?.since.get(chunk) ?? now);
        const others = this.byChunk.get(chunk);
        this.byChunk.set(chunk, others === undefined ? [live] : [...others, live]);
      }
    }
    let leases = this.byWorker.get(author);
    if (leases === undefined) this.byWorker.set(author, (leases = new Map()));
    leases.set(shard, live);
    return true;
  }

  /** Let go of leases that have run out. */
  expire(now: number): void {
    for (const lease of [...this.all()]) if (lease.expiresAt <= now) this.end(lease);
  }

  /**
   * Forget a worker's leases: it is suspected or void.
   *
   * The chunks that it was on, those first that it leased first: the others it had not begun.
   */
  release(worker: Hex): number[] {
    const since: [number, number][] = [];
    for (const lease of [...(this.byWorker.get(worker)?.values() ?? [])]) {
      since.push(...lease.since);
      this.end(lease);
    }
    return since.sort(([a, aSince], [b, bSince]) => aSince - bSince || a - b).map(([chunk]) => chunk);
  }

  // ---- asking

  /** All leases that were not replaced, released or expired. */
  *all(): IterableIterator<LiveLease> {
    for (const leases of this.byWorker.values()) yield* leases.values();
  }

  /** What a worker says it is on in one shard. */
  of(worker: Hex, shard: number): LiveLease | undefined {
    return this.byWorker.get(worker)?.get(shard);
  }

  /** Leases on a chunk that have not expired. */
  on(chunk: number, now: number): LiveLease[] {
    return (this.byChunk.get(chunk) ?? NONE).filter((lease) => lease.expiresAt > now);
  }

  /** Whether `on` names any. */
  isLeased(chunk: number, now: number): boolean {
    return (this.byChunk.get(chunk) ?? NONE).some((lease) => lease.expiresAt > now);
  }

  /** Chunks of a shard under a live lease. */
  chunks(shard: number, now: number): number[] {
    const first = shard * SHARD_CHUNKS;
    const chunks: number[] = [];
    for (const chunk of this.byChunk.keys()) {
      if (chunk >= first && chunk < first + SHARD_CHUNKS && this.isLeased(chunk, now)) chunks.push(chunk);
    }
    return chunks;
  }

  // ---- inside

  private end(lease: LiveLease): void {
    const leases = this.byWorker.get(lease.worker)!;
    leases.delete(lease.shard);
    if (leases.size === 0) this.byWorker.delete(lease.worker);
    this.remove(lease.recordId);
    for (const chunk of lease.since.keys()) {
      const left = this.byChunk.get(chunk)!.filter((other) => other !== lease);
      if (left.length > 0) this.byChunk.set(chunk, left);
      else this.byChunk.delete(chunk);
    }
  }
}

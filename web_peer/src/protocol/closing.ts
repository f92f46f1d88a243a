/**
 * When a task may be closed: audits while it runs, and what is still missing when all its chunks are (auditing.ts).
 *
 *     the task:  RUNNING --all chunks closed--> AUDITING --enough clean audits--> CLOSED
 *                   ^                              |
 *                   '---- a lie is found: chunks reopen ----'
 *
 * The creator settles chunk by chunk (creator.ts) and asks here how sure it can be of the whole.
 */

import { type Audited, Auditor, STRENGTH_TOLERANCE } from "./auditing";
import { hex, type Hex } from "./bytes";
import type { Manifest } from "./manifest";
import type { Referee } from "./referee";
import type { Rng } from "./rng";
import { partiesOf } from "./tally";

export type TaskState = "running" | "auditing" | "closed";

/**
 * What comes next when all chunks are closed and nothing runs: `certify` the task, have chunks executed once more by
 * anybody (`confirm`), or do what only the creator's own executions can add (`executeOurselves`).
 */
export type NextStep =
  | { readonly kind: "certify" }
  | { readonly kind: "confirm" | "executeOurselves"; readonly chunks: readonly number[] };

/** What the audits so far say about the task. */
export interface Assurance {
  readonly workerAudits: number;
  readonly creatorAudits: number;
  /** Upper confidence limit on the share of wrong results. */
  readonly bound: number;
  readonly confidence: number;
}

/** What a chunk adds to the totals. */
interface Counted {
  readonly extra: number;
  /** The creator's own execution is an audit of the others': nothing was in dispute. */
  readonly isAudit: boolean;
}

const NOT_COUNTED: Counted = { extra: 0, isAudit: false };

/** The audits of one task of ours. */
export class Closing {
  private readonly creator: Hex;
  private readonly auditor: Auditor;
  /** Audits drawn on a worker's chunks so far. */
  private readonly vetted = new Map<Hex, number>();
  private readonly counted = new Map<number, Counted>();
  private readonly trusted = new Set<number>();
  private workerAudits = 0;
  private creatorAudits = 0;

  constructor(
    private readonly manifest: Manifest,
    private readonly referee: Referee,
    /** Chunks that nobody gets a result of, kept by whoever settles them. */
    private readonly failed: ReadonlySet<number>,
    rng: Rng,
  ) {
    this.creator = hex(manifest.creator);
    this.auditor = new Auditor(manifest.policy, manifest.chunks, rng);
  }

  /** A chunk's votes agree: draw its audits, unless we executed it ourselves. */
  agreed(chunk: number): void {
    const voters = this.referee.voters(chunk);
    if (voters.has(this.creator)) return;
    const parties = new Set([...voters.values()].flatMap((vote) => [...partiesOf(vote)]));
    let vetted = Infinity;
    for (const worker of parties) vetted = Math.min(vetted, this.vetted.get(worker) ?? 0);
    const drawn = this.auditor.agreed(chunk, vetted === Infinity ? 0 : vetted);
    if (drawn === 0) return;
    for (const worker of parties) this.vetted.set(worker, (this.vetted.get(worker) ?? 0) + drawn);
  }

  /** Audits this chunk still needs. */
  due(chunk: number): number {
    if (this.referee.voters(chunk).has(this.creator)) return 0;
    return this.auditor.due(chunk, this.referee.chunk(chunk).extra);
  }

  /** Keep the totals of uniform audits true: by workers, and by ourselves where nothing was in dispute. */
  account(chunk: number): void {
    const voters = this.referee.voters(chunk);
    const isTrusted = this.isTrusted(chunk);
    if (isTrusted) this.trusted.add(chunk);
    const before = this.counted.get(chunk) ?? NOT_COUNTED;
    const { extra } = this.referee.chunk(chunk);
    const isAudit = isTrusted && voters.size > 1 && !this.referee.isDisowned(chunk);
    if (extra === before.extra && isAudit === before.isAudit) return;
    this.counted.set(chunk, { extra, isAudit });
    this.workerAudits += extra - before.extra;
    this.creatorAudits += Number(isAudit) - Number(before.isAudit);
  }

  /** A worker has a strike: it is trusted as little as a newcomer. */
  struck(worker: Hex): void {
    this.vetted.delete(worker);
  }

  /** An accepted result turned out wrong. */
  mistaken(): void {
    this.auditor.mistaken();
  }

  assurance(isConvicted: boolean, isAllClosed: boolean): Assurance {
    const isAllTrusted = isAllClosed && this.isAllTrusted();
    return {
      workerAudits: this.workerAudits,
      creatorAudits: this.creatorAudits,
      bound: this.auditor.bound(this.strength(), isConvicted, isAllTrusted),
      confidence: this.auditor.confidence(isConvicted),
    };
  }

  /** What comes next; all chunks are closed. `byWorkers` says whether anybody but us can audit. */
  nextStep(isConvicted: boolean, byWorkers: boolean): NextStep {
    const required = this.auditor.required(isConvicted) - STRENGTH_TOLERANCE;
    const isFresh = !isConvicted || this.auditor.isSampling;
    if (isFresh && (this.strength() >= required || this.isAllTrusted())) return { kind: "certify" };
    const drawn = this.auditor.drawMore(this.strength(), isConvicted, byWorkers, this.auditsOf, this.failed);
    if (drawn.length > 0) return { kind: "confirm", chunks: drawn.sort((left, right) => left - right) };
    // What audits cannot show, the creator's own executions do, beginning with what nobody audited. When they do not
    // suffice either, all chunks are executed, and nothing is left to be wrong.
    const left: { readonly chunk: number; readonly gain: number }[] = [];
    for (let chunk = 0; chunk < this.manifest.chunks; chunk++) {
      if (this.failed.has(chunk) || this.isTrusted(chunk)) continue;
      left.push({ chunk, gain: this.auditor.gain(chunk, this.auditsOf) });
    }
    const chunks: number[] = [];
    let missing = required - this.strength();
    for (const { chunk, gain } of left.sort((one, other) => other.gain - one.gain)) {
      if (missing <= 0) break;
      chunks.push(chunk);
      missing -= gain;
    }
    return { kind: "executeOurselves", chunks };
  }

  /** Whether we executed every chunk; a failed one has no result that could be wrong. */
  private isAllTrusted(): boolean {
    let count = this.trusted.size;
    if (count + this.failed.size < this.manifest.chunks) return false;
    for (const chunk of this.failed) if (!this.trusted.has(chunk)) count++;
    return count === this.manifest.chunks;
  }

  private strength(): number {
    return this.auditor.strength(this.workerAudits, this.creatorAudits, this.auditsOf);
  }

  private readonly auditsOf = (chunk: number): Audited => ({
    extra: this.referee.chunk(chunk).extra,
    isTrusted: this.isTrusted(chunk),
  });

  /** Whether we have a result of our own. Having none, or giving the chunk up, shows nothing about others. */
  private isTrusted(chunk: number): boolean {
    return Boolean(this.referee.voters(chunk).get(this.creator)?.value);
  }
}

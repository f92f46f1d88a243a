/**
 * Which chunks the creator has re-executed, and when that is enough (spec/verification.md, "Certificate").
 *
 * Two phases. While the task runs, every chunk that comes to agree draws a Poisson number of audits by the creator's
 * own secret dice: uniform, and unknown to whoever voted. When all chunks are closed:
 *
 * a) nobody was convicted: all audits so far count; if they do not suffice, more chunks are drawn.
 * b) somebody was: whatever was audited while liars were at work proves little, so a fresh uniform sample over *all*
 *    chunks is drawn, without replacement. A sampled chunk that the creator has executed itself counts at once.
 *
 * An accepted result that turns out wrong discards the sample; a conviction alone does not, or whoever accuses the honest
 * under ever new keys would keep a task open (docs/verification.md). A worker's audit counts (1 - liars), the creator's
 * own fully, and a task all of whose chunks the creator executed has nothing left to be wrong.
 *
 *     phase b:  SAMPLE --no mistake, enough strength--> certified
 *                |  ^
 *         many mistakes, and much audited before: a further sample would mostly look where somebody has looked
 *                v  |
 *               SEARCH: as many audits, of the chunks that had fewest. They find, and prove nothing.
 */

import type { Policy } from "./manifest";
import {
  auditShare,
  auditStrength,
  CONFIDENCE,
  CONFIDENCE_AFTER_CONVICTION,
  errorBound,
  poissonUpperLimit,
  probationShare,
} from "./policy";
import { permutation, type Rng } from "./rng";

/** What has been done on one chunk: audits by workers, and whether the creator executed it itself. */
export interface Audited {
  readonly extra: number;
  readonly isTrusted: boolean;
}

export type AuditsOf = (chunk: number) => Audited;

/** Sums of strengths come out a rounding error beside what they should be. */
export const STRENGTH_TOLERANCE = 1e-9;

/**
 * How often, on average, each chunk of an honest task may be audited for its certificate. A guess: a task so small that
 * this does not suffice takes its creator less time than everybody else.
 */
const PASSES_MAX = 2;

/**
 * Mistakes since the last drawing, times the share of chunks that were audited, above which lies are searched for before
 * another sample is drawn. With fewer a fresh sample may well be clean. From simulations (docs/verification.md).
 */
const SEARCH_ABOVE = 4;

/** Draws audits and adds up what they prove. It asks `AuditsOf` for what has been done on a chunk so far. */
export class Auditor {
  private readonly drawn = new Map<number, number>();
  /** Chunk -> worker audits it had when drawn. */
  private sample: Map<number, number> | null = null;
  private unsampled: Iterator<number, undefined>;
  private unsampledLeft = 0;
  private wasSampled = false;
  /** Since the last drawing of phase b. */
  private mistakes = 0;

  constructor(
    private readonly policy: Policy,
    private readonly chunks: number,
    private readonly rng: Rng,
  ) {
    this.unsampled = permutation(rng, 0);
  }

  /**
   * A chunk's votes agree: draw its audits, if that was not done before, and return how many.
   *
   * `vetted` counts the audits drawn so far on its least known voter. RLBA counts confirmed votes instead; but here
   * confirmations come a batch later, and a whole first batch would be audited chunk by chunk meanwhile.
   */
  agreed(chunk: number, vetted: number): number {
    if (this.drawn.has(chunk)) return 0;
    let count = this.poisson(auditShare(this.policy, this.chunks));
    if (this.rng.random() < probationShare(this.policy, this.chunks, vetted)) count++;
    this.drawn.set(chunk, count);
    return count;
  }

  /** Audits this chunk still needs, given how many it has had. */
  due(chunk: number, done: number): number {
    return Math.max(0, (this.drawn.get(chunk) ?? 0) - done);
  }

  /** An accepted result turned out wrong: a sample drawn before says nothing any more. */
  mistaken(): void {
    this.sample = null;
    this.mistakes++;
  }

  /** Whether a fresh sample has been drawn (phase b). */
  get isSampling(): boolean {
    return this.sample !== null;
  }

  /** The confidence a certificate states. */
  confidence(isConvicted: boolean): number {
    return isConvicted ? CONFIDENCE_AFTER_CONVICTION : CONFIDENCE;
  }

  /** What the audits that count in the current phase add up to. */
  strength(workerAudits: number, creatorAudits: number, auditsOf: AuditsOf): number {
    if (this.sample === null) return auditStrength(this.policy, workerAudits, creatorAudits);
    let byWorkers = 0;
    let byCreator = 0;
    for (const [chunk, before] of this.sample) {
      const { extra, isTrusted } = auditsOf(chunk);
      if (isTrusted) byCreator++;
      else if (extra > before) byWorkers++;
    }
    return auditStrength(this.policy, byWorkers, byCreator);
  }

  /** What the creator's own execution of a chunk adds to the strength; in the sample it replaces a worker's audit. */
  gain(chunk: number, auditsOf: AuditsOf): number {
    if (this.sample === null) return 1;
    const audited = Math.min(1, Math.max(0, auditsOf(chunk).extra - (this.sample.get(chunk) ?? 0)));
    return 1 - auditStrength(this.policy, audited, 0);
  }

  /** The strength that certifies the task's eps. */
  required(isConvicted: boolean): number {
    return poissonUpperLimit(0, 1 - this.confidence(isConvicted)) / this.policy.eps;
  }

  /** Upper confidence limit on the share of wrong results. */
  bound(strength: number, isConvicted: boolean, isAllTrusted: boolean): number {
    return isAllTrusted ? 0 : errorBound(strength, 0, isConvicted);
  }

  /**
   * All chunks are closed and the strength does not suffice: draw further chunks, uniformly or to search.
   *
   * `byWorkers` says whether anybody but the creator can audit; `failed` chunks have nothing to audit. Returns the chunks that now have audits due; an empty
   * list means that audits cannot suffice, and only the creator's own executions can add strength. Then none is asked for:
   * volunteers' time is not wasted on what the creator has to do anyway.
   */
  drawMore(
    strength: number,
    isConvicted: boolean,
    byWorkers: boolean,
    auditsOf: AuditsOf,
    failed: ReadonlySet<number> = new Set(),
  ): number[] {
    let reached = strength;
    const weight = byWorkers ? 1 - this.policy.liars : 1;
    if (isConvicted && this.sample === null) {
      const count = Math.ceil(this.required(true) / weight - STRENGTH_TOLERANCE);
      if (this.isSearchDue(auditsOf) && byWorkers && count <= this.chunks - failed.size) {
        const searched = this.search(count, auditsOf, failed);
        if (searched.length > 0) return searched;
      }
      this.sample = new Map();
      reached = 0;
      this.shuffle();
    }
    let missing = Math.ceil((this.required(isConvicted) - reached) / weight - STRENGTH_TOLERANCE);
    if (this.sample !== null && missing > this.unsampledLeft) {
      for (; this.unsampledLeft > 0; this.unsampledLeft--) {
        const chunk = this.unsampled.next().value!;
        if (failed.has(chunk)) continue;
        this.sample.set(chunk, auditsOf(chunk).extra);
      }
    } else if (this.sample === null && missing > PASSES_MAX * (this.chunks - failed.size)) {
      return [];
    } else if (this.sample === null && this.unsampledLeft === 0) {
      this.shuffle();
    }
    const due: number[] = [];
    while (missing > 0 && this.unsampledLeft > 0) {
      this.unsampledLeft--;
      const chunk = this.unsampled.next().value!;
      if (failed.has(chunk)) continue;
      const { extra, isTrusted } = auditsOf(chunk);
      if (this.sample !== null) this.sample.set(chunk, extra);
      else if (isTrusted) continue;
      missing--;
      if (!isTrusted) {
        this.drawn.set(chunk, extra + 1);
        due.push(chunk);
      }
    }
    return due;
  }

  /** Whether another sample would hardly be clean, and mostly look where somebody has looked before. */
  private isSearchDue(auditsOf: AuditsOf): boolean {
    const { mistakes, wasSampled } = this;
    this.mistakes = 0;
    this.wasSampled = true;
    let audited = 0;
    for (let chunk = 0; chunk < this.chunks; chunk++) {
      const { extra, isTrusted } = auditsOf(chunk);
      if (extra > 0 || isTrusted) audited++;
    }
    return wasSampled && mistakes * audited > SEARCH_ABOVE * this.chunks;
  }

  /** Ask for one more audit each of the chunks that had fewest: among them the lies are that nobody has found. */
  private search(count: number, auditsOf: AuditsOf, failed: ReadonlySet<number>): number[] {
    const had: { readonly chunk: number; readonly extra: number }[] = [];
    for (const chunk of permutation(this.rng, this.chunks)) {
      const { extra, isTrusted } = auditsOf(chunk);
      if (!isTrusted && !failed.has(chunk)) had.push({ chunk, extra });
    }
    // Sorting is stable: equals stay in random order.
    const searched = had.sort((left, right) => left.extra - right.extra).slice(0, count);
    for (const { chunk, extra } of searched) this.drawn.set(chunk, extra + 1);
    return searched.map(({ chunk }) => chunk);
  }

  private shuffle(): void {
    this.unsampled = permutation(this.rng, this.chunks);
    this.unsampledLeft = this.chunks;
  }

  private poisson(mean: number): number {
    // Knuth's product of uniforms; means here are at most 1.
    const limit = Math.exp(-mean);
    let count = 0;
    for (let product = this.rng.random(); product > limit; product *= this.rng.random()) count++;
    return count;
  }
}

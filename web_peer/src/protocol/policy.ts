/**
 * How much checking a task needs (spec/verification.md; the reasoning is risk-limiting blind audits, RLBA).
 *
 * An audit is a blind re-execution of a committed chunk. Audits are drawn uniformly and arrive like a Poisson process,
 * so the confidence in 'at most eps of the accepted results are wrong' follows from the Poisson upper confidence limit.
 */

import type { Policy } from "./manifest";

/** Of a certificate on a task in which nobody was convicted (RLBA section 2.6, rule a: alpha = 0.05). */
export const CONFIDENCE = 0.95;

/** Rule b: alpha_w = 0.01. Somebody did lie here, so the fresh audits must say more. */
export const CONFIDENCE_AFTER_CONVICTION = 0.99;

/** q_min: even a huge task audits one chunk in a hundred. */
export const AUDIT_SHARE_MIN = 0.01;

const limits = new Map<string, number>();

/**
 * The largest Poisson mean under which `events` or fewer still have probability `alpha`.
 *
 * With no event this is -ln(alpha): the "rule of three" at alpha = 0.05.
 */
export function poissonUpperLimit(events: number, alpha: number): number {
  const key = `${events} ${alpha}`;
  let limit = limits.get(key);
  if (limit === undefined) {
    limit = searchedLimit(events, alpha);
    if (limits.size >= 4_096) limits.clear();
    limits.set(key, limit);
  }
  return limit;
}

function searchedLimit(events: number, alpha: number): number {
  let low = events;
  let high = events + 10 + 10 * Math.sqrt(events + 1) - 2 * Math.log(alpha);
  for (let halving = 0; halving < 80; halving++) {
    const mean = (low + high) / 2;
    let term = Math.exp(-mean);
    let total = term;
    for (let k = 1; k <= events; k++) {
      term *= mean / k;
      total += term;
    }
    if (total > alpha) low = mean;
    else high = mean;
  }
  return (low + high) / 2;
}

/** q_0: expected uniform audits per chunk, such that an honest task is certified when its last chunk is done. */
export function auditShare(policy: Policy, chunks: number): number {
  const needed = poissonUpperLimit(0, 1 - CONFIDENCE) / (policy.eps * (1 - policy.liars) * chunks);
  return Math.min(1, Math.max(AUDIT_SHARE_MIN, needed));
}

/**
 * Extra audit probability of a worker on whom `vetted` audits were drawn so far, where one vote alone decides.
 *
 * RLBA section 2.4: (1 + k)^-2 - q_0. The first result of an unknown worker is always checked.
 */
export function probationShare(policy: Policy, chunks: number, vetted: number): number {
  if (policy.replication > 1) return 0;
  return Math.max(0, (1 + vetted) ** -2 - auditShare(policy, chunks));
}

/** Audits weighted by how far their result can be believed: a worker's by (1 - liars), the creator's own fully. */
export function auditStrength(policy: Policy, byWorkers: number, byCreator: number): number {
  return byWorkers * (1 - policy.liars) + byCreator;
}

/** Upper confidence limit on the share of wrong accepted results after audits of this total strength. */
export function errorBound(strength: number, mismatches: number, convicted: boolean): number {
  if (strength <= 0) return 1;
  const alpha = 1 - (convicted ? CONFIDENCE_AFTER_CONVICTION : CONFIDENCE);
  return Math.min(1, poissonUpperLimit(mismatches, alpha) / strength);
}

/** Whether mismatch-free audits of this strength certify the task's eps. */
export function certified(policy: Policy, strength: number, convicted: boolean): boolean {
  return errorBound(strength, 0, convicted) <= policy.eps;
}

/** The policy in plain words, for the creator who asked for it. */
export function explain(policy: Policy, chunks: number): string {
  const share = auditShare(policy, chunks);
  const needed = poissonUpperLimit(0, 1 - CONFIDENCE) / (policy.eps * (1 - policy.liars));
  const executions = policy.replication + share;
  let words =
    `each chunk is computed by ${policy.replication} worker${policy.replication > 1 ? "s" : ""} and audited with ` +
    `probability ${percent(share, 1)}: about ${executions.toFixed(2)} executions per chunk. To certify at most ` +
    `${significant(policy.eps)} wrong results with ${percent(CONFIDENCE, 0)} confidence, up to ` +
    `${percent(policy.liars, 0)} of the work lying, ${thousands(needed)} clean audits are needed`;
  if (needed > chunks) {
    words +=
      `; this task has only ${thousands(chunks)} chunks, so the creator's own node re-executes until it is sure`;
  }
  return `${words}.`;
}

function percent(share: number, digits: number): string {
  return `${(100 * share).toFixed(digits)}%`;
}

function thousands(count: number): string {
  return count.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
}

/** Six significant digits, the shortest way: 0.0001, but 1e-05, as the native peer writes it. */
function significant(value: number): string {
  const [digits, exponent] = value.toExponential(5).split("e") as [string, string];
  if (Number(exponent) >= -4) return String(Number(value.toPrecision(6)));
  return `${Number(digits)}e-${exponent.slice(1).padStart(2, "0")}`;
}

/** Audits are drawn uniformly, and nothing is certified on less than what the policy demands. */

import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { type Audited, Auditor } from "../src/protocol/auditing";
import type { Policy } from "../src/protocol/manifest";
import { auditShare, certified } from "../src/protocol/policy";
import { SeededRng } from "./seeded";

const POLICY: Policy = { replication: 2, eps: 0.01, liars: 0.2, powBits: 0 };

/** What has been audited of a task, as the creator would answer the auditor. */
class Task {
  readonly auditor: Auditor;
  readonly done = new Map<number, number>();
  readonly trusted = new Set<number>();
  isConvicted = false;

  constructor(policy: Policy, chunks: number, rng: SeededRng) {
    this.auditor = new Auditor(policy, chunks, rng);
  }

  readonly auditsOf = (chunk: number): Audited => ({
    extra: this.done.get(chunk) ?? 0,
    isTrusted: this.trusted.has(chunk),
  });

  strength(): number {
    const total = [...this.done.values()].reduce((sum, count) => sum + count, 0);
    return this.auditor.strength(total, this.trusted.size, this.auditsOf);
  }

  /** The rule by which the creator's role closes a task. */
  suffices(): boolean {
    const isFresh = !this.isConvicted || this.auditor.isSampling;
    return isFresh && this.strength() >= this.auditor.required(this.isConvicted) - 1e-9;
  }

  drawMore(byWorkers = true): number[] {
    return this.auditor.drawMore(this.strength(), this.isConvicted, byWorkers, this.auditsOf);
  }

  audit(chunk: number, byCreator = false): void {
    if (byCreator) this.trusted.add(chunk);
    else this.done.set(chunk, (this.done.get(chunk) ?? 0) + 1);
  }

  /** Draw and perform audits until they suffice or nothing is left to draw. */
  runOut(rng: SeededRng, creatorShare: number): void {
    while (!this.suffices()) {
      const drawn = this.drawMore(creatorShare < 1);
      if (drawn.length === 0 && !this.suffices()) return;
      for (const chunk of drawn) {
        expect(this.auditor.due(chunk, this.auditsOf(chunk).extra)).toBe(1);
        this.audit(chunk, rng.random() < creatorShare);
      }
    }
  }
}

test("what suffices is at least what the policy demands", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 2_000 }),
      fc.constantFrom(0.3, 0.05, 0.01),
      fc.constantFrom(0, 0.2, 0.5),
      fc.nat(2),
      fc.constantFrom(0, 0.5, 1),
      fc.nat(),
      (chunks, eps, liars, convictions, creatorShare, seed) => {
        const policy = { replication: 2, eps, liars, powBits: 0 };
        const rng = new SeededRng(seed);
        const task = new Task(policy, chunks, rng);
        for (let chunk = 0; chunk < chunks; chunk++) {
          task.auditor.agreed(chunk, 0);
          for (let due = task.auditor.due(chunk, 0); due > 0; due--) task.audit(chunk);
        }
        for (let conviction = 0; conviction < convictions; conviction++) {
          task.isConvicted = true;
          task.auditor.mistaken();
          expect(task.suffices()).toBe(false); // What was audited while a liar was at work must not count.
          const before = new Map(task.done);
          task.runOut(rng, creatorShare);
          if (!task.suffices()) continue;
          let claimed = task.trusted.size;
          for (const [chunk, count] of task.done) {
            if (!task.trusted.has(chunk) && count > (before.get(chunk) ?? 0)) claimed += 1 - liars;
          }
          expect(certified(policy, claimed * (1 + 1e-9), true)).toBe(true);
        }
        task.runOut(rng, creatorShare);
        if (task.suffices()) {
          expect(certified(policy, task.strength() * (1 + 1e-9), task.isConvicted)).toBe(true);
          expect(task.auditor.bound(task.strength(), task.isConvicted, false)).toBeLessThanOrEqual(eps * (1 + 1e-6));
        }
      },
    ),
    { seed: 1, numRuns: 60 },
  );
});

describe("a conviction", () => {
  test("asks for a fresh sample over all chunks, without replacement", () => {
    const task = new Task(POLICY, 2_000, new SeededRng(1));
    task.isConvicted = true;
    const drawn = task.auditor.drawMore(1e9, true, true, task.auditsOf);
    expect(new Set(drawn).size).toBe(drawn.length);
    expect(Math.abs(drawn.length - 4.605 / (0.01 * 0.8))).toBeLessThanOrEqual(2);
    for (const chunk of drawn) task.audit(chunk);
    expect(task.suffices()).toBe(true);
    task.auditor.mistaken();
    expect(task.suffices()).toBe(false);
  });

  test("makes audits from before worth nothing, unless the creator executed the chunk itself", () => {
    for (const isTrusted of [false, true]) {
      const task = new Task(POLICY, 2_000, new SeededRng(1));
      for (let chunk = 0; chunk < 2_000; chunk++) task.audit(chunk, isTrusted);
      task.isConvicted = true;
      const drawn = task.drawMore();
      expect(drawn.length > 0).toBe(!isTrusted);
      expect(task.strength() > 0).toBe(isTrusted);
      drawn.forEach((chunk, index) => {
        task.audit(chunk);
        expect(task.strength()).toBeCloseTo(0.8 * (index + 1));
      });
    }
  });
});

describe("after a sample that many mistakes discarded", () => {
  const drawnNext = (mistakes: number, audited: number): { task: Task; drawn: number[] } => {
    const task = new Task(POLICY, 2_000, new SeededRng(1));
    task.isConvicted = true;
    task.drawMore();
    for (let chunk = 0; chunk < audited; chunk++) task.audit(chunk);
    for (let count = 0; count < mistakes; count++) task.auditor.mistaken();
    return { task, drawn: task.drawMore() };
  };

  test("audits go where nobody has looked, and prove nothing", () => {
    const { task, drawn } = drawnNext(9, 1_000);
    expect(task.auditor.isSampling).toBe(false);
    expect(Math.abs(drawn.length - 4.605 / (0.01 * 0.8))).toBeLessThanOrEqual(2);
    expect(Math.min(...drawn)).toBeGreaterThanOrEqual(1_000);
    for (const chunk of drawn) {
      expect(task.auditor.due(chunk, 0)).toBe(1);
      task.audit(chunk);
    }
    expect(task.suffices()).toBe(false);
    task.drawMore();
    expect(task.auditor.isSampling).toBe(true);
    expect(task.strength()).toBe(0);
  });

  test.each([
    [8, 1_000],
    [9, 880],
    [400, 0],
  ])("a fresh one is drawn at once if they were few, or few chunks were audited: %d, %d", (mistakes, audited) => {
    expect(drawnNext(mistakes, audited).task.auditor.isSampling).toBe(true);
  });
});

test("audits come as often as the policy says, whatever the chunk", () => {
  const rng = new SeededRng(2);
  const auditor = new Auditor(POLICY, 5_000, rng);
  let drawn = 0;
  for (let chunk = 0; chunk < 5_000; chunk++) drawn += auditor.agreed(chunk, 0);
  const expected = 5_000 * auditShare(POLICY, 5_000);
  expect(Math.abs(drawn - expected)).toBeLessThan(4 * Math.sqrt(expected));
  expect(auditor.agreed(0, 0)).toBe(0); // Once is enough.
});

import { expect } from "vitest";

import * as policy from "../../src/protocol/policy";
import { type Case, vectors } from "./read";

const { significant_digits, poisson_upper_limit, policies, error_bound } = vectors("policy");

/** Exponential functions of two machines may differ in the last digits. */
function expectClose(value: number, expected: number): void {
  expect(Math.abs(value - expected)).toBeLessThanOrEqual(Math.abs(expected) * 10 ** (1 - significant_digits));
}

export const cases: Case[] = [];

for (const { events, alpha, limit } of poisson_upper_limit) {
  cases.push({
    name: `U(${events}, ${alpha})`,
    check: () => expectClose(policy.poissonUpperLimit(events, alpha), limit),
  });
}
for (const each of policies) {
  const { replication, eps, liars, chunks } = each;
  const asked = { replication, eps, liars, powBits: 0 };
  const name = `${chunks} chunks, eps ${eps}`;
  cases.push(
    { name: `${name}: audits`, check: () => expectClose(policy.auditShare(asked, chunks), each.audit_share) },
    {
      name: `${name}: strength`,
      check: () => expectClose(policy.auditStrength(asked, 100, 7), each.strength_of_100_and_7),
    },
    { name: `${name}: words`, check: () => expect(policy.explain(asked, chunks)).toBe(each.explained) },
  );
  for (const [index, vetted] of [0, 1, 3, 30].entries()) {
    cases.push({
      name: `${name}: probation after ${vetted}`,
      check: () => expectClose(policy.probationShare(asked, chunks, vetted), each.probation_share[index]),
    });
  }
  for (const [when, strength] of Object.entries<number>(each.certified_at)) {
    const isConvicted = when === "somebody convicted";
    cases.push({
      name: `${name}: certified, ${when}`,
      check: () =>
        expect([0.999999, 1.000001].map((part) => policy.certified(asked, part * strength, isConvicted))).toEqual([
          false,
          true,
        ]),
    });
  }
}
for (const { strength, mismatches, convicted, bound } of error_bound) {
  cases.push({
    name: `the bound of ${strength} with ${mismatches} mismatches, ${convicted ? "somebody" : "nobody"} convicted`,
    check: () => expectClose(policy.errorBound(strength, mismatches, convicted), bound),
  });
}

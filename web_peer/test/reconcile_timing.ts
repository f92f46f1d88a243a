/**
 * What reconciling costs on Node: sets as a line of JSON on stdin, milliseconds of CPU of each step on stdout.
 *
 * benchmarks/reconcile.py asks.
 */

import { readFileSync } from "node:fs";

import { sha256 } from "@noble/hashes/sha2.js";

import { hex, type Hex } from "../src/protocol/bytes";
import { answer, type Difference, type Reconcile, Reconciliation } from "../src/protocol/reconcile";
import { SeededRng } from "./seeded";

interface Line {
  readonly common: number;
  readonly missing: number;
  readonly surplus: number;
  readonly rounds: number;
}

const STEPS = ["begin", "answer", "received"] as const;
type Times = Record<(typeof STEPS)[number], number>;

function recordIds(first: number, end: number): Hex[] {
  const number = new Uint8Array(4);
  return Array.from({ length: end - first }, (_, index) => {
    new DataView(number.buffer).setUint32(0, first + index);
    return hex(sha256(number));
  });
}

function timed<T>(times: Times, step: keyof Times, act: () => T): T {
  const before = process.cpuUsage();
  const value = act();
  const { user, system } = process.cpuUsage(before);
  times[step] += (user + system) / 1_000;
  return value;
}

function measure({ common, missing, surplus, rounds }: Line): Times {
  const ours = recordIds(missing, missing + common + surplus);
  const theirs = recordIds(0, missing + common);
  const best: Times = { begin: Infinity, answer: Infinity, received: Infinity };
  for (let round = 0; round < rounds; round++) {
    const times: Times = { begin: 0, answer: 0, received: 0 };
    const asking = new Reconciliation(new Uint8Array(36), new SeededRng(round));
    let outcome: Reconcile | Difference | null = timed(times, "begin", () => asking.begin(ours));
    while (outcome?.kind === "reconcile") {
      const request: Reconcile = outcome;
      for (const frame of timed(times, "answer", () => answer(request, theirs))) {
        outcome = timed(times, "received", () => asking.received(frame, ours));
      }
    }
    for (const step of STEPS) best[step] = Math.min(best[step], times[step]);
  }
  return best;
}

for (const line of readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  process.stdout.write(`${JSON.stringify(measure(JSON.parse(line) as Line))}\n`);
}

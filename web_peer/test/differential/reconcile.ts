/**
 * Reconciliation as a filter: one side's part of a conversation as a line of JSON on stdin, what it says on stdout.
 *
 * tests/interop/test_differential_reconcile.py compares the lines with what the Python implementation says.
 */

import { readFileSync, writeFileSync } from "node:fs";

import { fromHex, hex, type Hex } from "../../src/protocol/bytes";
import { decode, encode } from "../../src/protocol/codec";
import { RemoteProtocolError } from "../../src/protocol/errors";
import { type Answer, answer, type Reconcile, ReconcileFrame, Reconciliation } from "../../src/protocol/reconcile";

interface Line {
  readonly topic: Hex;
  readonly salts: readonly Hex[];
  readonly ours: readonly Hex[];
  /** A request to answer. */
  readonly request: Hex;
  /** What comes as the answer to ours. */
  readonly frames: readonly Hex[];
}

const lines = readFileSync(0, "utf8").split("\n").filter(Boolean);
writeFileSync(1, lines.map((line) => `${JSON.stringify(said(JSON.parse(line) as Line))}\n`).join(""));

function said({ topic, salts, ours, request, frames }: Line): unknown {
  const left = salts.map(fromHex);
  const never = (): never => {
    throw new Error("only salts are drawn");
  };
  const asking = new Reconciliation(fromHex(topic), { random: never, below: never, bytes: () => left.shift()! });
  return {
    begins: written(asking.begin(ours)),
    answers: refusable(() => answer(decode(ReconcileFrame, fromHex(request)) as Reconcile, ours).map(written)),
    outcomes: frames.map((frame) =>
      refusable(() => {
        const outcome = asking.received(decode(ReconcileFrame, fromHex(frame)) as Answer, ours);
        if (outcome === null) return null;
        return outcome.kind === "reconcile" ? written(outcome) : [outcome.missing, outcome.surplus];
      }),
    ),
  };
}

function written(frame: ReconcileFrame): Hex {
  return hex(encode(ReconcileFrame, frame));
}

function refusable(act: () => unknown): unknown {
  try {
    return act();
  } catch (error) {
    if (error instanceof RemoteProtocolError) return { refused: error.message };
    throw error;
  }
}

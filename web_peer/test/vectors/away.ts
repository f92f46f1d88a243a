import { expect } from "vitest";

import { Absences } from "../../src/protocol/absence";
import { fromHex, hex, type Hex } from "../../src/protocol/bytes";
import { checkRecord } from "../../src/protocol/checking";
import { decode } from "../../src/protocol/codec";
import { lot, wins } from "../../src/protocol/drawing";
import { Chain, ChainView } from "../../src/protocol/epochs";
import { chanceOfError, marginNeeded, onTrial, settle } from "../../src/protocol/jury";
import { Ledger } from "../../src/protocol/ledger";
import { openManifest, type Policy } from "../../src/protocol/manifest";
import * as provisional from "../../src/protocol/provisional";
import { parse, Signed } from "../../src/protocol/records";
import { verify } from "../../src/protocol/software";
import { type Case, vectors } from "./read";

const { epochs, chain, lots, margins, errors, juries, trials, tallies } = vectors("away");

function policyWith(liars: number): Policy {
  return { replication: 2, eps: 0.1, liars, powBits: 0 };
}

function digits(number: number): number {
  return Number(number.toPrecision(9));
}

const own = new Chain(fromHex(chain.secret), chain.length);
export const cases: Case[] = [
  {
    name: "when votes are shown",
    check: () =>
      expect([
        provisional.REVEAL_AFTER,
        provisional.DRAWN_REVEAL_AFTER,
        provisional.REVEAL_PATIENCE,
        provisional.LATE_AFTER,
      ]).toEqual([epochs.reveal_after, epochs.drawn_reveal_after, epochs.patience, epochs.late_after]),
  },
  {
    name: "disputes on trial",
    check: () => {
      const disputes = new Map<number, Hex[]>(trials.disputes);
      expect([...onTrial(disputes)]).toEqual(trials.trials);
    },
  },
];
for (const [epoch, value] of chain.values) {
  cases.push({
    name: `the chain's value ${epoch}`,
    check: () => {
      expect(hex(own.value(epoch))).toBe(value);
      const view = new ChainView(own.value(0), chain.length);
      expect(view.holds(epoch, fromHex(value))).toBe(true);
      expect(view.holds(epoch, new Uint8Array(32))).toBe(false);
    },
  });
}
for (const drawn of lots) {
  cases.push({
    name: `the lot of chunk ${drawn.chunk} at age ${drawn.age}`,
    check: () => {
      const absence = { beacon: fromHex(drawn.beacon), workers: drawn.workers };
      const number = lot(fromHex(drawn.task), absence, fromHex(drawn.nonce), fromHex(drawn.link), drawn.chunk);
      expect([number, wins(number, absence, drawn.age)]).toEqual([drawn.lot, drawn.wins]);
    },
  });
}
for (const { liars, workers, margin } of margins) {
  cases.push({
    name: `the margin among ${workers} with ${liars} liars`,
    check: () => expect(marginNeeded(policyWith(liars), workers)).toBe(margin),
  });
}
for (const { liars, margin, chance } of errors) {
  cases.push({
    name: `the chance that a jury leads wrongly by ${margin} with ${liars} liars`,
    check: () => expect(digits(chanceOfError(policyWith(liars), margin))).toBe(chance),
  });
}
for (const [number, { votes, drawn, margin, settled }] of juries.entries()) {
  cases.push({
    name: `jury ${number}`,
    check: () => {
      const found = settle(new Map(votes), new Set(drawn), margin);
      expect(found === null ? null : [found.value, found.margin]).toEqual(settled);
    },
  });
}
for (const [number, { manifest, records, epoch, tally }] of tallies.entries()) {
  const signed = decode(Signed, fromHex(manifest));
  const count = (order: readonly Hex[], isAttachedFirst: boolean): unknown => {
    const ledger = new Ledger(signed, openManifest(signed, verify), { keepCommits: true });
    if (isAttachedFirst) Absences.of(ledger);
    const later: Signed[] = [];
    for (const data of order) {
      const record = decode(Signed, fromHex(data));
      if (!isAttachedFirst && (record.kind === "beacon" || record.kind === "reveal")) {
        later.push(record);
        continue;
      }
      checkRecord(ledger, record, parse(record));
      ledger.add(record, parse(record), 0);
    }
    const absences = Absences.of(ledger);
    for (const record of later) {
      checkRecord(ledger, record, parse(record));
      ledger.add(record, parse(record), 0);
    }
    const counted = provisional.provisionalTally(ledger, absences, epoch);
    return {
      void: [...counted.void].sort(),
      found: [...counted.found].sort(),
      trials: [...counted.trials],
      chunks: [...counted.chunks].map(([chunk, standing]) => [
        chunk,
        standing.state,
        standing.value,
        digits(standing.credibility),
        standing.missing,
        standing.voters,
      ]),
    };
  };
  cases.push(
    { name: `provisional tally ${number}`, check: () => expect(count(records, true)).toEqual(tally) },
    {
      name: `provisional tally ${number}, of a ledger that works later`,
      check: () => expect(count(records, false)).toEqual(tally),
    },
  );
}

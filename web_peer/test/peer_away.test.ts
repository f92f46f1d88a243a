/** What the page says of a task whose creator is away: the provisional tally of the vectors, in numbers. */

import { expect, it } from "vitest";

import { awayView } from "../src/peer/away";
import { Absences } from "../src/protocol/absence";
import { checkRecord } from "../src/protocol/checking";
import { decode } from "../src/protocol/codec";
import { Ledger } from "../src/protocol/ledger";
import { openManifest } from "../src/protocol/manifest";
import { parse, Signed } from "../src/protocol/records";
import { verify } from "../src/protocol/software";
import { fromHex, vectors } from "./vectors/read";

const { tallies } = vectors("away");

function ledgerOf({ manifest, records, epoch }: (typeof tallies)[number], isAttached: boolean): Ledger {
  const signed = decode(Signed, fromHex(manifest));
  const opened = openManifest(signed, verify);
  const clockOffsetS = opened.createdS + epoch * opened.epochs!.seconds;
  const ledger = new Ledger(signed, opened, { clockOffsetS });
  if (isAttached) Absences.of(ledger);
  for (const data of isAttached ? records : []) {
    const record = decode(Signed, fromHex(data));
    checkRecord(ledger, record, parse(record));
    ledger.add(record, parse(record), 0);
  }
  return ledger;
}

it("counts what the tally says, while the creator is away", () => {
  let seen = 0;
  for (const vector of tallies) {
    const ledger = ledgerOf(vector, true);
    const view = awayView(ledger, 0);
    if (view === null) {
      expect(ledger.absences!.absence(vector.epoch)).toBeNull();
      continue;
    }
    seen += view.provisional + view.disputed;
    const states: string[] = vector.tally.chunks.map(([, state]: [number, string]) => state);
    const count = (state: string): number => states.filter((each) => each === state).length;
    expect([view.provisional, view.sealed, view.disputed]).toEqual(["provisional", "sealed", "disputed"].map(count));
    expect(view.liarsFound).toBe(vector.tally.found.length);
    expect(view.sinceS).toBeLessThan(ledger.manifest.createdS + vector.epoch * ledger.manifest.epochs!.seconds);
  }
  expect(seen).toBeGreaterThan(10);
});

it("says nothing where this page takes no part, for it cannot tell", () => {
  expect(awayView(ledgerOf(tallies[0]!, false), 0)).toBeNull();
});

import { expect } from "vitest";

import { Absences } from "../../src/protocol/absence";
import { checkRecord } from "../../src/protocol/checking";
import { decode } from "../../src/protocol/codec";
import { ChunkReader } from "../../src/protocol/chunks";
import { hex } from "../../src/protocol/bytes";
import { Ledger } from "../../src/protocol/ledger";
import { openManifest } from "../../src/protocol/manifest";
import { parse, Signed, verifySignature } from "../../src/protocol/records";
import { chunksNow, exists } from "../../src/protocol/shards";
import { verify } from "../../src/protocol/software";
import { type Case, fromHex, vectors } from "./read";

const { manifest, sets } = vectors("feeding");
const signed = decode(Signed, fromHex(manifest));

function filled(feeds: readonly string[]): Ledger {
  const ledger = new Ledger(signed, openManifest(signed, verify));
  Absences.of(ledger);
  for (const feed of feeds) {
    const opened = decode(Signed, fromHex(feed));
    const record = parse(opened);
    checkRecord(ledger, opened, record);
    verifySignature(verify, opened);
    ledger.add(opened, record, 0);
  }
  return ledger;
}

export const cases: Case[] = [];

for (const { name, feeds, says } of sets) {
  const { inputs, ...expected } = says;
  const said = (ledger: Ledger): unknown => {
    const { count, end, isEnded, isForked } = ledger.fed!;
    return { count, end, ended: isEnded, forked: isForked };
  };
  cases.push({
    name: `what feeds say: ${name}`,
    check: () => {
      const ledger = filled(feeds);
      expect(said(ledger)).toEqual(expected);
      expect(chunksNow(ledger)).toBe(expected.count);
      const reader = new ChunkReader(ledger.manifest, null, null, ledger.fed!.inputs);
      for (const [chunk, input] of Object.entries(inputs)) {
        expect(exists(ledger, Number(chunk))).toBe(true);
        expect(hex(reader.read(Number(chunk)))).toBe(input);
      }
    },
  });
  if (expected.forked) continue;
  cases.push({
    name: `backwards they say the same: ${name}`,
    check: () => expect(said(filled([...feeds].reverse()))).toEqual(expected),
  });
}

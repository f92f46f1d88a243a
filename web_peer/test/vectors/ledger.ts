import { expect } from "vitest";

import { checkRecord } from "../../src/protocol/checking";
import { decode } from "../../src/protocol/codec";
import { Ledger } from "../../src/protocol/ledger";
import { openManifest } from "../../src/protocol/manifest";
import { parse, Signed, verifySignature } from "../../src/protocol/records";
import { verify } from "../../src/protocol/software";
import { type Case, expectRefused, fromHex, vectors } from "./read";
import { openCount, unbegunCount } from "../../src/protocol/shards";

const { manifest, task, shards, records, says, refused } = vectors("ledger");

const signed = decode(Signed, fromHex(manifest));

/** A ledger that holds all records of the vectors. */
function filled(order: readonly string[]): Ledger {
  const ledger = new Ledger(signed, openManifest(signed, verify));
  for (const record of order) {
    const opened = decode(Signed, fromHex(record));
    const parsed = parse(opened);
    checkRecord(ledger, opened, parsed);
    ledger.add(opened, parsed, 0);
  }
  return ledger;
}

const ledger = filled(records);
const perShard = <T>(ask: (shard: number) => T): T[] => Array.from({ length: ledger.shards }, (_, shard) => ask(shard));

/** Everything the vectors say of the set, from one ledger. */
function said(of: Ledger): unknown {
  return {
    joined: [...of.joins.keys()].sort(),
    admitted: [...of.admits.keys()].sort(),
    equivocators: [...of.equivocators].sort(),
    void: [...of.joins.keys()].filter((worker) => of.isVoid(worker)).sort(),
    open_count: perShard((shard) => openCount(of, shard)),
    unbegun_count: perShard((shard) => unbegunCount(of, shard)),
    checkpoint_seq: perShard((shard) => of.checkpoints.get(shard)?.seq),
    chunks: says.chunks.map(({ chunk }: { chunk: number }) => ({
      chunk,
      voters: of.voters(chunk).sort(),
      closed: of.isClosed(chunk),
      accepted: of.isAccepted(chunk),
    })),
  };
}

export const cases: Case[] = [
  { name: "the task", check: () => expect(ledger.taskKey).toBe(task) },
  { name: "the shards", check: () => expect(ledger.shards).toBe(shards) },
  {
    name: "the records backwards say the same",
    check: () => expect(said(filled([...records].reverse()))).toEqual(says),
  },
  {
    name: "the records twice say the same",
    check: () => expect(said(filled([...records, ...records]))).toEqual(says),
  },
];

const { chunks: _, ...totals } = says;
for (const [what, expected] of Object.entries(totals)) {
  cases.push({
    name: `what the set says: ${what}`,
    check: () => expect((said(ledger) as Record<string, unknown>)[what]).toEqual(expected),
  });
}
for (const [index, expected] of says.chunks.entries()) {
  cases.push({
    name: `what the set says of chunk ${expected.chunk}`,
    check: () => expect((said(ledger) as typeof says).chunks[index]).toEqual(expected),
  });
}
for (const record of records) {
  const opened = decode(Signed, fromHex(record));
  cases.push({
    name: `a ${opened.kind} is signed and may enter`,
    check: () => {
      verifySignature(verify, opened);
      checkRecord(ledger, opened, parse(opened));
    },
  });
}
for (const { why, signed } of refused) {
  const opened = decode(Signed, fromHex(signed));
  cases.push({
    name: `refused: ${why}`,
    check: () => {
      // What is inside may be well-formed: it is the ledger that must refuse it.
      const parsed = parse(opened);
      expectRefused(() => checkRecord(ledger, opened, parsed));
    },
  });
}

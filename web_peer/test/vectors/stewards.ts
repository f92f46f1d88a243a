import { expect } from "vitest";

import { Absences } from "../../src/protocol/absence";
import { hex } from "../../src/protocol/bytes";
import { checkRecord, mayEnter } from "../../src/protocol/checking";
import { decode } from "../../src/protocol/codec";
import { Ledger } from "../../src/protocol/ledger";
import { Manifest, openManifest } from "../../src/protocol/manifest";
import { parse, recordKey, Signed, verifySignature } from "../../src/protocol/records";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { creatorsSigner, taskSecret, withTaskKey } from "../../src/protocol/stewarding";
import { isSettled, isWord } from "../../src/protocol/stewards";
import { type Case, expectRefused, fromHex, vectors } from "./read";

const stewards = vectors("stewards");
const signed = decode(Signed, fromHex(stewards.manifest));
const records: Signed[] = stewards.records.map((record: string) => decode(Signed, fromHex(record)));

/** As a peer takes records: what a steward says waits for the delegation, what a revoked one says is not heard. */
function filled(order: readonly Signed[], now = 0): Ledger {
  const ledger = new Ledger(signed, openManifest(signed, verify));
  Absences.of(ledger);
  let waiting = [...order];
  for (let before = -1; waiting.length !== before; ) {
    before = waiting.length;
    waiting = waiting.filter((record) => {
      if (ledger.isVoid(hex(record.author))) return false;
      const parsed = parse(record);
      const author = hex(record.author);
      const isStewards = isWord(parsed) && author !== hex(ledger.manifest.creator);
      // Whoever has not joined as far as we know may do so still.
      if (isStewards && !ledger.joins.has(author) && !ledger.absences!.stewards.has(author)) return true;
      if (!mayEnter(ledger, record, parsed)) return true;
      ledger.add(record, parsed, now);
      return false;
    });
  }
  return ledger;
}

function said(ledger: Ledger): Record<string, unknown> {
  const { delegations, revoked } = ledger.absences!.stewards;
  const chunks = [0, 1, 2];
  const workers = records.filter(({ kind }) => kind === "join").map(({ author }) => hex(author));
  return {
    held: [...ledger.records()].map(recordKey).sort(),
    stewards: Object.fromEntries([...delegations].map(([key, { untilS, trusted }]) => [key, [untilS, trusted]])),
    revoked: [...revoked].sort(),
    admitted: Object.fromEntries([...ledger.admits].map(([worker, { nonce }]) => [worker, hex(nonce)])),
    settled: chunks.map((chunk) => isSettled(ledger, chunk)),
    closed: chunks.map((chunk) => ledger.isClosed(chunk)),
    voters: chunks.map((chunk) => ledger.voters(chunk).sort()),
    void: workers.map((worker) => ledger.isVoid(worker)),
  };
}

const unrevoked = records.filter(({ kind }) => kind !== "revoke");

export const cases: Case[] = [
  { name: "what the set says", check: () => expect(said(filled(records))).toEqual(stewards.says) },
  {
    name: "what it said before the revocation",
    check: () => expect(said(filled(unrevoked))).toEqual(stewards.before_the_revocation),
  },
  {
    name: "the records backwards say the same, but for what a revoked steward's commit left",
    check: () => {
      const { held: _, ...rest } = stewards.says;
      expect(said(filled([...records].reverse()))).toMatchObject(rest);
    },
  },
  {
    name: "what comes when a steward's time is over moves nobody",
    check: () => {
      const { now, says } = stewards.when_their_time_is_over;
      expect(said(filled(unrevoked, now))).toEqual(says);
      expect(filled(unrevoked).absences!.stewards.mayAct(Object.keys(says.stewards)[0]!, now)).toBe(false);
    },
  },
  {
    name: "the task's seal key",
    check: () => {
      const { seed, unkeyed, seal_key, secret } = stewards.key;
      const creator = new SoftwareIdentity(fromHex(seed));
      const manifest = withTaskKey(creator, decode(Manifest, fromHex(unkeyed)));
      expect(hex(manifest.sealKey)).toBe(seal_key);
      expect(hex(taskSecret(creator, manifest))).toBe(secret);
      expect(hex(creatorsSigner(creator, manifest).sealKey)).toBe(seal_key);
      expect(creatorsSigner(creator, decode(Manifest, fromHex(unkeyed)))).toBe(creator);
    },
  },
];
for (const record of records) {
  cases.push({ name: `a ${record.kind} is signed`, check: () => verifySignature(verify, record) });
}
for (const { why, record } of stewards.refused) {
  cases.push({
    name: `beyond a steward: ${why}`,
    check: () => {
      const ledger = filled(unrevoked);
      const opened = decode(Signed, fromHex(record));
      expectRefused(() => checkRecord(ledger, opened, parse(opened)));
    },
  });
}

import { expect } from "vitest";

import { areCovered } from "../../src/protocol/permissions";
import { hex } from "../../src/protocol/bytes";
import { decode, encode } from "../../src/protocol/codec";
import { Manifest } from "../../src/protocol/manifest";
import { isAddress, isPermission } from "../../src/protocol/permissions";
import { Signed } from "../../src/protocol/records";
import { verify } from "../../src/protocol/software";
import { openVouch, Vouch, Vouches } from "../../src/protocol/vouching";
import { type Case, expectBytes, expectRefused, fromHex, vectors } from "./read";

const { addresses, no_addresses, covered, not_covered, trusted, now_s, ...said } = vectors("permissions");

function signed(record: string): Signed {
  return decode(Signed, fromHex(record));
}

export const cases: Case[] = [];

for (const address of addresses) {
  cases.push({ name: `an address: ${address.slice(0, 60)}`, check: () => expect(isAddress(address)).toBe(true) });
}
for (const address of no_addresses) {
  cases.push({
    name: `no address: ${JSON.stringify(address).slice(0, 60)}`,
    check: () => expect([isAddress(address), isPermission(`net:${address}`)]).toEqual([false, false]),
  });
}
for (const [permission, wanted] of covered) {
  cases.push({ name: `includes ${wanted}`, check: () => expect(areCovered([wanted], [permission])).toBe(true) });
}
for (const [permission, wanted] of not_covered) {
  cases.push({
    name: `${permission} does not include ${wanted}`,
    check: () => expect(areCovered([wanted], [permission])).toBe(false),
  });
}
for (const { record, body } of said.vouches) {
  cases.push({
    name: `a vouch is encoded again: ${record.slice(0, 16)}`,
    check: () => expectBytes(encode(Vouch, openVouch(signed(record), verify)), body),
  });
}
for (const { why, record } of said.refused) {
  cases.push({ name: `refused: ${why}`, check: () => expectRefused(() => openVouch(signed(record), verify)) });
}
for (const { name, manifest: encoded, heard, verified } of said.cases) {
  cases.push({
    name,
    check: () => {
      const manifest = decode(Manifest, fromHex(encoded));
      for (const order of [heard, [...heard].reverse()]) {
        const vouches = new Vouches(verify, new Set([trusted]));
        for (const record of order) vouches.add(signed(record), [{ manifest }]);
        const found = vouches.verified(manifest, now_s);
        expect(found === null ? null : hex(found.voucher)).toBe(verified ? trusted : null);
      }
    },
  });
}

import { expect } from "vitest";

import {
  consentTo,
  leaderboard,
  openBackup,
  openConsent,
  openHistory,
  openStatement,
  Roster,
  signHistory,
  signStatement,
  type Statement,
  type Table,
  writeBackup,
} from "../../src/protocol/accounts";
import { hex } from "../../src/protocol/bytes";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { type Case, expectRefused, fromHex, vectors } from "./read";

export const cases: Case[] = [];

const publicKeyOfSeed = (seed: Uint8Array): Uint8Array => new SoftwareIdentity(seed).publicKey;

for (const each of vectors("accounts")) {
  const { name } = each;
  if (each.refused !== undefined) {
    cases.push({ name, check: () => expectRefused(() => openStatement(fromHex(each.refused), verify)) });
  } else if (each.refused_history !== undefined) {
    cases.push({ name, check: () => expectRefused(() => openHistory(fromHex(each.refused_history), verify)) });
  } else if (each.refused_backup !== undefined) {
    const open = (): unknown => openBackup(fromHex(each.refused_backup), verify, publicKeyOfSeed);
    cases.push({ name, check: () => expectRefused(open) });
  } else if (each.history !== undefined) {
    cases.push({
      name,
      check: async () => {
        const account = new SoftwareIdentity(fromHex(each.seed));
        const signed = await signHistory(account, fromHex(each.of), each.made_s, each.proofs.map(fromHex));
        expect(hex(signed)).toBe(each.history);
        const { statement, madeS, credits } = openHistory(signed, verify);
        expect([hex(statement.account), madeS]).toEqual([hex(account.publicKey), each.made_s]);
        expect(Object.fromEntries(credits.map(({ worker, millicredits }) => [hex(worker), millicredits]))).toEqual(
          each.credits,
        );
      },
    });
  } else if (each.backup !== undefined) {
    cases.push({
      name,
      check: () => {
        expect(hex(writeBackup(fromHex(each.seed), fromHex(each.of)))).toBe(each.backup);
        const { seed, statement } = openBackup(fromHex(each.backup), verify, publicKeyOfSeed);
        expect([hex(seed), hex(statement)]).toEqual([each.seed, each.of]);
      },
    });
  } else if (each.consent !== undefined) {
    cases.push({
      name,
      check: async () => {
        const device = new SoftwareIdentity(fromHex(each.seed));
        const consent = await consentTo(device, fromHex(each.account), each.device_name, each.since_s);
        expect(hex(consent)).toBe(each.consent);
        expect(openConsent(consent, fromHex(each.account), verify).name).toBe(each.device_name);
        expectRefused(() => openConsent(consent, device.publicKey, verify));
        expectRefused(() => openConsent(consent.fill(0, -1), fromHex(each.account), verify));
      },
    });
  } else if (each.tables !== undefined) {
    cases.push({
      name,
      check: () => {
        const statements = each.statements.map((file: string): Statement => openStatement(fromHex(file), verify));
        const tables = each.tables.map(
          ({ created_s, millicredits }: { created_s: number; millicredits: Record<string, number> }): Table => ({
            createdS: created_s,
            millicredits: new Map(Object.entries(millicredits)),
          }),
        );
        expect(leaderboard(tables, new Roster(statements))).toEqual(each.leaderboard);
      },
    });
  } else {
    cases.push({
      name,
      check: async () => {
        const said = openStatement(fromHex(each.file), verify);
        expect(hex(await signStatement(new SoftwareIdentity(fromHex(each.seed)), said))).toBe(each.file);
        const { account, seq, name: called, avatar, devices } = said;
        expect({
          account: hex(account),
          seq,
          name: called,
          avatar: hex(avatar),
          devices: devices.map(({ key, name, sinceS, untilS }) => ({
            key: hex(key),
            name,
            since_s: sinceS,
            until_s: untilS,
          })),
        }).toEqual(each.statement);
      },
    });
  }
}

import { expect } from "vitest";

import { type Statement, Roster, consentTo, leaderboard, openStatement } from "../../src/protocol/accounts";
import { hex } from "../../src/protocol/bytes";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { type Case, expectRefused, fromHex, vectors } from "./read";

export const cases: Case[] = [];

for (const each of vectors("accounts")) {
  const { name } = each;
  if (each.refused !== undefined) {
    cases.push({ name, check: () => expectRefused(() => openStatement(fromHex(each.refused), verify)) });
  } else if (each.consent !== undefined) {
    cases.push({
      name,
      check: async () => {
        const device = new SoftwareIdentity(fromHex(each.seed));
        expect(hex(await consentTo(device, fromHex(each.account), each.device_name, each.since_s))).toBe(each.consent);
      },
    });
  } else if (each.tables !== undefined) {
    cases.push({
      name,
      check: () => {
        const statements = each.statements.map((file: string): Statement => openStatement(fromHex(file), verify));
        const tables = each.tables.map((table: Record<string, number>) => new Map(Object.entries(table)));
        expect(leaderboard(tables, new Roster(statements))).toEqual(each.leaderboard);
      },
    });
  } else {
    cases.push({
      name,
      check: () => {
        const { account, seq, name: called, avatar, devices } = openStatement(fromHex(each.file), verify);
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

import { expect } from "vitest";

import { hex } from "../../src/protocol/bytes";
import { decode } from "../../src/protocol/codec";
import { checkProof, prove, rootOf, split, tableOf, writeProof } from "../../src/protocol/credit";
import { Signed } from "../../src/protocol/records";
import { verify } from "../../src/protocol/software";
import { type Case, expectRefused, fromHex, vectors } from "./read";

export const cases: Case[] = [];

for (const each of vectors("credit")) {
  const { name } = each;
  if (each.refused !== undefined) {
    cases.push({ name, check: () => expectRefused(() => checkProof(fromHex(each.refused), verify)) });
  } else if (each.file !== undefined) {
    const shown = each.checkpoints.map(({ signed, table }: { signed: string; table: string }) => [
      decode(Signed, fromHex(signed)),
      fromHex(table),
    ]);
    cases.push(
      {
        name: `${name}: is written`,
        check: () => {
          const proof = prove(decode(Signed, fromHex(each.task)), fromHex(each.worker), shown);
          expect(hex(writeProof(proof!))).toBe(each.file);
        },
      },
      {
        name: `${name}: is checked`,
        check: () => {
          const proved = checkProof(fromHex(each.file), verify);
          expect([hex(proved.worker), proved.millicredits]).toEqual([each.worker, each.millicredits]);
        },
      },
    );
  } else {
    cases.push({
      name,
      check: () => {
        const table = tableOf(split(each.reward, each.confirmers));
        expect([hex(table), hex(rootOf(table))]).toEqual([each.table, each.root]);
      },
    });
  }
}

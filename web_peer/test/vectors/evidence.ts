import { expect } from "vitest";

import { concat, hex } from "../../src/protocol/bytes";
import { decode } from "../../src/protocol/codec";
import { readShown, Shown, writeShown } from "../../src/protocol/opening";
import { DoesNotHold, recount } from "../../src/protocol/recount";
import { verify } from "../../src/protocol/software";
import { type Case, fromHex, vectors } from "./read";

const { entries, files } = vectors("evidence");
const shown: Shown[] = entries.map((entry: string) => decode(Shown, fromHex(entry)));

export const cases: Case[] = [];

/** What the recount of a file says, or the first thing that does not hold. */
function said(numbers: readonly number[]): unknown {
  const file = concat(...writeShown(numbers.map((number) => shown[number]!)));
  try {
    const counted = recount(readShown(file), verify);
    const { records, peers, credit, wrongVotes, verdicts, cancelled, cannotCheck, bySteward, trusted, revoked } = counted;
    return {
      records,
      peers,
      cancelled,
      credit: Object.fromEntries(credit),
      wrong_votes: Object.fromEntries(wrongVotes),
      verdicts: Object.fromEntries([...verdicts].map(([worker, { voidTo }]) => [worker, voidTo])),
      by_steward: Object.fromEntries([...bySteward].map(([steward, said]) => [steward, Object.fromEntries(said)])),
      trusted,
      revoked,
      cannot_check: cannotCheck,
    };
  } catch (error) {
    if (!(error instanceof DoesNotHold)) throw error;
    return { what: error.message, chunk: error.chunk, worker: error.worker };
  }
}

for (const { name, entries: numbers, holds, what, chunk, worker } of files) {
  cases.push({ name, check: () => expect(said(numbers)).toEqual(holds ?? { what, chunk, worker }) });
}
cases.push({
  name: "a file is written as it was read",
  check: () => {
    const file = concat(...writeShown(shown));
    expect(hex(concat(...writeShown(readShown(file))))).toBe(hex(file));
  },
});

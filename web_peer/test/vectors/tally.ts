import { expect } from "vitest";

import type { Hex } from "../../src/protocol/bytes";
import { type Ballot, tally } from "../../src/protocol/tally";
import { type Case, vectors } from "./read";

export const cases: Case[] = [];

for (const election of vectors("tally")) {
  const { name, creator, replication, admitted, convicted, assigned, close, kin, observed, ballots } = election;
  const { void: voided, chunks } = election;
  const asked = new Set(assigned.map(([worker, chunk]: [Hex, number]) => `${worker} ${chunk}`));
  const near = new Set(close.flatMap(([one, other]: [Hex, Hex]) => [`${one} ${other}`, `${other} ${one}`]));
  const classes = new Map<Hex, Hex>(kin);
  const cast: Ballot[] = [];
  for (const { values, rests, ...ballot } of ballots) {
    const made = rests.map(([maker, seq, savepoint]: [Hex, number, Hex]) => ({ maker, seq, savepoint }));
    cast.push({ ...ballot, values: new Map(values), rests: made });
  }
  const count = (order: readonly Ballot[]): ReturnType<typeof tally> =>
    tally(order, {
      replication,
      creator,
      admitted: new Set(admitted),
      convicted,
      isAssigned: (worker, chunk) => asked.has(`${worker} ${chunk}`),
      isObserved: observed,
      same: (_, one, other) => near.has(`${one} ${other}`),
      kin: classes.size > 0 ? (_, value) => classes.get(value)! : null,
    });
  const stated = (order: readonly Ballot[]): unknown =>
    [...count(order).chunks].map(([chunk, state]) => ({ chunk, ...state }));
  cases.push(
    { name: `${name}: who is void`, check: () => expect([...count(cast).void].sort()).toEqual(voided) },
    { name: `${name}: states`, check: () => expect(stated(cast)).toEqual(chunks) },
    { name: `${name}: states, heard backwards`, check: () => expect(stated([...cast].reverse())).toEqual(chunks) },
  );
}

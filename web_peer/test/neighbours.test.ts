/** Whom a peer dials: as many as it wants, whom it needs, and nobody again and again. */

import { expect, test } from "vitest";

import { protocolConfig } from "../src/protocol/config";
import { Neighbours } from "../src/protocol/neighbours";
import { SeededRng } from "./seeded";

const CONFIG = protocolConfig({ neighboursTarget: 3, neighboursMax: 5 });
const STRANGERS = [..."abcdefgh"];

function acquainted(): Neighbours {
  const neighbours = new Neighbours(CONFIG, new SeededRng(1));
  neighbours.discovered(STRANGERS, 0);
  return neighbours;
}

test("as many are dialled as the target lacks, and none while dials are under way", () => {
  const neighbours = acquainted();
  const dialled = neighbours.dials(0);
  expect(new Set(dialled).size).toBe(3);
  expect(neighbours.dials(0)).toEqual([]);
  neighbours.opened(dialled[0]!, 1);
  neighbours.closed(dialled[1]!, 1);
  expect(neighbours.dials(1).length).toBe(1);
});

test("who is needed is dialled beyond the target", () => {
  const neighbours = acquainted();
  for (const peerId of neighbours.dials(0)) neighbours.opened(peerId, 0);
  expect(neighbours.wakeAt()).toBe(null);
  neighbours.want("somebody with a result", 1);
  expect(neighbours.wakeAt()).toBe(1);
  expect(neighbours.dials(1)).toEqual(["somebody with a result"]);
});

test("links beyond the limit are refused", () => {
  const neighbours = acquainted();
  expect(STRANGERS.map((peerId) => neighbours.opened(peerId, 0)).filter(Boolean).length).toBe(5);
});

test("who cannot be reached is dialled ever later, and forgotten after nine failures", () => {
  const neighbours = new Neighbours(CONFIG, new SeededRng(1));
  neighbours.discovered(["away"], 0);
  const pauses: number[] = [];
  let now = 0;
  for (let at = neighbours.wakeAt(); at !== null; at = neighbours.wakeAt()) {
    pauses.push(at - now);
    now = at;
    expect(neighbours.dials(now)).toEqual(["away"]);
    neighbours.closed("away", now);
  }
  expect(pauses.length).toBe(9);
  pauses.slice(1).forEach((pauseS, failures) => {
    const usualS = Math.min(60, 5 * 2 ** failures);
    expect(pauseS).toBeGreaterThanOrEqual(0.5 * usualS);
    expect(pauseS).toBeLessThanOrEqual(1.5 * usualS);
  });
});

test("strangers with ever new names do not fill the memory", () => {
  const neighbours = acquainted();
  for (let number = 0; number < 3_000; number++) {
    neighbours.opened(`stranger ${number}`, number);
    neighbours.closed(`stranger ${number}`, number);
  }
  expect(neighbours.dials(1e9).length).toBe(3);
  neighbours.discovered(["one more"], 1e9);
  neighbours.want("one more", 1e9);
  expect(neighbours.dials(1e9)).toEqual(["one more"]);
});

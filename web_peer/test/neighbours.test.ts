/** Whom a peer dials: as many as it wants, whom it needs, nobody again and again, and a stranger now and then. */

import { expect, test } from "vitest";

import { protocolConfig } from "../src/protocol/config";
import { type Dial, Neighbours } from "../src/protocol/neighbours";
import { SeededRng } from "./seeded";

const CONFIG = protocolConfig({ neighboursTarget: 3, neighboursMax: 5 });
const NO_VISITS = protocolConfig({ neighboursTarget: 3, neighboursMax: 5, visitEveryS: Infinity });
const STRANGERS = [..."abcdefgh"];

function acquainted(): Neighbours {
  const neighbours = new Neighbours(CONFIG, new SeededRng(1), 0);
  neighbours.discovered(STRANGERS, 0);
  return neighbours;
}

function whom(dials: readonly Dial[]): string[] {
  return dials.map(({ peerId }) => peerId);
}

test("as many are dialled as the target lacks, and none while dials are under way", () => {
  const neighbours = acquainted();
  const dialled = whom(neighbours.dials(0));
  expect(new Set(dialled).size).toBe(3);
  expect(neighbours.dials(0)).toEqual([]);
  neighbours.opened(dialled[0]!, 1, true);
  neighbours.closed(dialled[1]!, 1);
  expect(neighbours.dials(1).length).toBe(1);
});

test("of a thousand peers that are needed few are dialled at once and each has its turn", () => {
  const neighbours = new Neighbours(NO_VISITS, new SeededRng(1), 0);
  const madeUp = Array.from({ length: 1_100 }, (_, number) => `nobody ${number}`);
  for (const peerId of madeUp) neighbours.want(peerId, 0);
  const dialled: string[] = [];
  for (let now = 0; dialled.length < 1_000; now += 0.001) {
    const dials = whom(neighbours.dials(now));
    expect(dials.length).toBeLessThanOrEqual(32);
    expect(neighbours.dials(now)).toEqual([]);
    expect(neighbours.wakeAt()).toBeGreaterThan(now);
    for (const peerId of dials) neighbours.closed(peerId, now);
    dialled.push(...dials);
  }
  expect(dialled).toEqual(madeUp.slice(0, 1_000));
});

test("who is needed is dialled beyond the target", () => {
  const neighbours = acquainted();
  for (const peerId of whom(neighbours.dials(0))) neighbours.opened(peerId, 0, true);
  expect(neighbours.wakeAt()).toBeGreaterThanOrEqual(30);
  neighbours.want("somebody with a result", 1);
  expect(neighbours.wakeAt()).toBe(1);
  expect(whom(neighbours.dials(1))).toEqual(["somebody with a result"]);
});

test("links beyond the limit are refused", () => {
  const neighbours = acquainted();
  expect(STRANGERS.map((peerId) => neighbours.opened(peerId, 0, true)).filter((left) => left !== null).length).toBe(5);
});

test("who cannot be reached is dialled ever later, and forgotten after nine failures", () => {
  const neighbours = new Neighbours(NO_VISITS, new SeededRng(1), 0);
  neighbours.discovered(["away"], 0);
  const pauses: number[] = [];
  let now = 0;
  for (let at = neighbours.wakeAt(); at !== Infinity; at = neighbours.wakeAt()) {
    pauses.push(at - now);
    now = at;
    expect(neighbours.dials(now)).toEqual([{ peerId: "away", through: null }]);
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
    neighbours.opened(`stranger ${number}`, number, true);
    neighbours.closed(`stranger ${number}`, number);
  }
  expect(neighbours.dials(1e9).length).toBe(3);
  neighbours.discovered(["one more"], 1e9);
  neighbours.want("one more", 1e9);
  expect(whom(neighbours.dials(1e9))).toEqual(["one more"]);
});

test("a peer is dialled through each neighbour that named it, and in the end through the signaling server", () => {
  const neighbours = new Neighbours(CONFIG, new SeededRng(1), 0);
  neighbours.opened("anna", 0, true);
  neighbours.opened("berta", 0, true);
  expect(neighbours.introduced(["carla", "anna"], "anna", 0)).toBe(true);
  expect(neighbours.introduced(["carla"], "berta", 0)).toBe(false);
  const ways: (string | null)[] = [];
  for (let number = 0; number < 3; number++) {
    const [dial] = neighbours.dials(0);
    expect(dial?.peerId).toBe("carla");
    ways.push(dial!.through);
    neighbours.closed("carla", 0);
  }
  expect(ways.slice(0, 2).sort()).toEqual(["anna", "berta"]);
  expect(ways[2]).toBe(null);
  expect(neighbours.dials(0)).toEqual([]);
  expect(neighbours.wakeAt()).toBeGreaterThan(0);
});

test("a neighbour whose introductions fail eight times in a row is believed no more", () => {
  const neighbours = new Neighbours(CONFIG, new SeededRng(1), 0);
  neighbours.opened("anna", 0, true);
  neighbours.opened("berta", 0, true);
  for (let number = 0; number < 8; number++) {
    expect(neighbours.introduces("anna")).toBe(true);
    neighbours.introduced([`nobody ${number}`], "anna", 0);
    expect(neighbours.dials(0)).toEqual([{ peerId: `nobody ${number}`, through: "anna" }]);
    neighbours.closed(`nobody ${number}`, 0);
    neighbours.dials(0);
    neighbours.closed(`nobody ${number}`, 0);
  }
  expect(neighbours.introduces("anna")).toBe(false);
  neighbours.introduced(["carla"], "anna", 0);
  expect(neighbours.dials(0)).toContainEqual({ peerId: "carla", through: null });
});

test("who lacks nothing visits a stranger a minute, and leaves a link for it, never one of the two oldest it dialled", () => {
  for (let seed = 0; seed < 20; seed++) {
    const config = protocolConfig({ neighboursTarget: 4 });
    const neighbours = new Neighbours(config, new SeededRng(seed), 0);
    neighbours.discovered(Array.from({ length: 60 }, (_, number) => `stranger ${number}`), 0);
    const linked = whom(neighbours.dials(0));
    for (const peerId of linked) neighbours.opened(peerId, 0, true);
    const held = new Set(linked);
    let last = 0;
    let before: string | null = null;
    let swapped = 0;
    for (let number = 0; number < 30; number++) {
      const now = neighbours.wakeAt();
      expect(now - last).toBeGreaterThanOrEqual(30);
      expect(now - last).toBeLessThanOrEqual(90);
      const [visit, ...others] = whom(neighbours.dials(now));
      expect(others).toEqual([]);
      expect(held).not.toContain(visit);
      const left = neighbours.opened(visit!, now, true)!;
      expect(neighbours.isVisited(visit!)).toBe(true);
      expect(left.length).toBe(before === null ? 0 : 1);
      for (const other of left) {
        swapped += other === before ? 0 : 1;
        held.delete(other);
        neighbours.closed(other, now);
      }
      held.add(visit!);
      before = visit!;
      last = now;
    }
    expect(held.size).toBe(5);
    expect(held).toContain(linked[0]);
    expect(held).toContain(linked[1]);
    expect(swapped).toBeGreaterThan(0);
  }
});

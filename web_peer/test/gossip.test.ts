/** Gossip among two to ten peers over a wire inside the test: every record reaches every follower. */

import fc from "fast-check";
import { expect, test } from "vitest";

import { fromHex, hex, type Hex } from "../src/protocol/bytes";
import { protocolConfig } from "../src/protocol/config";
import { RemoteProtocolError } from "../src/protocol/errors";
import { decodeFrame, encodeFrame, type Frame, type GossipFrame, TOPICS_MAX } from "../src/protocol/frames";
import { type Addressed, Gossip, type Shelf } from "../src/protocol/gossip";
import type { PeerId } from "../src/protocol/identity";
import type { Reconcile } from "../src/protocol/reconcile";
import { recordKey, type Signed } from "../src/protocol/records";
import { SeededRng } from "./seeded";

const TOPIC: Hex = "aa".repeat(32);
/** A mesh small enough for ten peers to have an outside. */
const CONFIG = protocolConfig({ meshLow: 2, meshTarget: 3, meshHigh: 4 });

function record(number: number, size = 40): Signed {
  const body = new Uint8Array(4 + size);
  new DataView(body.buffer).setUint32(0, number);
  return { kind: "join", author: new Uint8Array(32), body, signature: new Uint8Array(64) };
}

/** A gossiping peer that believes everything it is told. */
class Node implements Shelf {
  readonly gossip: Gossip;
  readonly held = new Map<Hex, Signed>();
  pushed = 0;

  constructor(
    readonly peerId: PeerId,
    seed: number,
  ) {
    this.gossip = new Gossip(CONFIG, peerId, new SeededRng(seed), this);
  }

  recordIds(): Iterable<Hex> {
    return this.held.keys();
  }

  record(recordId: Hex): Signed | null {
    return this.held.get(recordId) ?? null;
  }

  take(topic: Hex, signed: Signed, now: number, source: PeerId | null = null): void {
    this.held.set(recordKey(signed), signed);
    this.gossip.publish(topic, recordKey(signed), signed, now, source);
  }

  received(source: PeerId, frame: Frame, now: number): void {
    if (frame.kind === "publish") {
      for (const signed of frame.records) {
        this.pushed++;
        if (!this.gossip.seen(recordKey(signed))) this.take(hex(frame.topic), signed, now, source);
      }
    } else {
      this.gossip.received(source, frame as GossipFrame, now);
    }
  }
}

/** Delivers frames in order, encoded and decoded; time passes only in `passTime`. */
class Wire {
  readonly nodes: Node[];
  readonly links = new Set<string>();
  readonly silent = new Set<PeerId>();
  readonly said: Frame[] = [];
  now = 0;

  constructor(count: number, seed = 1) {
    this.nodes = Array.from({ length: count }, (_, number) => new Node(`peer ${number}`, 100 * seed + number));
  }

  link(one: Node, other: Node): void {
    this.links.add(`${one.peerId} ${other.peerId}`).add(`${other.peerId} ${one.peerId}`);
    one.gossip.linkOpened(other.peerId);
    other.gossip.linkOpened(one.peerId);
  }

  deliver(): void {
    for (let round = 0; round < 200; round++) {
      const flying = this.nodes.map((node) => [node, node.gossip.drain(this.now)] as const);
      if (flying.every(([, frames]) => frames.length === 0)) return;
      for (const [node, frames] of flying) for (const each of frames) this.carry(node, each);
    }
    throw new Error("the peers never stop talking");
  }

  passTime(seconds: number): void {
    const end = this.now + seconds;
    while (this.now < end) {
      this.now = Math.min(end, this.now + 1);
      for (const { gossip } of this.nodes) if (gossip.heartbeatDue(this.now)) gossip.heartbeat(this.now);
      this.deliver();
    }
  }

  private carry(node: Node, [to, frame]: Addressed): void {
    this.said.push(frame);
    if (!this.links.has(`${node.peerId} ${to}`) || this.silent.has(node.peerId)) return;
    const other = this.nodes.find(({ peerId }) => peerId === to)!;
    other.received(node.peerId, decodeFrame(encodeFrame(frame)), this.now);
    for (const { gossip, peerId } of this.nodes) {
      const mesh = gossip.mesh(TOPIC);
      expect(mesh.size).toBeLessThanOrEqual(CONFIG.meshHigh);
      for (const member of mesh) expect(this.links.has(`${peerId} ${member}`)).toBe(true);
    }
  }
}

/** A random tree, so that everybody can be reached, and some links more. */
function connected(count: number, extra: number, seed: number): Wire {
  const wire = new Wire(count, seed);
  const rng = new SeededRng(seed);
  for (let index = 1; index < count; index++) wire.link(wire.nodes[index]!, wire.nodes[rng.below(index)]!);
  for (let more = 0; more < extra; more++) {
    const [one, other] = [wire.nodes[rng.below(count)]!, wire.nodes[rng.below(count)]!];
    if (one !== other && !wire.links.has(`${one.peerId} ${other.peerId}`)) wire.link(one, other);
  }
  return wire;
}

function everyPair(nodes: readonly Node[], act: (one: Node, other: Node) => void): void {
  nodes.forEach((one, index) => nodes.slice(index + 1).forEach((other) => act(one, other)));
}

test("every record reaches every follower, and nobody stays outside the mesh", () => {
  const counts = fc.integer({ min: 2, max: 10 });
  const publishes = fc.array(fc.tuple(fc.nat(9), fc.double({ min: 0, max: 3, noNaN: true })), { maxLength: 25 });
  fc.assert(
    fc.property(counts, fc.nat(45), publishes, fc.nat(1e6), (count, extra, publishes, seed) => {
      const wire = connected(count, extra, seed);
      wire.nodes.forEach(({ gossip }, index) => {
        gossip.follow(TOPIC);
        if (index % 2 === 0) wire.deliver();
      });
      publishes.forEach(([author, pauseS], number) => {
        wire.nodes[author % count]!.take(TOPIC, record(number), wire.now);
        if (pauseS > 1) wire.passTime(pauseS);
      });
      wire.passTime(8);
      for (const { gossip, held, peerId } of wire.nodes) {
        expect(held.size).toBe(publishes.length);
        expect(gossip.synced(TOPIC)).toBe(true);
        expect(gossip.mesh(TOPIC).size).toBeGreaterThan(0);
        for (const member of gossip.mesh(TOPIC)) {
          expect(wire.nodes.find((node) => node.peerId === member)!.gossip.mesh(TOPIC)).toContain(peerId);
        }
      }
    }),
    { seed: 1, numRuns: 40 },
  );
});

test("a newcomer hears each record once and knows when it has them all", () => {
  const wire = new Wire(6);
  const old = wire.nodes.slice(0, 5);
  const newcomer = wire.nodes[5]!;
  everyPair(old, (one, other) => wire.link(one, other));
  for (const { gossip } of old) gossip.follow(TOPIC);
  wire.deliver();
  for (let number = 0; number < 2_000; number++) old[number % 5]!.take(TOPIC, record(number), wire.now);
  wire.passTime(10);
  for (const node of old) wire.link(newcomer, node);
  wire.deliver();
  newcomer.gossip.follow(TOPIC);
  expect(newcomer.gossip.synced(TOPIC)).toBe(false);
  wire.deliver();
  expect(newcomer.gossip.synced(TOPIC)).toBe(true);
  expect(newcomer.held.size).toBe(2_000);
  expect(newcomer.pushed).toBe(2_000);
});

test("who knows no follower has missed nothing", () => {
  const { gossip } = new Node("alone", 1);
  gossip.follow(TOPIC);
  expect(gossip.synced(TOPIC)).toBe(true);
});

test("two halves that meet again come to hold the same", () => {
  const wire = new Wire(6);
  const [left, right] = [wire.nodes.slice(0, 3), wire.nodes.slice(3)];
  for (const half of [left, right]) everyPair(half, (one, other) => wire.link(one, other));
  for (const { gossip } of wire.nodes) gossip.follow(TOPIC);
  left[0]!.take(TOPIC, record(1), wire.now);
  right[0]!.take(TOPIC, record(2), wire.now);
  wire.passTime(20);
  expect(wire.nodes.map(({ held }) => held.size)).toEqual([1, 1, 1, 1, 1, 1]);
  wire.link(left[2]!, right[2]!);
  wire.passTime(1);
  expect(wire.nodes.map(({ held }) => held.size)).toEqual([2, 2, 2, 2, 2, 2]);
});

test("what a neighbour asks for again and again goes once a push", () => {
  const node = new Node("node" as PeerId, 1);
  for (let number = 0; number < 3; number++) node.held.set(recordKey(record(number)), record(number));
  const greedy = "greedy" as PeerId;
  node.gossip.linkOpened(greedy);
  node.gossip.drain(0);
  const ids = [...node.held.keys()].map(fromHex);
  for (let number = 0; number < 100; number++) {
    node.gossip.received(greedy, { kind: "iwant", topic: new Uint8Array(32).fill(number), ids }, 0);
  }
  const answers = node.gossip.drain(1).flatMap(([, frame]) => (frame.kind === "publish" ? frame.records : []));
  expect(answers.map(recordKey)).toEqual([...node.held.keys()]);
});

test("records of a topic do not go to those who left it", () => {
  const wire = new Wire(3);
  const [one, other, third] = wire.nodes as [Node, Node, Node];
  everyPair(wire.nodes, (left, right) => wire.link(left, right));
  for (const { gossip } of wire.nodes) gossip.follow(TOPIC);
  wire.deliver();
  other.gossip.leave(TOPIC);
  wire.deliver();
  one.take(TOPIC, record(1), wire.now);
  wire.passTime(6);
  expect([other.held.size, third.held.size]).toEqual([0, 1]);
});

test("who follows a topic alone, as far as it sees, tells somebody: the others may be behind them", () => {
  const wire = new Wire(3);
  const [one, between, far] = wire.nodes as [Node, Node, Node];
  wire.link(one, between);
  wire.link(between, far);
  for (const { gossip } of [one, far]) gossip.follow(TOPIC);
  wire.deliver();
  one.take(TOPIC, record(1), wire.now);
  wire.passTime(6);
  expect(far.held.size).toBe(1);
});

/** A peer that follows the topic with neighbours that do too. */
function follower(...names: string[]): Node {
  const node = new Node("under test", 1);
  node.gossip.follow(TOPIC);
  for (const name of names) {
    node.gossip.linkOpened(name);
    node.gossip.received(name, { kind: "topics", follow: [fromHex(TOPIC)], leave: [] }, 0);
  }
  node.gossip.drain(1e9);
  return node;
}

function said(node: Node): Frame[] {
  return node.gossip.drain(1e9).map(([, frame]) => frame);
}

test("a full mesh, and a topic that is not ours, answer a graft with a prune", () => {
  const node = follower(..."abcde");
  for (const name of "abcde") node.gossip.received(name, { kind: "graft", topic: fromHex(TOPIC) }, 0);
  expect(node.gossip.mesh(TOPIC).size).toBe(CONFIG.meshHigh);
  node.gossip.received("a", { kind: "graft", topic: Uint8Array.of(1) }, 0);
  expect(said(node)).toEqual([
    { kind: "prune", topic: fromHex(TOPIC) },
    { kind: "prune", topic: Uint8Array.of(1) },
  ]);
});

test("after a prune nobody is grafted until the backoff is over", () => {
  const node = follower("a");
  node.gossip.received("a", { kind: "prune", topic: fromHex(TOPIC) }, 10);
  const grafts = [11, 40, 69.9, 70].map((now) => {
    node.gossip.heartbeat(now);
    return said(node).some(({ kind }) => kind === "graft");
  });
  expect(grafts).toEqual([false, false, false, true]);
});

test("what the first does not deliver is asked of the next, and what nobody delivers is given up", () => {
  const node = follower("a", "b");
  const ids = [new Uint8Array(32)];
  for (const name of "ab") node.gossip.received(name, { kind: "ihave", topic: fromHex(TOPIC), ids }, 0);
  expect(node.gossip.drain(0)).toEqual([["a", { kind: "iwant", topic: fromHex(TOPIC), ids }]]);
  node.gossip.heartbeat(3);
  expect(node.gossip.drain(3)).toEqual([["b", { kind: "iwant", topic: fromHex(TOPIC), ids }]]);
  expect(node.gossip.synced(TOPIC)).toBe(false);
  node.gossip.heartbeat(6);
  expect(node.gossip.synced(TOPIC)).toBe(true);
});

test("recent records are announced to followers outside the mesh, and old ones are not", () => {
  const node = follower(..."abcdefgh");
  const outside = [..."abcdefgh"].filter((name) => !node.gossip.mesh(TOPIC).has(name));
  const announcedAt = (now: number): string[] => {
    node.gossip.heartbeat(now);
    return node.gossip.drain(1e9).flatMap(([to, { kind }]) => (kind === "ihave" ? [to] : [])).sort();
  };
  node.take(TOPIC, record(1), 0);
  node.gossip.drain(1e9);
  expect(announcedAt(1)).toEqual(outside);
  expect(announcedAt(CONFIG.ihaveWindowS + 0.1)).toEqual([]);
});

test("who leaves tells every follower what it said last", () => {
  const node = follower(..."abcdefgh");
  const outside = [..."abcdefgh"].filter((name) => !node.gossip.mesh(TOPIC).has(name));
  node.take(TOPIC, record(1), 0);
  node.take(TOPIC, record(2), 0, "a");
  node.gossip.drain(1e9);
  node.gossip.lastWords();
  const told = node.gossip.drain(1e9).map(([to, frame]) => [to, frame.kind === "publish" ? frame.records : []] as const);
  expect(told.map(([to]) => to).sort()).toEqual(outside);
  for (const [, records] of told) expect(records).toEqual([record(1)]);
});

test("neighbours that get the same records share one frame, and every frame fits", () => {
  const node = follower("a", "b", "c");
  for (let number = 0; number < 40; number++) node.take(TOPIC, record(number, 5_000), 0);
  const frames = node.gossip.drain(1e9);
  expect(frames.length).toBeGreaterThan(9);
  expect(new Set(frames.map(([, frame]) => frame)).size).toBe(frames.length / 3);
  for (const [, frame] of frames) encodeFrame(frame);
});

test("a record of our own in a foreign topic goes to whoever needs it most, or to anybody several times", () => {
  const sentTo = (towards: PeerId): PeerId[] => {
    const node = new Node("under test", 1);
    for (const name of "abc") node.gossip.linkOpened(name);
    node.gossip.drain(0);
    node.held.set(recordKey(record(1)), record(1));
    node.gossip.publish(TOPIC, recordKey(record(1)), record(1), 0, null, towards);
    const sent: PeerId[] = [];
    for (let now = 0; now < 10; now++) {
      if (now > 0) node.gossip.heartbeat(now);
      for (const [peerId, frame] of node.gossip.drain(now)) if (frame.kind === "publish") sent.push(peerId);
    }
    return sent.sort();
  };
  expect(sentTo("c")).toEqual(["c"]);
  expect(sentTo("nobody near").join("")).toBe("aaaaabbbbbccccc");
});

test("a neighbour that follows more topics than anybody needs breaks the rules", () => {
  const node = follower("a");
  expect(() => {
    for (let start = 0; start <= 4_096; start += TOPICS_MAX) {
      const follow = Array.from({ length: TOPICS_MAX }, (_, index) => record(start + index, 0).body);
      node.gossip.received("a", { kind: "topics", follow, leave: [] }, 0);
    }
  }).toThrow(RemoteProtocolError);
});

// ---- comparing

/** Have records, published long ago. */
function hold(node: Node, first: number, end: number): void {
  for (let number = first; number < end; number++) {
    const key = recordKey(record(number));
    node.held.set(key, record(number));
    node.gossip.markSeen(key);
  }
}

function bytesComparing(wire: Wire): number {
  return wire.said.reduce((sum, frame) => (frame.kind === "publish" ? sum : sum + encodeFrame(frame).length), 0);
}

test("after a partition a missing record costs less than 150 bytes and three requests", () => {
  const wire = new Wire(2);
  const [one, other] = wire.nodes as [Node, Node];
  for (const node of wire.nodes) {
    hold(node, 0, 3_000);
    node.gossip.follow(TOPIC);
  }
  hold(one, 3_000, 3_050);
  hold(other, 3_050, 3_100);
  wire.link(one, other);
  wire.deliver();
  expect([one.held.size, other.held.size]).toEqual([3_100, 3_100]);
  expect(bytesComparing(wire)).toBeLessThan(150 * 100);
  expect(wire.said.filter(({ kind }) => kind === "reconcile").length).toBeLessThanOrEqual(3);
});

test("a newcomer pays for the set once, however many neighbours it has", () => {
  const wire = new Wire(6);
  const newcomer = wire.nodes[5]!;
  for (const node of wire.nodes.slice(0, 5)) {
    hold(node, 0, 2_000);
    node.gossip.follow(TOPIC);
    wire.link(newcomer, node);
  }
  wire.deliver();
  wire.said.length = 0;
  newcomer.gossip.follow(TOPIC);
  wire.deliver();
  expect(newcomer.gossip.synced(TOPIC)).toBe(true);
  expect([newcomer.held.size, newcomer.pushed]).toEqual([2_000, 2_000]);
  // 32 bytes to hear of each and 34 to ask for it, and some for every neighbour.
  expect(bytesComparing(wire)).toBeLessThan((32 + 34) * 2_000 + 5 * 1_000);
});


/** A follower that has just met neighbours that follow the topic too; "a" is smaller than its id, "y" and "z" larger. */
function meeting(...names: string[]): Node {
  const node = new Node("under test", 1);
  hold(node, 0, 1_000);
  node.gossip.follow(TOPIC);
  for (const name of names) {
    node.gossip.linkOpened(name);
    node.gossip.received(name, { kind: "topics", follow: [fromHex(TOPIC)], leave: [] }, 0);
  }
  return node;
}

function requests({ gossip }: Node, now: number): (readonly [PeerId, Reconcile])[] {
  if (gossip.heartbeatDue(now)) gossip.heartbeat(now);
  return gossip.drain(now).flatMap(([to, frame]) => (frame.kind === "reconcile" ? [[to, frame] as const] : []));
}

function asked(node: Node, now: number): PeerId[] {
  return requests(node, now).map(([to]) => to);
}

const EMPTY = new Uint8Array(0);
const REQUEST = {
  kind: "reconcile",
  topic: fromHex(TOPIC),
  salt: new Uint8Array(16),
  attempt: 0,
  count: 0,
  fingerprint: new Uint8Array(8),
  sketch: EMPTY,
} as const;

test("the smaller id asks, and the other only if nobody does", () => {
  expect(asked(meeting("z"), 0)).toEqual(["z"]);
  const node = meeting("a");
  expect([asked(node, 9.9), asked(node, 11)]).toEqual([[], ["a"]]);
  const answering = meeting("a");
  answering.gossip.received("a", REQUEST, 1);
  expect(answering.gossip.drain(1).map(([, { kind }]) => kind)).toContain("reconcile-ids");
  expect(asked(answering, 11)).toEqual([]);
});

test("who does not answer is not waited for, and asked again later", () => {
  const node = meeting("y", "z");
  expect([asked(node, 0), asked(node, 2), asked(node, 3)]).toEqual([["y"], [], ["z"]]);
  node.gossip.linkClosed("z");
  expect([asked(node, 32.9), asked(node, 34)]).toEqual([[], ["y"]]);
});

test("what is no answer breaks the rules, and the next neighbour is asked", () => {
  const node = meeting("y", "z");
  const { salt } = requests(node, 0)[0]![1];
  const wrong = { kind: "reconcile-cells", salt, cells: 4, data: new Uint8Array(1) } as const;
  node.gossip.received("z", wrong, 0); // It was not asked: nobody minds.
  expect(() => node.gossip.received("y", wrong, 0)).toThrow(RemoteProtocolError);
  expect(asked(node, 0.1)).toEqual(["z"]);
});

test("a neighbour that has us compare without end gets no answers", () => {
  const node = meeting("a");
  node.gossip.drain(0);
  let answered = 0;
  for (let turn = 0; turn < 800; turn++) {
    node.gossip.received("a", REQUEST, 0);
    if (node.gossip.drain(0).length > 0) answered++;
  }
  expect(answered).toBe(400);
  node.gossip.received("a", { ...REQUEST, topic: EMPTY }, 1e6);
  expect(node.gossip.drain(1e6)).toEqual([]);
});

test("who follows a topic again and again is not asked each time", () => {
  const node = meeting("z");
  const topic = [fromHex(TOPIC)];
  let count = 0;
  for (let turn = 0; turn < 800; turn++) {
    count += asked(node, 0).length;
    node.gossip.received("z", { kind: "topics", follow: [], leave: topic }, 0);
    node.gossip.received("z", { kind: "topics", follow: topic, leave: [] }, 0);
  }
  expect(count).toBe(400);
});

test("a comparison ends with the topic and with the link", () => {
  const ends: ((node: Node) => void)[] = [
    ({ gossip }) => gossip.leave(TOPIC),
    ({ gossip }) => {
      gossip.linkClosed("z");
      gossip.linkOpened("z");
    },
    ({ gossip }) => gossip.received("z", { kind: "topics", follow: [], leave: [fromHex(TOPIC)] }, 0),
  ];
  for (const end of ends) {
    const node = meeting("z");
    const { salt } = requests(node, 0)[0]![1];
    end(node);
    said(node);
    node.gossip.received("z", { kind: "reconcile-ids", salt, count: 1, data: new Uint8Array(32) }, 0);
    expect(said(node)).toEqual([]);
  }
});

/** Peers introduce peers: one hop, only what the sender signed, no more than the share. */

import { beforeAll, expect, test } from "vitest";

import { protocolConfig } from "../src/protocol/config";
import { RemoteProtocolError } from "../src/protocol/errors";
import type { IntroductionFrame } from "../src/protocol/frames";
import { Introductions } from "../src/protocol/introductions";
import { Neighbours } from "../src/protocol/neighbours";
import { encodeSignal, signSignal } from "../src/protocol/signals";
import { LateSigner, platformVerifier } from "./platform_keys";
import { SeededRng } from "./seeded";

const [anna, berta, carla, dora] = [1, 2, 3, 4].map((number) => new LateSigner(new Uint8Array(32).fill(number))) as [
  LateSigner,
  LateSigner,
  LateSigner,
  LateSigner,
];
const verifier = platformVerifier();
const SDP = `m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=fingerprint:sha-256 ${"ab:".repeat(31)}ab`;

function offer(by: LateSigner, to: LateSigner, network = "main"): Uint8Array {
  const signal = signSignal(by, {
    kind: "offer",
    network,
    connection: new Uint8Array(16),
    offerer: by.publicKey,
    answerer: to.publicKey,
    fingerprint: new Uint8Array(32).fill(0xab),
    sdp: SDP,
  });
  by.settle();
  return encodeSignal(signal);
}

class Host {
  readonly introductions: Introductions;
  readonly neighbours: Neighbours;

  constructor(...linked: readonly LateSigner[]) {
    const config = protocolConfig({ neighboursTarget: 3, introductionsBurst: 5, introductionsPerS: 1 });
    this.neighbours = new Neighbours(config, new SeededRng(1), 0);
    this.introductions = new Introductions(config, berta.publicKey, verifier, new SeededRng(1), this.neighbours, 0);
    for (const other of linked) this.link(other);
    this.introductions.drainFrames();
  }

  link({ peerId }: LateSigner): void {
    this.neighbours.opened(peerId, 0, true);
    this.introductions.linkOpened(peerId, 0);
  }

  hears(sender: LateSigner, frame: IntroductionFrame, now = 0): unknown[] {
    this.introductions.received(sender.peerId, frame, now);
    return [...this.introductions.drainFrames(), ...this.introductions.drainOutputs()];
  }
}

let signal: Uint8Array;
beforeAll(() => {
  signal = offer(anna, carla);
});

test("a new neighbour is asked for its own while links are lacking", () => {
  const host = new Host();
  const asked = [anna, carla, dora].map((other) => {
    host.link(other);
    return host.introductions.drainFrames().length;
  });
  expect(asked).toEqual([1, 1, 0]);
});

test("who asks is named the other neighbours", () => {
  const peers = [carla.publicKey, dora.publicKey];
  expect(new Host(anna, carla, dora).hears(anna, { kind: "ask", count: 32 })).toEqual([
    [anna.peerId, { kind: "peers", peers }],
  ]);
});

test("named peers are dialled through who named them, and never ourselves", () => {
  const host = new Host(anna);
  host.hears(anna, { kind: "peers", peers: [carla.publicKey, berta.publicKey] });
  expect(host.neighbours.dials(0)).toEqual([{ peerId: carla.peerId, through: anna.peerId }]);
});

test("a signal goes to the neighbour it is for, and from there no further", () => {
  expect(new Host(anna, carla).hears(anna, { kind: "relay", to: carla.publicKey, signal })).toEqual([
    [carla.peerId, { kind: "relayed", sender: anna.publicKey, signal }],
  ]);
  const ours = offer(anna, berta);
  expect(new Host(carla, dora).hears(carla, { kind: "relayed", sender: anna.publicKey, signal: ours })).toEqual([
    { kind: "signalArrived", through: carla.peerId, signal: ours },
  ]);
});

test("a signal to a stranger comes back", () => {
  const to = dora.publicKey;
  expect(new Host(anna, carla).hears(anna, { kind: "relay", to, signal: offer(anna, dora) })).toEqual([
    [anna.peerId, { kind: "undeliverable", to }],
  ]);
  expect(new Host(anna).hears(anna, { kind: "undeliverable", to })).toEqual([
    { kind: "signalUndelivered", to: dora.peerId, through: anna.peerId },
  ]);
});

test.each<[string, () => IntroductionFrame]>([
  ["somebody else's signal", () => ({ kind: "relay", to: carla.publicKey, signal: offer(dora, carla) })],
  ["a signal for another than it says", () => ({ kind: "relay", to: dora.publicKey, signal })],
  ["of another network", () => ({ kind: "relay", to: carla.publicKey, signal: offer(anna, carla, "other") })],
  ["no signal at all", () => ({ kind: "relay", to: carla.publicKey, signal: Uint8Array.of(0x90) })],
  ["under a false name", () => ({ kind: "relayed", sender: carla.publicKey, signal: offer(dora, berta) })],
  ["what is not for us", () => ({ kind: "relayed", sender: anna.publicKey, signal })],
  ["peers nobody asked for", () => ({ kind: "peers", peers: [carla.publicKey] })],
])("whoever passes on what it should not is to blame: %s", (_what, frame) => {
  const host = new Host(carla, dora, anna);
  expect(() => host.hears(anna, frame())).toThrow(RemoteProtocolError);
  expect(host.introductions.drainFrames()).toEqual([]);
});

test("more than its share of introductions is a breach", () => {
  const host = new Host(anna, carla);
  for (let number = 0; number < 5; number++) host.hears(anna, { kind: "ask", count: 32 });
  expect(() => host.hears(anna, { kind: "ask", count: 32 })).toThrow(/share/);
  host.hears(anna, { kind: "ask", count: 32 }, 1);
});

test("the signaling server is asked by strangers and when neighbours know nobody new", () => {
  const host = new Host();
  const seek = (now: number): unknown[] => {
    host.introductions.seek(now);
    return [...host.introductions.drainFrames(), ...host.introductions.drainOutputs()];
  };
  expect(seek(19)).toEqual([]);
  expect(host.introductions.wakeAt()).toBe(20);
  expect(seek(20)).toEqual([{ kind: "seekPeers" }]);
  host.link(anna);
  host.hears(anna, { kind: "peers", peers: [carla.publicKey] });
  host.introductions.drainFrames();
  expect(seek(40)).toEqual([[anna.peerId, { kind: "ask", count: 32 }]]);
  host.hears(anna, { kind: "peers", peers: [carla.publicKey] }, 40);
  expect(seek(60)).toEqual([{ kind: "seekPeers" }]);
});

test("while no links are lacking only the signaling server is asked, and rarely", () => {
  const host = new Host(anna, carla, dora);
  for (let number = 0; number < 3; number++) {
    const last = host.introductions.wakeAt();
    host.introductions.seek(last - 1);
    expect(host.introductions.drainOutputs()).toEqual([]);
    host.introductions.seek(last);
    expect(host.introductions.drainOutputs()).toEqual([{ kind: "seekPeers" }]);
    expect(host.introductions.wakeAt() - last).toBeGreaterThanOrEqual(150);
    expect(host.introductions.wakeAt() - last).toBeLessThanOrEqual(450);
  }
});

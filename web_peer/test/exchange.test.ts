/** Blobs from providers of whom some lie, lack or vanish: the right bytes, or the word that there are none. */

import { sha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { describe as describeBlob, PIECE_BYTES } from "../src/protocol/blobs";
import { equal, fromHex, hex, type Hex } from "../src/protocol/bytes";
import { protocolConfig } from "../src/protocol/config";
import { RemoteProtocolError } from "../src/protocol/errors";
import { Exchange } from "../src/protocol/exchange";
import { type BlobFrame, decodeFrame, encodeFrame, type Frame } from "../src/protocol/frames";
import type { PeerId } from "../src/protocol/identity";
import { MemoryBlobStore } from "../src/protocol/storage";
import { TWICE_AFTER_S } from "../src/protocol/swarm";
import { SeededRng } from "./seeded";

const CONFIG = protocolConfig({ blobWindow: 4 });
type Behaviour = "honest" | "liar" | "silent" | "missing" | "late half";

/** A peer that serves one blob in its own way. */
class Provider {
  served = 0;
  private readonly exchange: Exchange;

  constructor(
    readonly peerId: PeerId,
    data: Uint8Array,
    private readonly behaviour: Behaviour = "honest",
  ) {
    const blobs = new MemoryBlobStore();
    if (behaviour !== "missing") blobs.put(sha256(data), data);
    this.exchange = new Exchange(CONFIG, blobs, new SeededRng(peerId.charCodeAt(0)));
  }

  answer(frame: BlobFrame, now: number): Frame[] {
    this.exchange.received("me", frame, now);
    const frames: Frame[] = [];
    for (let sent = this.exchange.drainFrames(now); sent.length > 0; sent = this.exchange.drainFrames(now)) {
      frames.push(...sent.map(([, each]) => each));
      this.exchange.serving.drained("me");
    }
    this.served += frames.filter(({ kind }) => kind === "blob-piece").length;
    switch (this.behaviour) {
      case "silent":
        return [];
      case "late half":
        return frames.slice(0, frames.length / 2);
      case "liar":
        return frames.map((each) =>
          each.kind === "blob-piece" ? { ...each, data: each.data.map((byte, at) => byte ^ Number(at === 0)) } : each,
        );
      default:
        return frames;
    }
  }
}

/** One exchange that wants blobs, and the wire to its providers. */
class Fetcher {
  readonly store = new MemoryBlobStore();
  readonly exchange = new Exchange(CONFIG, this.store, new SeededRng(8));
  readonly blamed = new Set<PeerId>();
  readonly finished = new Map<Hex, boolean>();
  private readonly wanted = new Set<Hex>();
  private readonly providers: Map<PeerId, Provider>;
  private readonly linked = new Set<PeerId>();
  private flying: [PeerId, Frame][] = [];
  private now = 0;

  constructor(...providers: Provider[]) {
    this.providers = new Map(providers.map((provider) => [provider.peerId, provider]));
    for (const peerId of this.providers.keys()) {
      this.linked.add(peerId);
      this.exchange.linkOpened(peerId, 0);
    }
  }

  cut(peerId: PeerId): void {
    this.linked.delete(peerId);
    this.flying = this.flying.filter(([source]) => source !== peerId);
    this.exchange.linkClosed(peerId, this.now);
  }

  fetch(data: Uint8Array, isRooted: boolean): Hex {
    const { sha256, size, root } = describeBlob(data);
    this.exchange.fetch(sha256, size, isRooted ? root : null, this.providers.keys(), this.now);
    this.wanted.add(hex(sha256));
    return hex(sha256);
  }

  /** Perform what is due and deliver one frame; false when nothing flies. */
  turn(): boolean {
    for (const { digest, isHere } of this.exchange.drainFinished()) this.finished.set(hex(digest), isHere);
    const asked = this.exchange.drainFrames(this.now);
    for (const [peerId, frame] of asked) {
      if (!this.linked.has(peerId)) continue;
      const answers = this.providers.get(peerId)!.answer(decodeFrame(encodeFrame(frame)) as BlobFrame, this.now);
      for (const answer of answers) this.flying.push([peerId, answer]);
    }
    const next = this.flying.shift();
    if (next === undefined) return asked.length > 0;
    try {
      this.exchange.received(next[0], decodeFrame(encodeFrame(next[1])) as BlobFrame, this.now);
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      this.blamed.add(next[0]);
    }
    return true;
  }

  /** Deliver everything, and let time pass exactly as the exchange asks, until it wants nothing any more. */
  run(): void {
    for (let round = 0; round < 1_000; round++) {
      while (this.turn());
      const at = this.exchange.wakeAt();
      if (at === null || [...this.wanted].every((digest) => this.finished.has(digest))) return;
      expect(at).toBeGreaterThanOrEqual(this.now);
      this.now = at;
      this.exchange.advance(at);
    }
    throw new Error("the exchange never comes to an end");
  }
}

function blob(size: number, seed = 1): Uint8Array {
  return new SeededRng(seed).bytes(size);
}

const BIG = blob(9.5 * PIECE_BYTES);

describe.each([true, false])("with a root (%o)", (isRooted) => {
  test.each([0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 5 * PIECE_BYTES])("%i bytes come whole", (size) => {
    const data = blob(size);
    const fetcher = new Fetcher(new Provider("a", data));
    const digest = fetcher.fetch(data, isRooted);
    fetcher.run();
    expect([...fetcher.finished]).toEqual([[digest, true]]);
    expect(equal(fetcher.store.read(sha256(data), 0, size), data)).toBe(true);
  });

  test("a blob comes from whoever has it, and whoever lies first is blamed, nobody else", () => {
    const behaviour = fc.constantFrom<Behaviour>("honest", "liar", "silent", "missing", "late half");
    const behaviours = fc.array(behaviour, { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(behaviours, fc.nat(3), fc.nat(12), (behaviours, lost, when) => {
        const providers = behaviours.map((each, index) => new Provider(`${index} ${each}`, BIG, each));
        const fetcher = new Fetcher(...providers);
        const digest = fetcher.fetch(BIG, isRooted);
        for (let turn = 0; turn < when; turn++) fetcher.turn();
        const gone = providers[lost];
        if (gone !== undefined) fetcher.cut(gone.peerId);
        fetcher.run();
        const isServed = providers.some((each, index) => index !== lost && each.peerId.endsWith("honest"));
        if (isServed) expect(fetcher.finished.get(digest)).toBe(true);
        expect(fetcher.finished.has(digest)).toBe(true);
        for (const peerId of fetcher.blamed) expect(peerId).toMatch(/liar$/);
      }),
      { seed: 1, numRuns: 40 },
    );
  });
});

test("several providers share the work, and no piece comes twice", () => {
  const data = blob(40 * PIECE_BYTES);
  const providers = [..."abcd"].map((name) => new Provider(name, data));
  const fetcher = new Fetcher(...providers);
  fetcher.fetch(data, true);
  fetcher.run();
  expect(providers.reduce((sum, { served }) => sum + served, 0)).toBe(40);
  for (const { served } of providers) expect(served).toBeGreaterThan(1);
});

test("no more pieces are asked of a peer at a time than the window, whatever size is claimed", () => {
  const fetcher = new Fetcher(new Provider("a", BIG));
  fetcher.exchange.fetch(new Uint8Array(32), Number.MAX_SAFE_INTEGER, null, ["a"], 0);
  fetcher.fetch(BIG, false);
  const counts = fetcher.exchange.drainFrames(0).map(([, frame]) => (frame.kind === "blob-want" ? frame.count : 0));
  expect(counts.reduce((sum, count) => sum + count, 0)).toBe(CONFIG.blobWindow);
});

test("what is here is not asked for, and what nobody asked for is not taken", () => {
  const fetcher = new Fetcher(new Provider("a", BIG));
  fetcher.store.put(sha256(BIG), BIG);
  fetcher.fetch(BIG, true);
  expect(fetcher.exchange.drainFrames(0)).toEqual([]);
  expect(fetcher.exchange.drainFinished().map(({ isHere }) => isHere)).toEqual([true]);
  const piece = { kind: "blob-piece", sha256: new Uint8Array(32), size: 1, index: 0, data: BIG, proof: [] } as const;
  fetcher.exchange.received("a", piece, 0);
  expect(fetcher.store.size(new Uint8Array(32))).toBe(null);
});

test("blobs that nobody has are given up, however many wait for a peer's window", () => {
  const none = new Uint8Array(0);
  const fetcher = new Fetcher(new Provider("a", none, "missing"), new Provider("b", none, "missing"));
  const count = 3 * CONFIG.blobWindow;
  for (let number = 0; number < count; number++) fetcher.fetch(Uint8Array.of(number), false);
  fetcher.run();
  expect([...fetcher.finished.values()]).toEqual(Array.from({ length: count }, () => false));
});

test("a liar that names pieces nobody could have is known at once", () => {
  const fetcher = new Fetcher(new Provider("a", BIG));
  const digest = fromHex(fetcher.fetch(BIG, true));
  const far = { kind: "blob-have", sha256: digest, first: 2 ** 32 - 1, bits: Uint8Array.of(1) } as const;
  expect(() => fetcher.exchange.received("a", far, 0)).toThrow(RemoteProtocolError);
  const beyond = { kind: "blob-got", sha256: digest, pieces: [10] } as const;
  expect(() => fetcher.exchange.received("a", beyond, 0)).toThrow(RemoteProtocolError);
});

test("only the pieces wanted come, and they can be read", () => {
  const fetcher = new Fetcher(new Provider("a", BIG));
  const { sha256: digest, size, root } = describeBlob(BIG);
  fetcher.exchange.fetchPieces(digest, size, root, 0b1001n, 0);
  while (fetcher.turn());
  expect(fetcher.finished.get(hex(digest))).toBe(true);
  expect(fetcher.exchange.here(digest)).toBe(0b1001n);
  const start = 3 * PIECE_BYTES + 5;
  expect(equal(fetcher.store.read(digest, start, 9), BIG.subarray(start, start + 9))).toBe(true);
  expect(fetcher.store.size(digest)).toBe(null);
});

test("a piece that does not come is asked of a second neighbour and called off at the first", () => {
  const fetcher = new Fetcher(new Provider("a", BIG, "silent"), new Provider("b", BIG));
  const digest = fromHex(fetcher.fetch(BIG, true));
  const { exchange } = fetcher;
  exchange.drainFrames(0);
  for (const peerId of ["a", "b"]) {
    exchange.received(peerId, { kind: "blob-have", sha256: digest, first: 0, bits: Uint8Array.of(1) }, 0);
  }
  expect(exchange.drainFrames(0).filter(([, { kind }]) => kind === "blob-want").map(([to]) => to)).toEqual(["a"]);
  expect(exchange.wakeAt()).toBe(TWICE_AFTER_S);
  exchange.advance(TWICE_AFTER_S);
  const again = exchange.drainFrames(TWICE_AFTER_S).filter(([, { kind }]) => kind === "blob-want");
  expect(again.map(([to]) => to)).toEqual(["b"]);
  const holder = new MemoryBlobStore();
  holder.put(digest, BIG);
  const piece = new Exchange(CONFIG, holder, new SeededRng(3)).piece("me", digest, 0)!;
  exchange.received("b", piece, 1);
  expect(exchange.drainFrames(1)).toContainEqual(["a", { kind: "blob-cancel", sha256: digest, pieces: [0] }]);
});

test("neighbours are served in turn, and a link that does not drain gets no more than it should hold", () => {
  const holder = new MemoryBlobStore();
  const digest = sha256(BIG);
  holder.put(digest, BIG);
  const exchange = new Exchange(CONFIG, holder, new SeededRng(3));
  exchange.received("a", { kind: "blob-want", sha256: digest, first: 0, count: 10 }, 0);
  exchange.received("b", { kind: "blob-want", sha256: digest, first: 0, count: 10 }, 0);
  expect(exchange.drainFrames(0).map(([to]) => to)).toEqual(["a", "b", "a", "b", "a", "b"]);
  expect(exchange.drainFrames(0)).toEqual([]);
  exchange.serving.drained("b");
  expect(exchange.drainFrames(0).map(([to]) => to)).toEqual(["b", "b", "b"]);
});

test("no more is sent than the cap allows", () => {
  const holder = new MemoryBlobStore();
  const digest = sha256(BIG);
  holder.put(digest, BIG);
  const exchange = new Exchange(protocolConfig({ uploadBytesPerS: PIECE_BYTES }), holder, new SeededRng(3));
  exchange.received("a", { kind: "blob-want", sha256: digest, first: 0, count: 10 }, 0);
  let sent = 0;
  for (let now = 0; now <= 4; now += 0.25) {
    sent += exchange.drainFrames(now).length;
    exchange.serving.drained("a");
  }
  expect(sent).toBe(5);
  // What the last piece owes of the old cap is owed of the new one, and forgiven when there is none.
  exchange.serving.cap(PIECE_BYTES / 4, 4);
  expect(exchange.serving.wakeAt()).toBe(4 + 0.75 * 4);
  exchange.serving.cap(PIECE_BYTES * 2, 4);
  expect(exchange.serving.wakeAt()).toBe(4 + 0.75 / 2);
  exchange.serving.cap(Infinity, 4);
  expect(exchange.serving.wakeAt()).toBe(4);
});

/** Large results are kept by others, who cannot read them, until the creator has them; and it finds them there. */

import { sha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";

import { type Leaf, makeLeaf } from "../src/protocol/batch";
import { fromHex, hex, type Hex } from "../src/protocol/bytes";
import { protocolConfig } from "../src/protocol/config";
import { Custody } from "../src/protocol/custody";
import type { Desk } from "../src/protocol/desk";
import { RemoteProtocolError } from "../src/protocol/errors";
import { Status } from "../src/protocol/events";
import { type Frame, type Keep, type Kept } from "../src/protocol/frames";
import { ASKED_MAX, Giving } from "../src/protocol/giving";
import { type PeerId, SEAL_BYTES } from "../src/protocol/identity";
import { STATE_BYTES_MAX } from "../src/protocol/records";
import { Keeping } from "../src/protocol/keeping";
import type { Ledger } from "../src/protocol/ledger";
import type { Manifest } from "../src/protocol/manifest";
import { type Copy, Reclaiming } from "../src/protocol/reclaiming";
import { Serving } from "../src/protocol/serving";
import type { SoftwareIdentity } from "../src/protocol/software";
import { MemoryBlobStore } from "../src/protocol/storage";
import { resultContext } from "../src/protocol/voting";
import { SeededRng } from "./seeded";
import { alice, bob, carol, creator, identity, Task } from "./task";
import { World } from "./world";

const dave = identity(104);
const stranger = identity(105);
const OUTPUT_BYTES = 100_000;
const AFTER_S = protocolConfig().custodyAfterS;

/** A task of 200 chunks whose workers have joined. */
function task(): Task {
  const made = new Task(200);
  const limits = { outputBytes: OUTPUT_BYTES };
  const code = { sha256: new Uint8Array(32) };
  const manifest = { ...made.ledger.manifest, limits, code, inputs: null } as Manifest;
  (made.ledger as { manifest: Manifest }).manifest = manifest;
  for (const worker of [alice, bob, carol, dave]) {
    const none = new Uint8Array(32);
    const { task } = made.ledger;
    made.add(worker, { kind: "join", task, sealKey: worker.sealKey, anchor: none, epoch: 0, beacon: none, work: 0 });
  }
  return made;
}

/** What custody asks of a peer: neighbours that follow the task, and what they were told. */
class Office {
  readonly linked: Set<PeerId>;
  readonly wanted = new Set<PeerId>();
  readonly custody: Custody;
  private told: [PeerId, Frame][] = [];

  constructor(neighbours: readonly SoftwareIdentity[], custodyBytes = 2 ** 27) {
    this.linked = new Set(neighbours.map(({ peerId }) => peerId));
    const config = protocolConfig({ custodyBytes });
    this.custody = new Custody(config, this.desk, this.linked, new SeededRng(1), new Serving(config));
  }

  get desk(): Desk {
    return this as unknown as Desk;
  }

  followers(): PeerId[] {
    return [...this.linked];
  }

  tell(peerId: PeerId, frame: Frame): void {
    this.told.push([peerId, frame]);
  }

  want(peerId: PeerId): void {
    this.wanted.add(peerId);
  }

  take<Kind extends Frame["kind"]>(kind: Kind): [PeerId, Extract<Frame, { kind: Kind }>][] {
    const taken = this.told.filter(([, frame]) => frame.kind === kind);
    this.told = this.told.filter(([, frame]) => frame.kind !== kind);
    return taken as [PeerId, Extract<Frame, { kind: Kind }>][];
  }
}

describe("a maker", () => {
  class Maker {
    readonly blobs = new MemoryBlobStore();
    readonly office: Office;
    readonly giving: Giving;
    now = 0;

    constructor(
      readonly ledger: Ledger,
      neighbours: readonly SoftwareIdentity[],
    ) {
      this.office = new Office(neighbours);
      this.giving = new Giving(protocolConfig(), new SeededRng(1), ledger, this.office.desk, this.blobs, 0);
    }

    make(chunk: number, data = new Uint8Array(5_000).fill(chunk)): Leaf {
      const sealed = Uint8Array.of(chunk, ...data);
      const leaf = makeLeaf(chunk, Status.OK, false, data.length, sha256(data), sha256(sealed));
      this.blobs.put(leaf.digest, data);
      this.blobs.put(leaf.sealed, sealed);
      this.giving.made(leaf, this.now);
      return leaf;
    }

    wait(until: number): [PeerId, Keep][] {
      while (this.giving.wakeAt() <= until) {
        this.now = Math.max(this.now, this.giving.wakeAt());
        this.giving.advance(this.now);
      }
      this.now = until;
      return this.office.take("keep");
    }

    answer(asked: readonly [PeerId, Keep][], kept: boolean): void {
      for (const [peerId, { task, sha256 }] of asked) {
        this.giving.answered(peerId, { kind: "kept", task, sha256, kept }, this.now);
      }
    }
  }

  test("gives a result to three others when the creator has not taken it in time", () => {
    const { ledger } = task();
    const maker = new Maker(ledger, [stranger, alice, bob, carol, dave]);
    const leaf = maker.make(7);
    expect(maker.wait(AFTER_S - 0.1)).toEqual([]);
    const asked = maker.wait(AFTER_S + 5);
    expect(new Set(asked.map(([peerId]) => peerId)).size).toBe(3);
    expect(asked).toHaveLength(3);
    const size = leaf.size + SEAL_BYTES;
    for (const [peerId, frame] of asked) {
      expect(peerId).not.toBe(stranger.peerId);
      expect(frame).toEqual({ kind: "keep", task: ledger.task, chunk: 7, sha256: leaf.sealed, size });
    }
  });

  test("asks others for those that refuse, stay silent or leave", () => {
    const maker = new Maker(task().ledger, [alice, bob, carol, dave]);
    maker.make(7);
    const [first, ...others] = maker.wait(AFTER_S + 5);
    maker.answer([first!], false);
    maker.answer(others, true);
    const [fourth] = maker.wait(maker.now + 5);
    expect([first!, ...others].map(([peerId]) => peerId)).not.toContain(fourth![0]);
    maker.office.linked.delete(others[0]![0]);
    expect(maker.wait(maker.now + 200).length).toBeGreaterThan(0);
  });

  test("asks a custodian for no more at a time than it can fetch", () => {
    const maker = new Maker(task().ledger, [alice]);
    for (let chunk = 0; chunk < 100; chunk++) maker.make(chunk);
    const asked = maker.wait(AFTER_S + 5);
    expect(asked).toHaveLength(ASKED_MAX);
    expect(maker.wait(maker.now + 5)).toEqual([]);
    maker.answer(asked.slice(0, 10), true);
    expect(maker.wait(maker.now + 5)).toHaveLength(10);
  });

  test("lets go what is accepted, and shares one blob between equal results", () => {
    const made = task();
    const maker = new Maker(made.ledger, [alice]);
    const data = new Uint8Array(5_000);
    const [one, same] = [maker.make(7, data), maker.make(8, data)];
    made.close([7]);
    maker.giving.release(0);
    expect([maker.blobs.size(one.sealed), maker.blobs.size(one.digest)]).toEqual([null, 5_000]);
    made.close([7, 8], 1);
    maker.giving.release(0);
    expect([maker.blobs.size(same.sealed), maker.blobs.size(same.digest)]).toEqual([null, null]);
  });

  test("keeps what goes onward after a restart, and lets it go when its task expires", () => {
    const made = task();
    (made.ledger.manifest as { onward: boolean }).onward = true;
    const before = new Maker(made.ledger, [alice]);
    const [taken, waiting, lost] = [before.make(7), before.make(8), before.make(9)];
    made.close([7]);
    before.giving.release(0);
    before.blobs.discard(lost.digest);
    before.blobs.discard(lost.sealed);
    const after = new Giving(protocolConfig(), new SeededRng(1), made.ledger, before.office.desk, before.blobs, 0);
    for (const leaf of [taken, waiting, lost]) after.madeBefore(leaf, 0);
    expect([taken, waiting, lost].map(({ digest }) => after.holds(digest))).toEqual([true, true, false]);
    expect([taken, waiting].map(({ sealed }) => after.holds(sealed))).toEqual([false, true]);
    after.expire();
    expect([taken, waiting].map(({ digest }) => before.blobs.size(digest))).toEqual([null, null]);
  });
});

describe("a custodian", () => {
  class Custodian {
    readonly office: Office;
    readonly keeping: Keeping;

    constructor(
      readonly ledger: Ledger,
      custodyBytes = 2 ** 20,
    ) {
      this.office = new Office([alice, bob, stranger], custodyBytes);
      this.keeping = new Keeping(protocolConfig({ custodyBytes }), ledger, this.office.desk);
      this.office.custody.takePart(ledger.taskKey, {
        custodyFrame: (peerId, frame, now) => this.keeping.asked(peerId, frame as Keep, true, now),
        keptArrived: (sealed, isHere) => this.keeping.arrived(sealed, isHere),
      });
    }

    hear({ peerId }: SoftwareIdentity, frame: Frame): boolean {
      const isTaken = this.office.custody.takes(peerId, frame, 0);
      this.office.custody.advance(0);
      return isTaken;
    }

    ask(data: Uint8Array, chunk = 0, peer = alice, size = data.length): void {
      this.hear(peer, { kind: "keep", task: this.ledger.task, chunk, sha256: sha256(data), size });
    }

    give(data: Uint8Array): void {
      this.hear(alice, { kind: "blob-piece", sha256: sha256(data), size: data.length, index: 0, data, proof: [] });
    }

    said(): boolean[] {
      return this.office.take("kept").map(([, frame]: [PeerId, Kept]) => frame.kept);
    }
  }

  test("fetches what a worker asks it to keep, and serves it to anybody", () => {
    const custodian = new Custodian(task().ledger);
    const data = new Uint8Array(5_000);
    custodian.ask(data);
    expect(custodian.office.take("blob-want").map(([peerId]) => peerId)).toEqual([alice.peerId]);
    custodian.give(data);
    expect(custodian.said()).toEqual([true]);
    expect(custodian.hear(bob, { kind: "blob-want", sha256: sha256(data), first: 0, count: 1 })).toBe(true);
    expect(custodian.office.take("blob-piece").map(([peerId, { data: sent }]) => [peerId, sent])).toEqual([
      [bob.peerId, data],
    ]);
  });

  test.each([
    [200, 5_000],
    [0, SEAL_BYTES - 1],
    [0, STATE_BYTES_MAX + 1],
  ])("is asked for what cannot be a result (chunk %i, %i bytes): a breach", (chunk, size) => {
    const custodian = new Custodian(task().ledger);
    expect(() => custodian.ask(Uint8Array.of(1), chunk, alice, size)).toThrow(RemoteProtocolError);
  });

  test("refuses strangers, and everybody when it is full", () => {
    const custodian = new Custodian(task().ledger, 20_000);
    custodian.ask(new Uint8Array(5_000), 0, stranger);
    expect(custodian.said()).toEqual([false]);
    custodian.ask(new Uint8Array(5_000));
    custodian.ask(new Uint8Array(5_001));
    expect(custodian.said()).toEqual([false]);
  });

  test("promises one neighbour only so much in a flood", () => {
    const custodian = new Custodian(task().ledger, 2 ** 27);
    for (let number = 0; number < 1_000; number++) custodian.ask(new Uint8Array(28).fill(number, 0, 1 + (number >> 8)));
    expect(custodian.said().filter((kept) => !kept).length).toBeGreaterThanOrEqual(1_000 - ASKED_MAX);
    expect(custodian.office.custody.promisedBytes).toBe(ASKED_MAX * 4_096);
  });

  test("keeps no more than there is room for, and nothing of what is closed", () => {
    const step = fc.record({
      what: fc.constantFrom("ask", "ask", "give", "give", "missing", "close"),
      chunk: fc.nat(20),
      size: fc.integer({ min: SEAL_BYTES, max: 40_000 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const made = task();
        const custodian = new Custodian(made.ledger, 200_000);
        const { custody } = custodian.office;
        const data = new Map<number, Uint8Array>();
        const closed = new Set<number>();
        for (const { what, chunk, size } of steps) {
          const known = data.get(chunk);
          if (what === "ask" && known === undefined) {
            data.set(chunk, new Uint8Array(size).fill(chunk));
            custodian.ask(data.get(chunk)!, chunk);
          } else if (what === "give" && known !== undefined) {
            custodian.give(known);
          } else if (what === "missing" && known !== undefined) {
            custodian.hear(alice, { kind: "blob-missing", sha256: sha256(known) });
            custody.advance(60);
          } else if (what === "close") {
            closed.add(chunk);
            made.close(closed, closed.size);
            custodian.keeping.release();
          }
          let bytes = 0;
          for (const [each, kept] of data) {
            const size = custody.kept.size(sha256(kept));
            bytes += size ?? 0;
            if (made.ledger.isClosed(each)) expect(size).toBeNull();
          }
          expect(bytes).toBeLessThanOrEqual(custody.promisedBytes);
          expect(custody.promisedBytes).toBeLessThanOrEqual(100_000);
        }
        custodian.keeping.releaseAll();
        custody.advance(60);
        custody.advance(120);
        custodian.keeping.releaseAll();
        expect(custody.promisedBytes).toBe(0);
      }),
      { seed: 1, numRuns: 60 },
    );
  });
});

test("a result is found if any of the first copies is there and good", () => {
  const data = new Uint8Array(6_000).fill(6);
  const digest = hex(sha256(data));
  const kinds = fc.array(fc.constantFrom("good", "gone", "another result"), { maxLength: 11 });
  const { ledger } = task();
  fc.assert(
    fc.property(kinds, (kinds) => {
      const office = new Office([bob]);
      const blobs = new MemoryBlobStore();
      const reclaiming = new Reclaiming(creator, ledger, office.desk, blobs);
      const held = new Map<Hex, Uint8Array>();
      const copies = kinds.map((kind, number): Copy => {
        const named = kind === "another result" ? new Uint8Array(6_000) : data;
        const nonce = new Uint8Array(12).fill(number);
        const sealed = alice.seal(creator.sealKey, resultContext(ledger.task), named, nonce);
        if (kind !== "gone") held.set(hex(sha256(sealed)), sealed);
        const leaf = makeLeaf(0, Status.OK, false, data.length, sha256(data), sha256(sealed));
        return { maker: hex(alice.publicKey), leaf, custodians: [hex(dave.publicKey), hex(stranger.publicKey)] };
      });
      const settled: [Hex, boolean][] = [];
      office.custody.takePart(ledger.taskKey, {
        custodyFrame: () => {},
        keptArrived: (sealed, isHere, now) => {
          for (const each of reclaiming.arrived(sealed, isHere, now)) settled.push([each.digest, each.isFound]);
        },
      });
      expect(reclaiming.begin(digest, copies, 0)).toBe(copies.length > 0);
      for (let now = 20; copies.length > 0 && settled.length === 0; now += 20) {
        for (const [peerId, want] of office.take("blob-want")) {
          const sealed = held.get(hex(want.sha256));
          const answer: Frame =
            sealed === undefined
              ? { kind: "blob-missing", sha256: want.sha256 }
              : { kind: "blob-piece", sha256: want.sha256, size: sealed.length, index: 0, data: sealed, proof: [] };
          office.custody.takes(peerId, answer, now);
        }
        office.custody.advance(now);
      }
      const isFound = kinds.slice(0, 8).includes("good");
      expect(settled).toEqual(copies.length > 0 ? [[digest, isFound]] : []);
      expect(blobs.size(sha256(data))).toBe(isFound ? data.length : null);
      for (const sealed of held.keys()) expect(office.custody.kept.size(fromHex(sealed))).toBeNull();
      // Whoever was named and is a worker of the task is dialled, and nobody else.
      expect([...office.wanted]).toEqual(copies.length > 0 ? [alice.peerId, dave.peerId] : []);
    }),
    { seed: 1, numRuns: 40 },
  );
});

describe("a network whose creator is away", () => {
  function away(custodians: number): { world: World; executed: number[] } {
    const sizes = { workers: 6, chunks: 48, chunkS: 2, resultBytes: 6_000 };
    const world = new World({ ...sizes, replication: 1, config: { custodians } });
    const executed: number[] = [];
    world.onEvent = (machine, event) => {
      // What it executes before it has a result of every chunk: audits come after that.
      if (machine !== world.creator || event.kind !== "execute" || world.role.state !== "running") return;
      executed.push(...event.chunks.map(({ chunk }) => chunk));
    };
    world.stepUntil(3);
    world.stop(world.creator);
    world.stepUntil(100);
    return { world, executed };
  }

  function comesBack(world: World): void {
    for (const worker of world.workers.slice(0, 3)) world.stop(worker);
    world.restart(world.creator);
    world.run();
    expect(world.role.state).toBe("closed");
  }

  test("loses no result while one of the four that keep it lives, and lets it go when the creator has it", () => {
    const { world, executed } = away(3);
    const keepers = world.workers.filter(({ peer }) => peer.custody.promisedBytes > 0);
    expect(keepers.length).toBeGreaterThanOrEqual(3);
    comesBack(world);
    expect(executed).toEqual([]);
    for (const { peer, blobs } of world.workers.slice(3)) {
      expect(peer.custody.promisedBytes).toBe(0);
      expect(blobs.size(world.role.ledger.manifest.code.sha256)).not.toBeNull();
    }
    for (let chunk = 0; chunk < 48; chunk++) expect(world.role.resultBytes(chunk)).toHaveLength(6_000);
  });

  test("has lost results executed by the creator when nobody was asked to keep them", () => {
    const { world, executed } = away(0);
    comesBack(world);
    expect(executed.length).toBeGreaterThan(0);
  });
});

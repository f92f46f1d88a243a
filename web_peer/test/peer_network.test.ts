/** Small networks of real peers with real keys: jobs end, liars fall, silent work is re-run, strangers do no harm. */

import fc from "fast-check";
import { beforeAll, describe, expect, test } from "vitest";

import { equal, hex, type Hex } from "../src/protocol/bytes";
import { protocolConfig } from "../src/protocol/config";
import type { ChunkInput } from "../src/protocol/events";
import { decodeFrame, encodeFrame, type Frame } from "../src/protocol/frames";
import type { PeerId } from "../src/protocol/identity";
import { Peer } from "../src/protocol/peer";
import { SoftwareIdentity, verify } from "../src/protocol/software";
import { MemoryBlobStore } from "../src/protocol/storage";
import { ROLES } from "./roles";
import { SeededRng } from "./seeded";
import { type Machine, truth, World } from "./world";

function closed(world: World): World {
  world.run();
  expect(world.role.state).toBe("closed");
  return world;
}

function nameOf(machine: Machine): Hex {
  return hex(machine.signer.publicKey);
}

/** Every chunk that was executed, when and by whom. */
function executions(world: World): { at: number; machine: Machine; input: ChunkInput }[] {
  const seen: { at: number; machine: Machine; input: ChunkInput }[] = [];
  world.onEvent = (machine, event) => {
    if (event.kind === "execute") for (const input of event.chunks) seen.push({ at: world.now, machine, input });
  };
  return seen;
}

describe("a network", () => {
  test.each([1, 2, 3])("completes and certifies a job with %i votes a chunk", (replication) => {
    const world = closed(new World({ replication }));
    const progress = world.role.progress();
    expect(progress.accepted).toBe(30);
    expect(progress.bound).toBeLessThanOrEqual(0.1);
    expect(progress.votes).toBeGreaterThanOrEqual(30 * replication);
  });

  test("gives everybody the same certificate", () => {
    const world = closed(new World());
    const certificates = world.machines.map(({ peer }) => peer.ledgers.get(world.task)?.certificate);
    expect(certificates[0]).not.toBeNull();
    for (const certificate of certificates) expect(certificate).toEqual(certificates[0]);
  });

  test.each([16, 100_000])("brings every right result of %i bytes to the creator", (resultBytes) => {
    const world = new World({ chunks: 12, resultBytes });
    const seen = executions(world);
    closed(world);
    for (let chunk = 0; chunk < 12; chunk++) {
      const { input } = seen.find((each) => each.input.chunk === chunk)!;
      expect(world.role.result(chunk)).toMatchObject({ state: "ok", size: resultBytes, disagreed: [] });
      expect(equal(world.role.resultBytes(chunk)!, truth(world.task, input, resultBytes))).toBe(true);
    }
  });

  test.each([1, 2])("convicts a liar and makes its votes void, with %i votes a chunk", (replication) => {
    const world = closed(new World({ replication, liars: [3] }));
    const liar = nameOf(world.machines[3]!);
    expect([...world.role.ledger.verdicts.keys()]).toEqual([liar]);
    for (let chunk = 0; chunk < 30; chunk++) {
      expect(world.role.result(chunk).agreed).not.toContain(liar);
      expect(world.role.ledger.voters(chunk)).not.toContain(liar);
    }
  });

  test("runs the work of a silent peer again within five seconds", () => {
    // Few long chunks and somebody idle: otherwise the lost work waits its turn like any other open chunk. Without the
    // end game, which would have copied it anyway.
    const world = new World({ workers: 5, chunks: 2, chunkS: 60, config: { endgameAfterS: 1_000 } });
    const seen = executions(world);
    world.stepUntil(7);
    const silent = world.workers.find(({ running }) => running.size > 0)!;
    const lost = seen.find(({ machine }) => machine === silent)!.input.chunk;
    world.silence(silent);
    world.stepUntil(13);
    const again = seen.filter(({ at, machine, input }) => at > 7 && machine !== silent && input.chunk === lost);
    expect(again.length).toBeGreaterThan(0);
    expect(again[0]!.at - 7).toBeLessThanOrEqual(5);
  });

  test("keeps what it signs before it tells anybody", () => {
    const world = new World({ chunks: 12 });
    const late: string[] = [];
    let said: string[] = [];
    world.onEvent = (_, event) => {
      if (event.kind === "saveRecords") late.push(...said);
      said = event.kind === "sendFrame" ? [...said, event.frame.kind] : event.kind === "execute" ? said : [];
    };
    closed(world);
    expect(late).toEqual([]);
  });

  test("finishes a job whose creator is killed again and again", () => {
    const world = new World({ chunks: 60 });
    for (const at of [3, 8, 14]) world.at(at, () => world.restart(world.creator));
    closed(world);
    expect(world.role.progress().accepted).toBe(60);
  });

  test("convicts nobody when workers are killed and come back", () => {
    const world = new World({ chunks: 60 });
    const kills = [[3, 1], [4, 2], [9, 1]] as const;
    for (const [at, index] of kills) world.at(at, () => world.restart(world.machines[index]!));
    closed(world);
    expect(world.role.ledger.verdicts.size).toBe(0);
  });
});

describe("a person", () => {
  test("can ask a worker to finish: it takes no new work and does not spin", () => {
    const world = new World({ workers: 3, chunks: 60 });
    world.stepUntil(5);
    const leaver = world.machines[1]!;
    world.tell(leaver, { kind: "finishRequested" });
    world.stepUntil(15);
    expect(leaver.peer.idle).toBe(true);
    const { votes } = leaver.peer.workers.get(world.task)!;
    let wakes = 0;
    world.onEvent = (machine, event) => {
      if (machine === leaver && event.kind === "woke") wakes++;
    };
    world.stepUntil(40);
    expect(leaver.peer.workers.get(world.task)!.votes).toBe(votes);
    expect(wakes).toBeLessThan(150);
  });

  test("can pause a worker at once: its jobs are cancelled, its leases end, and it goes on later", () => {
    const world = new World({ workers: 3, chunks: 20, chunkS: 4 });
    world.stepUntil(6);
    const worker = world.machines[1]!;
    expect(worker.running.size).toBeGreaterThan(0);
    world.tell(worker, { kind: "slotsChanged", slots: 0 });
    expect(worker.running.size).toBe(0);
    world.stepUntil(8);
    const leases = [...world.role.ledger.leases.all()].filter((lease) => lease.worker === nameOf(worker));
    expect(leases.flatMap(({ since }) => [...since.keys()])).toEqual([]);
    world.tell(worker, { kind: "slotsChanged", slots: 1 });
    world.stepUntil(14);
    expect(worker.running.size).toBeGreaterThan(0);
    closed(world);
  });

  test("can choose tasks: what is not chosen is passed on and not worked on", () => {
    const world = new World({ workers: 3, chunks: 20 });
    const chooser = world.machines[1]!;
    world.tell(chooser, { kind: "tasksChosen", tasks: new Set() });
    world.stepUntil(4);
    expect(chooser.peer.ledgers.has(world.task)).toBe(true);
    expect(chooser.peer.workers.size).toBe(0);
    world.tell(chooser, { kind: "tasksChosen", tasks: new Set([world.task]) });
    closed(world);
    expect(chooser.peer.workers.get(world.task)!.votes).toBeGreaterThan(0);
  });
});

test("a person can cap what a peer gives, before it has anything to give and later", () => {
  const world = new World({ workers: 2, chunks: 30, resultBytes: 200_000 });
  let cap = 100_000;
  let from = world.now;
  const given = new Map<Machine, number>();
  const tooMuch: number[] = [];
  world.onEvent = (machine, event) => {
    if (event.kind !== "sendFrame" || event.frame.kind !== "blob-piece" || machine === world.creator) return;
    const before = given.get(machine) ?? 0;
    // The piece before may still be on its way out, and a late wake costs nothing.
    if (before > cap * (world.now - from + 0.3) + event.frame.data.length) tooMuch.push(world.now);
    given.set(machine, before + event.frame.data.length);
  };
  for (const worker of world.workers) world.tell(worker, { kind: "uploadCapped", bytesPerS: cap });
  world.stepUntil(4);
  expect(Math.max(...given.values())).toBeGreaterThan(100_000);
  given.clear();
  [cap, from] = [50_000, world.now];
  for (const worker of world.workers) world.tell(worker, { kind: "uploadCapped", bytesPerS: cap });
  closed(world);
  expect(Math.max(...given.values())).toBeGreaterThan(200_000);
  expect(tooMuch).toEqual([]);
});

/** Two peers in the middle of a job, and somebody linked to them who says whatever it likes. */
class Stranger {
  readonly world = new World({ workers: 4, chunks: 40 });
  readonly frames: Uint8Array[] = [];
  readonly peerId: PeerId;
  private readonly hello: Uint8Array;

  constructor() {
    this.world.onEvent = (_, event) => {
      if (event.kind === "frameReceived") this.frames.push(event.frame);
    };
    this.world.stepUntil(6);
    this.world.onEvent = () => {};
    const identity = new SoftwareIdentity(new Uint8Array(32));
    this.peerId = identity.peerId;
    const { config } = this.world.creator;
    const peer = new Peer(config, identity, verify, new SeededRng(1), new MemoryBlobStore(), ROLES, 6);
    const outputs = peer.handle({ kind: "linkOpened", peerId: this.world.creator.signer.peerId, dialled: true }, 6);
    const frames = outputs.flatMap((output) => (output.kind === "sendFrame" ? [encodeFrame(output.frame)] : []));
    this.hello = frames[0]!;
  }

  says(frames: readonly Uint8Array[]): void {
    const { peerId, world } = this;
    for (const machine of world.machines.slice(0, 2)) {
      world.tell(machine, { kind: "linkOpened", peerId, dialled: false });
      for (const frame of [this.hello, ...frames]) world.tell(machine, { kind: "frameReceived", peerId, frame });
    }
  }
}

describe("a stranger", () => {
  let stranger: Stranger;
  beforeAll(() => {
    stranger = new Stranger();
  });

  test("raises nothing with random bytes", () => {
    const bytes = fc.uint8Array({ maxLength: 300 });
    fc.assert(fc.property(fc.array(bytes, { maxLength: 6 }), (frames) => stranger.says(frames)), { seed: 1 });
  });

  test("raises nothing with real frames in which bytes were changed", () => {
    const change = fc.tuple(fc.nat(), fc.integer({ min: 0, max: 255 }));
    const mutated = fc.tuple(fc.nat(), fc.array(change, { maxLength: 3 }), fc.option(fc.nat()));
    fc.assert(
      fc.property(fc.array(mutated, { minLength: 1, maxLength: 5 }), (mutations) => {
        const frames = mutations.map(([which, changes, cut]) => {
          const frame = stranger.frames[which % stranger.frames.length]!.slice();
          for (const [at, value] of changes) frame[at % frame.length] = value;
          return cut === null ? frame : frame.subarray(0, cut % frame.length);
        });
        stranger.says(frames);
      }),
      { seed: 1, numRuns: 300 },
    );
  });

  test("raises nothing with well-formed frames of any content", () => {
    const topic = fc.oneof(
      fc.constant(new Uint8Array()),
      fc.constantFrom(...topicsOf(stranger.frames)),
      fc.uint8Array({ maxLength: 36 }),
    );
    const id = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const ids = fc.array(id, { maxLength: 4 });
    const topics = fc.array(topic, { maxLength: 4 });
    const u53 = fc.maxSafeNat();
    const u32 = fc.nat();
    const pieces = fc.integer({ min: 1, max: 64 });
    const frame: fc.Arbitrary<Frame> = fc.oneof(
      fc.record({ kind: fc.constantFrom("ping" as const, "pong" as const), nonce: u53 }),
      fc.record({ kind: fc.constant("topics" as const), follow: topics, leave: topics }),
      fc.record({ kind: fc.constantFrom("graft" as const, "prune" as const), topic }),
      fc.record({ kind: fc.constantFrom("ihave" as const, "iwant" as const), topic, ids }),
      fc.record({ kind: fc.constant("blob-want" as const), sha256: id, first: u32, count: pieces }),
      fc.record({ kind: fc.constant("blob-missing" as const), sha256: id }),
      fc.record({ kind: fc.constant("keep" as const), task: id, chunk: u32, sha256: id, size: u53 }),
      fc.record({ kind: fc.constant("kept" as const), task: id, sha256: id, kept: fc.boolean() }),
      fc.record({
        kind: fc.constant("blob-piece" as const),
        sha256: id,
        size: u53,
        index: u32,
        data: fc.uint8Array({ maxLength: 20 }),
        proof: ids,
      }),
      fc.record({ kind: fc.constant("bye" as const), reason: fc.constant("") }),
    );
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 8 }), (frames) => stranger.says(frames.map(encodeFrame))),
      { seed: 1, numRuns: 300 },
    );
  });

  test("does not keep the job from being finished", () => {
    closed(stranger.world);
  });

  test("that breaks the rules again and again is cut off", () => {
    stranger.says(Array.from({ length: 10 }, () => Uint8Array.of(0xff)));
    expect(stranger.world.creator.peer.neighbours.has(stranger.peerId)).toBe(false);
  });

  test("of another network is not talked to", () => {
    const [left, right] = [1, 2].map((number) => new SoftwareIdentity(new Uint8Array(32).fill(number))) as [
      SoftwareIdentity,
      SoftwareIdentity,
    ];
    const blobs = new MemoryBlobStore();
    const ours = new Peer(protocolConfig({ network: "a" }), left, verify, new SeededRng(1), blobs, ROLES, 0);
    const theirs = new Peer(protocolConfig({ network: "b" }), right, verify, new SeededRng(2), blobs, ROLES, 0);
    ours.handle({ kind: "linkOpened", peerId: right.peerId, dialled: true }, 0);
    const [hello] = theirs.handle({ kind: "linkOpened", peerId: left.peerId, dialled: false }, 0);
    if (hello?.kind !== "sendFrame") throw new Error("no hello");
    ours.handle({ kind: "frameReceived", peerId: right.peerId, frame: encodeFrame(hello.frame) }, 0);
    expect(ours.neighbours.has(right.peerId)).toBe(false);
  });
});

/** Topics that somebody really follows. */
function topicsOf(frames: readonly Uint8Array[]): Uint8Array[] {
  const topics = new Map<Hex, Uint8Array>();
  for (const frame of frames.map(decodeFrame)) {
    if (frame.kind === "topics") for (const topic of frame.follow) topics.set(hex(topic), topic);
  }
  return [...topics.values()];
}

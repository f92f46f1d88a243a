/**
 * A small network in virtual time: real peers with real keys, joined by links in memory.
 *
 *     (time, order) --> Peer.handle --> outputs --> links, dials, executions --> events
 *
 * It is a driver like the peer's Worker, and decides nothing. Links are ordered, as data channels are. A silent machine
 * tells nobody; its neighbours find out by its silence.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { describe as describeBlob } from "../src/protocol/blobs";
import { concat, fromHex, type Hex } from "../src/protocol/bytes";
import { protocolConfig, type ProtocolConfig } from "../src/protocol/config";
import type { CreatorRole } from "../src/protocol/creator";
import {
  Channel,
  type ChunkInput,
  type ChunkOutcome,
  type Execute,
  type Input,
  type Output,
  Status,
} from "../src/protocol/events";
import { encodeFrame, type Frame } from "../src/protocol/frames";
import type { PeerId } from "../src/protocol/identity";
import { type Manifest } from "../src/protocol/manifest";
import { signManifest } from "../src/protocol/signing";
import { Peer } from "../src/protocol/peer";
import { recordKey, type Signed } from "../src/protocol/records";
import { MemoryBlobStore } from "../src/protocol/storage";
import { LateSigner, platformVerifier } from "./platform_keys";
import { ROLES } from "./roles";
import { SeededRng } from "./seeded";

export const EPOCH_S = 1_800_000_000;
const LATENCY_S = 0.02;
/** A peer that wants to be woken in the past is woken this much later, so that a bug in it cannot stop time. */
const WAKE_AGAIN_S = 1e-3;

export type Executor = (taskId: Hex, chunk: ChunkInput) => ChunkOutcome;

export interface Machine {
  readonly index: number;
  readonly signer: LateSigner;
  readonly config: ProtocolConfig;
  readonly blobs: MemoryBlobStore;
  readonly execute: Executor;
  readonly saved: Signed[];
  readonly linked: Set<Machine>;
  peer: Peer;
  /** Counts lives: what was on its way to an earlier one is lost. */
  life: number;
  isAlive: boolean;
  isSilent: boolean;
  wakeAt: number;
  readonly running: Map<number, Execute>;
}

export interface WorldOptions {
  readonly workers?: number;
  readonly chunks?: number;
  readonly chunkS?: number;
  readonly resultBytes?: number;
  readonly replication?: number;
  readonly eps?: number;
  readonly seed?: number;
  readonly config?: Partial<ProtocolConfig>;
  /** The workers that lie, by index (the creator is 0). */
  readonly liars?: readonly number[];
}

interface Event {
  readonly at: number;
  readonly order: number;
  readonly act: () => void;
}

/** The one right result of a chunk. */
export function truth(taskId: Hex, { chunk, data, seed }: ChunkInput, size: number): Uint8Array {
  const digest = sha256(concat(fromHex(taskId), Uint8Array.of(chunk >> 8, chunk & 255, Number(seed & 255n)), data));
  return Uint8Array.from({ length: size }, (_, at) => digest[at % 32]!);
}

export class World {
  now = 0;
  wakes = 0;
  readonly machines: Machine[] = [];
  readonly signedManifest: Signed;
  readonly task: Hex;
  /** Hears of every input and output, in order. */
  onEvent: (machine: Machine, event: Input | Output) => void = () => {};
  private readonly verifier = platformVerifier();
  private readonly heap: Event[] = [];
  private order = 0;
  private readonly chunkS: number;

  constructor(options: WorldOptions = {}) {
    const { workers = 6, chunks = 30, resultBytes = 16, replication = 2, eps = 0.1, seed = 1, liars = [] } = options;
    this.chunkS = options.chunkS ?? 0.5;
    const config = protocolConfig({ epochOffsetS: EPOCH_S, ...options.config });
    const honest: Executor = (taskId, input) => ok(input, truth(taskId, input, resultBytes));
    const lying: Executor = (_, input) => ok(input, new Uint8Array(resultBytes).fill(input.chunk));
    for (let index = 0; index <= workers; index++) {
      const signer = new LateSigner(sha256(Uint8Array.of(seed, index)));
      const blobs = new MemoryBlobStore();
      this.machines.push({
        index,
        signer,
        config,
        blobs,
        execute: liars.includes(index) ? lying : honest,
        saved: [],
        linked: new Set(),
        peer: new Peer(config, signer, this.verifier, new SeededRng(1_000 * seed + index), blobs, ROLES, 0),
        life: 0,
        isAlive: true,
        isSilent: false,
        wakeAt: Infinity,
        running: new Map(),
      });
    }
    const code = new TextEncoder().encode("the code of this task ".repeat(5_000));
    this.creator.blobs.put(describeBlob(code).sha256, code);
    this.signedManifest = signManifest(this.creator.signer, this.manifest(code, chunks, replication, eps));
    this.creator.signer.settle();
    this.task = recordKey(this.signedManifest);
    this.tell(this.creator, { kind: "taskPublished", manifest: this.signedManifest });
    this.introduceEverybody();
  }

  get creator(): Machine {
    return this.machines[0]!;
  }

  get workers(): Machine[] {
    return this.machines.slice(1);
  }

  get role(): CreatorRole {
    return this.creator.peer.creators.get(this.task)!;
  }

  // ---- time

  at(when: number, act: () => void): void {
    push(this.heap, { at: when, order: this.order++, act });
  }

  /** Let everything happen up to a moment. */
  stepUntil(stopS: number): void {
    for (let next = this.heap[0]; next !== undefined && next.at <= stopS; next = this.heap[0]) {
      pop(this.heap);
      this.now = next.at;
      next.act();
    }
    this.now = Math.max(this.now, stopS);
  }

  /** Until the task is closed, and what was on its way has come; at most ten minutes. */
  run(): void {
    while (this.role.state !== "closed" && this.now < 600) this.stepUntil(this.now + 1);
    this.stepUntil(this.now + 5);
  }

  // ---- machines

  tell(machine: Machine, event: Input): void {
    this.onEvent(machine, event);
    const outputs = machine.peer.handle(event, this.now);
    machine.signer.settle();
    const encoded = new Map<Frame, Uint8Array>();
    for (const output of outputs) this.perform(machine, output, encoded);
    this.scheduleWake(machine);
  }

  /** A machine is cut off: it goes on, but nothing it says or hears comes through. */
  silence(machine: Machine): void {
    machine.isSilent = true;
  }

  /** A machine stops at once. Nobody is told. */
  stop(machine: Machine): void {
    machine.life++;
    machine.isSilent = true;
    machine.linked.clear();
    machine.running.clear();
    machine.wakeAt = Infinity;
  }

  /** A machine stops at once and starts again with what it had saved. Nobody is told. */
  restart(machine: Machine): void {
    this.stop(machine);
    machine.isSilent = false;
    const rng = new SeededRng(machine.index + 77 * machine.life);
    machine.peer = new Peer(machine.config, machine.signer, this.verifier, rng, machine.blobs, ROLES, this.now);
    this.tell(machine, { kind: "recordsRestored", records: [...machine.saved] });
    this.introduceEverybody();
  }

  private introduceEverybody(): void {
    const peerIds = this.machines.map(({ signer }) => signer.peerId);
    for (const machine of this.machines) this.tell(machine, { kind: "peersDiscovered", peerIds });
  }

  private machineOf(peerId: PeerId): Machine | undefined {
    return this.machines.find(({ signer }) => signer.peerId === peerId);
  }

  /** Let something happen to a machine later, should it still live the same life. */
  private later(machine: Machine, delayS: number, act: () => void): void {
    const { life } = machine;
    this.at(this.now + delayS, () => {
      if (machine.life === life) act();
    });
  }

  private perform(machine: Machine, output: Output, encoded: Map<Frame, Uint8Array>): void {
    this.onEvent(machine, output);
    switch (output.kind) {
      case "sendFrame": {
        const other = this.machineOf(output.peerId);
        if (other === undefined || !machine.linked.has(other)) return;
        let frame = encoded.get(output.frame);
        if (frame === undefined) encoded.set(output.frame, (frame = encodeFrame(output.frame)));
        const data = frame;
        if (output.channel === Channel.BULK) {
          this.later(machine, 0, () => this.tell(machine, { kind: "linkDrained", peerId: output.peerId }));
        }
        this.later(other, LATENCY_S, () => {
          if (machine.isSilent || other.isSilent || !other.linked.has(machine)) return;
          this.tell(other, { kind: "frameReceived", peerId: machine.signer.peerId, frame: data });
        });
        return;
      }
      case "closeLink": {
        const other = this.machineOf(output.peerId);
        if (other === undefined || !machine.linked.delete(other)) return;
        this.later(other, LATENCY_S, () => this.hungUp(other, machine));
        return;
      }
      case "dialPeer": {
        this.later(machine, 3 * LATENCY_S, () => this.connect(machine, output.peerId));
        return;
      }
      case "execute":
        machine.running.set(output.job, output);
        this.later(machine, this.chunkS * output.chunks.length, () => this.executed(machine, output));
        return;
      case "cancelJob":
        machine.running.delete(output.job);
        return;
      case "saveRecords":
        machine.saved.push(...output.records);
        return;
      case "signalArrived":
      case "signalUndelivered":
      case "seekPeers":
        // Everybody knows everybody here.
        return;
      case "notice":
        return;
    }
  }

  private connect(machine: Machine, peerId: PeerId): void {
    const other = this.machineOf(peerId);
    if (other === undefined || machine.isSilent || other.isSilent) {
      this.tell(machine, { kind: "dialFailed", peerId, reason: "nobody answers" });
    } else if (!machine.linked.has(other)) {
      machine.linked.add(other);
      other.linked.add(machine);
      this.tell(other, { kind: "linkOpened", peerId: machine.signer.peerId, dialled: false });
      this.tell(machine, { kind: "linkOpened", peerId, dialled: true });
    }
  }

  private hungUp(machine: Machine, other: Machine): void {
    if (machine.isSilent || !machine.linked.delete(other)) return;
    this.tell(machine, { kind: "linkClosed", peerId: other.signer.peerId, reason: "closed by the other side" });
  }

  private executed(machine: Machine, order: Execute): void {
    if (!machine.running.delete(order.job)) return;
    const outcomes = order.chunks.map((chunk) => machine.execute(order.taskId, chunk));
    this.tell(machine, { kind: "executed", job: order.job, outcomes, seconds: this.chunkS * order.chunks.length });
  }

  private scheduleWake(machine: Machine): void {
    const due = machine.peer.wakeAt;
    const at = due > this.now ? due : this.now + WAKE_AGAIN_S;
    if (at === Infinity || at === machine.wakeAt) return;
    machine.wakeAt = at;
    this.later(machine, at - this.now, () => {
      if (machine.wakeAt !== at) return; // Another one took its place.
      machine.wakeAt = Infinity;
      this.wakes++;
      this.tell(machine, { kind: "woke" });
    });
  }

  private manifest(code: Uint8Array, chunks: number, replication: number, eps: number): Manifest {
    const { publicKey, sealKey } = this.creator.signer;
    return {
      schema: 1,
      name: "small",
      description: "",
      link: "",
      creator: publicKey,
      sealKey,
      runtime: "wasm",
      code: describeBlob(code),
      split: { kind: "range", start: 0n, stop: BigInt(chunks), step: 1n },
      chunks,
      inputs: null,
      limits: { memoryBytes: 1 << 20, outputBytes: 1 << 20, seconds: 60 },
      policy: { replication, eps, liars: 0.1, powBits: 4 },
      reward: 1,
      epochs: null,
      onward: false,
      permissions: [],
      vouches: [],
      createdS: EPOCH_S,
      expiresS: EPOCH_S + 86_400,
    };
  }
}

function ok({ chunk }: ChunkInput, data: Uint8Array): ChunkOutcome {
  return { chunk, status: Status.OK, data, detail: "" };
}

function isBefore(left: Event, right: Event): boolean {
  return left.at < right.at || (left.at === right.at && left.order < right.order);
}

function push(heap: Event[], event: Event): void {
  let at = heap.length;
  for (; at > 0; at = (at - 1) >> 1) {
    const parent = heap[(at - 1) >> 1]!;
    if (isBefore(parent, event)) break;
    heap[at] = parent;
  }
  heap[at] = event;
}

function pop(heap: Event[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (let child = 1; child < heap.length; child = 2 * at + 1) {
    if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++;
    if (isBefore(last, heap[child]!)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}

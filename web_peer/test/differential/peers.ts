/**
 * Peers as a server: inputs on stdin, outputs on stdout, in virtual time. Each message is JSON behind its length as a
 * little-endian u32; bytes are hexadecimal. A machine has a number, and may begin several lives.
 *
 * tests/interop/test_mixed_peers.py puts such peers into the simulated networks of Python ones.
 */

import { readSync, writeSync } from "node:fs";

import { fromHex, hex, type Hex } from "../../src/protocol/bytes";
import { decode, encode } from "../../src/protocol/codec";
import { protocolConfig, type ProtocolConfig } from "../../src/protocol/config";
import type { CreatorRole } from "../../src/protocol/creator";
import type { Input, Output } from "../../src/protocol/events";
import { encodeFrame, type Frame } from "../../src/protocol/frames";
import { Peer } from "../../src/protocol/peer";
import { Signed } from "../../src/protocol/records";
import { MemoryBlobStore } from "../../src/protocol/storage";
import { LateSigner, platformVerifier } from "../platform_keys";
import { ROLES } from "../roles";
import { SeededRng } from "../seeded";

interface Machine {
  readonly peer: Peer;
  readonly signer: LateSigner;
  readonly encoded: WeakMap<Frame, Hex>;
}

interface Life {
  readonly machine: number;
  readonly keySeed: Hex;
  readonly rngSeed: number;
  readonly config: Partial<ProtocolConfig> & { readonly runtimes: readonly ("wasm" | "js")[] };
  /** The disk: what two lives of a machine share if the second finds what the first put there. */
  readonly disk: string;
  readonly blobs: readonly { readonly digest: Hex; readonly data: Hex }[];
  readonly now: number;
}

// eslint-disable-next-line @typescript-eslint/no-explicit-any
type Question = any;

const machines = new Map<number, Machine>();
const disks = new Map<string, MemoryBlobStore>();
const verifier = platformVerifier();

function begin(life: Life): null {
  const signer = new LateSigner(fromHex(life.keySeed));
  let blobs = disks.get(life.disk);
  if (blobs === undefined) disks.set(life.disk, (blobs = new MemoryBlobStore()));
  for (const { digest, data } of life.blobs) blobs.put(fromHex(digest), fromHex(data));
  const { runtimes, uploadBytesPerS, ...numbers } = life.config;
  // JSON has no Infinity, and what has no cap is null in Python.
  const uncapped = { ...numbers, uploadBytesPerS: uploadBytesPerS ?? Infinity };
  const config = protocolConfig({ ...uncapped, runtimes: new Set(runtimes) });
  const peer = new Peer(config, signer, verifier, new SeededRng(life.rngSeed), blobs, ROLES, life.now);
  machines.set(life.machine, { peer, signer, encoded: new WeakMap() });
  return null;
}

function input(event: Question): Input {
  switch (event.kind) {
    case "frameReceived":
      return { ...event, frame: fromHex(event.frame) };
    case "executed":
      return { ...event, outcomes: event.outcomes.map((each: Question) => ({ ...each, data: fromHex(each.data) })) };
    case "signalMade":
      return { ...event, signal: fromHex(event.signal) };
    case "taskPublished":
      return { ...event, manifest: decode(Signed, fromHex(event.manifest)) };
    case "recordsRestored":
      return { ...event, records: event.records.map((record: Hex) => decode(Signed, fromHex(record))) };
    case "tasksChosen":
      return { ...event, tasks: event.tasks === null ? null : new Set(event.tasks) };
    default:
      return event;
  }
}

function output({ encoded }: Machine, event: Output): unknown {
  switch (event.kind) {
    case "sendFrame": {
      let frame = encoded.get(event.frame);
      if (frame === undefined) encoded.set(event.frame, (frame = hex(encodeFrame(event.frame))));
      return { ...event, frame };
    }
    case "signalArrived":
      return { ...event, signal: hex(event.signal) };
    case "execute": {
      const chunks = event.chunks.map(({ chunk, data, seed }) => ({ chunk, data: hex(data), seed: String(seed) }));
      return { ...event, code: hex(event.code), chunks };
    }
    case "saveRecords":
      return { ...event, records: event.records.map(encodedRecord) };
    default:
      return event;
  }
}

function encodedRecord(record: Signed): Hex {
  return hex(encode(Signed, record));
}

function answer({ ask, machine: number, ...question }: Question): unknown {
  if (ask === "begin") return begin({ machine: number, ...question });
  const machine = machines.get(number)!;
  const { peer, signer } = machine;
  const ledger = peer.ledgers.get(question.task);
  const role = peer.creators.get(question.task);
  switch (ask) {
    case "handle": {
      const outputs = peer.handle(input(question.event), question.now);
      signer.settle();
      const { wakeAt } = peer;
      return { outputs: outputs.map((each) => output(machine, each)), wakeAt: wakeAt === Infinity ? null : wakeAt };
    }
    case "tasks":
      return [[...peer.ledgers.keys()], [...peer.creators.keys()]];
    case "records":
      return [...ledger!.records()].map(encodedRecord);
    case "ledger": {
      const { equivocators, creatorEquivocated } = ledger!;
      return { equivocators: [...equivocators].sort(), creatorEquivocated };
    }
    case "follows":
      return peer.follows(question.topic);
    case "votes":
      return peer.workers.get(question.task)?.votes ?? 0;
    case "progress":
      return role!.progress();
    case "results":
      return chunksOf(role!).map((chunk) => {
        const { digest, ...result } = role!.result(chunk);
        const data = role!.resultBytes(chunk);
        return { ...result, digest: digest && hex(digest), data: data && hex(data) };
      });
    case "tallies":
      return chunksOf(role!).map((chunk) => role!.referee.chunk(chunk));
    case "void":
      return [...role!.referee.void];
    case "voters":
      return chunksOf(role!).map((chunk) =>
        [...role!.referee.voters(chunk)].map(([worker, vote]) => [worker, role!.referee.counts(vote)]),
      );
  }
  throw new Error(`nobody knows the answer to ${ask}`);
}

function chunksOf(role: CreatorRole): number[] {
  return Array.from({ length: role.ledger.manifest.chunks }, (_, chunk) => chunk);
}

const LENGTH_BYTES = 4;

/** Read exactly so many bytes; null at the end of the input. */
function read(count: number): Buffer | null {
  const data = Buffer.alloc(count);
  for (let filled = 0; filled < count; ) {
    const length = readSync(0, data, filled, count - filled, null);
    if (length === 0) return null;
    filled += length;
  }
  return data;
}

function write(data: Buffer): void {
  for (let written = 0; written < data.length; ) written += writeSync(1, data, written);
}

for (let header = read(LENGTH_BYTES); header !== null; header = read(LENGTH_BYTES)) {
  const question = read(header.readUInt32LE(0))!;
  const data = Buffer.from(JSON.stringify(answer(JSON.parse(question.toString()))) ?? "null");
  const length = Buffer.alloc(LENGTH_BYTES);
  length.writeUInt32LE(data.length);
  write(Buffer.concat([length, data]));
}

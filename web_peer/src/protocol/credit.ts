/**
 * Credit: what each worker earned by accepted chunks, and a proof of it that stands alone (spec/credit.md).
 *
 *     accepted chunks --split--> a table for each shard --root--> checkpoint --row and path--> proof, checked by anybody
 *
 * An accepted chunk's reward is split evenly, in millicredits, among the workers whose votes for its value count. A table
 * is rows of a worker's key and its millicredits, ascending by key; checkpoints carry it, or the hash of a large one.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { compare, concat, equal, fromHex, type Hex } from "./bytes";
import { array, bytes32, decode, encode, struct, u32, u53, type Infer } from "./codec";
import { RemoteProtocolError } from "./errors";
import type { Verifier } from "./identity";
import { type Manifest, openManifest } from "./manifest";
import * as merkle from "./merkle";
import {
  type Checkpoint,
  CREDITS_INLINE_BYTES_MAX,
  CREDITS_ROW_BYTES,
  parse,
  recordId,
  Signed,
  verifySignature,
} from "./records";
import type { BlobStore } from "./storage";

/** The first bytes of a file that proves credit. What follows is one encoded `CreditProof`. */
export const MAGIC = new TextEncoder().encode("CCCRED1\n");

const KEY_BYTES = 32;
/** Nobody earns more in a shard: every language reads such numbers exactly. */
const MILLICREDITS_MAX = Number.MAX_SAFE_INTEGER;

/** Millicredits by worker, from whoever confirmed each of the accepted chunks. What cannot be divided is nobody's. */
export function split(reward: number, confirmers: Iterable<readonly Hex[]>): Map<Hex, number> {
  const amounts = new Map<Hex, number>();
  for (const workers of confirmers) {
    const share = Math.floor((1_000 * reward) / workers.length);
    if (!(share > 0)) continue;
    for (const worker of workers) amounts.set(worker, Math.min(MILLICREDITS_MAX, (amounts.get(worker) ?? 0) + share));
  }
  return amounts;
}

/** The rows, ascending by key. */
export function tableOf(amounts: ReadonlyMap<Hex, number>): Uint8Array {
  return concat(...[...amounts.keys()].sort().map((worker) => row(fromHex(worker), amounts.get(worker)!)));
}

function row(worker: Uint8Array, amount: number): Uint8Array {
  const bytes = new Uint8Array(CREDITS_ROW_BYTES);
  bytes.set(worker);
  new DataView(bytes.buffer).setBigUint64(KEY_BYTES, BigInt(amount));
  return bytes;
}

/** Worker and millicredits of each row. */
export function rows(table: Uint8Array): { readonly worker: Uint8Array; readonly amount: number }[] {
  const view = new DataView(table.buffer, table.byteOffset);
  const found = [];
  for (let at = 0; at + CREDITS_ROW_BYTES <= table.length; at += CREDITS_ROW_BYTES) {
    found.push({ worker: table.slice(at, at + KEY_BYTES), amount: Number(view.getBigUint64(at + KEY_BYTES)) });
  }
  return found;
}

/** The Merkle root over the rows. */
export function rootOf(table: Uint8Array): Uint8Array {
  return merkle.root(leaves(table));
}

/** A checkpoint's table, or null while it is not here, or is not what the checkpoint says. */
export function readTable({ credits, creditsSize, creditsRoot }: Checkpoint, blobs: BlobStore): Uint8Array | null {
  let table = credits;
  if (creditsSize > CREDITS_INLINE_BYTES_MAX) {
    if (blobs.size(credits) !== creditsSize) return null;
    table = blobs.read(credits, 0, creditsSize);
  }
  const keys = rows(table).map(({ worker }) => worker);
  const isOrdered = keys.every((key, index) => index === 0 || compare(keys[index - 1]!, key) < 0);
  return isOrdered && table.length % CREDITS_ROW_BYTES === 0 && equal(rootOf(table), creditsRoot) ? table : null;
}

/** What a checkpoint says of a table: its root, its size, and the table itself or its SHA-256. */
export function fieldsOf(table: Uint8Array): Pick<Checkpoint, "creditsRoot" | "creditsSize" | "credits"> {
  const credits = table.length <= CREDITS_INLINE_BYTES_MAX ? table : sha256(table);
  return { creditsRoot: rootOf(table), creditsSize: table.length, credits };
}

/** A worker's row in the table of one checkpoint, and the way from it to the root. A schema has the name of its type. */
export const ShardCredit = struct("ShardCredit", {
  checkpoint: Signed,
  amount: u53,
  index: u32,
  count: u32,
  path: array(bytes32, { max: 32 }),
});
export type ShardCredit = Infer<typeof ShardCredit>;

/** What a worker earned in one task: the creator's signed words, and nothing else that must be believed. */
export const CreditProof = struct("CreditProof", {
  manifest: Signed,
  worker: bytes32,
  shards: array(ShardCredit, { min: 1, max: 65_536 }),
});
export type CreditProof = Infer<typeof CreditProof>;

/** What a proof proves. */
export interface Credit {
  readonly task: Uint8Array;
  readonly manifest: Manifest;
  readonly worker: Uint8Array;
  readonly millicredits: number;
}

/** Of each shard the newest checkpoint whose table is here, and that table. */
export function latestTables(records: Iterable<Signed>, blobs: BlobStore): [Signed, Uint8Array][] {
  const found = new Map<number, { readonly seq: number; readonly shown: [Signed, Uint8Array] }>();
  for (const signed of records) {
    if (signed.kind !== "checkpoint") continue;
    const checkpoint = parse(signed) as Checkpoint;
    if (checkpoint.seq <= (found.get(checkpoint.shard)?.seq ?? -1)) continue;
    const table = readTable(checkpoint, blobs);
    if (table !== null) found.set(checkpoint.shard, { seq: checkpoint.seq, shown: [signed, table] });
  }
  return [...found.keys()].sort((left, right) => left - right).map((shard) => found.get(shard)!.shown);
}

/** What these checkpoints, with their tables, say that a worker earned; null when that is nothing. */
export function prove(
  manifest: Signed,
  worker: Uint8Array,
  tables: Iterable<readonly [Signed, Uint8Array]>,
): CreditProof | null {
  const shards: ShardCredit[] = [];
  for (const [checkpoint, table] of tables) {
    const all = rows(table);
    const index = all.findIndex((each) => equal(each.worker, worker));
    if (index < 0) continue;
    const path = merkle.proof(leaves(table), index);
    shards.push({ checkpoint, amount: all[index]!.amount, index, count: all.length, path });
  }
  return shards.length === 0 ? null : { manifest, worker, shards };
}

/** The file. */
export function writeProof(proof: CreditProof): Uint8Array {
  return concat(MAGIC, encode(CreditProof, proof));
}

/**
 * What a file proves.
 *
 * @throws RemoteProtocolError when it proves nothing. The message says why.
 */
export function checkProof(data: Uint8Array, verifier: Verifier): Credit {
  if (!equal(data.subarray(0, MAGIC.length), MAGIC)) throw new RemoteProtocolError("this is no proof of credit");
  const proof = decode(CreditProof, data.subarray(MAGIC.length));
  const manifest = openManifest(proof.manifest, verifier);
  const task = recordId(proof.manifest);
  const counted = new Set<number>();
  let millicredits = 0;
  for (const { checkpoint: signed, amount, index, count, path } of proof.shards) {
    const checkpoint = parse(signed);
    if (checkpoint.kind !== "checkpoint" || !equal(checkpoint.task, task)) {
      throw new RemoteProtocolError("a proof of credit rests on something else than checkpoints of its task");
    }
    if (!equal(signed.author, manifest.creator)) {
      throw new RemoteProtocolError("a proof of credit rests on a checkpoint that the creator did not sign");
    }
    verifySignature(verifier, signed);
    if (counted.has(checkpoint.shard)) throw new RemoteProtocolError("a proof of credit counts a shard twice");
    counted.add(checkpoint.shard);
    if (!merkle.verifies(merkle.leafHash(row(proof.worker, amount)), index, count, path, checkpoint.creditsRoot)) {
      throw new RemoteProtocolError("a proof of credit names another amount or worker than the checkpoint it shows");
    }
    millicredits += amount;
  }
  return { task, manifest, worker: proof.worker, millicredits };
}

function leaves(table: Uint8Array): Uint8Array[] {
  const hashes: Uint8Array[] = [];
  for (let at = 0; at < table.length; at += CREDITS_ROW_BYTES) {
    hashes.push(merkle.leafHash(table.subarray(at, at + CREDITS_ROW_BYTES)));
  }
  return hashes;
}

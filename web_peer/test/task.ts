/** A creator, workers and a small task, for tests of what a ledger says. */

import { checkRecord } from "../src/protocol/checking";
import { hex, type Hex } from "../src/protocol/bytes";
import { Ledger } from "../src/protocol/ledger";
import type { Manifest } from "../src/protocol/manifest";
import { type LedgerRecord, type Signed } from "../src/protocol/records";
import { runsOf } from "../src/protocol/runs";
import { fieldsOf } from "../src/protocol/credit";
import { SoftwareIdentity } from "../src/protocol/software";

export function identity(number: number): SoftwareIdentity {
  return new SoftwareIdentity(new Uint8Array(32).fill(number));
}

export const creator = identity(100);
export const [alice, bob, carol] = [identity(101), identity(102), identity(103)] as const;

let signatures = 0;

/** Adds records to a ledger that takes their signatures on trust: making them would be nine tenths of a test's time. */
export class Task {
  readonly ledger: Ledger;

  constructor(chunks: number, keepCommits = false) {
    const signed: Signed = {
      kind: "manifest",
      author: creator.publicKey,
      body: Uint8Array.of(0xc0),
      signature: new Uint8Array(64),
    };
    const manifest = { chunks, creator: creator.publicKey, policy: { powBits: 0, replication: 2 } } as Manifest;
    this.ledger = new Ledger(signed, manifest, { keepCommits });
  }

  add(author: SoftwareIdentity, record: LedgerRecord, now = 0): boolean {
    // Of a record's body the ledger itself needs no more than that no two are the same.
    const body = new TextEncoder().encode(`${signatures++}`);
    const signed: Signed = { kind: record.kind, author: author.publicKey, body, signature: new Uint8Array(64) };
    checkRecord(this.ledger, signed, record);
    return this.ledger.add(signed, record, now);
  }

  vote(author: SoftwareIdentity, chunks: Iterable<number>, seq = 1): void {
    const runs = runsOf(chunks);
    const none = new Uint8Array(0);
    const root = new Uint8Array(32);
    if (runs.length > 0) {
      const { task } = this.ledger;
      this.add(author, { kind: "commit", task, shard: 0, seq, epoch: 0, link: none, runs, root, sealed: none });
    }
  }

  lease(author: SoftwareIdentity, chunks: Iterable<number>, now: number, seq = 1): boolean {
    const runs = runsOf(chunks);
    return this.add(author, { kind: "lease", task: this.ledger.task, shard: 0, home: 0, seq, ttlS: 15, runs }, now);
  }

  close(accepted: Iterable<number>, seq = 0): void {
    const bitmap = new Uint8Array(Math.ceil(this.ledger.shardSize(0) / 8));
    for (const chunk of accepted) bitmap[chunk >> 3]! |= 1 << (chunk & 7);
    const failed = new Uint8Array(bitmap.length);
    const root = new Uint8Array(32);
    const { task } = this.ledger;
    this.add(creator, { kind: "checkpoint", task, shard: 0, seq, begun: 0, accepted: bitmap, failed, root, ...fieldsOf(new Uint8Array()) });
  }
}

export function keyOf(peer: SoftwareIdentity): Hex {
  return hex(peer.publicKey);
}

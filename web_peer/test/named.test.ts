import { sha256 } from "@noble/hashes/sha2.js";
import { expect, test } from "vitest";

import { type Leaf, makeLeaf } from "../src/protocol/batch";
import { concat, hex, type Hex } from "../src/protocol/bytes";
import type { Desk } from "../src/protocol/desk";
import { Status } from "../src/protocol/events";
import { Comparison } from "../src/protocol/gpu/compare";
import { Named } from "../src/protocol/named";
import { Referee } from "../src/protocol/referee";
import type { Stewards } from "../src/protocol/stewards";
import { MemoryBlobStore } from "../src/protocol/storage";

const WORKERS: readonly Hex[] = ["aa", "bb", "cc"];
const CREATOR: Hex = "ff";
const near = { kind: "tol", absolute: 1, relative: 0, outliers: 0 } as const;
const comparison = new Comparison([{ elements: 1, compare: near }]);
const results = [0, 0.75, 9].map((value) => new Uint8Array(new Float32Array(2_000).fill(value).buffer));
const naming = (chunk: number, data: Uint8Array): Leaf => makeLeaf(chunk, Status.OK, false, data.length, sha256(data));

/** A creator's count: nobody is dialled here. */
class Room {
  readonly blobs = new MemoryBlobStore();
  readonly fetched: Hex[] = [];
  readonly named: Named;
  readonly referee: Referee;

  constructor() {
    const desk = { fetch: (digest: Uint8Array) => this.fetched.push(hex(digest)) } as unknown as Desk;
    this.named = new Named(CREATOR, { delegations: new Map() } as unknown as Stewards, desk, this.blobs);
    this.referee = new Referee(CREATOR, 2, undefined, comparison, undefined, (leaf) => this.named.read(leaf));
    for (const worker of WORKERS) this.referee.admit(worker);
    this.referee.assign("bb", [0, 1]);
  }

  commit(author: Hex, seq: number, ...leaves: Leaf[]): void {
    for (const held of this.named.take({ author, seq, commit: new Uint8Array(32), leaves }, true, 0)) {
      this.referee.cast(held.author, held.leaves, held.seq);
    }
  }

  settle(data: Uint8Array, isHere: boolean): void {
    if (isHere) this.blobs.put(sha256(data), data);
    if (!this.named.needs(hex(sha256(data)))) return;
    for (const held of this.named.settled(hex(sha256(data)), isHere)) this.referee.cast(held.author, held.leaves, held.seq);
  }
}

test("a commit is counted when all it names is here, and near results agree", () => {
  const room = new Room();
  room.commit("aa", 1, naming(0, results[0]!), naming(1, results[0]!));
  room.commit("bb", 2, naming(0, results[1]!), naming(1, results[2]!));
  expect(room.named.voters(0)).toEqual(["aa", "bb"]);
  room.settle(results[0]!, true);
  room.settle(results[1]!, true);
  expect(room.referee.chunk(0)).toMatchObject({ state: "sealed", missing: 1 });
  room.settle(results[2]!, true);
  expect(room.named.isWaiting).toBe(false);
  expect(room.referee.chunk(0).state).toBe("agreed");
  expect(room.referee.chunk(1).state).toBe("disputed");
});

test("what nobody delivers is no result until somebody else brings it", () => {
  const room = new Room();
  room.commit("aa", 1, naming(0, results[0]!));
  room.settle(results[0]!, false);
  expect(room.referee.reports(0).get("aa")).toBe("a result that nobody delivers");
  room.commit("bb", 2, naming(0, results[0]!));
  room.settle(results[0]!, true);
  expect(room.referee.chunk(0).state).toBe("agreed");
});

test("a wrong size does not spoil what others vote for", () => {
  const room = new Room();
  room.commit("aa", 1, { ...naming(0, results[0]!), size: 5_000 });
  room.commit("bb", 2, naming(0, results[0]!));
  room.settle(results[0]!, false);
  expect(room.fetched.length).toBe(2);
  expect(room.named.isWaiting).toBe(true);
  room.settle(results[0]!, true);
  expect(room.referee.voters(0).get("bb")!.value).toBe(naming(0, results[0]!).value);
});

test("who takes long to deliver is not waited for, and our own lost result is no word of ours", () => {
  const room = new Room();
  room.commit("aa", 1, naming(0, results[0]!));
  expect([...room.named.overdue(4)]).toEqual([]);
  expect([...room.named.overdue(5)]).toEqual([0]);
  expect(room.named.voters(0)).toEqual([]);
  room.commit(CREATOR, 3, naming(1, concat(results[1]!)));
  room.settle(results[1]!, false);
  expect(room.named.lost()).toEqual([1]);
});

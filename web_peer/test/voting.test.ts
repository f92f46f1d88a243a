import { sha256 } from "@noble/hashes/sha2.js";
import fc from "fast-check";
import { expect, test } from "vitest";

import { DETAIL_BYTES_MAX, NO_RESULT, openCommit } from "../src/protocol/batch";
import { hex } from "../src/protocol/bytes";
import { encode } from "../src/protocol/codec";
import { type ChunkOutcome, Status } from "../src/protocol/events";
import { Commit, parse, RECORD_BYTES_MAX, SHARD_CHUNKS, sign } from "../src/protocol/records";
import { BatchSizer } from "../src/protocol/sizing";
import { MemoryBlobStore } from "../src/protocol/storage";
import { commitsOf } from "../src/protocol/voting";
import { SeededRng } from "./seeded";
import { alice, creator } from "./task";

// A run that passed must pass again on the same code.
fc.configureGlobal({ seed: 20_261_122 });

const task = new Uint8Array(32).fill(7);

const outcomes: fc.Arbitrary<ChunkOutcome[]> = fc.uniqueArray(
  fc.record({
    chunk: fc.nat(3 * SHARD_CHUNKS),
    status: fc.constantFrom(Status.OK, Status.TASK_ERROR, Status.NO_RESULT),
    data: fc.oneof(fc.uint8Array({ maxLength: 40 }), fc.nat(9_000).map((size) => new Uint8Array(size))),
    detail: fc.string({ unit: "grapheme", maxLength: 700 }),
  }),
  { maxLength: 40, selector: (outcome) => outcome.chunk },
);

test("outcomes become commits that say the same and fit", () => {
  fc.assert(
    fc.property(outcomes, (done) => {
      const blobs = new MemoryBlobStore();
      let seq = 0;
      const commits = commitsOf(alice, creator.sealKey, task, () => seq++, done, blobs, new SeededRng(1), 4_096);
      const opened = commits.flatMap(({ commit, leaves }) => {
        expect(parse(sign(alice, commit))).toEqual(commit);
        expect(encode(Commit, commit).length).toBeLessThanOrEqual(RECORD_BYTES_MAX);
        expect(openCommit(creator, alice.sealKey, alice.publicKey, commit)).toEqual(leaves);
        return leaves;
      });
      const inOrder = [...done].sort((left, right) => left.chunk - right.chunk);
      expect(opened.map((leaf) => leaf.chunk)).toEqual(inOrder.map((outcome) => outcome.chunk));
      for (const [index, leaf] of opened.entries()) {
        const outcome = inOrder[index]!;
        expect(leaf.status).toBe(outcome.status);
        if (leaf.status === Status.NO_RESULT) {
          expect(leaf.value).toBe(NO_RESULT);
          expect(leaf.data.length).toBeLessThanOrEqual(DETAIL_BYTES_MAX);
        } else {
          expect(leaf.value).toBe(`0${leaf.status}${hex(sha256(outcome.data))}`);
          expect(leaf.inline ? leaf.data : blobs.read(leaf.digest, 0, leaf.size)).toEqual(outcome.data);
        }
      }
    }),
    { numRuns: 25 },
  );
});

test("a first batch is one chunk, and the next ones grow to the wanted length but not at a leap", () => {
  const sizer = new BatchSizer(2);
  expect([sizer.size(0), sizer.chunkS]).toEqual([1, null]);
  sizer.finished(1, 0.001);
  expect(sizer.size(0)).toBe(4);
  sizer.finished(4, 0.004);
  expect(sizer.size(0)).toBe(16);
  sizer.finished(16, 16);
  expect(sizer.size(0)).toBe(5);
  sizer.finished(4, 400);
  expect(sizer.size(0)).toBe(1);
});

test("who has just come makes short batches, and longer ones with its age", () => {
  const sizer = new BatchSizer(2, 100);
  sizer.finished(100, 1);
  expect([0, 8, 16, 24, 32, 3_600].map((age) => sizer.size(100 + age))).toEqual([50, 50, 100, 150, 200, 200]);
});

test("a batch is never larger than a commit holds", () => {
  const sizer = new BatchSizer(2);
  sizer.finished(1_000, 0);
  expect(sizer.size(0)).toBe(1_024);
});

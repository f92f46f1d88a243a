import { sha256 } from "@noble/hashes/sha2.js";
import { expect } from "vitest";

import { openAssignment } from "../../src/protocol/assigning";
import { custodiansOf, type Leaf, makeLeaf, openCommit, sealCommit } from "../../src/protocol/batch";
import { decode, encode } from "../../src/protocol/codec";
import { type Assign, type Commit, parse, sign, Signed } from "../../src/protocol/records";
import { SoftwareIdentity } from "../../src/protocol/software";
import { resultContext } from "../../src/protocol/voting";
import { type Case, expectBytes, expectRefused, fromHex, hex, vectors } from "./read";

const { worker_seed, creator_seed, task, commit, assignment, refused, "result of zeros": result } = vectors("batches");

const worker = new SoftwareIdentity(fromHex(worker_seed));
const creator = new SoftwareIdentity(fromHex(creator_seed));
const leaves: Leaf[] = [];
for (const { chunk, status, inline, size, data, sealed } of commit.leaves) {
  leaves.push(makeLeaf(chunk, status, inline, size, fromHex(data), fromHex(sealed)));
}

const custodians: Uint8Array[] = commit.custodians.map(fromHex);
const chances = { salt: fromHex(commit.batch_salt), nonce: fromHex(commit.nonce), custodians };
const sealed = sealCommit(worker, creator.sealKey, fromHex(task), commit.seq, leaves, chances);
const travelled = parse(decode(Signed, fromHex(commit.signed))) as Commit;
const context = new TextEncoder().encode("commit");

export const cases: Case[] = [
  { name: "the root of a batch", check: () => expectBytes(sealed.root, commit.root) },
  { name: "the sealed bytes of a batch", check: () => expectBytes(sealed.sealed, commit.sealed) },
  { name: "a signed commit", check: () => expectBytes(encode(Signed, sign(worker, sealed)), commit.signed) },
  {
    name: "what is inside the seal",
    check: () =>
      expectBytes(
        creator.unseal(worker.sealKey, Uint8Array.of(...context, ...fromHex(task)), sealed.sealed),
        commit.plaintext,
      ),
  },
  {
    name: "the creator opens the commit",
    check: () => expect(openCommit(creator, worker.sealKey, worker.publicKey, travelled)).toEqual(leaves),
  },
  {
    name: "its author opens the commit",
    check: () => expect(openCommit(worker, creator.sealKey, worker.publicKey, travelled)).toEqual(leaves),
  },
  {
    name: "whom the commit names as custodians",
    check: () => expect(custodiansOf(creator, worker.sealKey, travelled)).toEqual(custodians),
  },
  {
    name: "a result sealed to be kept",
    check: () => {
      const zeros = new Uint8Array(result.size);
      const kept = worker.seal(creator.sealKey, resultContext(fromHex(task)), zeros, fromHex(result.nonce));
      expect(hex(sha256(kept))).toBe(result.sealed_sha256);
    },
  },
  {
    name: "an assignment opens",
    check: () => {
      const asked = parse(decode(Signed, fromHex(assignment.signed))) as Assign;
      expect(openAssignment(worker, creator.sealKey, asked)).toEqual({ chunks: assignment.chunks, urgent: assignment.urgent });
    },
  },
];

for (const [index, { digest, value }] of commit.leaves.entries()) {
  cases.push(
    { name: `the digest of leaf ${index}`, check: () => expect(hex(leaves[index]!.digest)).toBe(digest) },
    { name: `the value of leaf ${index}`, check: () => expect(leaves[index]!.value).toBe(value) },
  );
}
for (const { why, commit: fields } of refused) {
  const resealed: Commit = {
    ...fields,
    kind: "commit",
    task: fromHex(fields.task),
    root: fromHex(fields.root),
    sealed: fromHex(fields.sealed),
  };
  cases.push({
    name: `refused: ${why}`,
    check: () => expectRefused(() => openCommit(creator, worker.sealKey, worker.publicKey, resealed)),
  });
}

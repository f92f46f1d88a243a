import { expect } from "vitest";

import { decode, encode } from "../../src/protocol/codec";
import { findWork, joiningWork } from "../../src/protocol/joining";
import { type Join, parse, recordId, sign, Signed, verifySignature } from "../../src/protocol/records";
import { checkLineage } from "../../src/protocol/resting";
import { chunksOf, runsOf } from "../../src/protocol/runs";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { type Case, expectBytes, expectRefused, fromHex, plain, vectors } from "./read";

const { records, refused, runs, proof_of_work } = vectors("records");

export const cases: Case[] = [];

for (const { name, seed, kind, fields, body, signature, record_id, signed } of records) {
  const opened = (): Signed => decode(Signed, fromHex(signed));
  const read = kind === "resumed" ? "commit" : kind;
  cases.push(
    { name: `${name} decodes`, check: () => expect(plain(parse(opened()))).toEqual({ kind: read, ...fields }) },
    { name: `${name} rests on what it may`, check: () => checkLineage(parse(opened())) },
    { name: `${name} has its body`, check: () => expectBytes(opened().body, body) },
    { name: `${name} has its id`, check: () => expectBytes(recordId(opened()), record_id) },
    { name: `${name} is signed well`, check: () => verifySignature(verify, opened()) },
    {
      name: `${name} is signed and encoded again`,
      check: () => expectBytes(encode(Signed, sign(new SoftwareIdentity(fromHex(seed)), parse(opened()))), signed),
    },
    { name: `${name} has its signature`, check: () => expectBytes(opened().signature, signature) },
  );
}
for (const { why, signed } of refused.envelopes) {
  cases.push({ name: `no envelope: ${why}`, check: () => expectRefused(() => decode(Signed, fromHex(signed))) });
}
for (const { why, kind, body } of refused.bodies) {
  const record: Signed = { kind, author: new Uint8Array(32), body: fromHex(body), signature: new Uint8Array(64) };
  cases.push({ name: `no body: ${why}`, check: () => expectRefused(() => checkLineage(parse(record))) });
}
for (const { why, signed } of refused.signatures) {
  const record = decode(Signed, fromHex(signed));
  cases.push({ name: `no signature: ${why}`, check: () => expectRefused(() => verifySignature(verify, record)) });
}
for (const { why, shard, runs } of refused.runs) {
  cases.push({ name: `no runs: ${why}`, check: () => expectRefused(() => chunksOf(shard, runs)) });
}
for (const { chunks, runs: expected } of runs) {
  cases.push(
    { name: `the runs of ${chunks}`, check: () => expect(runsOf(chunks)).toEqual(expected) },
    {
      name: `the chunks of ${JSON.stringify(expected)}`,
      check: () => expect(chunksOf(Math.floor(chunks[0] / 4_096), expected)).toEqual(chunks),
    },
  );
}

const { join: fields } = proof_of_work;
const join: Join = {
  kind: "join",
  task: fromHex(fields.task),
  sealKey: fromHex(fields.seal_key),
  anchor: fromHex(fields.anchor),
  epoch: fields.epoch,
  beacon: fromHex(fields.beacon),
  work: 0,
};
const worker = fromHex(proof_of_work.worker);
for (const { work, bits } of proof_of_work.leading_zero_bits) {
  cases.push({ name: `the work of ${work}`, check: () => expect(joiningWork({ ...join, work }, worker)).toBe(bits) });
}
for (const { bits, work } of proof_of_work.smallest) {
  cases.push({
    name: `the smallest work of ${bits} bits`,
    check: () => expect(findWork(join, worker, bits).work).toBe(work),
  });
}

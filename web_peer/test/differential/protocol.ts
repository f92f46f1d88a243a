/**
 * The protocol's pure functions as a server: questions on stdin, answers on stdout, each JSON behind its length as a
 * little-endian u32. Bytes are hexadecimal.
 *
 * tests/interop/test_differential_protocol.py asks, and compares with what the Python implementation says.
 */

import { Absences } from "../../src/protocol/absence";
import { sha256 } from "@noble/hashes/sha2.js";

import { custodiansOf, makeLeaf, openCommit, sealCommit } from "../../src/protocol/batch";
import { describe } from "../../src/protocol/blobs";
import { concat, fromHex, hex, type Hex } from "../../src/protocol/bytes";
import { checkRecord } from "../../src/protocol/checking";
import { array, bytes, decode, encode, nullable, type Schema, struct, text, tuple, u32 } from "../../src/protocol/codec";
import { ProtocolError, RemoteProtocolError } from "../../src/protocol/errors";
import type { Status } from "../../src/protocol/events";
import { contentId, peerIdOf, publicKeyOf } from "../../src/protocol/identity";
import { Ledger } from "../../src/protocol/ledger";
import { Manifest, openManifest } from "../../src/protocol/manifest";
import * as merkle from "../../src/protocol/merkle";
import * as policy from "../../src/protocol/policy";
import { provisionalTally } from "../../src/protocol/provisional";
import * as records from "../../src/protocol/records";
import * as shardRuns from "../../src/protocol/runs";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { checkInputs, ChunkReader, packItems, seed } from "../../src/protocol/chunks";
import { refsItem } from "../../src/protocol/onward";
import { type Ballot, type ChunkTally, tally, type Value } from "../../src/protocol/tally";
import { Sample } from "../sample";
import { openCount, unbegunCount, workersAtHome } from "../../src/protocol/shards";

const SCHEMAS: Readonly<Record<string, Schema<unknown>>> = {
  Sample,
  Manifest,
  Signed: records.Signed,
  Join: records.Join,
  Admit: records.Admit,
  Beacon: records.Beacon,
  Reveal: records.Reveal,
  Lease: records.Lease,
  Commit: records.Commit,
  Assign: records.Assign,
  Verdict: records.Verdict,
  Checkpoint: records.Checkpoint,
  CertificateBody: records.CertificateBody,
  Delegate: records.Delegate,
  Revoke: records.Revoke,
};

/** What an act gives, or in which words it is refused. Whatever else is thrown ends the program and fails the test. */
function outcome(act: () => unknown): unknown {
  try {
    return { value: act() };
  } catch (error) {
    if (error instanceof ProtocolError) return { kind: error.name, refused: error.message };
    throw error;
  }
}

/** Which values are decoded, told by encoding them again; refusals without their words, which are each library's. */
function decodes(name: string, data: Hex): Hex | null {
  try {
    const schema = SCHEMAS[name]!;
    return hex(encode(schema, decode(schema, fromHex(data))));
  } catch (error) {
    if (error instanceof RemoteProtocolError) return null;
    throw error;
  }
}

function signedOf(data: Hex): records.Signed {
  return decode(records.Signed, fromHex(data));
}

/** Never checked here: what a ledger is given was verified before. */
const trusting = (): boolean => true;

type Step = readonly ["add", Hex, number] | readonly ["expire", number] | readonly ["release", Hex];

function ledger(question: { manifest: Hex; keep: boolean; steps: readonly Step[]; now: number }): unknown {
  const { manifest, keep, steps, now } = question;
  const signed = signedOf(manifest);
  const of = new Ledger(signed, openManifest(signed, trusting), { keepCommits: keep });
  const went = steps.map((step) => {
    if (step[0] === "expire") return of.expire(step[1]);
    if (step[0] === "release") return of.leases.release(step[1]);
    return outcome(() => {
      const record = signedOf(step[1]);
      const parsed = records.parse(record);
      checkRecord(of, record, parsed);
      return of.add(record, parsed, step[2]);
    });
  });
  const shards = Array.from({ length: of.shards }, (_, shard) => shard);
  const topics = [of.taskKey, ...shards.map((shard) => of.taskKey + shard.toString(16).padStart(8, "0"))];
  const voted = [...of.commits.values()].flatMap(({ commit }) => shardRuns.chunksOf(commit.shard, commit.runs));
  return {
    went: went.map((each) => each ?? null),
    joins: [...of.joins.keys()],
    admits: [...of.admits.keys()],
    verdicts: [...of.verdicts].map(([worker, verdict]) => [worker, verdict.reason, verdict.voidTo]),
    equivocators: [...of.equivocators].sort(),
    creatorEquivocated: of.creatorEquivocated,
    certified: of.certificate !== null,
    checkpoints: [...of.checkpoints].map(([shard, { seq, root }]) => [shard, seq, hex(root)]),
    commits: [...of.commits].map(([id, { author }]) => [id, author]),
    held: topics.map((topic) => [...of.recordIds(topic)]),
    records: [...of.records()].map((record) => records.recordKey(record)),
    open: shards.map((shard) => openCount(of, shard)),
    unbegun: shards.map((shard) => unbegunCount(of, shard)),
    leased: shards.map((shard) => of.leases.chunks(shard, now).sort((left, right) => left - right)),
    atHome: shards.map((shard) => workersAtHome(of, shard)),
    leases: [...of.leases.all()]
      .map((each) => [each.worker, each.shard, each.home, each.seq, each.recordId, each.expiresAt, [...each.since]])
      .sort(),
    votes: [...new Set(voted)]
      .sort((left, right) => left - right)
      .map((chunk) => [
        chunk,
        of.voters(chunk),
        of.isClosed(chunk),
        of.isAccepted(chunk),
        of.leases.on(chunk, now).length,
      ]),
  };
}

interface Election {
  readonly ballots: readonly { worker: Hex; seq: number; commit: Hex; values: readonly [number, Value][] }[];
  readonly replication: number;
  readonly creator: Hex;
  readonly admitted: readonly Hex[];
  readonly convicted: readonly [Hex, number][];
  readonly assigned: readonly [Hex, number][];
}

const StateRow = struct("StateRow", {
  chunk: u32,
  state: text(),
  value: nullable(bytes()),
  missing: u32,
  offenders: array(bytes()),
  extra: u32,
});

function states({ ballots, replication, creator, admitted, convicted, assigned }: Election): unknown {
  const asked = new Set(assigned.map(([worker, chunk]) => `${worker} ${chunk}`));
  const cast: Ballot[] = ballots.map((ballot) => ({ ...ballot, values: new Map(ballot.values) }));
  const counted = tally(cast, {
    replication,
    creator,
    admitted: new Set(admitted),
    convicted,
    isAssigned: (worker, chunk) => asked.has(`${worker} ${chunk}`),
  });
  const rows = [...counted.chunks].map(([chunk, state]) => row(chunk, state));
  return {
    void: [...counted.void].sort(),
    states: [...counted.chunks].map(([chunk, { state }]) => [chunk, state]),
    digest: hex(sha256(encode(array(StateRow), rows))),
    root: hex(acceptedRoot([...counted.chunks])),
  };
}

interface RecordSet {
  readonly manifest: Hex;
  readonly records: readonly Hex[];
  /** What the creator finds in sealed batches and assignments, by record. */
  readonly votes: Readonly<Record<Hex, readonly [number, Value][]>>;
  readonly asked: Readonly<Record<Hex, readonly number[]>>;
}

/** Take up a set of records as they come, then tally what the ledger holds. */
function election({ manifest, records: came, votes, asked }: RecordSet): unknown {
  const signed = signedOf(manifest);
  const of = new Ledger(signed, openManifest(signed, trusting), { keepCommits: true });
  for (const data of came) {
    const record = signedOf(data);
    const parsed = records.parse(record);
    checkRecord(of, record, parsed);
    of.add(record, parsed, 0);
  }
  const assigned = [...of.records()]
    .filter(({ kind }) => kind === "assign")
    .flatMap((record) => {
      const worker = hex(decode(records.Assign, record.body).worker);
      return asked[records.recordKey(record)]!.map((chunk) => [worker, chunk] as [Hex, number]);
    });
  const ballots = [...of.commits].map(([commit, { author, commit: { seq } }]) => {
    return { worker: author, seq, commit, values: votes[commit]! };
  });
  return states({
    ballots,
    replication: of.manifest.policy.replication,
    creator: hex(of.manifest.creator),
    admitted: [...of.admits.keys()],
    convicted: [...of.verdicts].map(([worker, { voidTo }]) => [worker, voidTo] as [Hex, number]),
    assigned,
  });
}

interface AbsenceSet {
  readonly manifest: Hex;
  readonly records: readonly Hex[];
  readonly epoch: number;
}

/** Take up a set of records as they come, then tally what was shown by an epoch. */
function absence({ manifest, records: came, epoch }: AbsenceSet): unknown {
  const signed = signedOf(manifest);
  const of = new Ledger(signed, openManifest(signed, trusting), { keepCommits: true });
  const absences = Absences.of(of);
  for (const data of came) {
    const record = signedOf(data);
    const parsed = records.parse(record);
    checkRecord(of, record, parsed);
    of.add(record, parsed, 0);
  }
  const counted = provisionalTally(of, absences, epoch);
  return {
    void: [...counted.void].sort(),
    found: [...counted.found].sort(),
    trials: [...counted.trials],
    chunks: [...counted.chunks].map(([chunk, { state, value, credibility, missing, voters }]) => [
      chunk,
      state,
      value,
      Number(credibility.toPrecision(9)),
      missing,
      voters,
    ]),
  };
}

function row(chunk: number, { state, value, missing, offenders, extra }: ChunkTally): never {
  const bytesOfValue = value === null ? null : fromHex(value);
  return { chunk, state, value: bytesOfValue, missing, offenders: offenders.map(fromHex), extra } as never;
}

/** The root a checkpoint would have over these chunks. */
function acceptedRoot(chunks: readonly (readonly [number, ChunkTally])[]): Uint8Array {
  const leaves = chunks
    .filter(([, { state }]) => state === "agreed")
    .map(([chunk, { value }]) => merkle.leafHash(bigEndian(chunk), fromHex(value!)));
  return merkle.root(leaves);
}

function bigEndian(chunk: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, chunk);
  return bytes;
}

interface Batch {
  readonly author: Hex;
  readonly creator: Hex;
  readonly task: Hex;
  readonly seq: number;
  readonly leaves: readonly [number, Status, boolean, number, Hex, Hex][];
  readonly custodians: readonly Hex[];
  readonly salt: Hex;
  readonly nonce: Hex;
}

const identities = new Map<Hex, SoftwareIdentity>();
function identity(seed: Hex): SoftwareIdentity {
  let found = identities.get(seed);
  if (found === undefined) identities.set(seed, (found = new SoftwareIdentity(fromHex(seed))));
  return found;
}

function batch({ author, creator, task, seq, leaves, salt, nonce, custodians }: Batch): unknown {
  const worker = identity(author);
  const made = leaves.map(([chunk, status, inline, size, data, sealed]) => {
    return makeLeaf(chunk, status, inline, size, fromHex(data), fromHex(sealed));
  });
  const chances = { salt: fromHex(salt), nonce: fromHex(nonce), custodians: custodians.map(fromHex) };
  const commit = sealCommit(worker, identity(creator).sealKey, fromHex(task), seq, made, chances);
  const opened = openCommit(identity(creator), worker.sealKey, worker.publicKey, commit);
  return {
    body: hex(encode(records.Commit, commit)),
    signed: hex(encode(records.Signed, records.sign(worker, commit))),
    values: opened.map((leaf) => leaf.value),
    custodians: custodiansOf(identity(creator), worker.sealKey, commit).map(hex),
  };
}

function split({ manifest, data }: { manifest: Hex; data: Hex | null }): unknown {
  const inputs = data === null ? null : fromHex(data);
  const described = decode(Manifest, fromHex(manifest));
  const reader = new ChunkReader(described, inputs, refsItem);
  const chunks = Array.from({ length: Math.min(described.chunks, 20) }, (_, index) => index);
  return {
    checked: outcome(() => checkInputs(described, inputs) ?? null),
    inputs: chunks.map((chunk) => outcome(() => hex(reader.read(chunk)))),
  };
}

function tree({ leaves, other }: { leaves: readonly Hex[]; other: Hex }): unknown {
  const hashes = leaves.map((leaf) => merkle.leafHash(fromHex(leaf)));
  const root = merkle.root(hashes);
  return {
    root: hex(root),
    proofs: hashes.map((_, index) => merkle.proof(hashes, index).map(hex)),
    holds: hashes.map((leaf, index) => {
      const proof = merkle.proof(hashes, index);
      return [
        merkle.verifies(leaf, index, hashes.length, proof, root),
        merkle.verifies(leaf, index + 1, hashes.length, proof, root),
        merkle.verifies(leaf, index, hashes.length + 1, proof, root),
        merkle.verifies(leaf, index, hashes.length, [...proof, fromHex(other)], root),
        merkle.verifies(leaf, index, hashes.length, proof.slice(1), root),
      ];
    }),
  };
}

const seedQuestion = array(tuple(bytes(), u32));

/* eslint-disable @typescript-eslint/no-explicit-any */
const ANSWERS: Readonly<Record<string, (question: any) => unknown>> = {
  decodes: ({ items }) => items.map(([name, data]: [string, Hex]) => decodes(name, data)),
  ids: ({ items }) => items.map((data: Hex) => records.recordKey(signedOf(data))),
  contentId: ({ domain, body }) => hex(contentId(domain, fromHex(body))),
  runs: ({ chunks }) => shardRuns.runsOf(chunks),
  chunks: ({ shard, runs, allowNone }) => outcome(() => shardRuns.chunksOf(shard, runs, { allowNone })),
  ledger,
  states,
  elections: ({ items }) => items.map(election),
  absences: ({ items }) => items.map(absence),
  batch,
  split,
  tree,
  describe: ({ data }) => {
    const { sha256, size, root } = describe(fromHex(data));
    return [hex(sha256), size, hex(root)];
  },
  packItems: ({ items }) => hex(packItems(items.map(fromHex))),
  opens: ({ record }) => outcome(() => hex(encode(Manifest, openManifest(signedOf(record), verify)))),
  seeds: ({ items }) => decode(seedQuestion, fromHex(items)).map(([task, chunk]) => String(seed(task, chunk))),
  peer: ({ seed }) => {
    const peer = new SoftwareIdentity(fromHex(seed));
    return [hex(peer.publicKey), hex(peer.sealKey), peer.peerId, hex(peer.sign("cc/join/1", peer.publicKey))];
  },
  peerIds: ({ items }) => items.map((key: Hex) => peerIdOf(fromHex(key))),
  publicKeys: ({ items }) => items.map((peerId: string) => outcome(() => hex(publicKeyOf(peerId)))),
  verify: ({ key, body, signature }) => verify(fromHex(key), "cc/join/1", fromHex(body), fromHex(signature)),
  policy: ({ asked, chunks, events, strength }) => [
    policy.auditShare(asked, chunks),
    policy.probationShare(asked, chunks, events),
    policy.errorBound(strength, events, true),
    policy.errorBound(strength, events, false),
    policy.explain(asked, chunks),
  ],
};

let pending: Uint8Array = new Uint8Array(0);

process.stdin.on("data", (chunk: Buffer) => {
  pending = concat(pending, chunk);
  for (;;) {
    const length = pending.length < 4 ? Infinity : new DataView(pending.buffer, pending.byteOffset).getUint32(0, true);
    if (pending.length - 4 < length) return;
    const { ask, ...question } = JSON.parse(new TextDecoder().decode(pending.subarray(4, 4 + length)));
    pending = pending.slice(4 + length);
    const answer = Buffer.from(JSON.stringify(ANSWERS[ask]!(question)));
    const header = Buffer.alloc(4);
    header.writeUInt32LE(answer.length);
    process.stdout.write(Buffer.concat([header, answer]));
  }
});

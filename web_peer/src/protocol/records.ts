/**
 * The signed records of a task's ledger, field by field (spec/ledger.md).
 *
 * A record travels as `Signed`: its kind, its body as the bytes that were signed, its author's key and the signature.
 * Its id is the content id of domain and body. Every body names its task, so no record can be replayed in another one.
 */

import { hex, type Hex } from "./bytes";
import {
  array,
  body,
  bool,
  bytes,
  bytes32,
  bytes64,
  decode,
  encode,
  float,
  integer,
  literal,
  struct,
  tuple,
  u32,
  u53,
  type Infer,
  type Schema,
} from "./codec";
import { RemoteProtocolError } from "./errors";
import { contentId, type Signer, type Verifier } from "./identity";
import { before } from "./lineage";

/** Chunks of one shard at most: the unit of gossip, sync and storage (DESIGN section 6). */
export const SHARD_CHUNKS = 4_096;

/** A record must leave room for its envelope in a frame. */
export const RECORD_BYTES_MAX = 48 * 1024;

/** A reveal names records by the first bytes of their ids: nobody makes another record that begins like one. */
export const SEEN_BYTES = 16;

/** Commits that a reveal may name as seen: with 1,024 votes it still fits a record. */
export const SEEN_MAX = 512;

/** Chunks of one commit: 1,024 hashes of 32 bytes still fit a record. */
export const COMMIT_CHUNKS_MAX = 1_024;

/** The largest state that is handed on; a larger one stays with its maker. */
export const STATE_BYTES_MAX = 2 * 1024 * 1024;

/** The greatest seq there can be: a verdict that voids commits up to it is for good. */
export const EVERYTHING = Number.MAX_SAFE_INTEGER;

/** A row of a table of credit: a worker's key and its millicredits. */
export const CREDITS_ROW_BYTES = 40;
/** A table of credit up to this size is in the checkpoint itself: a hundred workers. */
export const CREDITS_INLINE_BYTES_MAX = 4_096;
/** As many rows as a task has workers. */
export const CREDITS_BYTES_MAX = 100_000 * CREDITS_ROW_BYTES;

/** A lease of this length and without chunks says that the worker leaves: it is not asked for anything any more. */
export const LEAVING_TTL_S = 1;

const KINDS = [
  "manifest",
  "join",
  "admit",
  "beacon",
  "lease",
  "commit",
  "reveal",
  "assign",
  "verdict",
  "checkpoint",
  "certificate",
  "delegate",
  "revoke",
  "savepoint",
  "resumed",
  "feed",
  "vouch",
] as const;
export type Kind = (typeof KINDS)[number];

/** Consecutive chunks as (first, count). Lists of runs are ascending, disjoint and not adjacent. */
export const Run = tuple(u32, u32);
export type Run = Infer<typeof Run>;
export const Runs = array(Run, { max: COMMIT_CHUNKS_MAX });
export type Runs = Infer<typeof Runs>;

/** One record as it travels and as it is stored. A schema has the name of its type. */
export const Signed = struct("Signed", {
  kind: literal(...KINDS),
  author: bytes32,
  body: bytes({ max: RECORD_BYTES_MAX }),
  signature: bytes64,
});
export type Signed = Infer<typeof Signed>;

/**
 * A worker asks to be admitted to a task and pays with a proof of work.
 *
 * `anchor` is that of the chain it will draw lots from. `epoch` and `beacon` are the latest beacon it knows: the work
 * cannot have been done before that was out.
 */
export const Join = body("join", {
  task: bytes32,
  sealKey: bytes32,
  anchor: bytes32,
  epoch: u32,
  beacon: bytes32,
  work: u53,
});
export type Join = Infer<typeof Join>;

/** The creator admits a worker. `nonce` was drawn after the join, so nobody could grind the lots of this anchor. */
export const Admit = body("admit", {
  task: bytes32,
  worker: bytes32,
  anchor: bytes32,
  nonce: bytes({ min: 16, max: 16 }),
});
export type Admit = Infer<typeof Admit>;

/** The creator was there from epoch `since` to `epoch`, whose value of its chain this is, with so many workers. */
export const Beacon = body("beacon", {
  task: bytes32,
  epoch: u32,
  since: u32,
  value: bytes32,
  workers: u32,
});
export type Beacon = Infer<typeof Beacon>;

/**
 * A worker says for `ttlS` seconds, counted from arrival, that it is on these chunks of the shard and no others.
 *
 * A hint, never tallied. Without runs it says: admitted, here, and idle; or, for `LEAVING_TTL_S`, gone. `home` is the
 * shard in which the worker listens for assignments; it may lease chunks of other shards because it was asked to.
 */
export const Lease = body("lease", {
  task: bytes32,
  shard: u32,
  home: u32,
  seq: u53,
  ttlS: integer(1, 3_600),
  runs: Runs,
});
export type Lease = Infer<typeof Lease>;

/**
 * A batch of one worker's votes: which chunks is public, what they say is sealed to the creator.
 *
 * `epoch` is when its author began it, on its own clock. With `link`, the value of its chain for that epoch, it says
 * that lots chose these chunks for it (drawing.ts).
 */
const COMMIT = {
  task: bytes32,
  shard: u32,
  seq: u53,
  epoch: u32,
  link: bytes({ max: 32 }),
  runs: Runs,
  root: bytes32,
  sealed: bytes(),
} as const;
export const Commit = body("commit", COMMIT);
/** With `after`, the savepoint of another as it was signed, that the execution of its one chunk went on from (`resumed`). */
export type Commit = Infer<typeof Commit> & { readonly after?: Uint8Array };

const Resumed = body("resumed", { ...COMMIT, after: bytes({ max: 4_096 }) });

/**
 * How far a worker is with a chunk: who takes the chunk over may go on from there (lineage.ts).
 *
 * `number` counts the savepoints that the program has written so far, and `sha256` names the state at that one.
 */
export const Savepoint = body("savepoint", {
  task: bytes32,
  shard: u32,
  seq: u53,
  chunk: u32,
  number: integer(1, 0xffff_ffff),
  sha256: bytes32,
  size: integer(1, STATE_BYTES_MAX),
  keepers: array(bytes32, { max: 3 }),
  after: bytes({ max: 4_096 }),
});
export type Savepoint = Infer<typeof Savepoint>;

const bytes16 = bytes({ min: 16, max: 16 });

/**
 * What a commit's author voted, shown while the creator is away: statuses and hashes, no result.
 *
 * `seen` names the commits of others on the same chunks that its author held by then: those were made blindly.
 */
export const Reveal = body("reveal", {
  task: bytes32,
  shard: u32,
  commit: bytes32,
  salt: bytes16,
  votes: array(tuple(integer(0, 2), bytes32), { min: 1, max: COMMIT_CHUNKS_MAX }),
  seen: array(bytes16, { max: SEEN_MAX }),
});
export type Reveal = Infer<typeof Reveal>;

/**
 * The creator asks one worker, sealed, to execute chunks. Second votes, audits and repairs look alike.
 *
 * `shard` is where the worker listens; which chunks are meant, of whatever shard, only the two of them know.
 */
export const Assign = body("assign", {
  task: bytes32,
  shard: u32,
  seq: u53,
  worker: bytes32,
  sealed: bytes(),
});
export type Assign = Infer<typeof Assign>;

/**
 * The creator of a stream gives its next chunks their inputs: `first`, and those after it (feeding.ts).
 *
 * With `ends` it says that these are the last ones.
 */
export const Feed = body("feed", {
  task: bytes32,
  first: u32,
  inputs: array(bytes({ max: 1_024 }), { max: COMMIT_CHUNKS_MAX }),
  ends: bool,
});
export type Feed = Infer<typeof Feed>;

/**
 * The creator convicts one worker: its commits in the task up to a seq are void.
 *
 * A first wrong result may be the hardware's: that is a **strike**, which voids what was committed until then. The second
 * one, and whatever else there is to convict for, is a **ban**, which voids `EVERYTHING`.
 */
export const Verdict = body("verdict", {
  task: bytes32,
  worker: bytes32,
  reason: literal("wrong", "malformed", "equivocated"),
  chunk: u32,
  commit: bytes32,
  voidTo: u53,
});
export type Verdict = Infer<typeof Verdict>;

/**
 * The creator's signed state of one shard: which chunks are accepted, and with what.
 *
 * `begun` counts chunks somebody voted on or has leased: what is left is worth coming for. `credits` is the table that
 * says who earned what in the shard, or the SHA-256 of a large one (credit.ts).
 */
export const Checkpoint = body("checkpoint", {
  task: bytes32,
  shard: u32,
  seq: u32,
  begun: u32,
  accepted: bytes({ max: SHARD_CHUNKS / 8 }),
  failed: bytes({ max: SHARD_CHUNKS / 8 }),
  root: bytes32,
  creditsRoot: bytes32,
  creditsSize: u32,
  credits: bytes({ max: CREDITS_INLINE_BYTES_MAX }),
});
export type Checkpoint = Infer<typeof Checkpoint>;

/** The creator closes the task: what was accepted and how well it was checked. */
export const CertificateBody = body("certificate", {
  task: bytes32,
  chunks: u32,
  accepted: u32,
  failed: u32,
  root: bytes32,
  executions: u53,
  workerAudits: u32,
  creatorAudits: u32,
  mismatches: u32,
  convicted: u32,
  eps: float,
  bound: float,
  confidence: float,
});
export type CertificateBody = Infer<typeof CertificateBody>;

/**
 * The creator lets a worker act for it while it is away, until a moment (Unix time); the task's seal secret is sealed to it.
 * If `trusted`, the creator answers for its dice: what it asks for then counts as an audit, too.
 */
export const Delegate = body("delegate", {
  task: bytes32,
  steward: bytes32,
  untilS: u53,
  trusted: bool,
  sealed: bytes({ min: 60, max: 60 }),
});
export type Delegate = Infer<typeof Delegate>;

/** The creator takes back a delegation, and with it all that the steward ever said in the task. */
export const Revoke = body("revoke", { task: bytes32, steward: bytes32 });
export type Revoke = Infer<typeof Revoke>;

export type LedgerRecord =
  | Join
  | Admit
  | Beacon
  | Lease
  | Commit
  | Reveal
  | Assign
  | Verdict
  | Checkpoint
  | CertificateBody
  | Delegate
  | Revoke
  | Savepoint
  | Feed;

const BODIES = {
  join: Join,
  admit: Admit,
  beacon: Beacon,
  lease: Lease,
  commit: Commit,
  reveal: Reveal,
  assign: Assign,
  verdict: Verdict,
  checkpoint: Checkpoint,
  certificate: CertificateBody,
  delegate: Delegate,
  revoke: Revoke,
  savepoint: Savepoint,
  feed: Feed,
} as const;

const DOMAINS = Object.fromEntries(KINDS.map((kind) => [kind, `cc/${kind}/1`])) as Record<Kind, string>;

/** What a signature of this kind of record is for. */
export function domainOf(kind: Kind): string {
  return DOMAINS[kind];
}

interface Name {
  readonly id: Uint8Array;
  readonly key: Hex;
}
const names = new WeakMap<Signed, Name>();

function nameOf(record: Signed): Name {
  let name = names.get(record);
  if (name === undefined) {
    const domain = domainOf(record.kind);
    const id =
      record.kind === "manifest" ? contentId(domain, record.body) : contentId(domain, record.author, record.body);
    name = { id, key: hex(id) };
    names.set(record, name);
  }
  return name;
}

/**
 * The record's name. A manifest's is its task's id.
 *
 * The author is part of every other id: two workers may well say the same, and nobody may take another's place in the
 * seen caches by signing the same body first. A manifest's body names its creator itself.
 */
export function recordId(record: Signed): Uint8Array {
  return nameOf(record).id;
}

/** `recordId` in hexadecimal, for maps and sets. Computed once per record, as the id itself is. */
export function recordKey(record: Signed): Hex {
  return nameOf(record).key;
}

/** Encode and sign one record. From here on only these bytes count; the signature may be filled in later. */
export function sign(signer: Signer, record: LedgerRecord): Signed {
  const kind = record.kind === "commit" && record.after !== undefined ? "resumed" : record.kind;
  const encoded = encode((kind === "resumed" ? Resumed : BODIES[record.kind]) as Schema<LedgerRecord>, record);
  return { kind, author: signer.publicKey, body: encoded, signature: signer.sign(domainOf(kind), encoded) };
}

/**
 * The typed body of a record (not of a manifest or a vouch). The signature is not looked at, nor what it rests on
 * (`checkLineage`).
 *
 * @throws RemoteProtocolError when the body is not what its kind says, or its runs are not in canonical order.
 */
export function parse(record: Signed): LedgerRecord {
  if (record.kind === "manifest" || record.kind === "vouch") {
    throw new RemoteProtocolError(`a ${record.kind} is not a ledger record`);
  }
  const parsed: LedgerRecord =
    record.kind === "resumed"
      ? { ...decode(Resumed, record.body), kind: "commit" }
      : decode(BODIES[record.kind] as Schema<LedgerRecord>, record.body);
  if (parsed.kind === "lease" || parsed.kind === "commit") {
    checkRuns(parsed.shard, parsed.runs, parsed.kind === "lease");
  }
  if (parsed.kind === "commit" && parsed.link.length % 32 !== 0) {
    throw new RemoteProtocolError("a commit's link is not a value of a chain");
  }
  if (parsed.kind === "feed" && parsed.inputs.length === 0 && !parsed.ends) {
    throw new RemoteProtocolError("a feed that says nothing");
  }
  return parsed;
}

/**
 * Check the author's signature over the bytes as they came, and those of the savepoints that the record rests on.
 *
 * @throws RemoteProtocolError when a signature does not verify.
 */
export function verifySignature(verifier: Verifier, record: Signed): void {
  for (let rest: Signed | null = record; rest !== null; ) {
    if (!verifier(rest.author, domainOf(rest.kind), rest.body, rest.signature)) {
      throw new RemoteProtocolError(`a ${rest.kind} has a wrong signature`);
    }
    rest = rest.kind === "savepoint" || rest.kind === "resumed" ? before(parse(rest) as Savepoint) : null;
  }
}

/** The shard a chunk belongs to. */
export function shardOf(chunk: number): number {
  return Math.floor(chunk / SHARD_CHUNKS);
}

/**
 * Whether runs are canonical and within one shard.
 *
 * @throws RemoteProtocolError when runs are empty, out of order, adjacent, outside the shard, or too many chunks.
 */
export function checkRuns(shard: number, runs: Runs, allowNone: boolean): void {
  const first = shard * SHARD_CHUNKS;
  const end = first + SHARD_CHUNKS;
  let total = 0;
  let position = -1;
  for (const [start, count] of runs) {
    if (count < 1 || start <= position || start < first || start + count > end) {
      throw new RemoteProtocolError("runs of chunks must be ascending, disjoint, not adjacent and within the shard");
    }
    total += count;
    if (total > COMMIT_CHUNKS_MAX) {
      throw new RemoteProtocolError(`a record names at most ${COMMIT_CHUNKS_MAX} chunks`);
    }
    position = start + count;
  }
  if (total === 0 && !allowNone) throw new RemoteProtocolError("a record must name at least one chunk");
}

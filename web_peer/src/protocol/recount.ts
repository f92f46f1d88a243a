/**
 * A certificate checked from the records alone, by anybody (spec/verification.md, "Evidence").
 *
 * The records are taken up as a peer takes them up, signatures and all; the votes shown are held against the roots their
 * authors signed; then everything is counted again by the definition (tally.ts) and compared with what the creator
 * certified. What no record can show is in `CANNOT_CHECK`. Its sentences are those of `cc-task audit`.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { Absences } from "./absence";
import type { Leaf } from "./batch";
import { equal, fromHex, hex, type Hex } from "./bytes";
import { checkRecord } from "./checking";
import { fieldsOf, split, tableOf } from "./credit";
import { ModuleRefused, ProtocolError, RemoteProtocolError } from "./errors";
import { Status } from "./events";
import type { Comparison } from "./gpu/compare";
import { readComparison } from "./gpu/package";
import type { Verifier } from "./identity";
import { bit, Ledger } from "./ledger";
import { restsOf } from "./lineage";
import { type Manifest, openManifest } from "./manifest";
import * as merkle from "./merkle";
import { countedValue, openedChunks, openedVotes, type Shown } from "./opening";
import { auditStrength, CONFIDENCE, CONFIDENCE_AFTER_CONVICTION, errorBound } from "./policy";
import {
  type CertificateBody,
  EVERYTHING,
  type Kind,
  type LedgerRecord,
  parse,
  recordKey,
  SHARD_CHUNKS,
  type Signed,
  type Verdict,
  verifySignature,
} from "./records";
import { chunksNow, existing } from "./shards";
import type { Stewards } from "./stewards";
import { type Ballot, type ChunkTally, differ, equivocators, isVoided, type Same, type Tally, tally } from "./tally";

const CANNOT_CHECK: readonly string[] = [
  "that audits were drawn at random and blindly: the creator threw the dice",
  "which votes the creator asked for, as it says: assignments are sealed to their workers, who can tell",
  "that no record was left out: whoever holds one that is missing here can tell",
  "that the workers are different people",
];
const CANNOT_CHECK_STEWARDS =
  "that audits a steward drew were drawn at random and blindly: its creator answers for it";
const CANNOT_CHECK_SAVEPOINTS =
  "that the savepoints are false for which workers were convicted: whoever executes the chunk can tell";
const CANNOT_CHECK_MALFORMED =
  "that the commits of workers convicted as malformed do not open: only the creator could try";
const CANNOT_CHECK_WITHHELD =
  "that nobody delivered the results of votes that are shown without: whoever has one can tell";
const CANNOT_CHECK_SAMPLE =
  "which chunks were in the fresh sample after the conviction: the bound is as good as these audits allow at best";
const CANNOT_CHECK_MISMATCHES =
  "how many of the wrong votes had been accepted for a while: the certificate's number is possible";

/** Of a bound that another language computed (spec/verification.md: nine significant digits). */
const TOLERANCE = 1e-9;

/** What the creator's votes on chunks say that it wants no more. */
const GIVEN_UP = sha256(new TextEncoder().encode("cancelled by its creator"));

const OPEN: ChunkTally = { state: "open", value: null, missing: 0, offenders: [], extra: 0 };

/** The first thing found that is not as certified, in one sentence; where there is one, the chunk and the worker. */
export class DoesNotHold extends ProtocolError {
  override readonly name = "DoesNotHold";
  readonly chunk: number | null;
  readonly worker: Hex | null;

  constructor(what: string, { chunk = null, worker = null }: { chunk?: number | null; worker?: Hex | null } = {}) {
    super(what);
    this.chunk = chunk;
    this.worker = worker;
  }
}

/** What the records say, all of it as certified. */
export interface Recount {
  /** The manifest's record. */
  readonly signed: Signed;
  readonly manifest: Manifest;
  readonly certificate: CertificateBody;
  readonly verdicts: ReadonlyMap<Hex, Verdict>;
  /** The value of each accepted chunk. */
  readonly values: ReadonlyMap<number, Hex>;
  /** Millicredits by worker, all shards together. */
  readonly credit: ReadonlyMap<Hex, number>;
  /** How many records there are. */
  readonly records: number;
  /** Authors of records. */
  readonly peers: number;
  /** How many records of each kind every steward signed that its creator did not revoke. */
  readonly bySteward: ReadonlyMap<Hex, ReadonlyMap<Kind, number>>;
  /** Those of them whose audits count as the creator's own. */
  readonly trusted: readonly Hex[];
  /** Stewards whose word counts for nothing any more. */
  readonly revoked: readonly Hex[];
  /** Votes that differ from the accepted result, by worker. */
  readonly wrongVotes: ReadonlyMap<Hex, number>;
  /** Chunks that the creator gave up. */
  readonly cancelled: number;
  readonly cannotCheck: readonly string[];
}

/**
 * Count again what a certificate certifies.
 *
 * @throws DoesNotHold when something is not as certified.
 * @throws RemoteProtocolError when the records are damaged.
 */
export function recount(shown: Iterable<Shown>, verifier: Verifier): Recount {
  const evidence = new Evidence(shown, verifier);
  evidence.checkClosed();
  evidence.checkVoid();
  evidence.checkVerdicts();
  evidence.checkChunks();
  evidence.checkCheckpoints();
  evidence.checkCertificate();
  return evidence.result();
}

/** The records taken up, and the checks on them in the order in which they rest on each other. */
class Evidence {
  private readonly manifest: Manifest;
  private readonly creator: Hex;
  private readonly ledger: Ledger;
  private certificate: CertificateBody | null = null;
  private records = 1;
  private readonly authors: Set<Hex>;
  private readonly ballots: Ballot[] = [];
  /** Commit that is not shown -> its author. */
  private readonly unopened = new Map<Hex, Hex>();
  private readonly assigned = new Set<string>();
  private readonly stewards: Stewards;
  /** Steward -> whom it asked for what. */
  private readonly entrusted = new Map<Hex, { readonly worker: Hex; readonly chunk: number }[]>();
  /** Votes that count towards a quorum and are no audits, besides those that lots chose. */
  private readonly drawn = new Set<string>();
  private readonly bySteward = new Map<Hex, Map<Kind, number>>();
  private readonly tally: Tally;
  /** Chunk -> worker -> the results it voted for, void or not: one, none, or of an equivocator several. */
  private readonly votes = new Map<number, Map<Hex, Set<Hex>>>();
  /** Chunks on which a vote is void. */
  private readonly disowned = new Set<number>();
  private readonly givenUp = new Set<number>();
  /** Workers whose votes for the value of an accepted chunk count. */
  private readonly confirmers = new Map<number, Set<Hex>>();
  private readonly values = new Map<number, Hex>();
  private readonly comparison: Comparison | null;
  /** By their SHA-256, where results are compared as numbers. */
  private readonly results: Map<Hex, Uint8Array> | null;
  private isWithheld = false;
  private readonly close = new Map<string, boolean>();
  private readonly same: Same;
  private readonly isObserved: boolean;

  constructor(shown: Iterable<Shown>, verifier: Verifier) {
    const entries = shown[Symbol.iterator]();
    const first = entries.next();
    if (first.done === true) throw new RemoteProtocolError("the file holds no records");
    this.manifest = openManifest(first.value.signed, verifier);
    this.creator = hex(this.manifest.creator);
    this.isObserved = this.manifest.runtime === "net";
    const comparison = first.value.opened.length > 0 ? comparisonOf(this.manifest, first.value.opened) : null;
    this.comparison = comparison;
    this.results = comparison === null ? null : new Map([[hex(sha256(new Uint8Array())), new Uint8Array()]]);
    this.same = comparison === null ? differ : (_, one, other) => this.areClose(comparison, one, other);
    this.ledger = new Ledger(first.value.signed, this.manifest, { keepCommits: true });
    const { lots, stewards } = Absences.of(this.ledger);
    this.stewards = stewards;
    this.authors = new Set([this.creator]);
    for (let next = entries.next(); next.done !== true; next = entries.next()) this.take(next.value, verifier);
    this.countStewards();
    this.tally = tally(this.ballots, {
      replication: this.manifest.policy.replication,
      creator: this.creator,
      admitted: new Set([...this.ledger.admits.keys(), ...stewards.delegations.keys()]),
      convicted: [
        ...[...this.ledger.verdicts].map(([worker, { voidTo }]) => [worker, voidTo] as const),
        ...[...stewards.revoked].map((steward) => [steward, EVERYTHING] as const),
      ],
      isAssigned: (worker, chunk) => this.assigned.has(`${worker} ${chunk}`),
      isDrawn: (worker, chunk) => this.drawn.has(`${worker} ${chunk}`) || lots.workers(chunk, true).has(worker),
      same: this.same,
      kin: comparison?.hasClasses === true ? (_, value) => this.classOf(comparison, value) : null,
      isObserved: this.isObserved,
    });
    for (const ballot of this.ballots) this.look(ballot);
    for (const [chunk, { value }] of this.tally.chunks) if (value !== null) this.values.set(chunk, value);
  }

  private take({ signed, opened }: Shown, verifier: Verifier): void {
    const number = this.records;
    const author = hex(signed.author);
    if (this.certificate !== null) {
      throw new DoesNotHold(`record ${number} comes after the certificate, which cannot rest on it`);
    }
    let record: LedgerRecord | null = null;
    try {
      record = parse(signed);
      checkRecord(this.ledger, signed, record);
      verifySignature(verifier, signed);
      if (record.kind === "lease" || record.kind === "savepoint" || !this.ledger.add(signed, record, 0)) {
        throw new RemoteProtocolError(`a ${signed.kind} that no certificate rests on`);
      }
      if (record.kind === "commit" && author !== this.creator && !this.ledger.joins.has(author)) {
        throw new RemoteProtocolError("a commit of a worker that has not joined");
      }
      this.open(signed, record, opened);
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
      const chunk = record?.kind === "commit" ? record.runs[0]![0] : null;
      throw new DoesNotHold(`record ${number}: ${error.message}`, { chunk, worker: author });
    }
    this.records++;
    this.authors.add(author);
    if (this.stewards.has(author)) {
      const said = inner(this.bySteward, author, () => new Map<Kind, number>());
      said.set(signed.kind, (said.get(signed.kind) ?? 0) + 1);
    }
    if (record.kind === "certificate") this.certificate = record;
  }

  private open(signed: Signed, record: LedgerRecord, opened: Uint8Array): void {
    const author = hex(signed.author);
    if (record.kind === "assign" && author !== this.creator) {
      // A steward may have sealed nonsense.
      const asked = (opened.length === 0 ? [] : openedChunks(opened)).map((chunk) => ({ worker: hex(record.worker), chunk }));
      inner(this.entrusted, author, () => []).push(...asked);
    } else if (record.kind === "assign") {
      for (const chunk of openedChunks(opened)) this.assigned.add(`${hex(record.worker)} ${chunk}`);
    } else if (record.kind === "commit" && opened.length === 0) {
      this.unopened.set(recordKey(signed), author);
    } else if (record.kind === "commit") {
      const leaves = openedVotes(signed.author, record, opened, this.results);
      const values = new Map(leaves.map((leaf) => [leaf.chunk, this.countedValue(leaf)] as const));
      for (const { chunk, value, data } of author === this.creator ? leaves : []) {
        if (!value && equal(data, GIVEN_UP)) this.givenUp.add(chunk);
      }
      const rests = restsOf(record);
      this.ballots.push({ worker: author, seq: record.seq, commit: recordKey(signed), values, ...(rests.length > 0 && { rests }) });
    } else if (opened.length > 0) {
      throw new RemoteProtocolError(`a ${signed.kind} seals nothing that could be shown`);
    }
  }

  private classOf(comparison: Comparison, value: Hex): Hex {
    return value.startsWith("00") ? hex(comparison.classOf(this.results!.get(value.slice(2))!)) : "";
  }

  private countedValue(leaf: Leaf): Hex {
    if (this.results === null) return leaf.value;
    const data = this.results.get(hex(leaf.data)) ?? null;
    if (leaf.status === Status.OK && data === null) this.isWithheld = true;
    return countedValue(leaf, this.comparison, data);
  }

  /** Stewards' assignments and own votes count as their creator says. */
  private countStewards(): void {
    for (const [steward, { trusted }] of this.stewards.delegations) {
      for (const { worker, chunk } of this.entrusted.get(steward) ?? []) {
        this.drawn.add(`${worker} ${chunk}`);
        // A steward's own vote is no audit, whoever asked it.
        if (trusted && !this.stewards.has(worker)) this.assigned.add(`${worker} ${chunk}`);
      }
    }
    for (const { worker, values } of this.ballots) {
      if (this.stewards.has(worker)) for (const chunk of values.keys()) this.drawn.add(`${worker} ${chunk}`);
    }
  }

  /** Note what one commit says of each chunk. */
  private look(ballot: Ballot): void {
    const { worker, values } = ballot;
    const isVoid = isVoided(ballot, this.tally.void);
    // A steward earns nothing: it chose itself.
    const counts = !isVoid && this.ledger.admits.has(worker) && !this.stewards.has(worker);
    for (const [chunk, value] of values) {
      const results = inner(inner(this.votes, chunk, () => new Map<Hex, Set<Hex>>()), worker, () => new Set<Hex>());
      if (value) results.add(value);
      if (isVoid) this.disowned.add(chunk);
      const accepted = this.tally.chunks.get(chunk)?.value;
      if (counts && value && accepted && this.isSame(chunk, value, accepted)) {
        inner(this.confirmers, chunk, () => new Set<Hex>()).add(worker);
      }
    }
  }

  /** There is a certificate at all. */
  checkClosed(): void {
    if (this.certificate === null) {
      throw new DoesNotHold("the records hold no certificate: the task is not closed");
    }
    const { fed } = this.ledger;
    if (fed === null) return;
    const by = { worker: this.creator };
    if (fed.isForked) throw new DoesNotHold("the creator gave a chunk two inputs, or the stream two ends", by);
    if (!fed.isEnded) throw new DoesNotHold("the stream is certified, and not all of what was fed is shown", by);
    for (const chunk of this.tally.chunks.keys()) {
      if (chunk >= fed.count) throw new DoesNotHold("somebody voted on a chunk that was not fed");
    }
  }

  /** Whoever contradicted itself or kept its votes from being counted was convicted. */
  checkVoid(): void {
    for (const worker of [...new Set([...this.ledger.equivocators, ...equivocators(this.ballots, this.same, this.isObserved)])].sort()) {
      if (this.isOut(worker)) continue;
      throw new DoesNotHold("a worker signed two things that exclude each other, and was not convicted", { worker });
    }
    for (const worker of [...new Set(this.unopened.values())].sort()) {
      if (this.isOut(worker)) continue;
      throw new DoesNotHold("a commit is not opened, and its author was not convicted", { worker });
    }
  }

  /** The records show what every convicted worker did, as far as others can see it. */
  checkVerdicts(): void {
    for (const [worker, strike] of sorted(this.ledger.strikes)) {
      const isSigned = ({ worker: author, seq, rests = [] }: Ballot): boolean =>
        (author === worker && seq === strike.voidTo) ||
        rests.some((rest) => rest.maker === worker && rest.seq === strike.voidTo);
      if (!this.ballots.some(isSigned)) {
        throw new DoesNotHold("a strike voids commits up to one that its worker did not sign", { worker });
      }
      if (!this.wasWrong(worker, strike, 0, strike.voidTo)) {
        const where = { chunk: strike.chunk, worker };
        throw new DoesNotHold("a worker has a strike, and the records do not show what for", where);
      }
    }
    const caught = new Set([...equivocators(this.ballots, this.same, this.isObserved), ...this.ledger.equivocators]);
    for (const [worker, verdict] of sorted(this.ledger.verdicts)) {
      if (!this.isBanned(worker)) continue;
      if (this.shows(worker, verdict, caught)) continue;
      const chunk = verdict.reason === "wrong" ? verdict.chunk : null;
      throw new DoesNotHold(`a worker was convicted as ${verdict.reason}, and the records do not show it`, {
        chunk,
        worker,
      });
    }
  }

  private shows(worker: Hex, verdict: Verdict, caught: ReadonlySet<Hex>): boolean {
    const { reason, commit } = verdict;
    if (reason === "equivocated") return caught.has(worker);
    if (reason === "malformed") return this.unopened.get(hex(commit)) === worker;
    const strike = this.ledger.strikes.get(worker);
    if (strike === undefined) {
      throw new DoesNotHold("a worker was banned for its first wrong result, which is a strike", { worker });
    }
    return this.wasWrong(worker, verdict, strike.voidTo + 1, EVERYTHING);
  }

  /** Every chunk is settled by its votes. */
  checkChunks(): void {
    for (let chunk = 0; chunk < chunksNow(this.ledger); chunk++) {
      const { state, offenders } = this.tally.chunks.get(chunk) ?? OPEN;
      const [worker] = offenders;
      if (worker !== undefined) {
        const what = "a worker voted otherwise than the creator itself computed, and was not convicted";
        throw new DoesNotHold(what, { chunk, worker });
      }
      if (state !== "agreed" && state !== "failed") throw new DoesNotHold(`the votes leave a chunk ${state}`, { chunk });
    }
  }

  /** The last checkpoint of every shard says what its votes say. */
  checkCheckpoints(): void {
    if (this.ledger.creatorEquivocated) {
      const what = "the creator signed two different checkpoints with one number";
      throw new DoesNotHold(what, { worker: this.creator });
    }
    for (let shard = 0; shard < this.ledger.shards; shard++) this.checkCheckpoint(shard);
  }

  private checkCheckpoint(shard: number): void {
    const first = shard * SHARD_CHUNKS;
    const checkpoint = this.ledger.checkpoints.get(shard);
    if (checkpoint === undefined) throw new DoesNotHold("a shard has no checkpoint", { chunk: first });
    const hashes: Uint8Array[] = [];
    const number = new Uint8Array(4);
    for (let index = 0; index < this.ledger.shardSize(shard); index++) {
      const chunk = first + index;
      const value = this.values.get(chunk);
      const isAccepted = value !== undefined;
      const isFailed = !isAccepted && index < existing(this.ledger, shard);
      if (bit(checkpoint.accepted, index) !== isAccepted || bit(checkpoint.failed, index) !== isFailed) {
        throw new DoesNotHold("a checkpoint says another outcome of a chunk than its votes", { chunk });
      }
      if (!isAccepted) continue;
      new DataView(number.buffer).setUint32(0, chunk);
      hashes.push(merkle.leafHash(number, fromHex(value)));
    }
    if (!equal(merkle.root(hashes), checkpoint.root)) {
      throw new DoesNotHold("a checkpoint's root is not that of the results voted for", { chunk: first });
    }
    const { creditsRoot, creditsSize } = fieldsOf(tableOf(this.earned(shard)));
    if (!equal(creditsRoot, checkpoint.creditsRoot) || creditsSize !== checkpoint.creditsSize) {
      const what = "a checkpoint credits workers with something else than their votes earned";
      throw new DoesNotHold(what, { chunk: first });
    }
  }

  /** Every number of the certificate follows from the votes. */
  checkCertificate(): void {
    const said = this.certificate!;
    const roots: Uint8Array[] = [];
    for (let shard = 0; shard < this.ledger.shards; shard++) roots.push(this.ledger.checkpoints.get(shard)!.root);
    const isAnyoneConvicted = this.ledger.verdicts.size > 0;
    let executions = 0;
    for (const { values } of this.ballots) executions += values.size;
    const counted: readonly (readonly [string, number | Uint8Array, number | Uint8Array, "real"?])[] = [
      ["chunks", said.chunks, chunksNow(this.ledger)],
      ["accepted", said.accepted, this.values.size],
      ["failed", said.failed, chunksNow(this.ledger) - this.values.size],
      ["root", said.root, merkle.leafHash(...roots)],
      ["executions", said.executions, executions],
      ["worker_audits", said.workerAudits, this.extra()],
      ["creator_audits", said.creatorAudits, this.creatorAudits()],
      ["convicted", said.convicted, this.ledger.verdicts.size],
      ["eps", said.eps, this.manifest.policy.eps, "real"],
      ["confidence", said.confidence, isAnyoneConvicted ? CONFIDENCE_AFTER_CONVICTION : CONFIDENCE, "real"],
    ];
    for (const [field, certified, value, kind] of counted) {
      const word = (each: number | Uint8Array): string =>
        each instanceof Uint8Array ? hex(each) : kind === "real" ? real(each) : whole(each);
      if (word(certified) !== word(value)) {
        throw new DoesNotHold(`the certificate says ${field} ${word(certified)}, the records ${word(value)}`);
      }
    }
    // A chunk's accepted result may have changed more than once, but each time by another vote.
    let most = 0;
    for (const chunk of this.wronglyVoted()) most += this.votes.get(chunk)!.size - 1;
    if (said.mismatches > most) {
      const [says, allow] = [whole(said.mismatches), whole(most)];
      throw new DoesNotHold(`the certificate says mismatches ${says}, the votes allow ${allow} at most`);
    }
    this.checkBound(said.bound, isAnyoneConvicted);
  }

  private checkBound(bound: number, isConvicted: boolean): void {
    const best = this.bestBound(isConvicted);
    const isClose = Math.abs(bound - best) <= TOLERANCE * Math.max(Math.abs(bound), Math.abs(best));
    const isRight = isConvicted ? bound >= best * (1 - TOLERANCE) : isClose;
    if (!isRight || (best === 0) !== (bound === 0)) {
      const atBest = isConvicted ? "at best " : "";
      throw new DoesNotHold(`the certificate says bound ${general(bound)}, the audits give ${atBest}${general(best)}`);
    }
    const { eps } = this.manifest.policy;
    if (bound > eps * (1 + TOLERANCE)) {
      throw new DoesNotHold(`the bound ${general(bound)} is more than the ${general(eps)} that was asked for`);
    }
  }

  /** The bound. After a conviction only a sample counts that nobody else knows: then the best that is possible. */
  private bestBound(isConvicted: boolean): number {
    const executed = new Set<number>();
    for (const [chunk, voted] of this.votes) if (this.hasOurs(voted)) executed.add(chunk);
    if ([...this.values.keys()].every((chunk) => executed.has(chunk))) return 0;
    let [byWorkers, byCreator] = [this.extra(), this.creatorAudits()];
    if (isConvicted) {
      [byWorkers, byCreator] = [0, executed.size];
      for (const [chunk, { extra }] of this.tally.chunks) if (!executed.has(chunk)) byWorkers += Math.min(1, extra);
    }
    return errorBound(auditStrength(this.manifest.policy, byWorkers, byCreator), 0, isConvicted);
  }

  result(): Recount {
    const cannotCheck = [...CANNOT_CHECK];
    if (this.ledger.verdicts.size > 0) cannotCheck.push(CANNOT_CHECK_SAMPLE);
    const delegations = [...this.stewards.delegations];
    const trusted = delegations.filter(([, delegation]) => delegation.trusted).map(([steward]) => steward);
    if (trusted.length > 0) cannotCheck.push(CANNOT_CHECK_STEWARDS);
    const isSavepoint = ({ reason, commit }: Verdict): boolean => reason === "wrong" && commit.some((byte) => byte !== 0);
    if ([...this.ledger.verdicts.values()].some(isSavepoint)) cannotCheck.push(CANNOT_CHECK_SAVEPOINTS);
    if (this.isWithheld) cannotCheck.push(CANNOT_CHECK_WITHHELD);
    if (this.unopened.size > 0) cannotCheck.push(CANNOT_CHECK_MALFORMED);
    if (this.wronglyVoted().length > 0) cannotCheck.push(CANNOT_CHECK_MISMATCHES);
    const wrongVotes = new Map<Hex, number>();
    for (const [chunk, accepted] of this.values) {
      for (const [worker, results] of this.votes.get(chunk)!) {
        for (const result of results) {
          if (!this.isSame(chunk, result, accepted)) wrongVotes.set(worker, (wrongVotes.get(worker) ?? 0) + 1);
        }
      }
    }
    const credit = new Map<Hex, number>();
    for (let shard = 0; shard < this.ledger.shards; shard++) {
      for (const [worker, amount] of this.earned(shard)) credit.set(worker, (credit.get(worker) ?? 0) + amount);
    }
    return {
      signed: this.ledger.signed,
      manifest: this.manifest,
      certificate: this.certificate!,
      verdicts: this.ledger.verdicts,
      values: this.values,
      credit,
      records: this.records,
      peers: this.authors.size,
      bySteward: new Map(
        delegations.map(([steward]) => [steward, this.bySteward.get(steward) ?? new Map<Kind, number>()] as const),
      ),
      trusted: trusted.sort(),
      revoked: [...this.stewards.revoked].sort(),
      wrongVotes,
      cancelled: [...this.givenUp].filter((chunk) => !this.values.has(chunk)).length,
      cannotCheck,
    };
  }

  /** Whether nothing that somebody signs counts: a worker that was banned, a steward that was revoked. */
  private isOut(worker: Hex): boolean {
    return this.isBanned(worker) || this.stewards.revoked.has(worker);
  }

  private isBanned(worker: Hex): boolean {
    return this.ledger.verdicts.get(worker)?.voidTo === EVERYTHING;
  }

  /**
   * Whether a commit with a seq from `first` to `last` says otherwise of a chunk than the creator computed; or, where the
   * verdict names a savepoint, one that rests on it.
   */
  private wasWrong(worker: Hex, { chunk, commit }: Verdict, first: number, last: number): boolean {
    const savepoint = commit.some((byte) => byte !== 0) ? hex(commit) : null;
    const own = this.votes.get(chunk)?.get(this.creator);
    if (own === undefined || own.size === 0) return false;
    return this.ballots.some((ballot) => {
      const isIts =
        savepoint === null
          ? ballot.worker === worker && ballot.seq >= first && ballot.seq <= last
          : (ballot.rests ?? []).some(
              (rest) => rest.maker === worker && rest.savepoint === savepoint && rest.seq >= first && rest.seq <= last,
            );
      const value = isIts && ballot.values.get(chunk);
      return Boolean(value) && ![...own].some((result) => this.isSame(chunk, value as Hex, result));
    });
  }

  /** Millicredits by worker in a shard: each accepted chunk's reward is split among its confirmed executors. */
  private earned(shard: number): Map<Hex, number> {
    const confirmers: Hex[][] = [];
    const first = shard * SHARD_CHUNKS;
    for (let chunk = first; chunk < first + existing(this.ledger, shard); chunk++) {
      if (this.values.has(chunk)) confirmers.push([...(this.confirmers.get(chunk) ?? [])]);
    }
    return split(this.manifest.reward, confirmers);
  }

  private extra(): number {
    let total = 0;
    for (const { extra } of this.tally.chunks.values()) total += extra;
    return total;
  }

  /** Whether the creator has a result of its own: having none, or giving the chunk up, shows nothing about others. */
  private hasOurs(voted: ReadonlyMap<Hex, ReadonlySet<Hex>>): boolean {
    return (voted.get(this.creator)?.size ?? 0) > 0;
  }

  /** Chunks that the creator executed, others had voted on, and not because one of them was found lying. */
  private creatorAudits(): number {
    let total = 0;
    for (const [chunk, voted] of this.votes) {
      if (this.hasOurs(voted) && voted.size > 1 && !this.disowned.has(chunk)) total++;
    }
    return total;
  }

  /** Accepted chunks somebody voted otherwise on. */
  private wronglyVoted(): number[] {
    const differs = (accepted: Hex, chunk: number): boolean =>
      [...this.votes.get(chunk)!.values()].some((results) => [...results].some((result) => !this.isSame(chunk, result, accepted)));
    return [...this.values].filter(([chunk, accepted]) => differs(accepted, chunk)).map(([chunk]) => chunk);
  }

  /** Whether two values are one result. */
  private isSame(chunk: number, one: Hex, other: Hex): boolean {
    return one === other || this.same(chunk, one, other);
  }

  private areClose(comparison: Comparison, one: Hex, other: Hex): boolean {
    const pair = one < other ? `${one} ${other}` : `${other} ${one}`;
    let isClose = this.close.get(pair);
    if (isClose === undefined) {
      const [ours, theirs] = [one, other].map((value) => (value.startsWith("00") ? this.results!.get(value.slice(2)) : undefined));
      this.close.set(pair, (isClose = ours !== undefined && theirs !== undefined && comparison.areClose(ours, theirs)));
    }
    return isClose;
  }
}

/**
 * How the task's results are compared, by the code that is shown beside its manifest.
 *
 * @throws DoesNotHold when it is not the task's, or says nothing of the kind.
 */
function comparisonOf(manifest: Manifest, code: Uint8Array): Comparison {
  let comparison: Comparison | null = null;
  try {
    if (manifest.runtime === "gpu") comparison = readComparison(code);
  } catch (error) {
    if (!(error instanceof ModuleRefused)) throw error;
  }
  if (comparison === null || !equal(sha256(code), manifest.code.sha256)) {
    throw new DoesNotHold("what is shown beside the manifest is not the package that says how results are compared");
  }
  return comparison;
}

function inner<K, V>(outer: Map<K, V>, key: K, make: () => V): V {
  let value = outer.get(key);
  if (value === undefined) outer.set(key, (value = make()));
  return value;
}

function sorted<V>(map: ReadonlyMap<Hex, V>): [Hex, V][] {
  return [...map].sort(([left], [right]) => (left < right ? -1 : 1));
}

/** A whole number with commas. */
function whole(value: number): string {
  return value.toLocaleString("en");
}

/** A number as Python writes it, with as many digits as tell it from all others. */
function real(value: number): string {
  const [mantissa, exponent] = value.toExponential().split("e") as [string, string];
  const power = Number(exponent);
  if (!Number.isFinite(value)) return value > 0 ? "inf" : value < 0 ? "-inf" : "nan";
  if (value !== 0 && (power < -4 || power >= 16)) return `${mantissa}e${twoDigits(power)}`;
  return Number.isInteger(value) ? `${value}.0` : String(value);
}

/** Nine significant digits, without zeros at the end. */
function general(value: number): string {
  if (value === 0) return "0";
  const [mantissa, exponent] = value.toExponential(8).split("e") as [string, string];
  const power = Number(exponent);
  const short = (text: string): string => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  return power < -4 || power >= 9 ? `${short(mantissa)}e${twoDigits(power)}` : short(value.toFixed(8 - power));
}

function twoDigits(power: number): string {
  return `${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
}

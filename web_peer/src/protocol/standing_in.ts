/**
 * What a worker does in the place of a creator that is away (spec/away.md).
 *
 *     creator there: nothing --two epochs without a beacon--> draws lots: second votes, audits, juries; shows its votes
 *                       ^                                                  |
 *                       '------------------- a beacon ---------------------'
 */

import { Absences } from "./absence";
import { openBatch } from "./batch";
import { concat, fromHex, hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import { type Absence, lot } from "./drawing";
import { beginsAt, Chain, epochAt, lastEpoch, NO_VALUE } from "./epochs";
import { RemoteProtocolError } from "./errors";
import type { Signer } from "./identity";
import type { Ledger } from "./ledger";
import { auditShare } from "./policy";
import { type Provisional, provisionalTally, REVEAL_PATIENCE, revealDue } from "./provisional";
import { type Commit, SEEN_BYTES, SEEN_MAX, SHARD_CHUNKS } from "./records";
import { chunksOf } from "./runs";
import type { Rng } from "./rng";
import { isSettled } from "./stewards";

const utf8 = new TextEncoder();

/**
 * In the place of a nonce where we throw dice of our own. Audits are drawn in the first epoch after a chunk was voted
 * on only: an absence of weeks does not audit everything.
 */
const AUDIT_NONCE = concat(utf8.encode("audit"), new Uint8Array(11));

/** How often at most an epoch the votes are counted again, to see what is wanted: each count takes some milliseconds. */
const LOOKS_PER_EPOCH = 32;

/** Chunks that lots chose for us, and what proves it. */
export interface Draw {
  readonly epoch: number;
  readonly link: Uint8Array;
  readonly chunks: readonly number[];
}

/** One worker's part in one task while its creator is away. */
export class StandingIn {
  private readonly absences: Absences;
  private readonly me: Hex;
  private readonly chain: Chain | null;
  private counted: Provisional | null = null;
  /** Version of the records and epoch of what is in `counted`. */
  private looked = "";
  private lookAt = -Infinity;
  /** The version and the epoch in which lots chose nothing for us: they do not until one of them changes. */
  private nothingIn = "";
  /** The epoch we have been in last, its reveals done. */
  private seenEpoch = -1;

  constructor(
    private readonly config: ProtocolConfig,
    private readonly signer: Signer,
    private readonly rng: Rng,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
  ) {
    this.absences = Absences.of(ledger);
    this.me = hex(signer.publicKey);
    const { manifest } = ledger;
    this.chain =
      manifest.epochs === null
        ? null
        : new Chain(signer.derive(concat(utf8.encode("chain"), ledger.task)), lastEpoch(manifest));
  }

  /** The anchor of our chain, for our join. */
  get anchor(): Uint8Array {
    return this.chain?.value(0) ?? NO_VALUE;
  }

  /** Epoch and value of the newest beacon, for our join. */
  get beacon(): readonly [number, Uint8Array] {
    return this.absences.newestBeacon();
  }

  /** Which epoch it is, on our clock; never one before the creator's newest beacon. */
  epoch(now: number): number {
    return Math.max(epochAt(this.ledger.manifest, now + this.config.epochOffsetS), this.beacon[0]);
  }

  /** Show what is due: once an epoch is enough. */
  advance(now: number): void {
    const epoch = this.epoch(now);
    if (this.chain === null || epoch <= this.seenEpoch) return;
    this.seenEpoch = epoch;
    if (this.absences.absence(epoch) === null) return;
    for (const [id, { author, commit }] of [...this.ledger.commits]) {
      if (author !== this.me || this.absences.reveals.has(id) || epoch < revealDue(commit)) continue;
      if (epoch >= revealDue(commit) + REVEAL_PATIENCE || this.isRipe(commit)) this.reveal(id, commit);
    }
  }

  /** When the next epoch begins: reveals may be due then, and lots are drawn anew. */
  wakeAt(): number {
    if (this.chain === null || this.seenEpoch >= this.chain.length) return Infinity;
    return beginsAt(this.ledger.manifest, this.seenEpoch + 1) - this.config.epochOffsetS;
  }

  /** Up to `size` chunks of a shard that lots choose for us and that want a vote, or null. */
  draw(shard: number, size: number, mine: ReadonlySet<number>, now: number): Draw | null {
    const epoch = this.epoch(now);
    const state = `${this.absences.version} ${epoch}`;
    if (this.chain === null || state === this.nothingIn || now < this.lookAt) return null;
    if (epoch === 0 || epoch > this.chain.length) return null;
    const absence = this.absences.absence(epoch);
    if (absence === null) return null;
    const link = this.chain.value(epoch);
    const count = this.ledger.shardSize(shard);
    const start = this.rng.below(count);
    const counted = this.count(state, epoch, now);
    const chunks: number[] = [];
    for (let looked = 0; looked < count && chunks.length < size; looked++) {
      const chunk = shard * SHARD_CHUNKS + ((start + looked) % count);
      if (mine.has(chunk) || this.ledger.leases.isLeased(chunk, now)) continue;
      if (this.isForUs(counted, chunk, epoch, absence, link)) chunks.push(chunk);
    }
    if (chunks.length > 0) return { epoch, link, chunks: chunks.sort((a, b) => a - b) };
    this.nothingIn = state;
    return null;
  }

  // ---- inside

  private isForUs(
    counted: Provisional,
    chunk: number,
    epoch: number,
    absence: Absence,
    link: Uint8Array,
  ): boolean {
    const { ledger } = this;
    const { lots } = this.absences;
    const standing = counted.chunks.get(chunk);
    const age = lots.age(chunk, epoch);
    if (standing === undefined || age === null || isSettled(ledger, chunk)) return false;
    if (standing.state === "disputed") {
      if (!counted.trials.has(chunk)) return false;
    } else if (standing.missing === 0) {
      const { policy, chunks } = ledger.manifest;
      if (age > 0 || standing.voters !== policy.replication) return false;
      // Another lot, which nobody need check: whether we audit what has votes enough.
      const dice = lot(ledger.task, absence, AUDIT_NONCE, link, chunk);
      if (dice >= auditShare(policy, chunks) * 2 ** 32) return false;
    }
    return !ledger.voters(chunk).includes(this.me) && lots.isDrawn(this.me, link, epoch, chunk);
  }

  /** The tally of these days, counted again if that may give something new, but not at every record that comes. */
  private count(state: string, epoch: number, now: number): Provisional {
    if (this.counted === null || state !== this.looked) {
      this.counted = provisionalTally(this.ledger, this.absences, epoch);
      this.looked = state;
      this.lookAt = now + this.ledger.manifest.epochs!.seconds / LOOKS_PER_EPOCH;
    }
    return this.counted;
  }

  /** Whether what must come before has come: before a first vote the others', before a drawn one the first. */
  private isRipe(commit: Commit): boolean {
    const { ledger } = this;
    const chunks = chunksOf(commit.shard, commit.runs).filter((chunk) => !ledger.isClosed(chunk));
    if (commit.link.length > 0) return chunks.every((chunk) => this.absences.lots.isShown(chunk, this.me));
    return chunks.every((chunk) => ledger.voters(chunk).length >= ledger.manifest.policy.replication);
  }

  private reveal(id: Hex, commit: Commit): void {
    const { ledger } = this;
    const chunks = chunksOf(commit.shard, commit.runs);
    if (chunks.every((chunk) => ledger.isClosed(chunk))) return;
    let opened: ReturnType<typeof openBatch>;
    try {
      opened = openBatch(this.signer, ledger.manifest.sealKey, this.signer.publicKey, commit);
    } catch (error) {
      if (error instanceof RemoteProtocolError) return; // Not as we seal: another program's, that had our keys before.
      throw error;
    }
    const seen = [...this.absences.lots.commitsOn(chunks)]
      .filter((other) => ledger.commits.get(other)?.author !== this.me)
      .sort()
      .slice(0, SEEN_MAX);
    this.desk.publish(ledger, {
      kind: "reveal",
      task: ledger.task,
      shard: commit.shard,
      commit: fromHex(id),
      salt: opened.salt,
      votes: opened.leaves.map((leaf) => [leaf.status, leaf.digest] as const),
      seen: seen.map((other) => fromHex(other).slice(0, SEEN_BYTES)),
    });
  }
}

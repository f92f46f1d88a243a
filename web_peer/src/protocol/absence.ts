/**
 * What a ledger holds of beacons and reveals, and what they say (spec/away.md).
 *
 * Apart from ledger.ts, because a page needs it only when it works: a role attaches it to its ledger.
 */

import { hex, type Hex } from "./bytes";
import { type Absence, Lots } from "./drawing";
import { ChainView, lastEpoch, NO_VALUE } from "./epochs";
import { RemoteProtocolError } from "./errors";
import { Fed } from "./feeding";
import type { HeldCommit, Ledger } from "./ledger";
import { type Beacon, type Feed, recordKey, type LedgerRecord, parse, type Reveal, type Signed } from "./records";
import { checkShown } from "./showing";
import { Stewards } from "./stewards";

/** The absences of one task's creator, and what its workers show meanwhile. */
export class Absences {
  readonly lots: Lots;
  readonly stewards: Stewards;
  /** By the commit that is shown. */
  readonly reveals = new Map<Hex, Reveal>();
  /** The last one of each of the creator's presences, by its epoch. */
  readonly beacons = new Map<number, Beacon>();
  /** Changes with every record that may change what votes say. */
  version = 0;
  private readonly revealIds = new Map<Hex, Hex>();
  private readonly beaconIds = new Map<number, Hex>();
  private readonly chain: ChainView;

  private constructor(private readonly ledger: Ledger) {
    const { manifest } = ledger;
    this.chain = new ChainView(manifest.epochs?.anchor ?? NO_VALUE, lastEpoch(manifest));
    this.lots = new Lots(ledger, (epoch) => this.absence(epoch));
    this.stewards = new Stewards(ledger, ledger.keepCommits, ledger.clockOffsetS);
    if (manifest.split.kind === "stream") ledger.fed = new Fed();
    for (const signed of ledger.records()) {
      if (signed.kind === "manifest") continue;
      const record = parse(signed);
      this.stewards.remember(signed, record);
      this.added(recordKey(signed), signed, record);
    }
  }

  /** Those of a ledger, attached to it from now on. */
  static of(ledger: Ledger): Absences {
    const absences = ledger.absences ?? new Absences(ledger);
    ledger.absences = absences;
    return absences;
  }

  /**
   * Whether a join, a beacon, a reveal, or what concerns stewards may enter.
   *
   * @throws RemoteProtocolError when it may not.
   */
  check(signed: Signed, record: LedgerRecord): void {
    switch (record.kind) {
      case "join":
        if (!this.chain.holds(record.epoch, record.beacon)) {
          throw new RemoteProtocolError("a join names a beacon that is none of the task's");
        }
        break;
      case "feed": {
        const { fed, manifest } = this.ledger;
        if (fed === null) {
          throw new RemoteProtocolError("a feed of a task whose chunks were there from the beginning");
        }
        if (record.first + record.inputs.length > manifest.chunks) {
          throw new RemoteProtocolError("a feed of more chunks than the stream may have");
        }
        break;
      }
      case "beacon":
        if (record.since > record.epoch || record.epoch === 0 || !this.chain.holds(record.epoch, record.value)) {
          throw new RemoteProtocolError("a beacon that is none of the task's");
        }
        break;
      case "reveal": {
        const held = this.ledger.commits.get(hex(record.commit));
        if (held === undefined || held.author !== hex(signed.author) || held.commit.shard !== record.shard) {
          throw new RemoteProtocolError("a reveal of a commit that its author did not sign");
        }
        checkShown(signed.author, held.commit, record);
      }
    }
    this.stewards.check(signed, record);
  }

  /** Take a beacon, a reveal, or what concerns stewards; undefined when it is none, else whether it says anything new. */
  takes(id: Hex, signed: Signed, record: LedgerRecord, now: number): boolean | undefined {
    if (record.kind === "beacon") return this.takeBeacon(id, record);
    if (record.kind === "feed") return this.takeFeed(record);
    if (record.kind !== "reveal") return this.stewards.takes(id, signed, record, now);
    const commit = hex(record.commit);
    if (this.reveals.has(commit)) return false;
    this.reveals.set(commit, record);
    this.revealIds.set(commit, id);
    this.ledger.countGuest(signed);
    return true;
  }

  /** The ledger has added a record. */
  added(id: Hex, signed: Signed, record: LedgerRecord): void {
    const author = hex(signed.author);
    if (record.kind !== "lease" && record.kind !== "assign" && record.kind !== "savepoint" && record.kind !== "feed") {
      this.version++;
    }
    switch (record.kind) {
      case "certificate":
        this.letGoOfFeeds();
        break;
      case "join":
        this.lots.anchored(author);
        break;
      case "admit":
        this.lots.anchored(hex(record.worker));
        break;
      case "revoke":
        for (const worker of this.ledger.joins.keys()) this.lots.anchored(worker);
        break;
      case "verdict":
      case "beacon":
        this.lots.lookAgain();
        break;
      case "commit":
        if (this.ledger.equivocators.has(author)) this.lots.lookAgain();
        this.lots.committed(id, author, record);
        break;
      case "reveal":
        this.lots.revealed(author, this.ledger.commits.get(hex(record.commit))!.commit, record);
        break;
    }
  }

  /** A checkpoint has closed all chunks of a commit: the id of its reveal, if there is one. */
  closed(commitId: Hex): Hex | undefined {
    return this.revealIds.get(commitId);
  }

  /** The ledger has dropped such a commit. */
  dropped(commitId: Hex, { commit }: HeldCommit): void {
    this.reveals.delete(commitId);
    this.revealIds.delete(commitId);
    this.lots.forget(commitId, commit);
  }

  /**
   * What lots of an epoch are drawn from; null when the creator was there, or not away for an epoch yet.
   *
   * It says that it is there by beacons, which nobody else can make. A task begins with one, its anchor.
   */
  absence(epoch: number): Absence | null {
    const { epochs } = this.ledger.manifest;
    let last = 0;
    for (const [seen, beacon] of this.beacons) {
      if (beacon.since <= epoch && epoch <= seen + 1) return null;
      if (last < seen && seen < epoch) last = seen;
    }
    if (epochs === null || epoch < last + 2) return null;
    const beacon = this.beacons.get(last);
    return beacon === undefined
      ? { beacon: epochs.anchor, workers: 0 }
      : { beacon: beacon.value, workers: beacon.workers };
  }

  /** Epoch and value of the last beacon: what a join made now is bound to. */
  newestBeacon(): readonly [number, Uint8Array] {
    const epoch = Math.max(0, ...this.beacons.keys());
    return [epoch, this.beacons.get(epoch)?.value ?? this.ledger.manifest.epochs?.anchor ?? NO_VALUE];
  }

  private takeFeed(feed: Feed): boolean {
    const { fed, certificate, equivocators, voidTos } = this.ledger;
    if (certificate !== null || !fed!.add(feed)) return false;
    if (fed!.isForked) {
      // Whom it has convicted may have computed the other input. Whoever signed two commits with one seq did so.
      for (const worker of [...voidTos.keys()]) if (!equivocators.has(worker)) voidTos.delete(worker);
    }
    return true;
  }

  /** Nobody computes a chunk of this stream any more. */
  private letGoOfFeeds(): void {
    const { ledger } = this;
    if (ledger.fed === null || ledger.keepCommits || ledger.fed.isForked) return;
    for (const signed of [...ledger.records()]) if (signed.kind === "feed") ledger.remove(recordKey(signed));
  }

  /** Keep the last beacon of each presence: those before it say nothing more. */
  private takeBeacon(id: Hex, beacon: Beacon): boolean {
    for (const [epoch, kept] of this.beacons) if (kept.since <= beacon.epoch && beacon.epoch <= epoch) return false;
    for (const epoch of [...this.beacons.keys()]) {
      if (beacon.since <= epoch && epoch < beacon.epoch) {
        this.beacons.delete(epoch);
        this.ledger.remove(this.beaconIds.get(epoch)!);
        this.beaconIds.delete(epoch);
      }
    }
    this.beacons.set(beacon.epoch, beacon);
    this.beaconIds.set(beacon.epoch, id);
    return true;
  }
}

/**
 * What a ledger holds of its creator's stewards, and what they say (spec/stewards.md).
 *
 *     a steward:  --delegate--> its words are heeded --time over--> they are held --revoke--> they are let go
 *
 * Apart from ledger.ts, because a page needs it only when it works: it comes with what absence.ts attaches.
 */

import { hex, type Hex } from "./bytes";
import { RemoteProtocolError } from "./errors";
import { bit, type Ledger } from "./ledger";
import {
  type Admit,
  type Assign,
  type Checkpoint,
  type Delegate,
  EVERYTHING,
  type LedgerRecord,
  type Revoke,
  SHARD_CHUNKS,
  type Signed,
} from "./records";

/** Whom one creator may make stewards of one task, and whom it may revoke. */
export const STEWARDS_MAX = 64;
/** Assignments of stewards that are kept for their creator, which counts with them when it is back; older ones go. */
export const STEWARD_ASSIGNS_MAX = 16_384;
/** What a steward signed in its last moments may come a little later, and clocks differ. */
const GRACE_S = 60;

/** Of a shard, what one steward says, and the record's id. */
interface Said {
  readonly id: Hex;
  readonly checkpoint: Checkpoint;
}

/** Whether only a creator or its stewards may say this. */
export function isWord(record: LedgerRecord): record is Admit | Assign | Checkpoint {
  return record.kind === "admit" || record.kind === "assign" || record.kind === "checkpoint";
}

/** The stewards of one task. */
export class Stewards {
  /** Of each steward that is not revoked the delegation that lasts longest. */
  readonly delegations = new Map<Hex, Delegate>();
  readonly revoked = new Set<Hex>();
  private readonly creator: Hex;
  /** Steward -> ids of what it said as one, and of its delegation. */
  private readonly said = new Map<Hex, Set<Hex>>();
  private readonly delegationIds = new Map<Hex, Hex>();
  /** Worker -> who admitted it. */
  private readonly admits = new Map<Hex, Map<Hex, Admit>>();
  /** Steward -> shard -> its last checkpoint. */
  private readonly interim = new Map<Hex, Map<number, Said>>();
  private readonly assigns = new Set<Hex>();

  constructor(
    private readonly ledger: Ledger,
    /** For a creator and whoever counts again for it: what a steward said counts whenever it came. */
    private readonly isFinal: boolean,
    private readonly clockOffsetS: number,
  ) {
    this.creator = hex(ledger.manifest.creator);
  }

  /** Whether somebody acts for the creator while it is away, as far as its time is not over. */
  has(author: Hex): boolean {
    return this.delegations.has(author);
  }

  /** Whether what somebody asks for is to be done now. */
  mayAct(author: Hex, now: number): boolean {
    if (author === this.creator) return true;
    const delegation = this.delegations.get(author);
    return delegation !== undefined && now + this.clockOffsetS < delegation.untilS + GRACE_S;
  }

  /** Whether a steward says that a chunk of a task is accepted or failed. */
  settles(chunk: number): boolean {
    const shard = Math.floor(chunk / SHARD_CHUNKS);
    const index = chunk % SHARD_CHUNKS;
    for (const steward of this.delegations.keys()) {
      const checkpoint = this.interim.get(steward)?.get(shard)?.checkpoint;
      if (checkpoint && (bit(checkpoint.accepted, index) || bit(checkpoint.failed, index))) return true;
    }
    return false;
  }

  /**
   * Whether a record about stewards, or by one, may enter.
   *
   * @throws RemoteProtocolError when it may not.
   */
  check(signed: Signed, record: LedgerRecord): void {
    if (record.kind === "delegate" || record.kind === "revoke") {
      const steward = hex(record.steward);
      if (steward === this.creator) throw new RemoteProtocolError("a creator cannot be its own steward");
      const known: { has(key: Hex): boolean; readonly size: number } =
        record.kind === "delegate" ? this.delegations : this.revoked;
      if (!known.has(steward) && known.size >= STEWARDS_MAX) {
        throw new RemoteProtocolError("too many stewards of one task");
      }
    }
    if (record.kind === "checkpoint" && record.creditsSize > 0 && hex(signed.author) !== this.creator) {
      throw new RemoteProtocolError("a steward cannot pay: its checkpoint credits somebody");
    }
  }

  /** Take what is about stewards, or an admission; undefined when it is neither, else whether it says anything new. */
  takes(id: Hex, signed: Signed, record: LedgerRecord, now: number): boolean | undefined {
    const author = hex(signed.author);
    if (record.kind === "delegate") return this.addDelegation(id, record);
    if (record.kind === "revoke") return this.addRevocation(record);
    if (record.kind === "admit" && author === this.creator) return this.addAdmission(author, record);
    if (author === this.creator || !isWord(record)) return undefined;
    const said = this.said.get(author);
    if (said === undefined || !this.has(author)) return false;
    // When its time is over it moves nobody, and is held for the creator all the same.
    const isHeeded = this.isFinal || this.mayAct(author, now);
    if (record.kind === "checkpoint" && !this.addCheckpoint(id, author, record, isHeeded)) return false;
    if (record.kind === "admit" && isHeeded && !this.addAdmission(author, record)) return false;
    if (record.kind === "assign") this.addAssign(id);
    said.add(id);
    return true;
  }

  private addDelegation(id: Hex, delegation: Delegate): boolean {
    const steward = hex(delegation.steward);
    const current = this.delegations.get(steward);
    if (this.revoked.has(steward) || (current !== undefined && current.untilS >= delegation.untilS)) return false;
    this.ledger.remove(this.delegationIds.get(steward) ?? "");
    this.delegationIds.set(steward, id);
    this.delegations.set(steward, delegation);
    if (!this.said.has(steward)) this.said.set(steward, new Set());
    return true;
  }

  /** Whoever is revoked is out for good: what it said goes, and its own votes are void. */
  private addRevocation({ steward: key }: Revoke): boolean {
    const steward = hex(key);
    if (this.revoked.has(steward)) return false;
    this.revoked.add(steward);
    this.delegations.delete(steward);
    this.interim.delete(steward);
    for (const id of [...(this.said.get(steward) ?? []), this.delegationIds.get(steward) ?? ""]) {
      this.assigns.delete(id);
      this.ledger.remove(id);
    }
    this.said.delete(steward);
    this.delegationIds.delete(steward);
    for (const [worker, admits] of this.admits) if (admits.delete(steward)) this.elect(worker, admits);
    this.ledger.voidTos.set(steward, EVERYTHING);
    this.ledger.leases.release(steward);
    return true;
  }

  private addAdmission(author: Hex, admit: Admit): boolean {
    const worker = hex(admit.worker);
    let admits = this.admits.get(worker);
    if (admits === undefined) this.admits.set(worker, (admits = new Map()));
    if (admits.has(author)) return false;
    admits.set(author, admit);
    this.elect(worker, admits);
    return true;
  }

  /** The creator's admission counts before those of stewards, and of these always the same one. */
  private elect(worker: Hex, admits: ReadonlyMap<Hex, Admit>): void {
    const first = admits.get(this.creator) ?? admits.get([...admits.keys()].sort()[0] ?? "");
    this.ledger.setAdmission(worker, first);
  }

  private addCheckpoint(id: Hex, steward: Hex, checkpoint: Checkpoint, isHeeded: boolean): boolean {
    let shards = this.interim.get(steward);
    if (shards === undefined) this.interim.set(steward, (shards = new Map()));
    const current = shards.get(checkpoint.shard);
    if (current !== undefined) {
      const { seq } = current.checkpoint;
      if (seq > checkpoint.seq || (seq === checkpoint.seq && current.id >= id)) return false;
      this.said.get(steward)!.delete(current.id);
      this.ledger.remove(current.id);
    }
    if (isHeeded) shards.set(checkpoint.shard, { id, checkpoint });
    return true;
  }

  private addAssign(id: Hex): void {
    this.assigns.add(id);
    if (this.assigns.size <= STEWARD_ASSIGNS_MAX) return;
    const [oldest] = this.assigns;
    this.assigns.delete(oldest!);
    this.ledger.letGo(oldest!);
  }

  /** Of a ledger that took records before: those of the creator's admissions that count. */
  remember(signed: Signed, record: LedgerRecord): void {
    if (record.kind !== "admit" || hex(signed.author) !== this.creator) return;
    this.admits.set(hex(record.worker), new Map([[this.creator, record]]));
  }
}

/** Whether nobody need begin a chunk: it is closed, or a steward says that it is settled. */
export function isSettled(ledger: Ledger, chunk: number): boolean {
  return ledger.isClosed(chunk) || (ledger.absences?.stewards.settles(chunk) ?? false);
}

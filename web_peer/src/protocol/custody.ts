/**
 * Sealed results that travel between peers to be kept, apart from all other blobs (spec/ledger.md, "Custody").
 *
 *     giving     what we made, and whom we ask to keep it
 *     keeping    what we keep for others
 *     reclaiming what we look for as a creator whose workers have gone
 *
 * Strangers name what is here. So it has a store of its own, in memory: whoever lets something go must not take away
 * what a task of ours needs.
 */

import { hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import { Exchange, type Finished } from "./exchange";
import type { BlobPiece, Frame, Keep, Kept } from "./frames";
import { type PeerId, peerIdOf } from "./identity";
import type { Rng } from "./rng";
import type { Serving } from "./serving";
import { MemoryBlobStore } from "./storage";

/** A role's part in it. */
export interface Custodial {
  /**
   * A neighbour asks us to keep a result, or answers that it does.
   *
   * @throws RemoteProtocolError when what it asks for cannot be a result of this task.
   */
  custodyFrame(peerId: PeerId, frame: Keep | Kept, now: number): void;

  /** A sealed result that somebody fetched is here, or cannot be had. */
  keptArrived(sealed: Uint8Array, isHere: boolean, now: number): void;
}

/**
 * The sealed results of one peer, and the exchange that moves them.
 *
 * `neighbours` are those that have said hello, at any time.
 */
export class Custody {
  readonly kept = new MemoryBlobStore();
  /** Of what is kept for others and of what is on its way to us to be kept, of all tasks. */
  promisedBytes = 0;
  private readonly exchange: Exchange;
  private readonly roles = new Map<Hex, Custodial>();
  private finished: Finished[] = [];

  constructor(
    config: ProtocolConfig,
    private readonly desk: Desk,
    private readonly neighbours: ReadonlySet<PeerId>,
    rng: Rng,
    serving: Serving,
  ) {
    this.exchange = new Exchange(config, this.kept, rng, serving);
  }

  /** This role hears what concerns its task from now on. */
  takePart(task: Hex, role: Custodial): void {
    this.roles.set(task, role);
  }

  /** Nothing of this task is of interest any more. */
  leave(task: Hex): void {
    this.roles.delete(task);
  }

  /** Get a sealed result from these peers, and from whoever is linked with us besides. */
  fetch(sealed: Uint8Array, size: number, providers: readonly Uint8Array[], now: number): void {
    const asked = providers.map(peerIdOf);
    for (const peerId of asked) this.desk.want(peerId);
    this.fetchFrom(sealed, size, [...asked, ...[...this.neighbours].sort()], now);
  }

  /** Get a sealed result from these neighbours only. */
  fetchFrom(sealed: Uint8Array, size: number, providers: readonly PeerId[], now: number): void {
    this.meet(now);
    this.exchange.fetch(sealed, size, null, providers, now);
    this.drain(now);
  }

  /** Whether this piece was asked for to be kept. */
  expects(peerId: PeerId, piece: BlobPiece): boolean {
    return this.exchange.expects(peerId, piece);
  }

  /**
   * Apply a frame; false when it is about other blobs, or may be.
   *
   * @throws RemoteProtocolError when it breaks the rules of custody, or is not what was asked for.
   */
  takes(peerId: PeerId, frame: Frame, now: number): boolean {
    switch (frame.kind) {
      case "keep":
      case "kept": {
        const role = this.roles.get(hex(frame.task));
        if (role !== undefined) role.custodyFrame(peerId, frame, now);
        else if (frame.kind === "keep") this.desk.tell(peerId, refusal(frame));
        return true;
      }
      case "blob-want":
      case "blob-cancel":
        if (this.kept.size(frame.sha256) === null) return false;
        break;
      case "blob-piece":
        if (!this.exchange.expects(peerId, frame)) return false;
        break;
      case "blob-missing":
        break;
      default:
        return false;
    }
    try {
      this.exchange.received(peerId, frame, now);
    } finally {
      this.drain(now);
    }
    return frame.kind !== "blob-missing";
  }

  /** Let time pass, hear who came and went, and tell the roles what arrived. */
  advance(now: number): void {
    this.meet(now);
    this.exchange.advance(now);
    this.drain(now);
    for (let one = this.finished.shift(); one !== undefined; one = this.finished.shift()) {
      for (const role of this.roles.values()) role.keptArrived(one.digest, one.isHere, now);
    }
  }

  wakeAt(): number {
    return this.exchange.wakeAt() ?? Infinity;
  }

  // ---- inside

  /** See who came and went. */
  private meet(now: number): void {
    const { neighbours: met } = this.exchange;
    for (const peerId of met) if (!this.neighbours.has(peerId)) this.exchange.linkClosed(peerId, now);
    for (const peerId of this.neighbours) if (!met.has(peerId)) this.exchange.linkOpened(peerId, now);
  }

  private drain(now: number): void {
    for (const [peerId, frame] of this.exchange.drainFrames(now)) this.desk.tell(peerId, frame);
    this.finished.push(...this.exchange.drainFinished());
  }
}

/** The answer of one that does not keep what it is asked to. */
export function refusal({ task, sha256 }: Keep): Kept {
  return { kind: "kept", task, sha256, kept: false };
}

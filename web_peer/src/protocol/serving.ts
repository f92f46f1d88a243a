/**
 * What a peer gives: the pieces its neighbours ask for, link by link in turn, no faster than it may (spec/blobs.md).
 *
 *     a piece asked for:  WAITING --its link's turn, room in the link, the cap lets it--> sent
 *                            '--cancelled, link closed--> forgotten
 *
 * So a neighbour that asks for much delays nobody, one that does not read costs itself only, and what is still waiting
 * can be called back.
 */

import { hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import type { BlobPiece } from "./frames";
import type { Addressed } from "./gossip";
import type { PeerId } from "./identity";

/** Pieces one neighbour may wait for: four times what ours ask for of all blobs together. */
export const WAITING_MAX = 512;
/** Given to a link before it has drained: with what is left then, the 256 KiB at which a sender should pause. */
export const AHEAD_BYTES = 192 * 1024;
/** A wake that comes late by this much costs nothing of the cap: event loops may be no better. */
const BURST_S = 0.25;

/** Who holds the pieces. */
export interface Server {
  /** A piece, now that it is this neighbour's turn; null when it is here no more. */
  piece(peerId: PeerId, digest: Uint8Array, index: number): BlobPiece | null;
}

interface Item {
  readonly server: Server;
  readonly digest: Uint8Array;
  readonly index: number;
}

/** The waiting pieces of all links of one peer, and its one way out. */
export class Serving {
  private readonly waiting = new Map<PeerId, Map<string, Item>>();
  /** Links with something waiting that are not full. */
  private turns: PeerId[] = [];
  private readonly ahead = new Map<PeerId, number>();
  private freeAt = -BURST_S;

  private bytesPerS: number;

  constructor(config: ProtocolConfig) {
    this.bytesPerS = config.uploadBytesPerS;
  }

  /** Give no more than this from now on. */
  cap(bytesPerS: number, now: number): void {
    // What the last pieces still cost of the old cap, they cost of the new one.
    const owedBytes = this.bytesPerS === Infinity ? 0 : Math.max(0, this.freeAt - now) * this.bytesPerS;
    this.freeAt = Math.min(this.freeAt, now) + owedBytes / bytesPerS;
    this.bytesPerS = bytesPerS;
  }

  /**
   * A neighbour asks for these pieces.
   *
   * @throws RemoteProtocolError when it asks for more than anybody should. The others stay in the queue.
   */
  ask(peerId: PeerId, server: Server, digest: Uint8Array, first: number, end: number): void {
    let waiting = this.waiting.get(peerId);
    if (waiting === undefined) this.waiting.set(peerId, (waiting = new Map()));
    for (let index = first; index < end; index++) {
      if (waiting.size >= WAITING_MAX) {
        throw new RemoteProtocolError(`more than ${WAITING_MAX} pieces asked for at a time`);
      }
      waiting.set(`${hex(digest)}${index}`, { server, digest, index });
    }
    this.queue(peerId);
  }

  /** It needs these no more. Those already sent are on their way. */
  cancel(peerId: PeerId, digest: Uint8Array, indices: readonly number[]): void {
    for (const index of indices) this.waiting.get(peerId)?.delete(`${hex(digest)}${index}`);
  }

  /** What a link was given has left, nearly all of it. */
  drained(peerId: PeerId): void {
    this.ahead.delete(peerId);
    this.queue(peerId);
  }

  linkClosed(peerId: PeerId): void {
    this.waiting.delete(peerId);
    this.ahead.delete(peerId);
    this.turns = this.turns.filter((each) => each !== peerId);
  }

  /** The pieces to send now: one a link in turn. */
  pump(now: number): Addressed[] {
    const sent: Addressed[] = [];
    while (this.turns.length > 0 && now >= this.freeAt) {
      const peerId = this.turns.shift()!;
      const waiting = this.waiting.get(peerId)!;
      const next = waiting.entries().next().value;
      if (next !== undefined) {
        const [key, { server, digest, index }] = next;
        waiting.delete(key);
        const frame = server.piece(peerId, digest, index);
        if (frame !== null) {
          sent.push([peerId, frame]);
          this.ahead.set(peerId, (this.ahead.get(peerId) ?? 0) + frame.data.length);
          const busyS = frame.data.length / this.bytesPerS;
          if (busyS > 0) this.freeAt = Math.max(this.freeAt, now - BURST_S) + busyS;
        }
      }
      this.queue(peerId);
    }
    return sent;
  }

  /** When the cap lets the next piece go. */
  wakeAt(): number {
    return this.turns.length > 0 ? this.freeAt : Infinity;
  }

  private queue(peerId: PeerId): void {
    const isFull = (this.ahead.get(peerId) ?? 0) >= AHEAD_BYTES;
    if (isFull || !this.waiting.get(peerId)?.size || this.turns.includes(peerId)) return;
    this.turns.push(peerId);
  }
}

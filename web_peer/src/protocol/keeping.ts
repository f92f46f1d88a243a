/**
 * Results and savepoints of others that we keep for them, sealed, until the creator has them (spec/ledger.md, "Custody").
 *
 *     asked:  keep --room?--> FETCHING --here--> KEPT --chunk closed, task certified or expired--> let go
 *                    '--no--> refused   '--failed--> refused
 *
 * We cannot read what we keep: it is sealed to the creator. It is in memory, apart from our own blobs.
 */

import { fromHex, hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import { RemoteProtocolError } from "./errors";
import type { Keep } from "./frames";
import { ASKED_MAX } from "./giving";
import { type PeerId, publicKeyOf, SEAL_BYTES } from "./identity";
import type { Ledger } from "./ledger";
import { type Savepoint, STATE_BYTES_MAX } from "./records";

/** What the smallest counts as, so that a flood of small ones fills the quota before it fills the memory. */
const KEPT_BYTES_MIN = 4_096;

/** One task gets this part of the room at most. */
const TASKS_MIN = 2;

interface Held {
  readonly chunk: number;
  /** What it counts as. */
  readonly bytes: number;
  readonly asker: PeerId;
}

/** What one worker keeps for others of one task. */
export class Keeping {
  private bytes = 0;
  private readonly held = new Map<Hex, Held>();
  private readonly coming = new Map<Hex, Held>();
  /** Worker and chunk -> the savepoint that it told of last. */
  private readonly states = new Map<string, Hex>();

  constructor(
    private readonly config: ProtocolConfig,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
  ) {}

  /**
   * A neighbour asks us to keep a result of its own.
   *
   * @throws RemoteProtocolError when no result of this task has that size, or there is no such chunk.
   */
  asked(peerId: PeerId, frame: Keep, isWilling: boolean, now: number): void {
    const { chunks, limits } = this.ledger.manifest;
    const sizeMax = Math.max(limits.outputBytes + SEAL_BYTES, STATE_BYTES_MAX);
    if (frame.chunk >= chunks || frame.size < SEAL_BYTES || frame.size > sizeMax) {
      throw new RemoteProtocolError("asked to keep what cannot be a result of this task");
    }
    const digest = hex(frame.sha256);
    const held = { chunk: frame.chunk, bytes: Math.max(frame.size, KEPT_BYTES_MIN), asker: peerId };
    if (this.held.has(digest) || this.ledger.isAccepted(frame.chunk)) {
      this.answer(peerId, frame.sha256, true);
    } else if (isWilling && this.hasRoom(digest, held)) {
      this.coming.set(digest, held);
      this.count(held.bytes);
      this.desk.custody.fetchFrom(frame.sha256, frame.size, [peerId], now);
    } else {
      this.answer(peerId, frame.sha256, false);
    }
  }

  /** What we promised to keep has come, or does not. */
  arrived(sha256: Uint8Array, isHere: boolean): void {
    const digest = hex(sha256);
    const held = this.coming.get(digest);
    if (held === undefined) return;
    this.coming.delete(digest);
    this.answer(held.asker, sha256, isHere);
    if (isHere && !this.ledger.isClosed(held.chunk) && this.ledger.certificate === null) this.held.set(digest, held);
    else this.letGo(digest, held);
  }

  /** A worker tells of a savepoint: nobody goes on from the one of that chunk that it told of before. */
  superseded(maker: Uint8Array, { chunk, sha256 }: Savepoint): void {
    const key = `${hex(maker)} ${chunk}`;
    const former = this.states.get(key);
    this.states.set(key, hex(sha256));
    const held = former === undefined || former === hex(sha256) ? undefined : this.held.get(former);
    if (held !== undefined) this.letGo(former!, held);
  }

  /** A checkpoint came: what is closed need not be kept any longer. */
  release(): void {
    for (const key of this.states.keys()) if (this.ledger.isClosed(Number(key.split(" ")[1]))) this.states.delete(key);
    for (const [digest, held] of this.held) if (this.ledger.isClosed(held.chunk)) this.letGo(digest, held);
  }

  /** Nobody needs any result of the task any more. What is still on its way goes when it comes. */
  releaseAll(): void {
    for (const [digest, held] of this.held) this.letGo(digest, held);
  }

  // ---- inside

  private hasRoom(digest: Hex, { chunk, bytes, asker }: Held): boolean {
    const { config, ledger } = this;
    // A join costs work, and a void worker's results are worth nothing.
    const key = hex(publicKeyOf(asker));
    return (
      ledger.joins.has(key) &&
      !ledger.isVoid(key) &&
      !ledger.isClosed(chunk) &&
      !this.coming.has(digest) &&
      this.bytes + bytes <= config.custodyBytes / TASKS_MIN &&
      this.desk.custody.promisedBytes + bytes <= config.custodyBytes &&
      [...this.coming.values()].filter((held) => held.asker === asker).length < ASKED_MAX
    );
  }

  private answer(peerId: PeerId, sha256: Uint8Array, kept: boolean): void {
    this.desk.tell(peerId, { kind: "kept", task: this.ledger.task, sha256, kept });
  }

  private letGo(digest: Hex, held: Held): void {
    this.held.delete(digest);
    this.count(-held.bytes);
    this.desk.custody.kept.discard(fromHex(digest));
  }

  private count(bytes: number): void {
    this.bytes += bytes;
    this.desk.custody.promisedBytes += bytes;
  }
}

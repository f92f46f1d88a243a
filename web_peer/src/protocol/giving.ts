/**
 * Results of ours that others keep with us, until the creator has them (spec/ledger.md, "Custody").
 *
 *     a large result:  MADE --not taken in time--> ASKED --kept--> with a custodian --accepted--> let go
 *                                                    '--refused, silent, gone--> another is asked
 *
 * A maker asks the same few neighbours for all its results, and names them in the batches it seals: so the creator
 * knows whom to look for when the maker is gone. Of a task whose results go onward to another (onward.ts) its own copy
 * stays, as long as there is room, until the task expires.
 */

import type { Leaf } from "./batch";
import { equal, hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import type { Desk } from "./desk";
import { Status } from "./events";
import type { Kept } from "./frames";
import { type PeerId, publicKeyOf, SEAL_BYTES } from "./identity";
import { type Ledger, taskTopic } from "./ledger";
import { type Rng, sample } from "./rng";
import type { BlobStore } from "./storage";

/** Results that one custodian is asked for at a time. */
export const ASKED_MAX = 64;

/** Their bytes, unless it is a single one. */
const ASKED_BYTES_MAX = 4 * 1024 * 1024;

/** How often it is looked whether custodians are still there. */
const REVIEW_S = 5;

/** After an answer more is asked this soon, together with what other answers make room for. */
const NEXT_WITHIN_S = 0.2;

/** Whoever does not have by then what it was asked to keep is not waited for: 4 MiB at 64 KiB/s, twice. */
const ANSWER_S = 120;

/** Where results may be compared as numbers, the creator takes every vote's, an audit's on an accepted chunk, too. */
const TAKEN_WITHIN_S = 60;

/** Who could not keep something is asked again after this long. */
const AGAIN_S = 60;

/** A result that the creator may still come for. */
interface Made {
  readonly leaf: Leaf;
  readonly at: number;
  /** When we heard that its chunk is accepted. */
  acceptedAt: number | null;
  readonly asked: Map<PeerId, number>;
  readonly holders: Set<PeerId>;
}

/** How much a custodian is asked for and has not answered. */
interface Load {
  count: number;
  bytes: number;
}

/** The large results one worker made for one task, and who keeps them with it. */
export class Giving {
  /** By the hash of the sealed bytes. */
  private readonly results = new Map<Hex, Made>();
  /** How many chunks have this result: those with equal ones share one blob. */
  private readonly uses = new Map<Hex, number>();
  private chosen: PeerId[] = [];
  /** Who could not keep something, and until when it is not asked again. */
  private readonly unwilling = new Map<PeerId, number>();
  private reviewAt = Infinity;
  /** Results for other tasks, the oldest first. */
  private readonly lasting = new Map<Hex, Leaf>();
  private lastingBytes = 0;

  constructor(
    private readonly config: ProtocolConfig,
    private readonly rng: Rng,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
    private creatorHeardAt: number,
  ) {}

  /** The keys of those that are asked, or will be: workers of the task among our neighbours, drawn at random. */
  custodians(now: number): Uint8Array[] {
    for (const [peerId, until] of this.unwilling) if (until <= now) this.unwilling.delete(peerId);
    const able = this.desk.followers(taskTopic(this.ledger.task)).filter((peerId) => this.isAble(peerId));
    this.chosen = this.chosen.filter((peerId) => able.includes(peerId));
    const others = able.filter((peerId) => !this.chosen.includes(peerId));
    const missing = this.config.custodians - this.chosen.length;
    this.chosen.push(...(others.length <= missing ? others : sample(this.rng, others, missing)));
    return this.chosen.map(publicKeyOf);
  }

  /** We voted: for a result that others would have to fetch, or one that goes onward. */
  made(leaf: Leaf, now: number): void {
    if (leaf.inline) {
      if (leaf.status === Status.OK && this.ledger.manifest.onward) this.keepOn(leaf);
      return;
    }
    this.results.set(hex(leaf.sealed), { leaf, at: now, acceptedAt: null, asked: new Map(), holders: new Set() });
    const digest = hex(leaf.digest);
    this.uses.set(digest, (this.uses.get(digest) ?? 0) + 1);
    this.reviewAt = Math.min(this.reviewAt, now);
  }

  /** A vote of an earlier life of ours: what is still here of its result is given, and let go, as ever. */
  madeBefore(leaf: Leaf, now: number): void {
    const isHere = (digest: Uint8Array): boolean => this.blobs.size(digest) !== null;
    if (leaf.sealed.length > 0 && !this.ledger.isAccepted(leaf.chunk) && isHere(leaf.sealed)) this.made(leaf, now);
    else if (leaf.status === Status.OK && this.ledger.manifest.onward && isHere(leaf.digest)) this.keepOn(leaf);
  }

  /** The creator is there: it takes results itself. */
  creatorHeard(now: number): void {
    this.creatorHeardAt = now;
  }

  /** A custodian has a result, or cannot keep it. What comes too late, or unasked, says nothing. */
  answered(peerId: PeerId, { sha256, kept }: Kept, now: number): void {
    const made = this.results.get(hex(sha256));
    if (!made?.asked.delete(peerId)) return;
    if (kept) made.holders.add(peerId);
    else this.unwilling.set(peerId, now + AGAIN_S);
    this.reviewAt = Math.min(this.reviewAt, now + NEXT_WITHIN_S);
  }

  /** A checkpoint came: what the creator has need not be kept any longer. */
  release(now: number): void {
    for (const made of this.results.values()) {
      if (!this.ledger.isAccepted(made.leaf.chunk)) {
        made.acceptedAt = null;
        continue;
      }
      made.acceptedAt ??= now;
      if (!this.mayCompare || now - made.acceptedAt >= TAKEN_WITHIN_S) this.letGo(made.leaf);
    }
  }

  private get mayCompare(): boolean {
    return this.ledger.manifest.runtime === "gpu";
  }

  /** The creator needs no result of the task any more. */
  releaseAll(): void {
    for (const made of this.results.values()) this.letGo(made.leaf);
  }

  /** Nobody needs any result of the task any more. */
  expire(): void {
    this.releaseAll();
    for (const { digest } of this.lasting.values()) this.blobs.discard(digest);
    this.lasting.clear();
    this.lastingBytes = 0;
  }

  /** Whether a blob is a result of ours that others may fetch. */
  holds(digest: Uint8Array): boolean {
    const key = hex(digest);
    return this.uses.has(key) || this.lasting.has(key) || this.results.has(key);
  }

  /** Ask for what is due, up to what each custodian is to fetch at a time. */
  advance(now: number): void {
    if (now < this.reviewAt) return;
    if (this.mayCompare) this.release(now);
    this.reviewAt = this.results.size > 0 ? now + REVIEW_S : Infinity;
    const due = [...this.results.values()].filter((made) => made.acceptedAt === null && now >= this.dueAt(made));
    if (due.length === 0) return;
    const loads = this.giveUpOnTheSilent(due, now);
    this.custodians(now);
    for (const { leaf, asked, holders } of due) {
      const size = leaf.size + SEAL_BYTES;
      for (const peerId of this.chosen) {
        if (holders.size + asked.size >= this.config.custodians) break;
        const load = loadOf(loads, peerId);
        const isFull = load.count >= ASKED_MAX || (load.count > 0 && load.bytes + size > ASKED_BYTES_MAX);
        if (isFull || holders.has(peerId) || asked.has(peerId)) continue;
        load.count++;
        load.bytes += size;
        asked.set(peerId, now);
        this.desk.tell(peerId, { kind: "keep", task: this.ledger.task, chunk: leaf.chunk, sha256: leaf.sealed, size });
      }
    }
  }

  wakeAt(): number {
    return this.reviewAt;
  }

  // ---- inside

  private dueAt({ at }: Made): number {
    return Math.min(at, this.creatorHeardAt) + this.config.custodyAfterS;
  }

  private isAble(peerId: PeerId): boolean {
    const key = hex(publicKeyOf(peerId));
    return this.ledger.joins.has(key) && !this.ledger.isVoid(key) && !this.unwilling.has(peerId);
  }

  /** Forget who has gone or does not answer; how much the others are still asked for. */
  private giveUpOnTheSilent(due: readonly Made[], now: number): Map<PeerId, Load> {
    const linked = new Set(this.desk.followers(taskTopic(this.ledger.task)));
    const loads = new Map<PeerId, Load>();
    for (const { leaf, asked, holders } of due) {
      for (const peerId of holders) if (!linked.has(peerId)) holders.delete(peerId);
      for (const [peerId, at] of asked) {
        if (!linked.has(peerId)) {
          asked.delete(peerId);
        } else if (now >= at + ANSWER_S) {
          asked.delete(peerId);
          this.unwilling.set(peerId, now + AGAIN_S);
        } else {
          const load = loadOf(loads, peerId);
          load.count++;
          load.bytes += leaf.size + SEAL_BYTES;
        }
      }
    }
    return loads;
  }

  private letGo(leaf: Leaf): void {
    const { digest, sealed } = leaf;
    this.results.delete(hex(sealed));
    this.blobs.discard(sealed);
    const key = hex(digest);
    const left = this.uses.get(key)! - 1;
    if (left > 0) {
      this.uses.set(key, left);
      return;
    }
    this.uses.delete(key);
    if (this.ledger.manifest.onward && leaf.status === Status.OK) {
      this.keepOn(leaf);
      return;
    }
    const { code, inputs } = this.ledger.manifest;
    // A task may well give back its whole input.
    const isNeeded = equal(digest, code.sha256) || (inputs !== null && equal(digest, inputs.sha256));
    if (!isNeeded) this.blobs.discard(digest);
  }

  private keepOn(leaf: Leaf): void {
    const key = hex(leaf.digest);
    this.lastingBytes += leaf.size - (this.lasting.get(key)?.size ?? 0);
    this.lasting.set(key, leaf);
    // As much of our own as we keep for others: beyond that the creator's copies must do.
    for (const [oldest, { digest, size }] of this.lasting) {
      if (this.lastingBytes <= this.config.custodyBytes) return;
      this.lastingBytes -= size;
      this.lasting.delete(oldest);
      if (!this.uses.has(oldest)) this.blobs.discard(digest);
    }
  }
}

function loadOf(loads: Map<PeerId, Load>, peerId: PeerId): Load {
  let load = loads.get(peerId);
  if (load === undefined) loads.set(peerId, (load = { count: 0, bytes: 0 }));
  return load;
}

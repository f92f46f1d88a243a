/**
 * Results whose makers are gone, from those that kept them sealed (spec/ledger.md, "Custody").
 *
 *     a result:  its copies, one by one:  ASKED FOR --here, opens, is it--> RECLAIMED
 *                                             '--nobody has it, or it is something else--> the next; none is left: LOST
 *
 * What is lost the creator executes itself.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import type { Leaf } from "./batch";
import { fromHex, hex, type Hex } from "./bytes";
import type { Desk } from "./desk";
import { RemoteProtocolError } from "./errors";
import { SEAL_BYTES, type Signer } from "./identity";
import type { Ledger } from "./ledger";
import type { BlobStore } from "./storage";
import { resultContext } from "./voting";

/** Copies that are looked for before the creator executes the chunk itself: liars may name what nobody has. */
const TRIED_MAX = 8;

/** A sealed result: who made it, the vote that names it, and who was asked to keep it. */
export interface Copy {
  readonly maker: Hex;
  readonly leaf: Leaf;
  readonly custodians: readonly Hex[];
}

/** A result that was looked for, and whether it was found. */
export interface Settled {
  readonly digest: Hex;
  readonly isFound: boolean;
}

/** The search for results of one task of ours that their makers do not deliver. */
export class Reclaiming {
  /** Result -> copies to look for, the present one first. */
  private readonly copies = new Map<Hex, Copy[]>();
  /** Sealed result -> results it is looked for as. */
  private readonly wanted = new Map<Hex, Set<Hex>>();

  constructor(
    private readonly signer: Signer,
    private readonly ledger: Ledger,
    private readonly desk: Desk,
    private readonly blobs: BlobStore,
  ) {}

  /** Look for a result; false when there is nothing to look for. */
  begin(digest: Hex, copies: readonly Copy[], now: number): boolean {
    if (this.copies.has(digest)) return true;
    if (copies.length === 0) return false;
    this.copies.set(digest, copies.slice(0, TRIED_MAX));
    this.ask(digest, copies[0]!, now);
    return true;
  }

  /** A sealed result came, or nobody we reach has it: results that are found now, or lost. */
  arrived(sealed: Uint8Array, isHere: boolean, now: number): Settled[] {
    const key = hex(sealed);
    const digests = [...(this.wanted.get(key) ?? [])].sort();
    this.wanted.delete(key);
    const settled: Settled[] = [];
    for (const digest of digests) {
      const copies = this.copies.get(digest)!;
      const isFound = isHere && this.open(digest, copies[0]!);
      copies.shift();
      if (!isFound && copies.length > 0) {
        this.ask(digest, copies[0]!, now);
      } else {
        this.copies.delete(digest);
        settled.push({ digest, isFound });
      }
    }
    if (isHere && digests.length > 0 && !this.wanted.has(key)) this.desk.custody.kept.discard(sealed);
    return settled;
  }

  private ask(digest: Hex, { maker, leaf, custodians }: Copy, now: number): void {
    const key = hex(leaf.sealed);
    const digests = this.wanted.get(key);
    if (digests === undefined) this.wanted.set(key, new Set([digest]));
    else digests.add(digest);
    const providers = [maker, ...custodians].filter((worker) => this.ledger.joins.has(worker)).map(fromHex);
    this.desk.custody.fetch(leaf.sealed, leaf.size + SEAL_BYTES, providers, now);
  }

  /** Store the result, if this is it. Whoever named something else gave a wrong name: its vote stays as it is. */
  private open(digest: Hex, { maker, leaf }: Copy): boolean {
    const { kept } = this.desk.custody;
    const sealed = kept.read(leaf.sealed, 0, kept.size(leaf.sealed) ?? 0);
    let data: Uint8Array;
    try {
      data = this.signer.unseal(this.ledger.joins.get(maker)!.sealKey, resultContext(this.ledger.task), sealed);
    } catch (error) {
      if (error instanceof RemoteProtocolError) return false;
      throw error;
    }
    if (hex(sha256(data)) !== digest) return false;
    this.blobs.put(leaf.digest, data);
    return true;
  }
}

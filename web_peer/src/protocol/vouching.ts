/**
 * Who vouches for a creator, and for what (spec/permissions.md, "Vouches").
 *
 *     voucher --vouch--> creator --in its manifest--> volunteers that trust the voucher: VERIFIED
 *        '--a later vouch, or one that ends it, by gossip--------------'
 *
 * A page fetches nothing for anybody. It passes on what it hears, and shows who answers for a creator.
 */

import { areCovered } from "./permissions";
import { equal, hex, type Hex } from "./bytes";
import { array, decode, type Infer, struct, text, u53, bytes32 } from "./codec";
import { RemoteProtocolError } from "./errors";
import { publicKeyOf, type Verifier } from "./identity";
import { isPrintable, type Manifest } from "./manifest";
import { isPermission, PERMISSION_CHARACTERS_MAX } from "./permissions";
import { recordKey, type Signed, verifySignature } from "./records";

const VOUCH_S_MAX = 400 * 86_400;
/** A voucher's clock may run ahead of ours by this much. */
const EARLY_S = 600;
/** Vouches held beyond those in manifests. */
const HELD_MAX = 1_000;

/** Its author answers for a creator until a moment. The one with the greatest `sinceS` counts. */
export const Vouch = struct("Vouch", {
  creator: bytes32,
  name: text({ min: 1, max: 40 }),
  scope: array(text({ max: PERMISSION_CHARACTERS_MAX }), { max: 16 }),
  sinceS: u53,
  untilS: u53,
});
export type Vouch = Infer<typeof Vouch>;

/**
 * What a voucher says.
 *
 * @throws RemoteProtocolError when it is no vouch, breaks a rule, or somebody else signed it.
 */
export function openVouch(signed: Signed, verifier: Verifier): Vouch {
  if (signed.kind !== "vouch") throw new RemoteProtocolError(`a ${signed.kind} is not a vouch`);
  const vouch = decode(Vouch, signed.body);
  if (equal(signed.author, vouch.creator)) throw new RemoteProtocolError("nobody vouches for itself");
  if (!isPrintable(vouch.name)) throw new RemoteProtocolError("a vouch's name contains control characters");
  if (!vouch.scope.every(isPermission)) {
    throw new RemoteProtocolError("a vouch's scope is not written as net:https://host/path");
  }
  if (vouch.untilS > vouch.sinceS + VOUCH_S_MAX) throw new RemoteProtocolError("a vouch lasts longer than any may");
  verifySignature(verifier, signed);
  return vouch;
}

/** The keys of those of these peers that are any. */
export function keysOf(peerIds: readonly string[]): Set<Hex> {
  const keys = new Set<Hex>();
  for (const peerId of peerIds) {
    try {
      keys.add(hex(publicKeyOf(peerId)));
    } catch (error) {
      if (!(error instanceof RemoteProtocolError)) throw error;
    }
  }
  return keys;
}

/** Why a creator counts as verified. */
export interface Verified {
  /** Who answers for it: itself, where its very key is trusted. */
  readonly voucher: Uint8Array;
  readonly name: string;
}

interface Held {
  readonly signed: Signed;
  readonly vouch: Vouch;
}

/** What one peer knows of who answers for whom: of each voucher and creator what was said last. */
export class Vouches {
  private readonly held = new Map<string, Held>();

  constructor(
    private readonly verifier: Verifier,
    private readonly trusted: ReadonlySet<Hex>,
  ) {}

  /**
   * Hold a vouch that came by itself; false where it says nothing new, or nothing that concerns us: no task of this
   * creator names the voucher, and we do not trust it.
   *
   * @throws RemoteProtocolError when it is no vouch.
   */
  add(signed: Signed, tasks: Iterable<{ readonly manifest: Manifest }>): boolean {
    const vouch = decode(Vouch, signed.body);
    const author = hex(signed.author);
    const key = `${author} ${hex(vouch.creator)}`;
    const known = this.held.get(key);
    const found = { signed, vouch };
    if (known !== undefined && !isNewer(found, known)) return false;
    if (!this.trusted.has(author) && !isNamed(signed, vouch, tasks)) return false;
    openVouch(signed, this.verifier);
    if (known === undefined && this.held.size >= HELD_MAX) this.held.delete(this.held.keys().next().value!);
    this.held.delete(key);
    this.held.set(key, found);
    return true;
  }

  /** Who answers for a task's creator, and for all that the task asks for; null: nobody whom we trust. */
  verified(manifest: Manifest, nowS: number): Verified | null {
    if (this.trusted.has(hex(manifest.creator))) return { voucher: manifest.creator, name: "" };
    const said = new Map<Hex, Held>();
    for (const found of [...this.carried(manifest), ...this.held.values()]) {
      const author = hex(found.signed.author);
      const last = said.get(author);
      const isAbout = this.trusted.has(author) && equal(found.vouch.creator, manifest.creator);
      if (isAbout && (last === undefined || isNewer(found, last))) said.set(author, found);
    }
    for (const author of [...said.keys()].sort()) {
      const { signed, vouch } = said.get(author)!;
      const holds = vouch.sinceS <= nowS + EARLY_S && nowS < vouch.untilS;
      if (holds && (vouch.scope.length === 0 || areCovered(manifest.permissions, vouch.scope))) {
        return { voucher: signed.author, name: vouch.name };
      }
    }
    return null;
  }

  /** Names of the records held. */
  *ids(): IterableIterator<Hex> {
    for (const { signed } of this.held.values()) yield recordKey(signed);
  }

  record(id: Hex): Signed | null {
    for (const { signed } of this.held.values()) if (recordKey(signed) === id) return signed;
    return null;
  }

  /** What a manifest brings along. What is none is the creator's loss. */
  private carried(manifest: Manifest): Held[] {
    const found: Held[] = [];
    for (const signed of manifest.vouches) {
      try {
        if (this.trusted.has(hex(signed.author))) found.push({ signed, vouch: openVouch(signed, this.verifier) });
      } catch (error) {
        if (!(error instanceof RemoteProtocolError)) throw error;
      }
    }
    return found;
  }
}

/** Whether a task of this creator brings along what this voucher said before. */
function isNamed({ author }: Signed, { creator }: Vouch, tasks: Iterable<{ readonly manifest: Manifest }>): boolean {
  for (const { manifest } of tasks) {
    if (equal(manifest.creator, creator) && manifest.vouches.some((each) => equal(each.author, author))) return true;
  }
  return false;
}

/** Of two of one second everybody takes the same. */
function isNewer(left: Held, right: Held): boolean {
  if (left.vouch.sinceS !== right.vouch.sinceS) return left.vouch.sinceS > right.vouch.sinceS;
  return recordKey(left.signed) > recordKey(right.signed);
}

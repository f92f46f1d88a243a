/**
 * A task's epochs, and chains of hashes whose values come out one an epoch (spec/away.md).
 *
 *     value 0 <--SHA-256-- value 1 <--SHA-256-- ... <--SHA-256-- value n        n: the task's last epoch
 *
 * The anchor, value 0, is known to all. Only the chain's owner knows the values after the last that it has shown; whoever
 * is shown one can tell that it is right, and there is exactly one for each epoch. The creator's chain makes beacons, a
 * worker's the lots it draws.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal } from "./bytes";
import type { Signer } from "./identity";
import { type Epochs, EPOCHS_MAX, type Manifest } from "./manifest";

/** An epoch as tasks are made with, while they have few enough of them: research/verification.md section 3.5. */
export const EPOCH_S = 60;

/** Stands where a value of a chain would, in tasks without epochs. */
export const NO_VALUE = new Uint8Array(32);

const MARK_EVERY = 256;

const utf8 = new TextEncoder();

/** A chain that we own, from the secret at its end. */
export class Chain {
  /** Every 256th value is kept: then any is at most 256 hashes away, and a long chain costs little memory. */
  private readonly marks = new Map<number, Uint8Array>();

  constructor(
    secret: Uint8Array,
    readonly length: number,
  ) {
    this.marks.set(length, secret);
    let value = secret;
    for (let epoch = length - 1; epoch >= 0; epoch--) {
      value = sha256(value);
      if (epoch % MARK_EVERY === 0) this.marks.set(epoch, value);
    }
  }

  /** The value of an epoch, 0 being the anchor. */
  value(epoch: number): Uint8Array {
    const mark = Math.min(Math.ceil(epoch / MARK_EVERY) * MARK_EVERY, this.length);
    return hashed(this.marks.get(mark)!, mark - epoch);
  }
}

/** Somebody else's chain, of which we know the anchor and what we were shown. */
export class ChainView {
  private readonly known = new Map<number, Uint8Array>();
  private newest = 0;

  constructor(
    anchor: Uint8Array,
    private readonly length: number,
  ) {
    this.known.set(0, anchor);
  }

  /** Whether this is the chain's value of that epoch. */
  holds(epoch: number, value: Uint8Array): boolean {
    if (epoch > this.length) return false;
    if (epoch > this.newest) {
      if (!equal(hashed(value, epoch - this.newest), this.known.get(this.newest)!)) return false;
      this.newest = epoch;
      this.known.set(epoch, value);
      return true;
    }
    let right = this.known.get(epoch);
    if (right === undefined) {
      let above = this.newest;
      for (const known of this.known.keys()) if (known > epoch && known < above) above = known;
      this.known.set(epoch, (right = hashed(this.known.get(above)!, above - epoch)));
    }
    return equal(right, value);
  }
}

/** SHA-256 over and over. */
export function hashed(value: Uint8Array, times: number): Uint8Array {
  let hash = value;
  for (let time = 0; time < times; time++) hash = sha256(hash);
  return hash;
}

/** The number of a task's last epoch; 0 when it has none. */
export function lastEpoch({ epochs, createdS, expiresS }: Manifest): number {
  return epochs === null ? 0 : Math.ceil((expiresS - createdS) / epochs.seconds);
}

/** Which epoch of a task it is. A clock that is wrong gives another number, and nothing worse. */
export function epochAt(manifest: Manifest, unixS: number): number {
  if (manifest.epochs === null) return 0;
  const passed = Math.floor((unixS - manifest.createdS) / manifest.epochs.seconds);
  return Math.max(0, Math.min(passed, lastEpoch(manifest)));
}

/** Unix time at which an epoch begins. */
export function beginsAt(manifest: Manifest, epoch: number): number {
  return manifest.createdS + epoch * (manifest.epochs?.seconds ?? 0);
}

/** The chain of a creator's beacons. It follows from what is known before the manifest is signed. */
export function beaconChain(signer: Signer, code: Uint8Array, createdS: number, length: number): Chain {
  const time = new Uint8Array(8);
  new DataView(time.buffer).setBigUint64(0, BigInt(createdS));
  return new Chain(signer.derive(concat(utf8.encode("beacon"), code, time)), length);
}

/** The epochs of a task that is about to be signed: of `seconds`, or longer where those would be too many. */
export function makeEpochs(
  signer: Signer,
  code: Uint8Array,
  createdS: number,
  expiresS: number,
  atLeastS: number = EPOCH_S,
): Epochs {
  const seconds = Math.min(86_400, Math.max(atLeastS, Math.ceil((expiresS - createdS) / EPOCHS_MAX)));
  const chain = beaconChain(signer, code, createdS, Math.ceil((expiresS - createdS) / seconds));
  return { seconds, anchor: chain.value(0) };
}

/**
 * Ed25519 in software, for whoever has no platform that signs: browsers before 2025, and pages on plain http. Whatever
 * the platform answers, this answers too, only slower: it is what WebCrypto is held to.
 */

import { ed25519 } from "@noble/curves/ed25519.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256, sha512 } from "@noble/hashes/sha2.js";

import { equal, hex } from "./bytes";
import {
  isWeakPoint,
  KEY_BYTES,
  type PeerId,
  peerIdOf,
  prefixOf,
  remember,
  SIGNATURE_BYTES,
  signedBytes,
  type Signer,
} from "./identity";
import { SealKeys } from "./sealing";

const KEYS_KEPT = 4_096;

const utf8 = new TextEncoder();

type Point = ReturnType<typeof ed25519.Point.fromBytes>;
const points = new Map<string, Point | null>();

/** The public key as a point, negated; null for bytes that are no key. Kept, since few keys sign most records. */
function negatedPoint(publicKey: Uint8Array): Point | null {
  const key = hex(publicKey);
  let point = points.get(key);
  if (point === undefined) {
    try {
      point = ed25519.Point.fromBytes(publicKey).negate();
    } catch {
      point = null;
    }
    remember(points, key, point, KEYS_KEPT);
  }
  return point;
}

/**
 * The real `Verifier` in software. Malformed keys and signatures are simply not valid.
 *
 * The equation is RFC 8032's without the cofactor, `[S]B = R + [k]A`, as OpenSSL and WebCrypto compute it. noble's own
 * `verify` multiplies by the cofactor, so a made-up signature could hold in one peer and not in another.
 */
export function verify(publicKey: Uint8Array, domain: string, body: Uint8Array, signature: Uint8Array): boolean {
  if (publicKey.length !== KEY_BYTES || signature.length !== SIGNATURE_BYTES) return false;
  const r = signature.subarray(0, 32);
  if (isWeakPoint(publicKey) || isWeakPoint(r)) return false;
  const s = littleEndian(signature.subarray(32));
  const order = ed25519.Point.Fn.ORDER;
  const negated = s < order ? negatedPoint(publicKey) : null;
  if (negated === null) return false;
  const k = littleEndian(sha512.create().update(r).update(publicKey).update(prefixOf(domain)).update(body).digest());
  const expected = ed25519.Point.BASE.multiplyUnsafe(s).add(negated.multiplyUnsafe(k % order));
  return equal(expected.toBytes(), r);
}

function littleEndian(bytes: Uint8Array): bigint {
  return BigInt(`0x${hex(bytes.slice().reverse())}`);
}

/** A peer's two key pairs in software, made from 32 secret bytes that the caller drew and keeps. */
export class SoftwareIdentity implements Signer {
  readonly publicKey: Uint8Array;
  readonly sealKey: Uint8Array;
  readonly peerId: PeerId;
  private readonly sealing: SealKeys;

  constructor(private readonly seed: Uint8Array) {
    this.publicKey = ed25519.getPublicKey(seed);
    // Derived instead of converted from the curve point: converting ties the two uses of a key together.
    this.sealing = new SealKeys(hkdf(sha256, seed, undefined, utf8.encode("cc/seal-key/1"), 32));
    this.sealKey = this.sealing.sealKey;
    this.peerId = peerIdOf(this.publicKey);
  }

  sign(domain: string, body: Uint8Array): Uint8Array {
    return ed25519.sign(signedBytes(domain, body), this.seed);
  }

  settled(): Promise<void> {
    return Promise.resolve();
  }

  derive(purpose: Uint8Array): Uint8Array {
    return this.sealing.derive(purpose);
  }

  seal(sealKey: Uint8Array, context: Uint8Array, plaintext: Uint8Array, nonce: Uint8Array): Uint8Array {
    return this.sealing.seal(sealKey, context, plaintext, nonce);
  }

  unseal(sealKey: Uint8Array, context: Uint8Array, sealed: Uint8Array): Uint8Array {
    return this.sealing.unseal(sealKey, context, sealed);
  }
}

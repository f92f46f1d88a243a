/**
 * Sealing: what only two peers can read, a worker and the creator it computes for (spec/identity.md, "Seals").
 *
 * Apart from identity.ts because nothing is sealed before a peer works, and a browser loads this only then.
 */

import { chacha20poly1305 } from "@noble/ciphers/chacha.js";
import { montgomery } from "@noble/curves/abstract/montgomery.js";
import { pow } from "@noble/curves/abstract/modular.js";
import { hkdf } from "@noble/hashes/hkdf.js";
import { sha256 } from "@noble/hashes/sha2.js";

import { compare, concat, hex } from "./bytes";
import { RemoteProtocolError } from "./errors";
import { NONCE_BYTES, remember } from "./identity";

const KEYS_KEPT = 4_096;
const FIELD = 2n ** 255n - 19n;

/** noble's own `x25519` brings the tables of Ed25519 along, which make only new public keys quicker. */
const x25519 = montgomery({
  P: FIELD,
  type: "x25519",
  adjustScalarBytes(scalar: Uint8Array) {
    scalar[0]! &= 0xf8;
    scalar[31]! = (scalar[31]! & 0x7f) | 0x40;
    return scalar;
  },
  powPminus2: (x) => pow(x, FIELD - 2n, FIELD),
});

const utf8 = new TextEncoder();

/** An X25519 pair and what is sealed with it, made from 32 secret bytes that the caller drew and keeps. */
export class SealKeys {
  readonly sealKey: Uint8Array;
  private readonly keys = new Map<string, Uint8Array>();

  constructor(private readonly sealSeed: Uint8Array) {
    this.sealKey = x25519.getPublicKey(sealSeed);
  }

  derive(purpose: Uint8Array): Uint8Array {
    return hkdf(sha256, this.sealSeed, undefined, concat(utf8.encode("cc/secret/1\0"), purpose), 32);
  }

  seal(sealKey: Uint8Array, context: Uint8Array, plaintext: Uint8Array, nonce: Uint8Array): Uint8Array {
    return concat(nonce, chacha20poly1305(this.keyFor(sealKey, context), nonce, context).encrypt(plaintext));
  }

  unseal(sealKey: Uint8Array, context: Uint8Array, sealed: Uint8Array): Uint8Array {
    if (sealed.length < NONCE_BYTES) throw new RemoteProtocolError("sealed bytes are shorter than their nonce");
    const box = chacha20poly1305(this.keyFor(sealKey, context), sealed.subarray(0, NONCE_BYTES), context);
    try {
      return box.decrypt(sealed.subarray(NONCE_BYTES));
    } catch {
      throw new RemoteProtocolError("sealed bytes do not open with this pair of keys");
    }
  }

  /** One agreement per pair and context, kept: a creator opens thousands of batches of one worker. */
  private keyFor(sealKey: Uint8Array, context: Uint8Array): Uint8Array {
    const name = `${hex(sealKey)} ${hex(context)}`;
    let key = this.keys.get(name);
    if (key === undefined) {
      const shared = this.agree(sealKey);
      // Both public keys enter in sorted order, so the two ends derive one key without knowing who sealed first.
      const pair = compare(this.sealKey, sealKey) < 0 ? [this.sealKey, sealKey] : [sealKey, this.sealKey];
      key = hkdf(sha256, shared, concat(...pair), concat(utf8.encode("cc/seal/1\0"), context), 32);
      remember(this.keys, name, key, KEYS_KEPT);
    }
    return key;
  }

  private agree(sealKey: Uint8Array): Uint8Array {
    try {
      return x25519.getSharedSecret(this.sealSeed, sealKey);
    } catch {
      throw new RemoteProtocolError("a seal key is not a usable X25519 public key");
    }
  }
}

/**
 * This browser's keys. The signing key is one that WebCrypto keeps and no script can read, where the browser has
 * Ed25519 on this origin; else a seed of our own, as pages on plain http are left with.
 */

import { peerIdOf, SealKeys, signedBytes, SoftwareIdentity, type PeerId, type Signer } from "../protocol/identity";
import type { Store } from "./store";

export type KeyKind = "WebCrypto, not extractable" | "software key";

export interface Keys {
  readonly signer: Signer;
  readonly kind: KeyKind;
}

/** What is stored. A `CryptoKey` is stored as what it is: IndexedDB keeps it without showing its bytes to anybody. */
export type StoredKey =
  | { readonly kind: "webcrypto"; readonly pair: CryptoKeyPair; readonly sealSeed: Uint8Array }
  | { readonly kind: "software"; readonly seed: Uint8Array };

const SEED_BYTES = 32;

/** The keys kept in the store; new ones if there are none yet. */
export async function loadKeys(store: Store): Promise<Keys> {
  const stored = (await store.read("key")) ?? (await makeKey());
  await store.write("key", stored);
  if (stored.kind === "software") return { signer: new SoftwareIdentity(stored.seed), kind: "software key" };
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("raw", stored.pair.publicKey));
  return {
    signer: new BrowserIdentity(stored.pair.privateKey, publicKey, new SealKeys(stored.sealSeed)),
    kind: "WebCrypto, not extractable",
  };
}

async function makeKey(): Promise<StoredKey> {
  const seed = crypto.getRandomValues(new Uint8Array(SEED_BYTES));
  try {
    const pair = (await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"])) as CryptoKeyPair;
    return { kind: "webcrypto", pair, sealSeed: seed };
  } catch {
    // No crypto.subtle outside secure origins (a TypeError), no Ed25519 in browsers before 2025 (NotSupportedError).
    return { kind: "software", seed };
  }
}

/** A signer whose secret the browser keeps. Signatures come later: see `Signer.sign`. */
class BrowserIdentity implements Signer {
  readonly sealKey: Uint8Array;
  readonly peerId: PeerId;
  private made: Promise<void> = Promise.resolve();

  constructor(
    private readonly privateKey: CryptoKey,
    readonly publicKey: Uint8Array,
    private readonly sealing: SealKeys,
  ) {
    this.sealKey = sealing.sealKey;
    this.peerId = peerIdOf(publicKey);
  }

  sign(domain: string, body: Uint8Array): Uint8Array {
    const signature = new Uint8Array(64);
    const signing = crypto.subtle.sign("Ed25519", this.privateKey, signedBytes(domain, body) as BufferSource);
    const before = this.made;
    this.made = signing.then(async (bytes) => {
      signature.set(new Uint8Array(bytes));
      await before;
    });
    return signature;
  }

  settled(): Promise<void> {
    return this.made;
  }

  seal(sealKey: Uint8Array, context: Uint8Array, plaintext: Uint8Array, nonce: Uint8Array): Uint8Array {
    return this.sealing.seal(sealKey, context, plaintext, nonce);
  }

  unseal(sealKey: Uint8Array, context: Uint8Array, sealed: Uint8Array): Uint8Array {
    return this.sealing.unseal(sealKey, context, sealed);
  }
}


/**
 * This browser's keys. The signing key is one that WebCrypto keeps and no script can read, where the browser has
 * Ed25519 on this origin; else a seed of our own, as pages on plain http are left with.
 */

import { peerIdOf, signedBytes, type PeerId, type Signer } from "../protocol/identity";
import type { SealKeys } from "../protocol/sealing";
import type { Store } from "./store";

export type KeyKind = "WebCrypto, not extractable" | "software key";

export interface Keys {
  readonly signer: Signer;
  readonly kind: KeyKind;
  /** Let the signer seal. What seals is fetched later than what signs (later.ts); until then `seal` must not be asked. */
  sealWith(sealing: typeof SealKeys): void;
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
  if (stored.kind === "software") {
    const { SoftwareIdentity } = await import("../protocol/software");
    return { signer: new SoftwareIdentity(stored.seed), kind: "software key", sealWith: () => undefined };
  }
  const publicKey = new Uint8Array(await crypto.subtle.exportKey("raw", stored.pair.publicKey));
  const signer = new BrowserIdentity(stored.pair.privateKey, publicKey);
  return {
    signer,
    kind: "WebCrypto, not extractable",
    sealWith: (Sealing) => (signer.sealing = new Sealing(stored.sealSeed)),
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
export class BrowserIdentity implements Signer {
  readonly peerId: PeerId;
  sealing: SealKeys | null = null;
  private made: Promise<void> = Promise.resolve();

  constructor(
    private readonly privateKey: CryptoKey,
    readonly publicKey: Uint8Array,
  ) {
    this.peerId = peerIdOf(publicKey);
  }

  get sealKey(): Uint8Array {
    return this.sealing!.sealKey;
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

  derive(purpose: Uint8Array): Uint8Array {
    return this.sealing!.derive(purpose);
  }

  seal(sealKey: Uint8Array, context: Uint8Array, plaintext: Uint8Array, nonce: Uint8Array): Uint8Array {
    return this.sealing!.seal(sealKey, context, plaintext, nonce);
  }

  unseal(sealKey: Uint8Array, context: Uint8Array, sealed: Uint8Array): Uint8Array {
    return this.sealing!.unseal(sealKey, context, sealed);
  }
}


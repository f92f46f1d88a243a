/**
 * Signing as browsers do it: by the platform, and later, so that whoever reads a signature at once reads zeros.
 *
 * The platform is Node's OpenSSL, twenty times faster than signing in JavaScript.
 */

import { createPrivateKey, createPublicKey, type KeyObject, sign, verify } from "node:crypto";

import { concat, fromHex, hex, type Hex } from "../src/protocol/bytes";
import { type PeerId, SIGNATURE_BYTES, signedBytes, type Signer, type Verifier } from "../src/protocol/identity";
import { SoftwareIdentity } from "../src/protocol/software";

const PRIVATE_KEY_HEADER = fromHex("302e020100300506032b657004220420");
const PUBLIC_KEY_HEADER = fromHex("302a300506032b6570032100");

export class LateSigner implements Signer {
  readonly publicKey: Uint8Array;
  readonly sealKey: Uint8Array;
  readonly peerId: PeerId;
  private readonly identity: SoftwareIdentity;
  private readonly key: KeyObject;
  private due: (() => void)[] = [];

  constructor(seed: Uint8Array) {
    const key = Buffer.from(concat(PRIVATE_KEY_HEADER, seed));
    this.key = createPrivateKey({ key, format: "der", type: "pkcs8" });
    this.identity = new SoftwareIdentity(seed);
    this.publicKey = this.identity.publicKey;
    this.sealKey = this.identity.sealKey;
    this.peerId = this.identity.peerId;
  }

  sign(domain: string, body: Uint8Array): Uint8Array {
    const signature = new Uint8Array(SIGNATURE_BYTES);
    this.due.push(() => signature.set(sign(null, signedBytes(domain, body), this.key)));
    return signature;
  }

  /** Fill in every signature made so far. */
  settle(): void {
    for (const fill of this.due) fill();
    this.due = [];
  }

  settled(): Promise<void> {
    this.settle();
    return Promise.resolve();
  }

  derive(purpose: Uint8Array): Uint8Array {
    return this.identity.derive(purpose);
  }

  seal(sealKey: Uint8Array, context: Uint8Array, plaintext: Uint8Array, nonce: Uint8Array): Uint8Array {
    return this.identity.seal(sealKey, context, plaintext, nonce);
  }

  unseal(sealKey: Uint8Array, context: Uint8Array, sealed: Uint8Array): Uint8Array {
    return this.identity.unseal(sealKey, context, sealed);
  }
}

/** The platform's verifier. Each has its own keys, so that no test depends on another. */
export function platformVerifier(): Verifier {
  const keys = new Map<Hex, KeyObject>();
  return (publicKey, domain, body, signature) => {
    const name = hex(publicKey);
    let key = keys.get(name);
    if (key === undefined) {
      const spki = Buffer.from(concat(PUBLIC_KEY_HEADER, publicKey));
      keys.set(name, (key = createPublicKey({ key: spki, format: "der", type: "spki" })));
    }
    return verify(null, signedBytes(domain, body), key, signature);
  };
}

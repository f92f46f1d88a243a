import fc from "fast-check";
import { expect, test } from "vitest";

import { RemoteProtocolError } from "../src/protocol/errors";
import { isWeakPoint, peerIdOf, publicKeyOf, signedBytes } from "../src/protocol/identity";
import { SealKeys } from "../src/protocol/sealing";
import { SoftwareIdentity, verify } from "../src/protocol/software";
import { fromHex, vectors } from "./vectors/read";

// A run that passed must pass again on the same code.
fc.configureGlobal({ seed: 20_261_122 });

const alice = new SoftwareIdentity(new Uint8Array(32).fill(1));
const bob = new SoftwareIdentity(new Uint8Array(32).fill(2));
const context = new TextEncoder().encode("a context");
const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 });

/** Whether Node's WebCrypto, asked only about points that are not weak, believes a signature. */
async function believedByWebCrypto(publicKey: Uint8Array, signed: Uint8Array, signature: Uint8Array): Promise<boolean> {
  if (isWeakPoint(publicKey) || isWeakPoint(signature.subarray(0, 32))) return false;
  try {
    const key = await crypto.subtle.importKey("raw", publicKey as BufferSource, "Ed25519", false, ["verify"]);
    return await crypto.subtle.verify("Ed25519", key, signature as BufferSource, signed as BufferSource);
  } catch {
    return false;
  }
}

test("WebCrypto, asked about no weak point, believes the signatures that software believes", async () => {
  for (const { name, domain, body, public_key, signature, valid } of vectors("identity").signature_edges) {
    const covered = signedBytes(domain, fromHex(body));
    expect(await believedByWebCrypto(fromHex(public_key), covered, fromHex(signature)), name).toBe(valid);
  }
});

test("any key and signature are simply not valid", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40 }), fc.uint8Array({ maxLength: 70 }), (key, signature) => {
      expect(verify(key, "cc/join/1", context, signature)).toBe(false);
    }),
  );
});

test("a signature holds for its own domain, body and key only", () => {
  const signature = alice.sign("cc/join/1", context);
  expect(verify(alice.publicKey, "cc/join/1", context, signature)).toBe(true);
  expect(verify(alice.publicKey, "cc/verdict/1", context, signature)).toBe(false);
  expect(verify(alice.publicKey, "cc/join/1", context.subarray(1), signature)).toBe(false);
  expect(verify(bob.publicKey, "cc/join/1", context, signature)).toBe(false);
});

test("a peer id names one key", () => {
  fc.assert(
    fc.property(bytes32, (key) => {
      expect(publicKeyOf(peerIdOf(key))).toEqual(key);
    }),
  );
});

test("any text is a peer id or refused", () => {
  fc.assert(
    fc.property(fc.string({ maxLength: 70 }), (text) => {
      expect(() => publicKeyOf(text)).toThrow(RemoteProtocolError);
    }),
  );
});

test("sealing works without a signing key, and whatever was not sealed so is refused", () => {
  const [one, other] = [new SealKeys(new Uint8Array(32).fill(8)), new SealKeys(new Uint8Array(32).fill(9))];
  const nonces = fc.uint8Array({ minLength: 12, maxLength: 12 });
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), nonces, (plaintext, nonce) => {
      const sealed = one.seal(other.sealKey, context, plaintext, nonce);
      expect(other.unseal(one.sealKey, context, sealed)).toEqual(plaintext);
      expect(one.unseal(other.sealKey, context, sealed)).toEqual(plaintext);
      expect(() => other.unseal(one.sealKey, context.subarray(1), sealed)).toThrow(RemoteProtocolError);
    }),
    { numRuns: 30 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ maxLength: 40 }), (sealed, key) => {
      expect(() => one.unseal(key, context, sealed)).toThrow(RemoteProtocolError);
    }),
    { numRuns: 30 },
  );
});

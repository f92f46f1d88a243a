/**
 * A seal key for each task, so that its creator can hand it to a steward and nothing else with it (spec/stewards.md).
 *
 * A browser is no steward. It publishes tasks that may have one, and comes back to tasks that had one.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal } from "./bytes";
import { encode } from "./codec";
import type { Signer } from "./identity";
import { Manifest } from "./manifest";
import { SealKeys } from "./sealing";

const PURPOSE = new TextEncoder().encode("task seal");

/** What the task's seal keys are made from. It opens the task's votes and nothing else. */
export function taskSecret(signer: Signer, manifest: Manifest): Uint8Array {
  const unsealed = encode(Manifest, { ...manifest, sealKey: new Uint8Array(32) });
  return signer.derive(concat(PURPOSE, sha256(unsealed)));
}

/** The manifest, its votes sealed to a key of its own. */
export function withTaskKey(signer: Signer, manifest: Manifest): Manifest {
  return { ...manifest, sealKey: new SealKeys(taskSecret(signer, manifest)).sealKey };
}

/** What the creator of a task signs and seals with: in old tasks its own keys, else the task's. */
export function creatorsSigner(signer: Signer, manifest: Manifest): Signer {
  const seals = new SealKeys(taskSecret(signer, manifest));
  if (!equal(seals.sealKey, manifest.sealKey)) return signer;
  return {
    publicKey: signer.publicKey,
    peerId: signer.peerId,
    sealKey: seals.sealKey,
    sign: (domain, body) => signer.sign(domain, body),
    settled: () => signer.settled(),
    derive: (purpose) => signer.derive(purpose),
    seal: (sealKey, context, plaintext, nonce) => seals.seal(sealKey, context, plaintext, nonce),
    unseal: (sealKey, context, sealed) => seals.unseal(sealKey, context, sealed),
  };
}

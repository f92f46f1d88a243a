/**
 * The key of an account, where this browser speaks for it: one that WebCrypto keeps and no script can read, where the
 * browser has Ed25519 on this origin; else a seed, as on plain http.
 *
 *     a seed --drawn, or from a backup--> KEPT     the seed itself is the backup: it is put aside until that is saved
 */

import type { AccountSigner } from "../protocol/accounts";
import { concat, fromHex } from "../protocol/bytes";
import { SoftwareIdentity } from "../protocol/software";
import { BrowserIdentity } from "./keys";

/** What is stored. IndexedDB keeps a `CryptoKey` without showing its bytes to anybody. */
export type StoredAccountKey =
  | { readonly kind: "webcrypto"; readonly privateKey: CryptoKey; readonly publicKey: Uint8Array }
  | { readonly kind: "software"; readonly seed: Uint8Array };

/** An Ed25519 key in PKCS #8 is its 32 bytes behind these (RFC 8410). */
const PKCS8 = fromHex("302e020100300506032b657004220420");

/** What to store for the key that 32 secret bytes make. */
export async function accountKeyOf(seed: Uint8Array): Promise<StoredAccountKey> {
  const pkcs8 = concat(PKCS8, seed) as BufferSource;
  try {
    const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", false, ["sign"]);
    return { kind: "webcrypto", privateKey, publicKey: publicKeyOfSeed(seed) };
  } catch {
    // As with the device's own key: no crypto.subtle outside secure origins, no Ed25519 in browsers before 2025.
    return { kind: "software", seed };
  }
}

export function publicKeyOfSeed(seed: Uint8Array): Uint8Array {
  return new SoftwareIdentity(seed).publicKey;
}

/** What signs for the account. */
export function accountSigner(stored: StoredAccountKey): AccountSigner {
  if (stored.kind === "software") return new SoftwareIdentity(stored.seed);
  return new BrowserIdentity(stored.privateKey, stored.publicKey);
}

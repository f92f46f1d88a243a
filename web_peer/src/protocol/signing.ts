/** Signing a manifest. Apart from manifest.ts, because a page needs it only when it publishes. */

import { equal } from "./bytes";
import { decode, encode } from "./codec";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import type { Signer } from "./identity";
import { checkFields, Manifest } from "./manifest";
import { RECORD_BYTES_MAX, type Signed } from "./records";

/**
 * Check, encode and sign a manifest. From here on only these bytes count; the signature may be filled in later.
 *
 * @throws LocalProtocolError when the manifest names another creator, breaks a rule of `openManifest`, or is too large.
 */
export function signManifest(signer: Signer, manifest: Manifest): Signed {
  if (!equal(manifest.creator, signer.publicKey) || !equal(manifest.sealKey, signer.sealKey)) {
    throw new LocalProtocolError("the manifest names another creator than the key that should sign it");
  }
  const body = encode(Manifest, manifest);
  if (body.length > RECORD_BYTES_MAX) {
    throw new LocalProtocolError(`the manifest takes ${body.length} bytes, ${RECORD_BYTES_MAX} are allowed`);
  }
  try {
    // Decoding once checks the ranges, which a value made by hand has not seen yet.
    checkFields(decode(Manifest, body));
  } catch (error) {
    throw error instanceof RemoteProtocolError ? new LocalProtocolError(error.message) : error;
  }
  return { kind: "manifest", author: signer.publicKey, body, signature: signer.sign("cc/manifest/1", body) };
}

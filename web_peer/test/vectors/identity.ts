import { expect } from "vitest";

import { contentId, peerIdOf, publicKeyOf, signedBytes } from "../../src/protocol/identity";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { type Case, expectBytes, expectRefused, fromHex, hex, vectors } from "./read";

const { peers, refused_peer_ids, signature, signature_edges, seal, refused_seals } = vectors("identity");

const identities = new Map<string, SoftwareIdentity>();
for (const { seed, seal_key } of peers) identities.set(seal_key, new SoftwareIdentity(fromHex(seed)));

export const cases: Case[] = [];

for (const { seed, public_key, seal_key, peer_id } of peers) {
  const peer = new SoftwareIdentity(fromHex(seed));
  cases.push(
    { name: `the public key of seed ${seed.slice(0, 4)}`, check: () => expectBytes(peer.publicKey, public_key) },
    { name: `the seal key of seed ${seed.slice(0, 4)}`, check: () => expectBytes(peer.sealKey, seal_key) },
    { name: `the peer id of seed ${seed.slice(0, 4)}`, check: () => expect(peer.peerId).toBe(peer_id) },
    { name: `the key in peer id ${peer_id}`, check: () => expectBytes(publicKeyOf(peer_id), public_key) },
    { name: `the peer id of key ${public_key}`, check: () => expect(peerIdOf(fromHex(public_key))).toBe(peer_id) },
  );
}
for (const text of refused_peer_ids) {
  cases.push({ name: `a peer id that is none: ${text}`, check: () => expectRefused(() => publicKeyOf(text)) });
}

const body = fromHex(signature.body);
const signer = [...identities.values()].find((peer) => hex(peer.publicKey) === signature.signer)!;
cases.push(
  {
    name: "what a signature covers",
    check: () => expectBytes(signedBytes(signature.domain, body), signature.signed_bytes),
  },
  { name: "a content id", check: () => expectBytes(contentId(signature.domain, body), signature.content_id) },
  { name: "a signature", check: () => expectBytes(signer.sign(signature.domain, body), signature.signature) },
  {
    name: "a signature verifies",
    check: () => expect(verify(signer.publicKey, signature.domain, body, fromHex(signature.signature))).toBe(true),
  },
);
for (const { name, domain, body, public_key, signature, valid } of signature_edges) {
  cases.push({
    name,
    check: () => expect(verify(fromHex(public_key), domain, fromHex(body), fromHex(signature))).toBe(valid),
  });
}

const [from, to] = [identities.get(seal.from)!, identities.get(seal.to)!];
const [context, nonce, plaintext] = [fromHex(seal.context), fromHex(seal.nonce), fromHex(seal.plaintext)];
cases.push(
  { name: "a seal", check: () => expectBytes(from.seal(to.sealKey, context, plaintext, nonce), seal.sealed) },
  {
    name: "a seal opened by whom it was made for",
    check: () => expectBytes(to.unseal(from.sealKey, context, fromHex(seal.sealed)), seal.plaintext),
  },
  {
    name: "a seal opened by who made it",
    check: () => expectBytes(from.unseal(to.sealKey, context, fromHex(seal.sealed)), seal.plaintext),
  },
);
for (const { why, from, context, sealed } of refused_seals) {
  cases.push({
    name: `a seal that does not open: ${why}`,
    check: () => expectRefused(() => to.unseal(fromHex(from), fromHex(context), fromHex(sealed))),
  });
}

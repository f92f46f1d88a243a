/**
 * Who a peer is: an Ed25519 key, named by libp2p's peer id (spec/identity.md).
 *
 * Two key pairs make a peer: the Ed25519 pair that signs, and an X25519 pair to which records are sealed. What computes
 * with them stands apart, because a browser signs and verifies with WebCrypto where it can (src/peer/keys.ts), and seals
 * nothing before it works: sealing.ts, and software.ts for all that a native peer does with one seed.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat, equal, hex } from "./bytes";
import { RemoteProtocolError } from "./errors";

/** libp2p's text form of a peer id, `12D3KooW…`: base58btc of `00 24 08 01 12 20` and the 32-byte public key. */
export type PeerId = string;

export const KEY_BYTES = 32;
export const SIGNATURE_BYTES = 64;
export const NONCE_BYTES = 12;
/** What a seal adds to what is inside: the nonce and the tag. */
export const SEAL_BYTES = NONCE_BYTES + 16;

const MULTIHASH_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20);
const BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
const IDS_KEPT = 65_536;

/** The secret half of a peer: what only its owner can compute. */
export interface Signer {
  readonly publicKey: Uint8Array;
  readonly sealKey: Uint8Array;
  readonly peerId: PeerId;

  /**
   * Sign `body` for one purpose; a signature of one domain never verifies in another.
   *
   * The 64 bytes may be filled in later, in place, since WebCrypto signs asynchronously: nobody may read, send or store
   * them before `settled()`.
   */
  sign(domain: string, body: Uint8Array): Uint8Array;

  /** Resolves when every signature made so far has been filled in. */
  settled(): Promise<void>;

  /** Encrypt to the owner of `sealKey`. Both ends, and nobody else, can `unseal` it again. */
  seal(sealKey: Uint8Array, context: Uint8Array, plaintext: Uint8Array, nonce: Uint8Array): Uint8Array;

  /** 32 bytes for one purpose that only we can compute, and always the same. */
  derive(purpose: Uint8Array): Uint8Array;

  /**
   * Open what the owner of `sealKey` and we share.
   *
   * @throws RemoteProtocolError when the bytes were not sealed between these two keys for this context.
   */
  unseal(sealKey: Uint8Array, context: Uint8Array, sealed: Uint8Array): Uint8Array;
}

/** The public half: whether the holder of `publicKey` signed `body` for `domain`. */
export type Verifier = (publicKey: Uint8Array, domain: string, body: Uint8Array, signature: Uint8Array) => boolean;

const utf8 = new TextEncoder();
const prefixes = new Map<string, Uint8Array>();

/** The domain and its zero byte; there are a dozen domains, so they are kept. */
export function prefixOf(domain: string): Uint8Array {
  let prefix = prefixes.get(domain);
  if (prefix === undefined) {
    prefix = utf8.encode(`${domain}\0`);
    prefixes.set(domain, prefix);
  }
  return prefix;
}

/** What a signature covers: the domain, a zero byte, the body as it travels. It is never encoded again. */
export function signedBytes(domain: string, body: Uint8Array): Uint8Array {
  return concat(prefixOf(domain), body);
}

/** The name of a signed thing: SHA-256 of what its signature covers, given in parts. A task id is a manifest's. */
export function contentId(domain: string, ...parts: readonly Uint8Array[]): Uint8Array {
  const hash = sha256.create().update(prefixOf(domain));
  for (const each of parts) hash.update(each);
  return hash.digest();
}

const peerIds = new Map<string, PeerId>();
const publicKeys = new Map<PeerId, Uint8Array>();

/** The peer id of a 32-byte Ed25519 public key. */
export function peerIdOf(publicKey: Uint8Array): PeerId {
  const key = hex(publicKey);
  let peerId = peerIds.get(key);
  if (peerId === undefined) {
    peerId = base58Encode(concat(MULTIHASH_PREFIX, publicKey));
    remember(peerIds, key, peerId, IDS_KEPT);
  }
  return peerId;
}

/**
 * The 32-byte public key inside a peer id.
 *
 * @throws RemoteProtocolError when the text is not the peer id of an Ed25519 key.
 */
export function publicKeyOf(peerId: string): Uint8Array {
  let publicKey = publicKeys.get(peerId);
  if (publicKey === undefined) {
    const raw = base58Decode(peerId);
    const prefix = raw.subarray(0, MULTIHASH_PREFIX.length);
    if (raw.length !== MULTIHASH_PREFIX.length + KEY_BYTES || !equal(prefix, MULTIHASH_PREFIX)) {
      throw new RemoteProtocolError(`${JSON.stringify(peerId.slice(0, 60))} is not the peer id of an Ed25519 key`);
    }
    publicKey = raw.slice(MULTIHASH_PREFIX.length);
    remember(publicKeys, peerId, publicKey, IDS_KEPT);
  }
  return publicKey;
}

/** Keep at most `limit` answers. Emptying the whole map when it is full costs less than keeping their order. */
export function remember<V>(map: Map<string, V>, key: string, value: V, limit: number): void {
  if (map.size >= limit) map.clear();
  map.set(key, value);
}

const FIELD = 2n ** 255n - 19n;
const SMALL_ORDER_Y: readonly bigint[] = [
  0n,
  1n,
  FIELD - 1n,
  0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
  FIELD - 0x05fc536d880238b13933c6d305acdfd5f098eff289f4c345b027b2c28f95e826n,
];
const SMALL_ORDER: readonly Uint8Array[] = SMALL_ORDER_Y.map((y) =>
  Uint8Array.from({ length: 32 }, (_, index) => Number((y >> BigInt(8 * index)) & 0xffn)),
);

/**
 * Whether 32 bytes name a point that implementations of Ed25519 disagree on (spec/identity.md, "Signatures"): its y is
 * not below the field's prime, or its order is at most eight.
 */
export function isWeakPoint(point: Uint8Array): boolean {
  const top = point[31]! & 0x7f;
  if (top === 0x7f && point[0]! >= 0xed) {
    let index = 30;
    while (index > 0 && point[index] === 0xff) index--;
    if (index === 0) return true;
  }
  return SMALL_ORDER.some((weak) => {
    if (top !== weak[31]) return false;
    for (let index = 0; index < 31; index++) if (point[index] !== weak[index]) return false;
    return true;
  });
}

function base58Encode(raw: Uint8Array): string {
  let number = raw.length === 0 ? 0n : BigInt(`0x${hex(raw)}`);
  let text = "";
  while (number > 0n) {
    text = BASE58[Number(number % 58n)]! + text;
    number /= 58n;
  }
  let zeros = 0;
  while (raw[zeros] === 0) zeros++;
  return "1".repeat(zeros) + text;
}

function base58Decode(text: string): Uint8Array {
  // A peer id of an Ed25519 key has 52 characters; the cap keeps a stranger's text from costing quadratic time.
  if (text.length > 64) throw new RemoteProtocolError("a peer id has at most 64 characters");
  let number = 0n;
  for (const character of text) {
    const digit = BASE58.indexOf(character);
    if (digit < 0) throw new RemoteProtocolError(`${JSON.stringify(character)} does not occur in a peer id`);
    number = number * 58n + BigInt(digit);
  }
  let zeros = 0;
  while (text[zeros] === "1") zeros++;
  const low: number[] = [];
  for (; number > 0n; number >>= 8n) low.push(Number(number & 0xffn));
  return concat(new Uint8Array(zeros), Uint8Array.from(low.reverse()));
}

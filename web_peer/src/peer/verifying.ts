/**
 * Other people's signatures, checked by WebCrypto before the core asks about them.
 *
 *     a frame arrives --prepare--> WebCrypto, in the background --> the core asks `verify`: answered from the memo
 *
 * The core is synchronous and WebCrypto is not, but some twenty times as fast as software. What was not prepared, or
 * cannot be because the origin is insecure, is checked in software: slower, never differently. Software is fetched only
 * when it is needed, and until it is here every answer is kept.
 */

import { equal, hex, type Hex } from "../protocol/bytes";
import { isWeakPoint, signedBytes, type Verifier } from "../protocol/identity";

/** Answers kept. A record comes from several neighbours within seconds; after that nobody asks again. */
const MEMO_MAX = 8_192;
const KEYS_MAX = 1_024;

export interface Claim {
  readonly author: Uint8Array;
  readonly domain: string;
  readonly body: Uint8Array;
  readonly signature: Uint8Array;
}

interface Answer extends Claim {
  readonly valid: boolean;
}

export class Verifying {
  private readonly memo = new Map<Hex, Answer>();
  private readonly keys = new Map<Hex, Promise<CryptoKey>>();
  private readonly running = new Map<Hex, { readonly claim: Claim; readonly check: Promise<void> }>();
  private software: Verifier | null = null;
  private usable = globalThis.crypto?.subtle !== undefined;

  /** What the core is given. */
  readonly verify: Verifier = (author, domain, body, signature) => {
    const answer = this.memo.get(hex(signature));
    if (answer !== undefined && same(answer, { author, domain, body, signature })) return answer.valid;
    if (this.software === null) throw new Error("a signature was not prepared before it was asked about");
    return this.software(author, domain, body, signature);
  };

  /** Have software at hand: for signatures that nobody prepares, and where there is no WebCrypto. */
  async loadSoftware(): Promise<void> {
    this.software ??= (await import("../protocol/software")).verify;
  }

  /** Check these in the background; null when there is nothing to wait for. */
  prepare(claims: readonly Claim[]): Promise<void> | null {
    if (!this.usable) return this.software === null ? this.loadSoftware() : null;
    const waits: Promise<void>[] = [];
    for (const claim of claims) {
      const name = hex(claim.signature);
      const known = this.memo.get(name) ?? this.running.get(name)?.claim;
      if (known !== undefined && !same(known, claim)) {
        // One signature under two texts: at most one is right, and an answer is kept for one only.
        if (this.software === null) waits.push(this.loadSoftware());
      } else if (!this.memo.has(name)) {
        const check = this.running.get(name)?.check ?? this.check(name, claim).finally(() => this.running.delete(name));
        this.running.set(name, { claim, check });
        waits.push(check);
      }
    }
    return waits.length === 0 ? null : Promise.all(waits).then(() => undefined);
  }

  private async check(name: Hex, claim: Claim): Promise<void> {
    let valid = false;
    if (!isWeakPoint(claim.author) && !isWeakPoint(claim.signature.subarray(0, 32))) {
      try {
        const key = await this.keyOf(claim.author);
        const signed = signedBytes(claim.domain, claim.body);
        valid = await crypto.subtle.verify("Ed25519", key, claim.signature as BufferSource, signed as BufferSource);
      } catch (error) {
        if (error instanceof DOMException && error.name === "NotSupportedError") {
          this.usable = false;
          return this.loadSoftware();
        }
        // Bytes that are no point of the curve: no key, so no signature of it.
      }
    }
    // Whoever asks for what was forgotten is answered by software. Without a server to fetch it from, nothing is forgotten.
    if (this.memo.size >= MEMO_MAX) await this.loadSoftware().catch(() => undefined);
    if (this.memo.size >= MEMO_MAX && this.software !== null) this.memo.clear();
    this.memo.set(name, { ...claim, valid });
  }

  private keyOf(author: Uint8Array): Promise<CryptoKey> {
    const name = hex(author);
    let key = this.keys.get(name);
    if (key === undefined) {
      key = crypto.subtle.importKey("raw", author as BufferSource, "Ed25519", false, ["verify"]);
      if (this.keys.size >= KEYS_MAX) this.keys.clear();
      this.keys.set(name, key);
    }
    return key;
  }
}

function same(left: Claim, right: Claim): boolean {
  return (
    left.domain === right.domain &&
    equal(left.author, right.author) &&
    equal(left.signature, right.signature) &&
    equal(left.body, right.body)
  );
}

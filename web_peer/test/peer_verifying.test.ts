/** Signatures as a browser checks them: by WebCrypto, and in software once that is here. */

import { beforeAll, expect, test } from "vitest";
import { concat } from "../src/protocol/bytes";
import { SoftwareIdentity, verify } from "../src/protocol/software";
import { Verifying, type Claim } from "../src/peer/verifying";
import { fromHex, vectors } from "./vectors/read";

const DOMAIN = "cc/test/1";
const identity = new SoftwareIdentity(new Uint8Array(32).fill(7));
const body = Uint8Array.of(1, 2, 3);
let claim: Claim;

beforeAll(() => {
  claim = { author: identity.publicKey, domain: DOMAIN, body, signature: identity.sign(DOMAIN, body) };
});

function asked(verifying: Verifying, { author, domain, body: said, signature }: Claim): boolean {
  return verifying.verify(author, domain, said, signature);
}

function forged(number: number): Claim {
  const signature = claim.signature.slice();
  new DataView(signature.buffer).setUint32(8, number);
  return { ...claim, signature };
}

test("what was prepared is answered as software answers it, with no software here", async () => {
  const verifying = new Verifying();
  const edges = vectors("identity").signature_edges.map(
    (edge: { public_key: string; domain: string; body: string; signature: string }): Claim => ({
      author: fromHex(edge.public_key),
      domain: edge.domain,
      body: fromHex(edge.body),
      signature: fromHex(edge.signature),
    }),
  );
  for (const each of [claim, forged(1), ...edges]) {
    await verifying.prepare([each]);
    expect(asked(verifying, each)).toBe(verify(each.author, each.domain, each.body, each.signature));
  }
  expect(verifying.prepare([claim])).toBeNull();
});

test("without software, nobody gets an answer that was not prepared: neither yes nor no", () => {
  expect(() => asked(new Verifying(), claim)).toThrow("not prepared");
});

test("one signature under two texts is right for one of them, whichever comes first or with it", async () => {
  const other = { ...claim, body: concat(body, body) };
  for (const arrived of [[[claim, other]], [[other, claim]], [[claim], [other]], [[other], [claim]]]) {
    const verifying = new Verifying();
    for (const claims of arrived) await verifying.prepare(claims);
    expect([asked(verifying, claim), asked(verifying, other)]).toEqual([true, false]);
  }
});

test("with software, what nobody prepared is answered too", async () => {
  const verifying = new Verifying();
  await verifying.loadSoftware();
  expect([asked(verifying, claim), asked(verifying, forged(1))]).toEqual([true, false]);
});

test("what had to be forgotten is answered by software, which is here by then", async () => {
  const verifying = new Verifying();
  await verifying.prepare([claim]);
  await verifying.prepare(Array.from({ length: 9_000 }, (_, number) => forged(number + 1)));
  expect([asked(verifying, claim), asked(verifying, forged(1)), asked(verifying, forged(9_000))]).toEqual([
    true,
    false,
    false,
  ]);
  // Answers are for all of what was asked, not for its signature alone.
  expect(asked(verifying, { ...claim, body: concat(body, body) })).toBe(false);
});

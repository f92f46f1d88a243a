/** What a browser peer keeps: blobs within bounds, and consents for 30 days. */

import { expect, test } from "vitest";
import { BrowserBlobs, wholeBlob } from "../src/peer/blobs";
import { Consents, REMEMBERED_S } from "../src/peer/consents";
import type { Store, StoredConsent } from "../src/peer/store";

const digest = (number: number): Uint8Array => new Uint8Array(32).fill(number);
const name = (number: number): string => number.toString(16).padStart(2, "0").repeat(32);

test("what was put is here at once and leaves with the next changes, once", () => {
  const blobs = new BrowserBlobs([{ digest: name(1), data: Uint8Array.of(1) }], 100);
  expect(blobs.hasChanges).toBe(false);
  blobs.put(digest(2), Uint8Array.of(2, 3));
  expect([blobs.size(digest(1)), blobs.size(digest(2)), blobs.size(digest(3))]).toEqual([1, 2, null]);
  expect(blobs.read(digest(2), 1, 9)).toEqual(Uint8Array.of(3));
  expect(blobs.takeChanges()).toEqual({ blobs: [{ digest: name(2), data: Uint8Array.of(2, 3) }], discarded: [] });
  expect(blobs.hasChanges).toBe(false);
  blobs.discard(digest(1));
  expect(blobs.takeChanges()).toEqual({ blobs: [], discarded: [name(1)] });
  expect(blobs.usedBytes).toBe(2);
});

test("when memory is full, what was used longest ago goes", () => {
  const blobs = new BrowserBlobs([], 10);
  for (const number of [1, 2, 3]) blobs.put(digest(number), new Uint8Array(3));
  wholeBlob(blobs, digest(1));
  blobs.put(digest(4), new Uint8Array(3));
  expect([1, 2, 3, 4].filter((number) => blobs.size(digest(number)) !== null)).toEqual([1, 3, 4]);
  // A single blob that is too large is kept alone: it is needed now, or nobody would have put it.
  blobs.put(digest(5), new Uint8Array(11));
  expect(blobs.size(digest(5))).toBe(11);
  expect(blobs.usedBytes).toBe(11);
});

test("a blob does not change when the bytes it was made from do", () => {
  const blobs = new BrowserBlobs([], 100);
  const frame = Uint8Array.of(1, 2, 3);
  blobs.put(digest(1), frame.subarray(1));
  frame.fill(0);
  expect(wholeBlob(blobs, name(1))).toEqual(Uint8Array.of(2, 3));
});

test("a consent is for one task, is remembered for 30 days, and can be taken back", async () => {
  const kept: StoredConsent[] = [];
  const store = { keepConsent: async (consent: StoredConsent) => void kept.push(consent) } as unknown as Store;
  let clockS = 1_000;
  const consents = new Consents(store, [], () => clockS);
  expect([consents.stateOf("aa").state, consents.hasAny]).toEqual(["none", false]);
  await consents.answer("aa", "creator", true);
  expect([consents.isGiven("aa"), consents.isGiven("bb"), consents.hasAny]).toEqual([true, false, true]);

  const afterReload = new Consents(store, kept, () => clockS);
  clockS += REMEMBERED_S - 1;
  expect(afterReload.isGiven("aa")).toBe(true);
  clockS += 1;
  expect(afterReload.stateOf("aa")).toEqual({ state: "expired", expiresS: 1_000 + REMEMBERED_S });
  expect(afterReload.hasAny).toBe(false);

  await afterReload.answer("aa", "creator", true);
  await afterReload.answer("aa", "creator", false);
  expect(afterReload.stateOf("aa")).toEqual({ state: "refused", expiresS: null });
});

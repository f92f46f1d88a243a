/** The proof of work that a worker does to join a task (spec/ledger.md, "join"). */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat } from "./bytes";
import type { Join } from "./records";

const WORK_DOMAIN = new TextEncoder().encode("cc/work/1\0");

/** The hash of a join's proof of work, before the number. */
function workHash({ task, anchor, beacon }: Join, worker: Uint8Array): ReturnType<typeof sha256.create> {
  return sha256.create().update(concat(WORK_DOMAIN, task, worker, anchor, beacon));
}

function setU64(view: DataView, value: number): void {
  view.setUint32(0, Math.floor(value / 0x1_0000_0000));
  view.setUint32(4, value % 0x1_0000_0000);
}

function leadingZeroBits(digest: Uint8Array): number {
  let at = 0;
  while (digest[at] === 0) at++;
  return at === digest.length ? 8 * at : 8 * at + Math.clz32(digest[at]!) - 24;
}

/** Leading zero bits of a join's proof of work: SHA-256 over the domain and all that the join fixes. */
export function joiningWork(join: Join, worker: Uint8Array): number {
  const number = new Uint8Array(8);
  setU64(new DataView(number.buffer), join.work);
  return leadingZeroBits(workHash(join, worker).update(number).digest());
}

/** A join with the smallest number whose proof of work has `bits` leading zero bits. */
export function findWork(join: Join, worker: Uint8Array, bits: number): Join {
  // What does not change is hashed once: a try then costs one compression and no allocation.
  const begun = workHash(join, worker);
  const attempt = begun.clone();
  const number = new Uint8Array(8);
  const view = new DataView(number.buffer);
  const digest = new Uint8Array(32);
  for (let work = join.work; ; work++) {
    setU64(view, work);
    begun._cloneInto(attempt).update(number).digestInto(digest);
    if (leadingZeroBits(digest) >= bits) return { ...join, work };
  }
}

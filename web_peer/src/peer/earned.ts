/** What this device earned, task by task, and the files that prove it to anybody. */

import { hex } from "../protocol/bytes";
import { latestTables, prove, writeProof } from "../protocol/credit";
import type { Ledger } from "../protocol/ledger";
import type { BlobStore } from "../protocol/storage";
import type { CreditView } from "./console";

export function earned(ledgers: Iterable<Ledger>, blobs: BlobStore, worker: Uint8Array): readonly CreditView[] {
  const views: CreditView[] = [];
  for (const ledger of ledgers) {
    const proof = prove(ledger.signed, worker, latestTables(ledger.records(), blobs));
    if (proof === null) continue;
    views.push({
      taskId: hex(ledger.task),
      millicredits: proof.shards.reduce((sum, { amount }) => sum + amount, 0),
      proof: new Blob([writeProof(proof) as Uint8Array<ArrayBuffer>]),
    });
  }
  return views;
}

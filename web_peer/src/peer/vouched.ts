/** Who answers for tasks' creators, for the screens. */

import { peerIdOf } from "../protocol/identity";
import type { Manifest } from "../protocol/manifest";
import { keysOf, Vouches } from "../protocol/vouching";
import type { TaskView } from "./console";
import { claimOf } from "./runtime";
import type { Verifying } from "./verifying";

export class Vouched extends Vouches {
  constructor(
    private readonly verifying: Verifying,
    /** Peer ids of those whose vouch counts. */
    vouchers: readonly string[],
    private readonly onChanged: () => void,
  ) {
    super(verifying.verify, keysOf(vouchers));
  }

  /** Null also while that is not known yet. */
  shown(manifest: Manifest, unixS: number): TaskView["verified"] {
    // Their signatures are no part of the records that were prepared.
    const wait = this.verifying.prepare(manifest.vouches.map(claimOf));
    if (wait !== null) wait.then(this.onChanged);
    const found = wait === null ? this.verified(manifest, unixS) : null;
    return found && { by: peerIdOf(found.voucher), name: found.name };
  }
}

/** Both parts a peer plays, at hand at once as in a native peer; src/peer/later.ts has them as a browser does. */

import { Absences } from "../src/protocol/absence";
import { mayEnter } from "../src/protocol/checking";
import { CreatorRole } from "../src/protocol/creator";
import { Custody } from "../src/protocol/custody";
import { Exchange } from "../src/protocol/exchange";
import type { Roles } from "../src/protocol/peer";
import { Slots } from "../src/protocol/slots";
import { WorkerRole } from "../src/protocol/worker";

export const ROLES: Roles = {
  worker: (...parts) => new WorkerRole(...parts),
  creator: (...parts) => new CreatorRole(...parts),
  custody: (...parts) => new Custody(...parts),
  check: mayEnter,
  attend: (ledger) => void Absences.of(ledger),
  exchange: (...parts) => new Exchange(...parts),
  slots: (...parts) => new Slots(...parts),
  vouches: null,
};

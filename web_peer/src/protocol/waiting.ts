/**
 * Records that came before what they rest on: they wait here, unrelayed (spec/gossip.md, "What is not passed on").
 *
 *     a record:  --its author, a savepoint's maker, or its commit is unknown--> WAITING --that comes--> as if it came now
 *                                                                                  '--too many wait--> dropped
 *
 * Nothing of what waits was checked: its author may be made up. So all of it together has bounds, whoever sent it.
 */

import { hex, type Hex } from "./bytes";
import type { PeerId } from "./identity";
import type { Ledger } from "./ledger";
import { restsOf } from "./lineage";
import { type LedgerRecord, recordKey, type Signed } from "./records";

const WAITING_MAX = 4_096;
/** What strangers can make us hold for nothing. A guess: some hundred commits as large as they may be. */
const WAITING_BYTES_MAX = 16 * 1024 * 1024;

interface Held {
  readonly source: PeerId;
  readonly signed: Signed;
}

/** Whose join or admission, or which commit, has to come before a record can be taken; undefined when nothing has. */
export function awaitedBy(ledger: Ledger, signed: Signed, record: LedgerRecord): Hex | undefined {
  const author = hex(signed.author);
  const isVote = ["lease", "commit", "reveal", "savepoint"].includes(record.kind);
  if (isVote && !ledger.isAdmitted(author) && !ledger.hasRoomForGuest(author, signed.body.length)) return author;
  const rests = record.kind === "commit" || record.kind === "savepoint" ? restsOf(record) : [];
  const unknown = rests.find(({ maker }) => !ledger.isAdmitted(maker));
  if (unknown !== undefined) return unknown.maker;
  return record.kind === "reveal" && !ledger.commits.has(hex(record.commit)) ? hex(record.commit) : undefined;
}

/** What waits, of all tasks. */
export class Waiting {
  /** By task and what is awaited, the longest awaited first. */
  private readonly held = new Map<string, Held[]>();
  private count = 0;
  private bytes = 0;

  /** Keep a record until what it awaits comes. */
  hold(source: PeerId, { taskKey }: Ledger, awaited: Hex, signed: Signed): void {
    const key = taskKey + awaited;
    const held = this.held.get(key);
    if (held === undefined) this.held.set(key, [{ source, signed }]);
    else held.push({ source, signed });
    this.count++;
    this.bytes += signed.body.length;
    while (this.count > WAITING_MAX || this.bytes > WAITING_BYTES_MAX) this.release(this.held.keys().next().value!);
  }

  /** A record was taken: those that waited for it, and from whom they came. They wait no more. */
  came({ taskKey }: Ledger, signed: Signed, record: LedgerRecord): readonly Held[] {
    if (record.kind === "commit") return this.release(taskKey + recordKey(signed));
    if (record.kind === "join") return this.release(taskKey + hex(signed.author));
    return record.kind === "admit" ? this.release(taskKey + hex(record.worker)) : [];
  }

  private release(key: string): readonly Held[] {
    const released = this.held.get(key) ?? [];
    this.held.delete(key);
    this.count -= released.length;
    for (const { signed } of released) this.bytes -= signed.body.length;
    return released;
  }
}

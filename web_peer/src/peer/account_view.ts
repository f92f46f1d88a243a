/** What the screens show of accounts: our own, leaderboards, and somebody's history. */

import { earners, leaderboard, openHistory, openStatement, Roster, type Statement, type Table } from "../protocol/accounts";
import { equal, fromHex, hex, type Hex } from "../protocol/bytes";
import { latestTables, prove, rows, writeProof } from "../protocol/credit";
import { peerIdOf } from "../protocol/identity";
import type { Ledger } from "../protocol/ledger";
import type { BlobStore } from "../protocol/storage";
import type { AccountParts } from "./account";
import { statementsOf } from "./account_server";
import type { AccountView, EarnedView, HistoryView, LeaderView } from "./console";

/** Workers of a task whose accounts are asked for; a leaderboard shows fewer. */
const WORKERS_ASKED = 500;

/** Our account, or the one that we have asked; null when there is none. */
export async function accountView(parts: AccountParts): Promise<AccountView | null> {
  const { signer, store, verify, unixS } = parts;
  const kept = await store.read("account");
  if (kept === undefined) return null;
  if (kept.statement === null) return { id: peerIdOf(kept.asked), joined: null };
  const statement = openStatement(kept.statement, verify);
  const key = await store.read("accountKey");
  const tasks = earnedBy(statement, parts);
  return {
    id: peerIdOf(statement.account),
    joined: {
      name: statement.name,
      picture: pictureOf(statement),
      speaks: key !== undefined && key !== null,
      hasBackup: ((await store.read("accountSeed")) ?? null) !== null,
      millicredits: tasks.reduce((sum, { millicredits }) => sum + millicredits, 0),
      tasks,
      devices: statement.devices.map((device) => ({
        peerId: peerIdOf(device.key),
        name: device.name,
        untilS: device.untilS,
        mayAct: unixS < device.untilS,
        isThis: equal(device.key, signer.publicKey),
      })),
    },
  };
}

function pictureOf({ avatar }: Statement): Blob | null {
  return avatar.length > 0 ? new Blob([avatar as Uint8Array<ArrayBuffer>], { type: "image/png" }) : null;
}

/** What the account's devices have earned, task by task, as far as checkpoints are here. */
function earnedBy(statement: Statement, { ledgers, blobs }: AccountParts): readonly EarnedView[] {
  const found: EarnedView[] = [];
  for (const [taskId, ledger] of ledgers) {
    const ours = earners(statement, ledger.manifest.createdS);
    let millicredits = 0;
    for (const [worker, amount] of amounts(ledger, blobs)) if (ours.has(worker)) millicredits += amount;
    if (millicredits > 0) found.push({ taskId, name: ledger.manifest.name, millicredits });
  }
  return found;
}

/** The files that prove it. */
export function proofsOf(statement: Statement, { ledgers, blobs }: AccountParts): readonly Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const ledger of ledgers.values()) {
    const tables = latestTables(ledger.records(), blobs);
    for (const worker of [...earners(statement, ledger.manifest.createdS)].sort()) {
      const proof = prove(ledger.signed, fromHex(worker), tables);
      if (proof !== null) found.push(writeProof(proof));
    }
  }
  return found;
}

/** What somebody's history proves. */
export function historyView(file: Uint8Array, { verify }: AccountParts): HistoryView {
  const { statement, madeS, credits } = openHistory(file, verify);
  const tasks = new Map<Hex, EarnedView>();
  for (const { task, manifest, millicredits } of credits) {
    const taskId = hex(task);
    const before = tasks.get(taskId)?.millicredits ?? 0;
    tasks.set(taskId, { taskId, name: manifest.name, millicredits: before + millicredits });
  }
  return { id: peerIdOf(statement.account), name: statement.name, picture: pictureOf(statement), madeS, tasks: [...tasks.values()] };
}

/** Who earned most in a task, or in all of this network, as checkpoints say, under the names that the server knows. */
export async function leaders(taskId: Hex | null, parts: AccountParts): Promise<readonly LeaderView[]> {
  const { ledgers, blobs, server, verify } = parts;
  const tables: Table[] = [];
  const together = new Map<Hex, number>();
  for (const [id, ledger] of ledgers) {
    if (taskId !== null && id !== taskId) continue;
    const millicredits = amounts(ledger, blobs);
    tables.push({ createdS: ledger.manifest.createdS, millicredits });
    for (const [worker, amount] of millicredits) together.set(worker, (together.get(worker) ?? 0) + amount);
  }
  const most = [...together.keys()].sort((left, right) => together.get(right)! - together.get(left)!);
  // Without the server everybody stands for itself, but for those whom we know ourselves.
  const found = await statementsOf(server, most.slice(0, WORKERS_ASKED).map(fromHex), verify).catch(() => []);
  const kept = (await parts.store.read("account"))?.statement ?? null;
  const own = kept === null ? [] : [openStatement(kept, verify)];
  const roster = new Roster([...found.map(([, statement]) => statement), ...own]);
  return leaderboard(tables, roster).map(({ key, name, millicredits, workers, tasks }) => {
    const account = roster.accounts.get(key);
    const picture = account === undefined ? null : pictureOf(account);
    return { id: peerIdOf(fromHex(key)), name, picture, millicredits, workers, tasks };
  });
}

/** Millicredits by worker that the checkpoints of one task say, as far as they are here. */
function amounts(ledger: Ledger, blobs: BlobStore): Map<Hex, number> {
  const found = new Map<Hex, number>();
  for (const [, table] of latestTables(ledger.records(), blobs)) {
    for (const { worker, amount } of rows(table)) found.set(hex(worker), (found.get(hex(worker)) ?? 0) + amount);
  }
  return found;
}

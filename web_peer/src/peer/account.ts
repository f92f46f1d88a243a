/**
 * The account that this device belongs to (protocol/accounts.ts), and the server that brings both together.
 *
 *     NONE --ask: our consent is left for the account--> ASKED --its statement names us--> JOINED
 *
 * Nothing of it is needed to compute, so it is fetched when somebody looks at it.
 */

import { CONSENT_MAGIC, consentTo, leaderboard, openStatement, Roster, type Statement } from "../protocol/accounts";
import { concat, equal, fromHex, hex, type Hex } from "../protocol/bytes";
import { latestTables, rows } from "../protocol/credit";
import { RemoteProtocolError } from "../protocol/errors";
import { peerIdOf, publicKeyOf, type Signer, type Verifier } from "../protocol/identity";
import type { Ledger } from "../protocol/ledger";
import type { BlobStore } from "../protocol/storage";
import type { AccountAnswer, AccountAsk, AccountView, LeaderView } from "./console";
import type { Store } from "./store";

const CONSENT_PREFIX = "ccjoin:";
/** As many devices as a server looks up at a time. */
const DEVICES_ASKED = 100;
/** Workers of a task whose accounts are asked for; a leaderboard shows fewer. */
const WORKERS_ASKED = 500;

export interface AccountParts {
  readonly server: string;
  readonly signer: Signer;
  readonly store: Store;
  readonly verify: Verifier;
  readonly blobs: BlobStore;
  readonly ledgers: ReadonlyMap<Hex, Ledger>;
  readonly unixS: number;
}

export async function account(asked: AccountAsk, parts: AccountParts): Promise<AccountAnswer> {
  switch (asked.what) {
    case "join":
      return { consent: await join(asked.account, asked.name, parts) };
    case "look":
      await look(parts);
      return { mine: await mine(parts) };
    case "leaders":
      return { leaders: await leaders(asked.taskId, parts) };
  }
}

/** Leave our consent for an account; the same as text, for an account that does not look there. */
async function join(id: string, name: string, { server, signer, store, unixS }: AccountParts): Promise<string> {
  const key = publicKeyOf(id.trim());
  const consent = await consentTo(signer, key, name, Math.floor(unixS));
  await store.write("account", { asked: key, statement: null });
  await fetch(`${server}/accounts/${peerIdOf(key)}/consents`, post({ consent: hex(consent) })).catch(() => undefined);
  const encoded = btoa(String.fromCharCode(...consent.subarray(CONSENT_MAGIC.length)));
  return CONSENT_PREFIX + encoded.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Take what the account says now, if the server knows something newer; and tell the server, if it knows nothing. */
async function look(parts: AccountParts): Promise<void> {
  const { server, signer, store, verify } = parts;
  const kept = await store.read("account");
  if (kept === undefined) return;
  const found = await statementsOf([signer.publicKey], parts);
  const known = kept.statement === null ? null : openStatement(kept.statement, verify);
  let newest = kept.statement;
  let seq = known?.seq ?? -1;
  for (const [data, statement] of found) {
    if (!equal(statement.account, kept.asked) || statement.seq <= seq) continue;
    if (!statement.devices.some(({ key }) => equal(key, signer.publicKey))) continue;
    [newest, seq] = [data, statement.seq];
  }
  if (newest !== null && newest !== kept.statement) await store.write("account", { ...kept, statement: newest });
  if (newest !== null && found.length === 0) await logIn(server, signer, newest);
}

/** A token for a quarter of an hour, and with it the server knows our account again. */
async function logIn(server: string, signer: Signer, statement: Uint8Array): Promise<string> {
  const { challenge } = await answered<{ challenge: Hex }>(fetch(`${server}/login/challenge`, post({})));
  const body = concat(fromHex(challenge), new TextEncoder().encode(server));
  const signature = signer.sign("cc/login/1", body);
  await signer.settled();
  const signed = { challenge, statement: hex(statement), device: hex(signer.publicKey), signature: hex(signature) };
  return (await answered<{ token: string }>(fetch(`${server}/login`, post(signed)))).token;
}

async function mine({ signer, store, verify, blobs, ledgers, unixS }: AccountParts): Promise<AccountView | null> {
  const kept = await store.read("account");
  if (kept === undefined) return null;
  if (kept.statement === null) return { id: peerIdOf(kept.asked), joined: null };
  const { account: key, name, avatar, devices } = openStatement(kept.statement, verify);
  const ours = new Set(devices.map((device) => hex(device.key)));
  let millicredits = 0;
  for (const ledger of ledgers.values()) {
    for (const [worker, amount] of amounts(ledger, blobs)) if (ours.has(worker)) millicredits += amount;
  }
  return {
    id: peerIdOf(key),
    joined: {
      name,
      avatar: avatar.length > 0 ? new Blob([avatar as Uint8Array<ArrayBuffer>], { type: "image/png" }) : null,
      millicredits,
      devices: devices.map((device) => ({
        peerId: peerIdOf(device.key),
        name: device.name,
        untilS: device.untilS,
        mayAct: unixS < device.untilS,
        isThis: equal(device.key, signer.publicKey),
      })),
    },
  };
}

/** Who earned most in a task, as its checkpoints say, under the names that the server knows. */
async function leaders(taskId: Hex, parts: AccountParts): Promise<readonly LeaderView[]> {
  const ledger = parts.ledgers.get(taskId);
  if (ledger === undefined) return [];
  const table = amounts(ledger, parts.blobs);
  const first = [...table.keys()].sort((left, right) => table.get(right)! - table.get(left)!).slice(0, WORKERS_ASKED);
  // Without the server everybody stands for itself.
  const found = await statementsOf(first.map(fromHex), parts).catch(() => []);
  const roster = new Roster(found.map(([, statement]) => statement));
  return leaderboard([table], roster).map(({ key, name, millicredits, workers }) => ({
    id: peerIdOf(fromHex(key)),
    name,
    millicredits,
    workers,
  }));
}

/** Millicredits by worker that the checkpoints of one task say, as far as they are here. */
function amounts(ledger: Ledger, blobs: BlobStore): Map<Hex, number> {
  const found = new Map<Hex, number>();
  for (const [, table] of latestTables(ledger.records(), blobs)) {
    for (const { worker, amount } of rows(table)) found.set(hex(worker), (found.get(hex(worker)) ?? 0) + amount);
  }
  return found;
}

async function statementsOf(
  devices: readonly Uint8Array[],
  { server, verify }: AccountParts,
): Promise<readonly (readonly [Uint8Array, Statement])[]> {
  const found: (readonly [Uint8Array, Statement])[] = [];
  for (let start = 0; start < devices.length; start += DEVICES_ASKED) {
    const names = devices.slice(start, start + DEVICES_ASKED).map(peerIdOf);
    const { statements } = await answered<{ statements: readonly string[] }>(
      fetch(`${server}/accounts?devices=${names.join(",")}`),
    );
    if (!Array.isArray(statements)) throw new RemoteProtocolError("the server gives no accounts");
    for (const text of statements) {
      const data = fromHex(String(text));
      found.push([data, openStatement(data, verify)]);
    }
  }
  return found;
}

function post(body: object): RequestInit {
  return { method: "POST", body: JSON.stringify(body) };
}

async function answered<T>(asked: Promise<Response>): Promise<T> {
  const response = await asked;
  if (!response.ok) throw new Error(`The server refused: ${response.status}.`);
  return (await response.json()) as T;
}

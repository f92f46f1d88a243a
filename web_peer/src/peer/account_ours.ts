/**
 * An account that this browser speaks for, because its key is here: make it, say who it is, link and end its devices,
 * show what they have earned.
 *
 *     what the server knows --look--> the newest statement --change--> signed and kept --look--> told to the server
 *
 * The server may be away: the next look tells it (account.ts).
 */

import {
  CONSENT_MAGIC,
  type Consent,
  consentTo,
  type Device,
  isNewer,
  openBackup,
  openConsent,
  openStatement,
  signHistory,
  signStatement,
  type Statement,
  writeBackup,
  type AccountSigner,
} from "../protocol/accounts";
import { compare, concat, equal } from "../protocol/bytes";
import { LocalProtocolError } from "../protocol/errors";
import { peerIdOf } from "../protocol/identity";
import { type AccountParts, CONSENT_PREFIX, forget, look, shown } from "./account";
import { accountKeyOf, accountSigner, publicKeyOfSeed } from "./account_key";
import { consentsFor, logIn, statementsOf } from "./account_server";
import { proofsOf } from "./account_view";
import type { AccountAnswer, AccountAsk, JoiningView } from "./console";

/** For how long a device may act for its account before it is renewed; as the command line does. */
const DEVICE_S = 365 * 86_400;

type Asked = Exclude<AccountAsk, { what: "join" | "look" | "leaders" | "check" }>;

export async function speak(asked: Asked, parts: AccountParts): Promise<AccountAnswer> {
  switch (asked.what) {
    case "create":
      await create(asked.name, asked.picture, asked.device, parts);
      break;
    case "restore":
      await restore(asked.file, asked.device, parts);
      break;
    case "backup":
      return { file: await backup(parts) };
    case "saved":
      await parts.store.write("accountSeed", null);
      break;
    case "profile":
      await change(parts, (said) => ({ ...said, name: asked.name, avatar: asked.picture ?? said.avatar }));
      break;
    case "waiting":
      return { waiting: await waiting(parts) };
    case "link":
      await link(asked.consent, parts);
      break;
    case "renew":
    case "revoke":
      await until(asked.peerId, asked.what === "renew" ? DEVICE_S : 0, parts);
      break;
    case "history":
      return { file: await history(parts) };
    case "leave":
      await leave(parts);
      break;
  }
  return shown(parts);
}

async function create(name: string, picture: Uint8Array, device: string, parts: AccountParts): Promise<void> {
  const seed = crypto.getRandomValues(new Uint8Array(32));
  const account = publicKeyOfSeed(seed);
  await begin(seed, { account, seq: 0, name, avatar: picture, devices: [] }, device, parts);
  // Until its person has saved a backup, what it is made of stays here; the key itself can be read by nobody.
  await parts.store.write("accountSeed", seed);
}

async function restore(file: Uint8Array, device: string, parts: AccountParts): Promise<void> {
  const { server, verify } = parts;
  const { seed, statement } = openBackup(file, verify, publicKeyOfSeed);
  let said = openStatement(statement, verify);
  const listed = said.devices.map(({ key }) => key);
  // Devices may have come and gone since the backup was made.
  for (const [, known] of await statementsOf(server, listed, verify)) {
    if (equal(known.account, said.account) && isNewer(known, said)) said = known;
  }
  await begin(seed, said, device, parts);
}

/** Keep an account's key here, with this device as one of its own. */
async function begin(seed: Uint8Array, said: Statement, name: string, parts: AccountParts): Promise<void> {
  const { signer, store, verify, unixS } = parts;
  const key = await accountKeyOf(seed);
  const account = accountSigner(key);
  const consent = openConsent(await consentTo(signer, account.publicKey, name, Math.floor(unixS)), account.publicKey, verify);
  const statement = await signed(account, withDevice(said, deviceOf(consent, unixS)), parts);
  await store.write("accountKey", key);
  await store.write("account", { asked: account.publicKey, statement });
}

async function backup({ store }: AccountParts): Promise<Blob> {
  const kept = await store.read("account");
  const seed = (await store.read("accountSeed")) ?? null;
  if (seed === null || !kept?.statement) throw new Error("The backup of this account was saved, and can be made no more.");
  return fileOf(writeBackup(seed, kept.statement));
}

async function waiting(parts: AccountParts): Promise<readonly JoiningView[]> {
  const { server, signer, verify } = parts;
  const { said, statement } = await ours(parts);
  const found: JoiningView[] = [];
  for (const data of await consentsFor({ server, signer, statement, account: said.account })) {
    const { device, name, sinceS } = openConsent(data, said.account, verify);
    const known = said.devices.find(({ key }) => equal(key, device));
    if (known !== undefined && known.sinceS >= sinceS) continue;
    found.push({ peerId: peerIdOf(device), name, consent: data });
  }
  return found;
}

async function link(consent: Uint8Array | string, parts: AccountParts): Promise<void> {
  const { said } = await ours(parts);
  const data = typeof consent === "string" ? consentOf(consent) : consent;
  const joining = openConsent(data, said.account, parts.verify);
  await change(parts, (now) => withDevice(now, deviceOf(joining, parts.unixS)));
}

/** A consent from its line, whatever spaces a terminal or a mail has put into it. */
function consentOf(text: string): Uint8Array {
  const line = text.replace(/\s/g, "");
  try {
    if (!line.startsWith(CONSENT_PREFIX)) throw new Error();
    const decoded = atob(line.slice(CONSENT_PREFIX.length).replaceAll("-", "+").replaceAll("_", "/"));
    return concat(CONSENT_MAGIC, Uint8Array.from(decoded, (character) => character.charCodeAt(0)));
  } catch {
    throw new Error(`This is no device's consent, which begins with ${CONSENT_PREFIX}: copy all of it.`);
  }
}

/** Let a device act for the account for so long from now on. */
async function until(peerId: string, forS: number, parts: AccountParts): Promise<void> {
  const untilS = Math.floor(parts.unixS) + forS;
  await change(parts, (said) => {
    const devices = said.devices.map((device) =>
      peerIdOf(device.key) === peerId
        ? { ...device, untilS: forS === 0 ? Math.min(device.untilS, untilS) : untilS }
        : device,
    );
    return { ...said, devices };
  });
}

async function history(parts: AccountParts): Promise<Blob> {
  const { said, statement, account } = await ours(parts);
  return fileOf(await signHistory(account, statement, Math.floor(parts.unixS), proofsOf(said, parts)));
}

/** Log out: this device acts for the account no longer, and forgets its key. */
async function leave(parts: AccountParts): Promise<void> {
  const { server, signer, store } = parts;
  if (((await store.read("accountKey")) ?? null) !== null) {
    const { said, statement } = await ours(parts);
    // Logged in before: by what the account says then, this device may not any longer. Whoever leaves a strange machine
    // leaves it, whether the server hears of it or not.
    await logIn({ server, signer, statement, account: said.account }).catch(() => undefined);
    await until(signer.peerId, 0, parts);
    await look(parts).catch(() => undefined);
  }
  await forget(parts);
}

interface Ours {
  readonly said: Statement;
  readonly statement: Uint8Array;
  readonly account: AccountSigner;
}

async function ours({ store, verify }: AccountParts): Promise<Ours> {
  const kept = await store.read("account");
  const key = (await store.read("accountKey")) ?? null;
  if (key === null || !kept?.statement) {
    throw new LocalProtocolError("the key of this account is not in this browser: do that where the account was made");
  }
  return { said: openStatement(kept.statement, verify), statement: kept.statement, account: accountSigner(key) };
}

/** Say something else of the account. Another browser with a copy of its key may have said something meanwhile. */
async function change(parts: AccountParts, changed: (said: Statement) => Statement): Promise<void> {
  await look(parts).catch(() => undefined);
  const { said, account } = await ours(parts);
  const statement = await signed(account, changed(said), parts);
  await parts.store.write("account", { asked: said.account, statement });
}

async function signed(account: AccountSigner, statement: Statement, { unixS }: AccountParts): Promise<Uint8Array> {
  // Above the one before, also if the clock was set back.
  const seq = Math.max(statement.seq + 1, Math.floor(1_000 * unixS));
  return signStatement(account, { ...statement, seq });
}

function deviceOf({ device: key, name, sinceS, signature: consent }: Consent, unixS: number): Device {
  return { key, name, sinceS, untilS: Math.floor(unixS) + DEVICE_S, consent };
}

function withDevice(said: Statement, device: Device): Statement {
  const others = said.devices.filter(({ key }) => !equal(key, device.key));
  return { ...said, devices: [...others, device].sort((left, right) => compare(left.key, right.key)) };
}

function fileOf(data: Uint8Array): Blob {
  return new Blob([data as Uint8Array<ArrayBuffer>]);
}

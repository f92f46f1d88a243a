/**
 * Accounts: one person or lab, many devices, no password (spec/accounts.md).
 *
 *     device --consent--> account --statement: name, picture, devices--> anybody: whose work is this, may this device log in
 *
 * Both sign: a device says whose it is, and the account says which devices are its. So nobody takes another's credit, and
 * a lost device is cut off by the next statement: it no longer acts for the account, nor earns for it in tasks made from
 * then on. The newest statement counts, and of two accounts that name one device the one it has consented to last.
 */

import { compare, concat, equal, fromHex, hex, type Hex } from "./bytes";
import { array, bytes, bytes32, bytes64, decode, encode, struct, text, u53, type Infer } from "./codec";
import { checkProof, type Credit } from "./credit";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import type { Signer, Verifier } from "./identity";
import { isPrintable } from "./manifest";

/** The first bytes of an account's file. What follows is one encoded `SignedStatement`. */
export const MAGIC = new TextEncoder().encode("CCACCT1\n");
/** The first bytes of a device's consent. What follows is one encoded `Consent`. */
export const CONSENT_MAGIC = new TextEncoder().encode("CCJOIN1\n");

/** The first bytes of an account's history. What follows is one encoded `SignedHistory`. */
export const HISTORY_MAGIC = new TextEncoder().encode("CCHIST1\n");
/** The first bytes of an account's backup. What follows is one encoded `Backup`. */
export const BACKUP_MAGIC = new TextEncoder().encode("CCBACK1\n");

const STATEMENT_DOMAIN = "cc/account/1";
const CONSENT_DOMAIN = "cc/consent/1";
const HISTORY_DOMAIN = "cc/history/1";
const STATEMENT_BYTES_MAX = 20_000;
const DEVICES_MAX = 64;
export const AVATAR_BYTES_MAX = 4_096;
export const NAME_CHARACTERS_MAX = 40;
/** Of an edge. Four thousand bytes can say that they are a picture of gigabytes, and a leaderboard shows many. */
const AVATAR_PIXELS_MAX = 128;
/** Every PNG begins so; its width and height follow, four bytes each. */
const PNG = fromHex("89504e470d0a1a0a0000000d49484452");

const accountName = text({ min: 1, max: NAME_CHARACTERS_MAX });

/** Who signs for an account, or for a device. */
export type AccountSigner = Pick<Signer, "publicKey" | "sign" | "settled">;

/** A device's word that it is an account's from `sinceS` on, and what the device calls itself. */
export const Consent = struct("Consent", {
  device: bytes32,
  name: accountName,
  account: bytes32,
  sinceS: u53,
  signature: bytes64,
});
export type Consent = Infer<typeof Consent>;

/** One of an account's devices. It acts for the account, and earns for it in tasks made, until `untilS`. */
export const Device = struct("Device", {
  key: bytes32,
  name: accountName,
  sinceS: u53,
  untilS: u53,
  consent: bytes64,
});
export type Device = Infer<typeof Device>;

/** All that an account says of itself. A statement with a greater `seq` takes its place. */
export const Statement = struct("Statement", {
  account: bytes32,
  seq: u53,
  name: accountName,
  avatar: bytes({ max: AVATAR_BYTES_MAX }),
  devices: array(Device, { max: DEVICES_MAX }),
});
export type Statement = Infer<typeof Statement>;

const SignedStatement = struct("SignedStatement", { body: bytes({ max: STATEMENT_BYTES_MAX }), signature: bytes64 });

/** What a device hands to the account that it wants to belong to. */
export async function consentTo(
  device: AccountSigner,
  account: Uint8Array,
  name: string,
  nowS: number,
): Promise<Uint8Array> {
  const signature = device.sign(CONSENT_DOMAIN, consentBody(account, nowS));
  await device.settled();
  const consent = { device: device.publicKey, name, account, sinceS: nowS, signature };
  return concat(CONSENT_MAGIC, encode(Consent, consent));
}

/**
 * A device's consent to belong to this account.
 *
 * @throws RemoteProtocolError when it is none, or to another account.
 */
export function openConsent(data: Uint8Array, account: Uint8Array, verifier: Verifier): Consent {
  if (!startsWith(data, CONSENT_MAGIC)) throw new RemoteProtocolError("this is no device's consent to join an account");
  const consent = decode(Consent, data.subarray(CONSENT_MAGIC.length));
  if (!equal(consent.account, account)) throw new RemoteProtocolError("the device has consented to join another account");
  if (!isPrintable(consent.name)) throw new RemoteProtocolError("the device's name contains control characters");
  if (!verifier(consent.device, CONSENT_DOMAIN, consentBody(account, consent.sinceS), consent.signature)) {
    throw new RemoteProtocolError("the device's signature does not fit its consent");
  }
  return consent;
}

/**
 * The account's file.
 *
 * @throws LocalProtocolError when no peer would take this statement. The message says why.
 */
export async function signStatement(account: AccountSigner, statement: Statement): Promise<Uint8Array> {
  const body = encode(Statement, statement);
  const refusal = equal(statement.account, account.publicKey) ? localRefusal(body) : "it names another account";
  if (refusal !== null) throw new LocalProtocolError(`the account cannot say this: ${refusal}`);
  const signature = account.sign(STATEMENT_DOMAIN, body);
  await account.settled();
  return concat(MAGIC, encode(SignedStatement, { body, signature }));
}

function localRefusal(body: Uint8Array): string | null {
  if (body.length > STATEMENT_BYTES_MAX) return "it is too long";
  try {
    // Decoding once checks the ranges, which a value made by hand has not seen yet.
    return refusalOf(decode(Statement, body));
  } catch (error) {
    if (error instanceof RemoteProtocolError) return error.message;
    throw error;
  }
}

/**
 * What an account says of itself.
 *
 * @throws RemoteProtocolError when it does not say so, or a device that it names has not consented.
 */
export function openStatement(data: Uint8Array, verifier: Verifier): Statement {
  if (!startsWith(data, MAGIC)) throw new RemoteProtocolError("this is no account's statement");
  const signed = decode(SignedStatement, data.subarray(MAGIC.length));
  const statement = decode(Statement, signed.body);
  const refusal = refusalOf(statement);
  if (refusal !== null) throw new RemoteProtocolError(`the account's statement is refused: ${refusal}`);
  if (!verifier(statement.account, STATEMENT_DOMAIN, signed.body, signed.signature)) {
    throw new RemoteProtocolError("the account's signature does not fit its statement");
  }
  for (const { key, sinceS, consent } of statement.devices) {
    if (!verifier(key, CONSENT_DOMAIN, consentBody(statement.account, sinceS), consent)) {
      throw new RemoteProtocolError("a device that the account names has not consented to belong to it");
    }
  }
  return statement;
}

function refusalOf({ name, avatar, devices }: Statement): string | null {
  if (![name, ...devices.map((device) => device.name)].every(isPrintable)) return "a name contains control characters";
  if (avatar.length > 0 && !isSmallPng(avatar)) {
    return `its picture is no PNG of at most ${AVATAR_PIXELS_MAX} pixels a side`;
  }
  const isOrdered = devices.every(({ key }, index) => index === 0 || compare(devices[index - 1]!.key, key) < 0);
  return isOrdered ? null : "its devices are out of order";
}

function isSmallPng(data: Uint8Array): boolean {
  if (!startsWith(data, PNG) || data.length < PNG.length + 8) return false;
  const view = new DataView(data.buffer, data.byteOffset + PNG.length);
  return [view.getUint32(0), view.getUint32(4)].every((edge) => edge >= 1 && edge <= AVATAR_PIXELS_MAX);
}

function startsWith(data: Uint8Array, magic: Uint8Array): boolean {
  return equal(data.subarray(0, magic.length), magic);
}

/** The devices whose credit in a task that was created then is the account's. */
export function earners({ devices }: Statement, createdS: number): ReadonlySet<Hex> {
  return new Set(devices.filter(({ untilS }) => createdS < untilS).map(({ key }) => hex(key)));
}

function consentBody(account: Uint8Array, sinceS: number): Uint8Array {
  const since = new Uint8Array(8);
  new DataView(since.buffer).setBigUint64(0, BigInt(sinceS));
  return concat(account, since);
}

/** Which account each device belongs to, by the statements that are known. */
export class Roster {
  /** The newest statement of each account. */
  readonly accounts = new Map<Hex, Statement>();
  private readonly claims = new Map<Hex, { readonly sinceS: number; readonly account: Hex }>();

  constructor(statements: Iterable<Statement>) {
    for (const statement of statements) {
      const account = hex(statement.account);
      const known = this.accounts.get(account);
      if (known === undefined || isNewer(statement, known)) this.accounts.set(account, statement);
    }
    for (const [account, { devices }] of this.accounts) {
      for (const { key, sinceS } of devices) {
        const known = this.claims.get(hex(key));
        // Of two consents in one second the greater account, so that everybody sees the same.
        if (known === undefined || sinceS > known.sinceS || (sinceS === known.sinceS && account > known.account)) {
          this.claims.set(hex(key), { sinceS, account });
        }
      }
    }
  }

  /** Whose account gets what a device earns in a task that was created then. */
  accountOf(device: Hex, createdS: number): Hex | null {
    const claim = this.claims.get(device);
    // A device that its last account has ended stands for itself: it had left the account before.
    if (claim === undefined || !earners(this.accounts.get(claim.account)!, createdS).has(device)) return null;
    return claim.account;
  }
}

/** Whether of two statements of one account this one counts. */
export function isNewer(statement: Statement, known: Statement): boolean {
  if (statement.seq !== known.seq) return statement.seq > known.seq;
  return compare(encode(Statement, statement), encode(Statement, known)) > 0;
}

/** One line of a leaderboard: an account, or a worker that belongs to none (its name is empty). */
export interface Standing {
  readonly key: Hex;
  readonly name: string;
  readonly millicredits: number;
  readonly workers: number;
  readonly tasks: number;
}

/** What a task's checkpoints say that its workers have earned. */
export interface Table {
  readonly createdS: number;
  readonly millicredits: ReadonlyMap<Hex, number>;
}

/** Who earned how much in these tasks, the most first. */
export function leaderboard(tables: Iterable<Table>, roster: Roster): Standing[] {
  const found = new Map<Hex, { millicredits: number; readonly workers: Set<Hex>; readonly tasks: Set<number> }>();
  let task = 0;
  for (const { createdS, millicredits } of tables) {
    for (const [worker, amount] of millicredits) {
      const key = roster.accountOf(worker, createdS) ?? worker;
      const entry = found.get(key) ?? { millicredits: 0, workers: new Set(), tasks: new Set() };
      entry.millicredits += amount;
      entry.workers.add(worker);
      entry.tasks.add(task);
      found.set(key, entry);
    }
    task++;
  }
  return [...found.keys()]
    .sort((left, right) => found.get(right)!.millicredits - found.get(left)!.millicredits || (left < right ? -1 : 1))
    .map((key) => {
      const { millicredits, workers, tasks } = found.get(key)!;
      const name = roster.accounts.get(key)?.name ?? "";
      return { key, name, millicredits, workers: workers.size, tasks: tasks.size };
    });
}

const History = struct("History", {
  /** The account's file when this was made: whose the devices are. */
  statement: bytes({ max: STATEMENT_BYTES_MAX + 200 }),
  madeS: u53,
  /** Files that prove credit (credit.ts) which is the account's; none of one device and task twice. */
  proofs: array(bytes(), { max: 10_000 }),
});

const SignedHistory = struct("SignedHistory", { body: bytes(), signature: bytes64 });

/** What a history proves. */
export interface ProvedHistory {
  readonly statement: Statement;
  readonly madeS: number;
  readonly credits: readonly Credit[];
}

/** What an account's devices have earned, task by task, as the account shows it: the file. */
export async function signHistory(
  account: AccountSigner,
  statement: Uint8Array,
  madeS: number,
  proofs: readonly Uint8Array[],
): Promise<Uint8Array> {
  const body = encode(History, { statement, madeS, proofs: [...proofs] });
  const signature = account.sign(HISTORY_DOMAIN, body);
  await account.settled();
  return concat(HISTORY_MAGIC, encode(SignedHistory, { body, signature }));
}

/**
 * What an account's history proves, to anybody and without the network.
 *
 * @throws RemoteProtocolError when it proves nothing. The message says why.
 */
export function openHistory(data: Uint8Array, verifier: Verifier): ProvedHistory {
  if (!startsWith(data, HISTORY_MAGIC)) throw new RemoteProtocolError("this is no account's history");
  const signed = decode(SignedHistory, data.subarray(HISTORY_MAGIC.length));
  const history = decode(History, signed.body);
  const statement = openStatement(history.statement, verifier);
  if (!verifier(statement.account, HISTORY_DOMAIN, signed.body, signed.signature)) {
    throw new RemoteProtocolError("the account's signature does not fit its history");
  }
  const credits = history.proofs.map((proof) => checkProof(proof, verifier));
  if (!credits.every(({ worker, manifest }) => earners(statement, manifest.createdS).has(hex(worker)))) {
    throw new RemoteProtocolError("a history counts what a device has earned that was not the account's, or no longer");
  }
  if (new Set(credits.map(({ task, worker }) => hex(task) + hex(worker))).size < credits.length) {
    throw new RemoteProtocolError("a history counts what a device has earned in a task twice");
  }
  return { statement, madeS: history.madeS, credits };
}

/** All that makes an account on another machine. Whoever has it is the account. */
const Backup = struct("Backup", {
  /** The account's secret key. */
  seed: bytes32,
  /** The account's file when this was made, which says where to look for a newer one. */
  statement: bytes({ max: STATEMENT_BYTES_MAX + 200 }),
});
export type Backup = Infer<typeof Backup>;

/** The backup's file. */
export function writeBackup(seed: Uint8Array, statement: Uint8Array): Uint8Array {
  return concat(BACKUP_MAGIC, encode(Backup, { seed, statement }));
}

/**
 * What a backup holds; `publicKeyOfSeed` is Ed25519's.
 *
 * @throws RemoteProtocolError when it is none, or its key is another account's than its statement.
 */
export function openBackup(
  data: Uint8Array,
  verifier: Verifier,
  publicKeyOfSeed: (seed: Uint8Array) => Uint8Array,
): Backup {
  if (!startsWith(data, BACKUP_MAGIC)) throw new RemoteProtocolError("this is no account's backup");
  const backup = decode(Backup, data.subarray(BACKUP_MAGIC.length));
  if (!equal(publicKeyOfSeed(backup.seed), openStatement(backup.statement, verifier).account)) {
    throw new RemoteProtocolError("the backup's key is not that of the account it names");
  }
  return backup;
}

/**
 * Accounts: one person or lab, many devices, no password (spec/accounts.md).
 *
 *     device --consent--> account --statement: name, picture, devices--> anybody: whose work is this, may this device log in
 *
 * Both sign: a device says whose it is, and the account says which devices are its. So nobody takes another's credit, and
 * a lost device is cut off by the next statement. The newest statement counts, and of two accounts that name one device
 * the one it has consented to last.
 */

import { compare, concat, equal, hex, type Hex } from "./bytes";
import { array, bytes, bytes32, bytes64, decode, encode, struct, text, u53, type Infer } from "./codec";
import { RemoteProtocolError } from "./errors";
import type { Signer, Verifier } from "./identity";
import { isPrintable } from "./manifest";

/** The first bytes of an account's file. What follows is one encoded `SignedStatement`. */
export const MAGIC = new TextEncoder().encode("CCACCT1\n");
/** The first bytes of a device's consent. What follows is one encoded `Consent`. */
export const CONSENT_MAGIC = new TextEncoder().encode("CCJOIN1\n");

const STATEMENT_DOMAIN = "cc/account/1";
const CONSENT_DOMAIN = "cc/consent/1";
const STATEMENT_BYTES_MAX = 20_000;
const PNG = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);

const accountName = text({ min: 1, max: 40 });

/** A device's word that it is an account's from `sinceS` on, and what the device calls itself. */
export const Consent = struct("Consent", {
  device: bytes32,
  name: accountName,
  account: bytes32,
  sinceS: u53,
  signature: bytes64,
});
export type Consent = Infer<typeof Consent>;

/** One of an account's devices. It may act for the account until `untilS`; what it earned stays the account's. */
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
  avatar: bytes({ max: 4_096 }),
  devices: array(Device, { max: 64 }),
});
export type Statement = Infer<typeof Statement>;

const SignedStatement = struct("SignedStatement", { body: bytes({ max: STATEMENT_BYTES_MAX }), signature: bytes64 });

/** What a device hands to the account that it wants to belong to. */
export async function consentTo(
  device: Signer,
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
 * What an account says of itself.
 *
 * @throws RemoteProtocolError when it does not say so, or a device that it names has not consented.
 */
export function openStatement(data: Uint8Array, verifier: Verifier): Statement {
  if (!equal(data.subarray(0, MAGIC.length), MAGIC)) throw new RemoteProtocolError("this is no account's statement");
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
  if (avatar.length > 0 && !equal(avatar.subarray(0, PNG.length), PNG)) return "its picture is no PNG";
  const isOrdered = devices.every(({ key }, index) => index === 0 || compare(devices[index - 1]!.key, key) < 0);
  return isOrdered ? null : "its devices are out of order";
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

  accountOf(device: Hex): Hex | null {
    return this.claims.get(device)?.account ?? null;
  }
}

function isNewer(statement: Statement, known: Statement): boolean {
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

/** Who earned how much, the most first; one table of millicredits by worker for each task. */
export function leaderboard(tables: Iterable<ReadonlyMap<Hex, number>>, roster: Roster): Standing[] {
  const found = new Map<Hex, { millicredits: number; readonly workers: Set<Hex>; readonly tasks: Set<number> }>();
  let task = 0;
  for (const table of tables) {
    for (const [worker, amount] of table) {
      const key = roster.accountOf(worker) ?? worker;
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

/**
 * The account that this device belongs to (protocol/accounts.ts), and the server that brings both together.
 *
 *     NONE --ask: our consent is left for the account--> ASKED --its statement names us--> JOINED
 *      '----- create, or restore a backup: the account's key is here, and we name ourselves ----^'
 *     JOINED --log out--> NONE
 *
 * Nothing of it is needed to compute, so it is fetched when somebody looks at it, or belongs to an account.
 */

import { CONSENT_MAGIC, consentTo, isNewer, openStatement, type Statement } from "../protocol/accounts";
import { equal, type Hex } from "../protocol/bytes";
import { publicKeyOf, type Signer, type Verifier } from "../protocol/identity";
import type { Ledger } from "../protocol/ledger";
import type { BlobStore } from "../protocol/storage";
import { leaveConsent, logOut, putStatement, statementsOf } from "./account_server";
import { accountView, historyView, leaders } from "./account_view";
import type { AccountAnswer, AccountAsk } from "./console";
import type { Store } from "./store";

export const CONSENT_PREFIX = "ccjoin:";

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
      return { consent: await join(asked.account, asked.name, parts), mine: await accountView(parts) };
    case "look":
      return shown(parts);
    case "leaders":
      return { leaders: await leaders(asked.taskId, parts) };
    case "check":
      return { history: historyView(asked.file, parts) };
    default: {
      // What only an account's own browser does.
      const { speak } = await import("./account_ours");
      return speak(asked, parts);
    }
  }
}

/** What is known here and at the server is made the same; then, or when that fails, what is known here. */
export async function shown(parts: AccountParts): Promise<AccountAnswer> {
  let untold = "";
  await look(parts).catch((error: unknown) => {
    const why = error instanceof Error ? error.message : String(error);
    untold = `This is what this browser knows: the server could not be asked or told, and will be when you come back. ${why}`;
  });
  return { mine: await accountView(parts), untold };
}

/** Leave our consent for an account; the same as text, for an account that does not look there. */
async function join(id: string, name: string, { server, signer, store, unixS }: AccountParts): Promise<string> {
  const key = publicKeyOf(id.trim());
  const consent = await consentTo(signer, key, name, Math.floor(unixS));
  await store.write("account", { asked: key, statement: null });
  await leaveConsent(server, key, consent).catch(() => undefined);
  const encoded = btoa(String.fromCharCode(...consent.subarray(CONSENT_MAGIC.length)));
  return CONSENT_PREFIX + encoded.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

/** Take what the account says now, if the server knows something newer; and tell the server, if it knows less. */
export async function look(parts: AccountParts): Promise<void> {
  const { server, signer, store, verify } = parts;
  const kept = await store.read("account");
  if (kept === undefined) return;
  let newest = kept.statement === null ? null : openStatement(kept.statement, verify);
  let file = kept.statement;
  let theirs: Statement | null = null;
  for (const [data, statement] of await statementsOf(server, [signer.publicKey], verify)) {
    if (!equal(statement.account, kept.asked)) continue;
    theirs = statement;
    if (newest === null || isNewer(statement, newest)) [newest, file] = [statement, data];
  }
  if (newest === null || file === null) return;
  if (file !== kept.statement) await store.write("account", { ...kept, statement: file });
  if (theirs === null || isNewer(newest, theirs)) {
    await putStatement({ server, signer, statement: file, account: newest.account });
  }
}

/** Forget the account here, and its key where it was. */
export async function forget({ store }: AccountParts): Promise<void> {
  logOut();
  await store.write("accountKey", null);
  await store.write("accountSeed", null);
  await store.write("account", undefined);
}

/**
 * Accounts at the signaling server (spec/accounts.md, "Logging in"): a challenge, a signature, a token for a quarter of
 * an hour; statements for everybody, consents for their account.
 */

import { openStatement, type Statement } from "../protocol/accounts";
import { concat, fromHex, hex, type Hex } from "../protocol/bytes";
import { RemoteProtocolError } from "../protocol/errors";
import { peerIdOf, type Signer, type Verifier } from "../protocol/identity";

/** As many devices as a server looks up at a time. */
const DEVICES_ASKED = 100;
/** A token is asked for anew this much before its end. */
const SPARE_S = 60;

/** A statement, and the file that it was in. */
export type Found = readonly [file: Uint8Array, statement: Statement];

/** This Worker's log-ins, by account. They are good for a quarter of an hour and are kept nowhere else. */
const tokens = new Map<Hex, { readonly token: string; readonly endMs: number }>();

/** What the accounts that list one of these devices say of themselves, as far as a server knows. */
export async function statementsOf(
  server: string,
  devices: readonly Uint8Array[],
  verify: Verifier,
): Promise<readonly Found[]> {
  const found: Found[] = [];
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

/** Leave our consent where the account looks for it. */
export async function leaveConsent(server: string, account: Uint8Array, consent: Uint8Array): Promise<void> {
  await answered(fetch(`${server}/accounts/${peerIdOf(account)}/consents`, post({ consent: hex(consent) })));
}

/** A device that may act for an account, and what the account says. */
export interface Acting {
  readonly server: string;
  readonly signer: Signer;
  readonly statement: Uint8Array;
  readonly account: Uint8Array;
}

/** Log in anew: the server then knows what the account says. */
export async function logIn({ server, signer, statement, account }: Acting): Promise<string> {
  const { challenge } = await answered<{ challenge: Hex }>(fetch(`${server}/login/challenge`, post({})));
  const body = concat(fromHex(challenge), new TextEncoder().encode(server));
  const signature = signer.sign("cc/login/1", body);
  await signer.settled();
  const signed = { challenge, statement: hex(statement), device: hex(signer.publicKey), signature: hex(signature) };
  const given = await answered<{ token: string; expires_in_s: number }>(fetch(`${server}/login`, post(signed)));
  tokens.set(hex(account), { token: given.token, endMs: Date.now() + 1_000 * (given.expires_in_s - SPARE_S) });
  return given.token;
}

/** Forget the log-ins of this Worker. */
export function logOut(): void {
  tokens.clear();
}

/** Have the server know what the account says. */
export async function putStatement(acting: Acting): Promise<void> {
  const body = JSON.stringify({ statement: hex(acting.statement) });
  await authorized(acting, "/accounts/me", { method: "PUT", body });
}

/** What devices have left that want to join the account. */
export async function consentsFor(acting: Acting): Promise<readonly Uint8Array[]> {
  const response = await authorized(acting, "/accounts/me/consents", {});
  const { consents } = (await response.json()) as { consents: readonly string[] };
  if (!Array.isArray(consents)) throw new RemoteProtocolError("the server gives no consents");
  return consents.map((text) => fromHex(String(text)));
}

async function authorized(acting: Acting, path: string, asked: RequestInit): Promise<Response> {
  const known = tokens.get(hex(acting.account));
  const token = known !== undefined && Date.now() < known.endMs ? known.token : await logIn(acting);
  const ask = (bearer: string): Promise<Response> =>
    fetch(acting.server + path, { ...asked, headers: { Authorization: `Bearer ${bearer}` } });
  let response = await ask(token);
  // A server that was started anew knows no token of before.
  if (response.status === 401 && known !== undefined) response = await ask(await logIn(acting));
  if (!response.ok) throw new Error(await refusalOf(response));
  return response;
}

function post(body: object): RequestInit {
  return { method: "POST", body: JSON.stringify(body) };
}

async function answered<T>(asked: Promise<Response>): Promise<T> {
  const response = await asked;
  if (!response.ok) throw new Error(await refusalOf(response));
  const text = await response.text();
  return (text === "" ? {} : JSON.parse(text)) as T;
}

async function refusalOf(response: Response): Promise<string> {
  const said = (await response.json().catch(() => ({}))) as { detail?: unknown };
  return `The server refused: ${typeof said.detail === "string" ? said.detail : response.status}.`;
}

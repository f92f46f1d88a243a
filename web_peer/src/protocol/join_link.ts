/**
 * Join links, as a person pastes them (spec/signaling.md). A module of its own: a page needs it only once it publishes.
 */

import type { Hex } from "./bytes";
import { LocalProtocolError } from "./errors";
import { publicKeyOf } from "./identity";

/** Further servers, and peers to begin with, that one join link names. */
const MEETING_PLACES_MAX = 8;

const SERVER = /^https?:\/\/[A-Za-z0-9.:_/[\]-]{1,250}$/;
const BOOTSTRAP =
  /^\/(?:ip4\/[0-9.]{7,15}|ip6\/[0-9a-fA-F:.]{2,45}|dns[46]?\/[A-Za-z0-9.-]{1,253})\/tcp\/[0-9]{1,5}\/p2p\/([1-9A-HJ-NP-Za-km-z]{40,60})$/;

/**
 * Where to meet: a signaling server's page, and after `#` (which browsers keep to themselves) the network.
 *
 * `http://host:port/j#n=NETWORK`, `&t=TASK` (hex) to open one task's page, `&i=INVITE` where the network asks for it,
 * `&s=URL` for each further server, `&b=MULTIADDR` for each native peer that can be dialled without any, `&v=PEERID` for
 * whoever vouches for creators. What begins with `n=` is a link too: that of a network which needs no server.
 */
export interface JoinLink {
  /** `http://host:port` or `https://…`, without a slash at the end; empty where there is no server. */
  readonly baseUrl: string;
  readonly network: string;
  readonly taskId: Hex | null;
  /** What the server wants to see proof of; empty for a network that is open to all. */
  readonly invite: string;
  /** Further signaling servers of the same network, like `baseUrl`. */
  readonly others: readonly string[];
  /** Multiaddrs of native peers, each with a peer id. */
  readonly bootstrap: readonly string[];
  /** Peer ids of those who vouch for creators in the network (permissions.md). */
  readonly vouchers: readonly string[];
}

/**
 * Read a link a person pasted.
 *
 * @throws LocalProtocolError when it is not a join link. The message says which part is missing or wrong.
 */
export function parseJoinLink(pasted: string): JoinLink {
  const link = pasted.trim();
  const shown = `'${link.slice(0, 200)}'`;
  const hasServer = !link.startsWith("n=");
  const baseUrl = hasServer ? parseBaseUrl(link) : "";
  const fields = new URLSearchParams(hasServer ? new URL(link).hash.slice(1) : link);
  const network = fields.getAll("n").at(-1) ?? "";
  if (network === "") {
    throw new LocalProtocolError(`the join link ${shown} names no network: it must end in #n=NETWORK`);
  }
  checkNetworkName(network);
  const taskId = fields.getAll("t").at(-1)?.toLowerCase() ?? null;
  if (taskId !== null && !/^[0-9a-f]{64}$/.test(taskId)) {
    throw new LocalProtocolError(`the join link ${shown} names a task that is not 64 hex digits`);
  }
  const invite = fields.getAll("i").at(-1) ?? "";
  if (fields.has("i") && !/^[A-Za-z0-9_-]{8,64}$/.test(invite)) {
    throw new LocalProtocolError("an invite has 8 to 64 letters, digits, '_' or '-': is the join link complete?");
  }
  const others = fields.getAll("s").map((url) => url.replace(/\/+$/, ""));
  checkServers(others);
  const bootstrap = fields.getAll("b");
  const vouchers = fields.getAll("v");
  if (Math.max(bootstrap.length, vouchers.length) > MEETING_PLACES_MAX) {
    throw new LocalProtocolError(`a join link names at most ${MEETING_PLACES_MAX} further servers or peers`);
  }
  for (const address of bootstrap) {
    if (!isBootstrap(address)) {
      throw new LocalProtocolError(
        `'${address.slice(0, 200)}' is not a peer's address: it looks like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW…`,
      );
    }
  }
  for (const voucher of vouchers) {
    if (!isPeerId(voucher)) {
      throw new LocalProtocolError(`'${voucher.slice(0, 80)}' is nobody who could vouch for creators`);
    }
  }
  if (others.length > 0 && !hasServer) {
    throw new LocalProtocolError(
      `the join link ${shown} begins without a server and names another: begin with http://host:port/j#`,
    );
  }
  return { baseUrl, network, taskId, invite, others, bootstrap, vouchers };
}

function parseBaseUrl(link: string): string {
  const shown = `'${link.slice(0, 200)}'`;
  let url: URL;
  try {
    url = new URL(link);
  } catch {
    throw new LocalProtocolError(`the join link ${shown} is not a URL: it looks like http://host:port/j#n=NETWORK`);
  }
  if ((url.protocol !== "http:" && url.protocol !== "https:") || url.hostname === "") {
    throw new LocalProtocolError(`${shown} is not a join link: it looks like http://host:port/j#n=NETWORK`);
  }
  const path = url.pathname.replace(/\/+$/, "");
  if (!path.endsWith("/j")) {
    throw new LocalProtocolError(
      `the join link ${shown} does not point to a /j page: it looks like http://host:port/j#n=NETWORK`,
    );
  }
  return `${url.origin}${path.slice(0, -"/j".length)}`;
}

/**
 * Check the addresses of further signaling servers.
 *
 * @throws LocalProtocolError when one of them does not look like http://host:port, or there are too many.
 */
export function checkServers(others: readonly string[]): void {
  if (others.length > MEETING_PLACES_MAX) {
    throw new LocalProtocolError(`a join link names at most ${MEETING_PLACES_MAX} further servers or peers`);
  }
  for (const url of others) {
    if (!SERVER.test(url)) {
      throw new LocalProtocolError(
        `'${url.slice(0, 200)}' is not a signaling server: it looks like http://host:port`,
      );
    }
    parseBaseUrl(`${url}/j`);
  }
}

function isBootstrap(address: string): boolean {
  const match = BOOTSTRAP.exec(address);
  return match !== null && isPeerId(match[1]!);
}

function isPeerId(text: string): boolean {
  try {
    publicKeyOf(text);
  } catch {
    return false;
  }
  return true;
}

export function formatJoinLink(link: JoinLink): string {
  const task = link.taskId === null ? "" : `&t=${link.taskId}`;
  const invite = link.invite === "" ? "" : `&i=${link.invite}`;
  const others = link.others.map((url) => `&s=${plainly(url)}`).join("");
  const bootstrap = link.bootstrap.map((address) => `&b=${plainly(address)}`).join("");
  const vouchers = link.vouchers.map((voucher) => `&v=${voucher}`).join("");
  const server = link.baseUrl === "" ? "" : `${link.baseUrl}/j#`;
  return `${server}n=${encodeURIComponent(link.network)}${task}${invite}${others}${bootstrap}${vouchers}`;
}

/** Percent-encoded but for what makes an address readable. */
function plainly(address: string): string {
  return encodeURIComponent(address).replaceAll("%3A", ":").replaceAll("%2F", "/");
}

/** Where the WebSockets of a link's servers are: `ws://…/ws`, or `wss://` below https. */
export function websocketUrls(link: JoinLink): readonly string[] {
  if (link.baseUrl === "") return [];
  return [link.baseUrl, ...link.others].map((url) => `ws${url.slice("http".length)}/ws`);
}

/**
 * Check a network name a person typed.
 *
 * @throws LocalProtocolError when it has other characters than a-z, 0-9, '.', '_' and '-', or is too long.
 */
export function checkNetworkName(network: string): void {
  if (!/^[a-z0-9][a-z0-9._-]{0,63}$/.test(network)) {
    throw new LocalProtocolError(
      `'${network.slice(0, 80)}' is not a network name: use up to 64 of a-z, 0-9, '.', '_' and '-', ` +
        "beginning with a letter or digit",
    );
  }
}

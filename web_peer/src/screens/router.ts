/**
 * Which screen an address names, and what a join link carries.
 *
 *     /j#n=NETWORK&t=TASK&i=INVITE        the link people pass on
 *     /tasks/ID  /results/ID  /publish …  the screens
 *
 * What follows `#` never reaches a server. Network and invite stay there while the person moves through the screens, so
 * that a reload finds the same network; they are never put into a path, a query or a log.
 */

import { useLayoutEffect, useState } from "preact/hooks";

const NETWORK = /^[a-z0-9][a-z0-9._-]{0,63}$/;
const TASK_ID = /^[0-9a-f]{64}$/;

const PLACES = ["tasks", "publish", "me", "settings", "doctor", "badge", "about", "embed"] as const;

export type Route =
  | { readonly kind: "computing" | "join" | (typeof PLACES)[number] }
  | { readonly kind: "task" | "results"; readonly taskId: string }
  | { readonly kind: "nowhere"; readonly path: string };

export function parseRoute(path: string): Route {
  const [place, id, ...rest] = path.split("/").filter((part) => part !== "");
  if (place === undefined) return { kind: "computing" };
  if (rest.length === 0 && id !== undefined && TASK_ID.test(id)) {
    if (place === "tasks") return { kind: "task", taskId: id };
    if (place === "results") return { kind: "results", taskId: id };
  }
  if (id === undefined) {
    if (place === "j") return { kind: "join" };
    const known = PLACES.find((name) => name === place);
    if (known !== undefined) return { kind: known };
  }
  return { kind: "nowhere", path };
}

export interface Join {
  readonly network: string;
  readonly taskId: string | null;
  readonly invite: string | null;
  /** Further signaling servers of the network. */
  readonly servers: readonly string[];
  /** Who vouches for creators in it. */
  readonly vouchers: readonly string[];
}

export type JoinReading =
  | { readonly kind: "absent" }
  | { readonly kind: "join"; readonly join: Join }
  | { readonly kind: "refused"; readonly sentence: string };

/** What a fragment (with or without its `#`) asks for. People paste links by hand, so a broken one gets a sentence. */
export function readJoin(fragment: string): JoinReading {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  const network = fields.get("n");
  if (network === null) {
    if (!fields.has("t") && !fields.has("i")) return { kind: "absent" };
    return { kind: "refused", sentence: "This link names no network. It should contain #n= and the network's name." };
  }
  if (!NETWORK.test(network)) {
    return { kind: "refused", sentence: "The network's name in this link has characters that no name may have." };
  }
  const taskId = fields.get("t");
  if (taskId !== null && !TASK_ID.test(taskId)) {
    return { kind: "refused", sentence: "This link names a task that is not 64 hexadecimal digits: is it complete?" };
  }
  return { kind: "join", join: { network, taskId, invite: fields.get("i"), servers: fields.getAll("s"), vouchers: fields.getAll("v") } };
}

/** The fragment that `readJoin` reads back, with its `#`. */
export function joinFragment({ network, taskId, invite, servers, vouchers }: Join): string {
  const task = taskId === null ? "" : `&t=${taskId}`;
  const several = (name: string, values: readonly string[]): string =>
    values.map((value) => `&${name}=${encodeURIComponent(value)}`).join("");
  const invited = several("i", invite === null ? [] : [invite]);
  return `#n=${encodeURIComponent(network)}${task}${invited}${several("s", servers)}${several("v", vouchers)}`;
}

export function joinLink(origin: string, join: Join): string {
  return `${origin}/j${joinFragment(join)}`;
}

/** The fragment to keep while moving on: where we are, but no longer the task that the link pointed to. */
export function keptFragment(fragment: string): string {
  const reading = readJoin(fragment);
  return reading.kind === "join" ? joinFragment({ ...reading.join, taskId: null }) : "";
}

let here: Route = { kind: "computing" };
const watchers = new Set<(route: Route) => void>();

/** Where the person is. Follows the back button once `followAddress` has been called. */
export function useRoute(): Route {
  const [route, setRoute] = useState(here);
  useLayoutEffect(() => {
    setRoute(here);
    watchers.add(setRoute);
    return () => void watchers.delete(setRoute);
  }, []);
  return route;
}

export function go(path: string): void {
  history.pushState(null, "", path + keptFragment(location.hash));
  arrive();
  scrollTo(0, 0);
}

function arrive(): void {
  here = parseRoute(location.pathname);
  for (const watch of watchers) watch(here);
}

/** Let plain links move between screens without loading the page again; ends when called back. */
export function followAddress(): () => void {
  const onClick = (event: MouseEvent): void => {
    const anchor = event.target instanceof Element ? event.target.closest("a") : null;
    const isOurs = anchor !== null && anchor.origin === location.origin && anchor.target === "" && !anchor.download;
    const isPlain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
    // A fragment of this page, like the skip link's, is the browser's own business.
    if (!isOurs || !isPlain || event.defaultPrevented || anchor.getAttribute("href")?.startsWith("#")) return;
    if (parseRoute(anchor.pathname).kind === "nowhere") return;
    event.preventDefault();
    go(anchor.pathname);
  };
  // Another join link pasted over this one changes only the fragment: the peer has to enter that network anew.
  const onFragment = (): void => location.reload();
  arrive();
  addEventListener("popstate", arrive);
  addEventListener("hashchange", onFragment);
  document.addEventListener("click", onClick);
  return () => {
    removeEventListener("popstate", arrive);
    removeEventListener("hashchange", onFragment);
    document.removeEventListener("click", onClick);
  };
}

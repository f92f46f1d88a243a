/**
 * Which addresses a task may have fetched (spec/permissions.md).
 *
 * A permission names one address, or, ending in "/", all below it. Both are written in one form only, so that whoever
 * compares them need not know what a server makes of another form. No browser fetches: a page only checks.
 */

import { RemoteProtocolError } from "./errors";

/** Before an address it is the permission to fetch it. */
export const SCHEME = "net:";
export const PERMISSION_CHARACTERS_MAX = 500;
export const ADDRESS_BYTES_MAX = 2_000;

// No form of an IP address but one is a host; escapes of "/", "\" and "." would be read by some servers as what they
// escape.
const CHARACTER = "(?:[\\w.~!$&'()*+,;=:@-]|%(?!2E|2F|5C)[0-9A-F]{2})";
const LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?";
const ADDRESS = new RegExp(
  `^(?:https://(?:${LABEL}\\.)+(?=[a-z])${LABEL}|http://127\\.0\\.0\\.1)(?::([1-9]\\d{3,4}))?` +
    `(?:/(?!\\.\\.?(?:[/?]|$))${CHARACTER}*)+(?:\\?(?:${CHARACTER}|[/?])*)?$`,
);

/** Whether this is an address that may be fetched at all, in the one form it has. */
export function isAddress(text: string): boolean {
  const found = ADDRESS.exec(text);
  // Without a port it is not a number, which is neither.
  const port = +found?.[1]!;
  return found !== null && text.length <= ADDRESS_BYTES_MAX && !(port < 1024 || port > 65_535);
}

/** Whether this names addresses to fetch. */
export function isPermission(text: string): boolean {
  return text.startsWith(SCHEME) && isAddress(text.slice(SCHEME.length));
}

/**
 * Whether each of `wanted` is the same as, or below, one of the permissions. What is below has no query. What is not
 * written as a permission includes nothing, and nothing includes it.
 */
export function areCovered(wanted: readonly string[], permissions: readonly string[]): boolean {
  return wanted.every((each) => isPermission(each) && permissions.some((given) => includes(given, each)));
}

function includes(given: string, wanted: string): boolean {
  if (!isPermission(given)) return false;
  const isBelow = given.endsWith("/") && !given.includes("?") && !wanted.includes("?") && wanted.startsWith(given);
  return given === wanted || isBelow;
}

/**
 * The address that is a chunk's input.
 *
 * @throws RemoteProtocolError when it is none, or not among those that the task names.
 */
export function openAddress(data: Uint8Array, permissions: readonly string[]): string {
  const address = String.fromCharCode(...data.subarray(0, ADDRESS_BYTES_MAX + 1));
  if (!isAddress(address)) throw new RemoteProtocolError("an item is no address that may be fetched");
  if (!areCovered([SCHEME + address], permissions)) {
    throw new RemoteProtocolError("an item is an address that the task's permissions do not name");
  }
  return address;
}

/** What a task's permissions include (spec/permissions.md); in Python a part of permissions.py. */

import { RemoteProtocolError } from "./errors";
import { ADDRESS_BYTES_MAX, isAddress, SCHEME } from "./permissions";

/** Whether each of `wanted` is the same as, or below, one of the permissions. What is below has no query. */
export function areCovered(wanted: readonly string[], permissions: readonly string[]): boolean {
  return wanted.every((each) =>
    permissions.some(
      (given) =>
        given === each || (given.endsWith("/") && !given.includes("?") && !each.includes("?") && each.startsWith(given)),
    ),
  );
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

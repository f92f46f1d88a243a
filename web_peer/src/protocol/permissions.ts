/**
 * Which addresses a task may have fetched (spec/permissions.md).
 *
 * A permission names one address, or, ending in "/", all below it. Both are written in one form only, so that whoever
 * compares them need not know what a server makes of another form. No browser fetches: a page only checks. Apart from
 * addresses.ts because of this every page has need at once.
 */

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
  return found !== null && text.length <= ADDRESS_BYTES_MAX && (found[1] === undefined || (+found[1] >= 1024 && +found[1] < 65_536));
}

/** Whether this names addresses to fetch. */
export function isPermission(text: string): boolean {
  return text.startsWith(SCHEME) && isAddress(text.slice(SCHEME.length));
}

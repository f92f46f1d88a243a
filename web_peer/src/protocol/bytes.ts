/** Byte strings as values: names for them, equality and order. JavaScript compares `Uint8Array`s by identity only. */

import { LocalProtocolError } from "./errors";

/** Bytes as lowercase hexadecimal text: what maps and sets are keyed by. */
export type Hex = string;

const PAIRS: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** What each character code stands for as a digit; 255 for none. */
const NIBBLES = new Uint8Array(128).fill(255);
for (const digits of ["0123456789abcdef", "0123456789ABCDEF"]) {
  for (let value = 0; value < 16; value++) NIBBLES[digits.charCodeAt(value)] = value;
}

/** The hexadecimal name of some bytes. */
export function hex(bytes: Uint8Array): Hex {
  let text = "";
  for (let index = 0; index < bytes.length; index++) text += PAIRS[bytes[index]!]!;
  return text;
}

/**
 * The bytes of a hexadecimal name.
 *
 * @throws LocalProtocolError when the text is not hexadecimal.
 */
export function fromHex(text: Hex): Uint8Array {
  const bytes = new Uint8Array(text.length >> 1);
  let seen = text.length % 2 === 0 ? 0 : 255;
  for (let index = 0; index < bytes.length; index++) {
    const high = NIBBLES[text.charCodeAt(2 * index)] ?? 255;
    const low = NIBBLES[text.charCodeAt(2 * index + 1)] ?? 255;
    seen |= high | low;
    bytes[index] = (high << 4) | low;
  }
  if (seen > 15) throw new LocalProtocolError(`${JSON.stringify(text.slice(0, 80))} is not hexadecimal`);
  return bytes;
}

export function equal(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  for (let index = 0; index < left.length; index++) if (left[index] !== right[index]) return false;
  return true;
}

/** Negative, zero or positive, by bytes from the left; of a string and its beginning the beginning comes first. */
export function compare(left: Uint8Array, right: Uint8Array): number {
  const shorter = Math.min(left.length, right.length);
  for (let index = 0; index < shorter; index++) {
    const difference = left[index]! - right[index]!;
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const joined = new Uint8Array(length);
  let position = 0;
  for (const part of parts) {
    joined.set(part, position);
    position += part.length;
  }
  return joined;
}

/** Byte strings as values: names for them, equality and order. JavaScript compares `Uint8Array`s by identity only. */

import { LocalProtocolError } from "./errors";

/** Bytes as lowercase hexadecimal text: what maps and sets are keyed by. */
export type Hex = string;

const PAIRS: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

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
  if (text.length % 2 !== 0 || /[^0-9a-fA-F]/.test(text)) {
    throw new LocalProtocolError(`${JSON.stringify(text.slice(0, 80))} is not hexadecimal`);
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let index = 0; index < bytes.length; index++) bytes[index] = parseInt(text.slice(2 * index, 2 * index + 2), 16);
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

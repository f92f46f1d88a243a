/** A result's bytes in a form a person can read, in one line. */

const TEXT_MAX = 160;
const NUMBERS_MAX = 8;
const HEX_MAX = 16;

export function previewOf(bytes: Uint8Array): string {
  if (bytes.length === 0) return "(empty)";
  const text = textOf(bytes);
  if (text !== null) return text.length > TEXT_MAX ? `${text.slice(0, TEXT_MAX)}…` : text;
  if (bytes.length % 8 === 0 && bytes.length <= 8 * NUMBERS_MAX) return integersOf(bytes).join(", ");
  const hex = [...bytes.subarray(0, HEX_MAX)].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return bytes.length > HEX_MAX ? `${hex} … (${bytes.length} bytes)` : hex;
}

/** The bytes as text, if that is what they are. */
export function textOf(bytes: Uint8Array): string | null {
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    // Control characters other than tab and line ends mean the bytes only happen to decode.
    return /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/.test(text) ? null : text;
  } catch {
    return null;
  }
}

function integersOf(bytes: Uint8Array): readonly bigint[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length / 8 }, (_, index) => view.getBigInt64(index * 8, true));
}

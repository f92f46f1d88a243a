/**
 * A bundle: a task in one file (spec/bundle.md).
 *
 * `.ccb` is a zip that any tool can list: `manifest.msgpack`, `manifest.sig`, and every blob the manifest names as
 * `blobs/<sha256>`. Entries are stored, never compressed: so the same task is the same file on every machine, no reader
 * needs an inflater, and nothing can unpack to more than its own size. A zip reader that may assume so much is short
 * enough to stand here whole.
 */

import { compare, concat, equal, hex, type Hex } from "./bytes";
import { describe } from "./blobs";
import { checkInputs } from "./chunks";
import { decode } from "./codec";
import { BundleError, LocalProtocolError, RemoteProtocolError } from "./errors";
import { SIGNATURE_BYTES, type Verifier } from "./identity";
import { type BlobRef, Manifest, openManifest } from "./manifest";
import { RECORD_BYTES_MAX, recordId, type Signed } from "./records";

/** A bundle is read into memory, on phones too. A guess; larger inputs belong to blobs fetched in pieces. */
export const BUNDLE_BYTES_MAX = 512 * 1024 * 1024;

const MANIFEST = "manifest.msgpack";
const SIGNATURE = "manifest.sig";
const ENTRIES_MAX = 4;

/** An opened bundle: everything in it was checked against the creator's signature. */
export interface Bundle {
  readonly taskId: Uint8Array;
  readonly signed: Signed;
  readonly manifest: Manifest;
  readonly blobs: ReadonlyMap<Hex, Uint8Array>;
  readonly module: Uint8Array;
  readonly inputs: Uint8Array | null;
}

/**
 * The bundle's bytes; the same for the same task, always and everywhere.
 *
 * @throws LocalProtocolError when a blob the manifest names is missing or is not what it names, or the bundle is too
 *   large.
 */
export function writeBundle(signed: Signed, blobs: ReadonlyMap<Hex, Uint8Array>): Uint8Array {
  const files: [string, Uint8Array][] = [
    [MANIFEST, signed.body],
    [SIGNATURE, signed.signature],
  ];
  const named = [...blobEntries(decode(Manifest, signed.body))].sort(([left], [right]) => (left < right ? -1 : 1));
  for (const [name, ref] of named) {
    const data = blobs.get(hex(ref.sha256));
    if (data === undefined || !isSameBlob(describe(data), ref)) {
      throw new LocalProtocolError(`the blob ${hex(ref.sha256)} of the manifest is missing or altered`);
    }
    files.push([name, data]);
  }
  const bundle = zipped(files);
  if (bundle.length > BUNDLE_BYTES_MAX) {
    throw new LocalProtocolError(`the bundle has ${bundle.length} bytes, ${BUNDLE_BYTES_MAX} are allowed`);
  }
  return bundle;
}

/**
 * Open a bundle from anywhere. Whether the task is still current is a question of time (`timeRefusal`).
 *
 * @throws BundleError when it is not exactly what its creator signed. One sentence says what is wrong.
 */
export function readBundle(data: Uint8Array, verifier: Verifier): Bundle {
  if (data.length > BUNDLE_BYTES_MAX) {
    throw new BundleError(`the bundle has ${data.length} bytes, ${BUNDLE_BYTES_MAX} are allowed`);
  }
  if (viewOf(data, 0, 4)?.getUint32(0, true) !== LOCAL_HEADER) {
    throw new BundleError("this is not a bundle: it does not begin like a zip file");
  }
  try {
    return open(data, verifier);
  } catch (error) {
    throw error instanceof RemoteProtocolError ? new BundleError(`the bundle is refused: ${error.message}`) : error;
  }
}

function open(data: Uint8Array, verifier: Verifier): Bundle {
  const entries = entriesOf(data);
  const body = read(data, entries, MANIFEST, RECORD_BYTES_MAX);
  const signature = read(data, entries, SIGNATURE, SIGNATURE_BYTES);
  if (signature.length !== SIGNATURE_BYTES) {
    throw new BundleError(`${SIGNATURE} has ${signature.length} bytes, a signature has ${SIGNATURE_BYTES}`);
  }
  // The signature's key stands in the manifest, so the body is decoded once before it can be checked.
  const signed: Signed = { kind: "manifest", author: decode(Manifest, body).creator, body, signature };
  const manifest = openManifest(signed, verifier);

  const named = blobEntries(manifest);
  for (const name of [...entries.keys()].sort()) {
    if (!named.has(name) && name !== MANIFEST && name !== SIGNATURE) {
      throw new BundleError(`the bundle holds ${JSON.stringify(name)}, which its manifest does not name`);
    }
  }
  const blobs = new Map<Hex, Uint8Array>();
  for (const [name, ref] of named) {
    const entry = entries.get(name);
    if (entry === undefined) throw new BundleError(`the bundle lacks ${name}, which its manifest names`);
    if (entry.size !== ref.size) {
      throw new BundleError(`${name} has ${entry.size} bytes where the manifest says ${ref.size}`);
    }
    const blob = read(data, entries, name, ref.size);
    if (!isSameBlob(describe(blob), ref)) {
      throw new BundleError(`${name} is not the blob its manifest names: it was altered`);
    }
    blobs.set(hex(ref.sha256), blob);
  }
  const module = blobs.get(hex(manifest.code.sha256))!;
  const inputs = manifest.inputs === null ? null : blobs.get(hex(manifest.inputs.sha256))!;
  checkInputs(manifest, inputs);
  return { taskId: recordId(signed), signed, manifest, blobs, module, inputs };
}

function blobEntries(manifest: Manifest): Map<string, BlobRef> {
  const refs = manifest.inputs === null ? [manifest.code] : [manifest.code, manifest.inputs];
  return new Map(refs.map((ref) => [`blobs/${hex(ref.sha256)}`, ref]));
}

function isSameBlob(one: BlobRef, other: BlobRef): boolean {
  return one.size === other.size && equal(one.sha256, other.sha256) && equal(one.root, other.root);
}

// ---- zip archives of stored entries (APPNOTE.TXT 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16)

const LOCAL_HEADER = 0x0403_4b50;
const LOCAL_HEADER_BYTES = 30;
const DIRECTORY_HEADER = 0x0201_4b50;
const DIRECTORY_HEADER_BYTES = 46;
const DIRECTORY_END = 0x0605_4b50;
const DIRECTORY_END_BYTES = 22;
const COMMENT_BYTES_MAX = 0xffff;
const STORED = 0;
/** Encrypted, patched, and strongly encrypted: what makes the bytes of an entry other than they seem. */
const FLAGS_REFUSED = 0x0061;
const VERSION = 20;
/** The newest version of the format that the native peer's reader takes. */
const VERSION_MAX = 63;
const MADE_ON_UNIX = 3 << 8;
/** 1980-01-01, the first day a zip file knows. */
const DATE = 0x0021;
const REGULAR_FILE = 0o100644 * 0x1_0000;

interface Entry {
  readonly name: string;
  readonly rawName: Uint8Array;
  readonly checksum: number;
  readonly size: number;
  readonly headerAt: number;
}

/** The archive's entries by name, after every check that needs no entry's bytes. */
function entriesOf(data: Uint8Array): Map<string, Entry> {
  const endAt = directoryEnd(data);
  const end = viewOf(data, endAt, DIRECTORY_END_BYTES)!;
  const count = end.getUint16(10, true);
  let at = end.getUint32(16, true);
  const before = endAt - end.getUint32(12, true) - at;
  if (before > 0) throw new BundleError("the bundle holds bytes outside its entries");
  if (before < 0) throw new BundleError("the bundle is damaged or cut short: its directory is not all there");
  if (count > ENTRIES_MAX) throw new BundleError(`the bundle holds ${count} entries, ${ENTRIES_MAX} may be`);
  const entries = new Map<string, Entry>();
  let first = Infinity;
  for (let index = 0; index < count; index++) {
    const header = viewOf(data, at, DIRECTORY_HEADER_BYTES);
    if (header === null || header.getUint32(0, true) !== DIRECTORY_HEADER) {
      throw new BundleError("the bundle is damaged or cut short: its directory cannot be read");
    }
    const nameLength = header.getUint16(28, true);
    const rawName = data.subarray(at + DIRECTORY_HEADER_BYTES, at + DIRECTORY_HEADER_BYTES + nameLength);
    const name = new TextDecoder().decode(rawName);
    const size = header.getUint32(24, true);
    if (header.getUint16(10, true) !== STORED || header.getUint32(20, true) !== size) {
      throw new BundleError(`${JSON.stringify(name)} is compressed: the entries of a bundle are stored as they are`);
    }
    if ((header.getUint16(8, true) & FLAGS_REFUSED) !== 0 || header.getUint16(6, true) > VERSION_MAX) {
      throw new BundleError(`the bundle is damaged or cut short: ${JSON.stringify(name)} needs another zip reader`);
    }
    if (entries.has(name)) throw new BundleError("the bundle holds one entry twice");
    const headerAt = header.getUint32(42, true);
    entries.set(name, { name, rawName, checksum: header.getUint32(16, true), size, headerAt });
    first = Math.min(first, headerAt);
    at += DIRECTORY_HEADER_BYTES + nameLength + header.getUint16(30, true) + header.getUint16(32, true);
  }
  if (at !== endAt) throw new BundleError("the bundle is damaged or cut short: its directory has another length");
  if (end.getUint16(20, true) !== 0 || (count > 0 && first !== 0)) {
    throw new BundleError("the bundle holds bytes outside its entries");
  }
  return entries;
}

/** Where the end of the directory begins: the last thing of the file, but for a comment. */
function directoryEnd(data: Uint8Array): number {
  const lowest = Math.max(0, data.length - DIRECTORY_END_BYTES - COMMENT_BYTES_MAX);
  for (let at = data.length - DIRECTORY_END_BYTES; at >= lowest; at--) {
    const end = viewOf(data, at, DIRECTORY_END_BYTES)!;
    const comment = data.length - at - DIRECTORY_END_BYTES;
    if (end.getUint32(0, true) === DIRECTORY_END && end.getUint16(20, true) === comment) return at;
  }
  throw new BundleError("the bundle is damaged or cut short: it has no directory");
}

function read(data: Uint8Array, entries: ReadonlyMap<string, Entry>, name: string, sizeMax: number): Uint8Array {
  const entry = entries.get(name);
  if (entry === undefined) throw new BundleError(`the bundle has no ${name}`);
  if (entry.size > sizeMax) {
    throw new BundleError(`${JSON.stringify(name)} has ${entry.size} bytes, ${sizeMax} may be`);
  }
  const header = viewOf(data, entry.headerAt, LOCAL_HEADER_BYTES);
  const nameLength = header?.getUint16(26, true) ?? 0;
  const nameAt = entry.headerAt + LOCAL_HEADER_BYTES;
  const begin = nameAt + nameLength + (header?.getUint16(28, true) ?? 0);
  if (
    header?.getUint32(0, true) !== LOCAL_HEADER ||
    compare(data.subarray(nameAt, nameAt + nameLength), entry.rawName) !== 0 ||
    begin + entry.size > data.length
  ) {
    throw new BundleError(`the bundle is damaged or cut short: ${JSON.stringify(name)} is not where it should be`);
  }
  const bytes = data.slice(begin, begin + entry.size);
  if (crc32(bytes) !== entry.checksum) {
    throw new BundleError(`the bundle is damaged or cut short: the checksum of ${JSON.stringify(name)} is wrong`);
  }
  return bytes;
}

function zipped(files: readonly (readonly [string, Uint8Array])[]): Uint8Array {
  const utf8 = new TextEncoder();
  const entries: Uint8Array[] = [];
  const directory: Uint8Array[] = [];
  let at = 0;
  let directoryBytes = 0;
  for (const [name, data] of files) {
    const rawName = utf8.encode(name);
    const checksum = crc32(data);
    const local = header(LOCAL_HEADER_BYTES, LOCAL_HEADER, [
      [2, VERSION],
      [2, 0],
      ...described(checksum, data.length, rawName.length),
    ]);
    const listed = header(DIRECTORY_HEADER_BYTES, DIRECTORY_HEADER, [
      [2, MADE_ON_UNIX | VERSION],
      [2, VERSION],
      [2, 0],
      ...described(checksum, data.length, rawName.length),
      [2, 0],
      [2, 0],
      [2, 0],
      [4, REGULAR_FILE],
      [4, at],
    ]);
    entries.push(local, rawName, data);
    directory.push(listed, rawName);
    at += LOCAL_HEADER_BYTES + rawName.length + data.length;
    directoryBytes += DIRECTORY_HEADER_BYTES + rawName.length;
  }
  const end = header(DIRECTORY_END_BYTES, DIRECTORY_END, [
    [2, 0],
    [2, 0],
    [2, files.length],
    [2, files.length],
    [4, directoryBytes],
    [4, at],
    [2, 0],
  ]);
  return concat(...entries, ...directory, end);
}

/** A field of a header: its bytes, two or four, and its value. */
type Field = readonly [2 | 4, number];

/** What both headers of an entry say in the same words: method, time, date, checksum, sizes, lengths. */
function described(checksum: number, size: number, nameLength: number): Field[] {
  return [
    [2, STORED],
    [2, 0],
    [2, DATE],
    [4, checksum],
    [4, size],
    [4, size],
    [2, nameLength],
    [2, 0],
  ];
}

function header(length: number, magic: number, fields: readonly Field[]): Uint8Array {
  const bytes = new Uint8Array(length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, magic, true);
  let at = 4;
  for (const [width, value] of fields) {
    if (width === 2) view.setUint16(at, value, true);
    else view.setUint32(at, value, true);
    at += width;
  }
  return bytes;
}

/** `length` bytes from `at`, or null when they are not all there. */
function viewOf(data: Uint8Array, at: number, length: number): DataView | null {
  return at >= 0 && at + length <= data.length ? new DataView(data.buffer, data.byteOffset + at, length) : null;
}

const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte;
  for (let bit = 0; bit < 8; bit++) remainder = (remainder >>> 1) ^ (remainder & 1 ? 0xedb8_8320 : 0);
  return remainder;
});

function crc32(data: Uint8Array): number {
  let remainder = 0xffff_ffff;
  for (let at = 0; at < data.length; at++) remainder = CRC[(remainder ^ data[at]!) & 0xff]! ^ (remainder >>> 8);
  return ~remainder >>> 0;
}

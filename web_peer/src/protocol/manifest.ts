/**
 * A task as its creator signed it (spec/manifest.md).
 *
 * The schemas say which shapes a manifest can have; `openManifest` adds the rules that tie fields together. Both run on
 * the bytes that were signed, and what was signed is never encoded again.
 */

import { equal } from "./bytes";
import {
  array,
  bool,
  bytes32,
  decode,
  type Infer,
  integer,
  literal,
  nullable,
  number,
  part,
  text,
  u32,
  u53,
} from "./codec";
import { RemoteProtocolError } from "./errors";
import type { Verifier } from "./identity";
import { recordId, Signed, verifySignature } from "./records";
import { checkChunkCount, CHUNKS_MAX, Split } from "./split";

/** The largest module admission lets through (DESIGN section 7). */
export const CODE_BYTES_MAX = 8 * 1024 * 1024;
/** How far a creator's clock may run ahead of ours. Ten minutes covers machines without NTP; a guess. */
export const CLOCK_SKEW_S = 600;

// Listed by range, because what counts as "printable" changes with the Unicode version a language ships. Besides the
// control characters these are the line separators and the bidirectional overrides, which would let a name rewrite the
// line of a terminal or a log it is shown on.
const UNPRINTABLE = "\\x00-\\x1f\\x7f-\\x9f\\u2028\\u2029\\u202a-\\u202e\\u2066-\\u2069";
const NAME_REFUSED = new RegExp(`[${UNPRINTABLE}]`);
const LINK = new RegExp(`^https?://[^ ${UNPRINTABLE}]+$`);

/** What executes the code blob: a WebAssembly module (modules.md), JavaScript source (javascript.md), or a kernel with
 * all it needs (gpu.md). `net` executes nothing: nodes fetch what the chunks name (permissions.md). */
export const Runtime = literal("wasm", "js", "gpu", "net");
export type Runtime = Infer<typeof Runtime>;

/** A blob by name: SHA-256 of its bytes, its size, and the Merkle root over its 64 KiB pieces (blobs.ts). */
export const BlobRef = part("BlobRef", {
  sha256: bytes32,
  size: u53,
  root: bytes32,
});
export type BlobRef = Infer<typeof BlobRef>;

/** What one chunk may use. Beyond them it ends as 'no result', never as a vote. */
export const Limits = part("Limits", {
  memoryBytes: integer(65_536, 4_096 * 65_536),
  outputBytes: integer(1, 16 * 1024 * 1024),
  seconds: number({ above: 0, max: 3_600 }),
});
export type Limits = Infer<typeof Limits>;

/** How sure the creator wants to be (policy.ts): at most `eps` wrong results if at most `liars` of the work lies. */
export const Policy = part("Policy", {
  replication: integer(1, 3),
  eps: number({ above: 0, below: 1 }),
  liars: number({ min: 0, max: 0.5 }),
  powBits: integer(0, 32),
});
export type Policy = Infer<typeof Policy>;

/** The most epochs of one task: a chain takes some 100 ms to make or to check then. */
export const EPOCHS_MAX = 65_536;

/** How long an epoch of a task takes, and the anchor of its creator's beacons. */
export const Epochs = part("Epochs", { seconds: integer(1, 86_400), anchor: bytes32 });
export type Epochs = Infer<typeof Epochs>;

/** Everything a volunteer needs to decide about a task and to compute it. */
export const Manifest = part("Manifest", {
  schema: integer(1, 1),
  name: text({ min: 1, max: 80 }),
  description: text({ max: 2_000 }),
  link: text({ max: 500 }),
  creator: bytes32,
  sealKey: bytes32,
  runtime: Runtime,
  code: BlobRef,
  split: Split,
  chunks: integer(1, CHUNKS_MAX),
  inputs: nullable(BlobRef),
  limits: Limits,
  policy: Policy,
  reward: u32,
  epochs: nullable(Epochs),
  onward: bool,
  permissions: array(text({ max: 500 }), { max: 16 }),
  vouches: array(Signed, { max: 4 }),
  createdS: u53,
  expiresS: u53,
});
export type Manifest = Infer<typeof Manifest>;

/**
 * The manifest inside a signed record, once everything that can be checked without its blobs holds.
 *
 * @throws RemoteProtocolError when the record is not a manifest, its signature is wrong, its author is not the creator
 *   it names, or a field breaks a rule. The message is one sentence.
 */
export function openManifest(signed: Signed, verifier: Verifier): Manifest {
  if (signed.kind !== "manifest") throw new RemoteProtocolError(`a ${signed.kind} is not a manifest`);
  verifySignature(verifier, signed);
  const manifest = decode(Manifest, signed.body);
  if (!equal(manifest.creator, signed.author)) {
    throw new RemoteProtocolError("the manifest was signed by another key than the creator it names");
  }
  checkFields(manifest);
  return manifest;
}

/** The name of a task: the record id of its signed manifest. */
export function taskId(signed: Signed): Uint8Array {
  return recordId(signed);
}

/** Why no work on this task may start at `unixS`, as one sentence; null when it may. */
export function timeRefusal(manifest: Manifest, unixS: number): string | null {
  if (unixS >= manifest.expiresS) return `the task expired ${duration(unixS - manifest.expiresS)} ago`;
  if (manifest.createdS > unixS + CLOCK_SKEW_S) {
    const ahead = duration(manifest.createdS - unixS);
    return `the task was created ${ahead} in the future: the clock of this machine or of its creator is wrong`;
  }
  return null;
}

/** Whether a name can be shown on one line of a terminal, a log or a page without rewriting it. */
export function isPrintable(text: string): boolean {
  return !NAME_REFUSED.test(text);
}

/** The rules that tie fields together (spec/manifest.md, "Rules"). */
export function checkFields(manifest: Manifest): void {
  if (!isPrintable(manifest.name) || !isPrintable(manifest.description.replaceAll("\n", ""))) {
    throw new RemoteProtocolError("the task's name or description contains control characters");
  }
  if (manifest.link !== "" && !LINK.test(manifest.link)) {
    throw new RemoteProtocolError("the task's link is not an http or https address");
  }
  if (manifest.code.size < 1 || manifest.code.size > CODE_BYTES_MAX) {
    throw new RemoteProtocolError(
      `the task's module has ${manifest.code.size} bytes, 1 to ${CODE_BYTES_MAX} may be`,
    );
  }
  if (manifest.expiresS <= manifest.createdS) throw new RemoteProtocolError("the task expires before it was created");
  if (manifest.epochs !== null && manifest.expiresS - manifest.createdS > EPOCHS_MAX * manifest.epochs.seconds) {
    throw new RemoteProtocolError(`the task has more than ${EPOCHS_MAX} epochs: make them longer`);
  }
  checkChunkCount(manifest);
  const { permissions, runtime, epochs } = manifest;
  const isFetched = runtime === "net";
  // While a creator is away whoever differs counts as a liar; and a server may tell two peers two things.
  if (!permissions.every(isPrintable) || isFetched !== permissions.length > 0 || (isFetched && epochs !== null)) {
    throw new RemoteProtocolError("the task's permissions are not what they may be");
  }
}

const UNITS: readonly (readonly [string, number])[] = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
];

function duration(seconds: number): string {
  for (const [unit, length] of UNITS) {
    if (seconds >= length) {
      const count = Math.floor(seconds / length);
      return `${count} ${unit}${count > 1 ? "s" : ""}`;
    }
  }
  return "less than a minute";
}

/** From a person's draft, or a dropped bundle, to a signed manifest and the blobs it names. Loaded when first needed. */

import { sha256 } from "@noble/hashes/sha2.js";

import { describe } from "../protocol/blobs";
import { hex, type Hex } from "../protocol/bytes";
import { readBundle, type Bundle } from "../protocol/bundle";
import { checkInputs, chunkCount, chunkInput, seed } from "../protocol/chunks";
import { EPOCH_S, makeEpochs } from "../protocol/epochs";
import { LocalProtocolError, RemoteProtocolError } from "../protocol/errors";
import { Status } from "../protocol/events";
import type { Signer, Verifier } from "../protocol/identity";
import { CODE_BYTES_MAX, timeRefusal, type Manifest } from "../protocol/manifest";
import { signManifest } from "../protocol/signing";
import { creatorsSigner, withTaskKey } from "../protocol/stewarding";
import type { Signed } from "../protocol/records";
import { CHUNKS_MAX, isNumbers, type Split } from "../protocol/split";
import { openPackage } from "../protocol/gpu/package";
import { admit } from "../protocol/wasm";
import type { Execution, Job } from "../sandbox/client";
import type { Commands, Draft, TaskView, TestRun } from "./console";
import { manifestView } from "./views";

export { formatJoinLink } from "../protocol/join_link";

/** How long volunteers may work on a task published from a page. As `cc-task` has it. */
const LIFETIME_S = 7 * 24 * 3_600;
/** The share of lying workers that audits of a page's tasks are sized for. As `cc-task` has it. */
const LIARS = 0.2;
/** Stands for the task id in the seeds of a task that has none yet, because nobody signed it. */
const UNSIGNED = new Uint8Array(32);

/** A task ready to be signed, or to be tried here. */
export interface Prepared {
  readonly manifest: Manifest;
  readonly blobs: ReadonlyMap<Hex, Uint8Array>;
}

/**
 * What a draft says as a manifest of ours.
 *
 * @throws Error with one sentence for the person: the module is refused, or a number does not fit.
 */
export function fromDraft(draft: Draft, signer: Signer, unixS: number): Prepared {
  const code = draft.source;
  if (code.length === 0 || code.length > CODE_BYTES_MAX) {
    throw new LocalProtocolError(`The program has ${code.length} bytes; 1 to ${CODE_BYTES_MAX} may be.`);
  }
  // Rewriting, which makes NaNs deterministic, needs `cc-task`; a module that is not rewritten is refused here.
  if (draft.runtime === "wasm") admit(code);
  const split = splitOf(draft.split);
  const chunks = chunkCount(split);
  if (chunks < 1n || chunks > BigInt(CHUNKS_MAX)) {
    throw new LocalProtocolError(`This cuts the work into ${chunks} chunks; a task has 1 to ${CHUNKS_MAX}.`);
  }
  const createdS = Math.floor(unixS);
  const ref = describe(code);
  const manifest: Manifest = {
    schema: 1,
    name: draft.name,
    description: draft.description,
    link: draft.link,
    creator: signer.publicKey,
    sealKey: signer.sealKey,
    runtime: draft.runtime,
    code: ref,
    split,
    chunks: Number(chunks),
    inputs: null,
    limits: { memoryBytes: draft.memoryBytes, outputBytes: draft.outputBytes, seconds: draft.seconds },
    policy: { replication: draft.replication, eps: draft.eps, liars: LIARS, powBits: 0 },
    reward: 1,
    epochs: makeEpochs(signer, ref.sha256, createdS, createdS + LIFETIME_S, Math.max(EPOCH_S, Math.ceil(draft.seconds))),
    onward: false,
    permissions: [],
    vouches: [],
    createdS,
    expiresS: createdS + LIFETIME_S,
  };
  checked(() => checkInputs(manifest, null));
  return { manifest, blobs: new Map([[hex(ref.sha256), code]]) };
}

/**
 * Open a bundle from anywhere.
 *
 * @throws Error with one sentence for the person.
 */
export function openBundle(bytes: Uint8Array, verifier: Verifier): Bundle {
  const bundle = readBundle(bytes, verifier);
  if (bundle.manifest.runtime === "wasm") admit(bundle.module);
  if (bundle.manifest.runtime === "gpu") openPackage(bundle.module);
  if (bundle.manifest.runtime === "net") {
    throw new LocalProtocolError("no browser can fetch for a task: publish it with cc-task");
  }
  return bundle;
}

/** The same task under our own key, beginning now: whoever publishes is its creator and opens its votes. */
export function asOurs(bundle: Bundle, signer: Signer, unixS: number): Prepared {
  const createdS = Math.floor(unixS);
  const lifetimeS = bundle.manifest.expiresS - bundle.manifest.createdS;
  const { publicKey: creator, sealKey } = signer;
  // Who answers for its author answers for nobody else.
  const manifest = { ...bundle.manifest, creator, sealKey, vouches: [], createdS, expiresS: createdS + lifetimeS };
  return { manifest, blobs: bundle.blobs };
}

/**
 * Sign it. The signature is filled in once the signer has settled.
 *
 * @throws LocalProtocolError with one sentence for the person.
 */
export function signed(prepared: Prepared, signer: Signer, unixS: number): Signed {
  const manifest = withTaskKey(signer, prepared.manifest);
  const record = signManifest(creatorsSigner(signer, manifest), manifest);
  const refusal = timeRefusal(prepared.manifest, unixS);
  if (refusal !== null) throw new LocalProtocolError(refusal);
  return record;
}

/** One chunk of a draft or a bundle as a job of its own. */
export function trial(
  args: Commands["testRun"]["args"],
  signer: Signer,
  verifier: Verifier,
  unixS: number,
  job: number,
): Job {
  const { chunk } = args;
  const prepared: Prepared = "draft" in args ? fromDraft(args.draft, signer, unixS) : openBundle(args.bundle, verifier);
  const { manifest, blobs } = prepared;
  if (!Number.isInteger(chunk) || chunk < 0 || chunk >= manifest.chunks) {
    throw new LocalProtocolError(`There is no chunk ${chunk}: the task has chunks 0 to ${manifest.chunks - 1}.`);
  }
  const inputs = manifest.inputs === null ? null : (blobs.get(hex(manifest.inputs.sha256)) ?? null);
  const data = checked(() => chunkInput(manifest, chunk, inputs));
  const module = blobs.get(hex(manifest.code.sha256));
  if (module === undefined) throw new LocalProtocolError("The task's program is missing.");
  return {
    job,
    runtime: manifest.runtime,
    codeId: hex(sha256(module)),
    code: module,
    limits: manifest.limits,
    numbers: isNumbers(manifest.split),
    chunks: [{ chunk, data, seed: seed(UNSIGNED, chunk) }],
  };
}

/** How a trial's one chunk ended, for the person. */
export function trialEnded(execution: Execution | null): TestRun {
  const [outcome] = execution?.outcomes ?? [];
  if (execution === null || outcome === undefined) throw new Error("The trial was stopped.");
  const status = outcome.status === Status.OK ? "ok" : outcome.status === Status.TASK_ERROR ? "task error" : "no result";
  const detail = status === "task error" ? new TextDecoder().decode(outcome.data) : outcome.detail;
  return { status, bytes: outcome.data, detail, seconds: execution.seconds };
}

function splitOf(split: Draft["split"]): Split {
  if (split.kind === "range") {
    return { kind: "range", start: whole(split.start), stop: whole(split.stop), step: whole(split.step) };
  }
  return split;
}

function whole(text: string): bigint {
  if (!/^-?\d{1,19}$/.test(text.trim())) throw new LocalProtocolError(`${JSON.stringify(text)} is not a whole number.`);
  return BigInt(text.trim());
}

function checked<T>(check: () => T): T {
  try {
    return check();
  } catch (error) {
    // What a stranger's manifest would be refused for is, in our own, the person's to correct.
    throw error instanceof RemoteProtocolError ? new LocalProtocolError(error.message) : error;
  }
}

/** A manifest that nobody has published here: a dropped bundle. */
export function bundleView(manifest: Manifest, taskId: Hex, unixS: number): TaskView {
  return {
    ...manifestView(manifest, taskId),
    verified: null,
    signatureOk: true,
    exceeds: null,
    accepted: 0,
    begun: 0,
    failed: 0,
    workers: 0,
    consent: { state: "none", expiresS: null },
    isChosen: false,
    isMine: false,
    state: unixS >= manifest.expiresS ? "expired" : "open",
    certificate: null,
    mine: { done: 0, confirmed: 0, outvoted: 0, computeSeconds: 0 },
  };
}

/** Pictures of tasks for the screens: plain data, made from what the peer holds at that moment. */

import { hex, type Hex } from "../protocol/bytes";
import type { CreatorRole } from "../protocol/creator";
import type { ProtocolConfig } from "../protocol/config";
import { peerIdOf } from "../protocol/identity";
import { bit, type Ledger } from "../protocol/ledger";
import type { Manifest } from "../protocol/manifest";
import { exceeded } from "../protocol/accepting";
import { SHARD_CHUNKS, type CertificateBody } from "../protocol/records";
import type { CertificateView, ConsentState, GridView, Tally, TaskView } from "./console";

/** What only this device knows about a task. */
export interface Ours {
  readonly verified: TaskView["verified"];
  readonly consent: ConsentState;
  readonly isChosen: boolean;
  /** Chunks this device has voted on. */
  readonly voted: ReadonlySet<number>;
  readonly computeSeconds: number;
  readonly publicKey: Hex;
  readonly config: ProtocolConfig;
  readonly unixS: number;
}

/** A task of the network, or of our own when `creator` is there. */
export function taskView(ledger: Ledger, creator: CreatorRole | undefined, ours: Ours): TaskView {
  const { manifest } = ledger;
  const counted = counts(ledger);
  const progress = creator?.progress();
  const expired = ours.unixS >= manifest.expiresS;
  return {
    ...manifestView(manifest, ledger.taskKey),
    verified: ours.verified,
    signatureOk: true,
    // What is ours runs as far as it is needed here, whatever it asks for.
    exceeds: creator === undefined ? exceeded(ours.config, manifest) : null,
    accepted: progress?.accepted ?? counted.accepted,
    begun: counted.begun,
    failed: progress?.failed ?? counted.failed,
    workers: ledger.admits.size,
    consent: ours.consent,
    isChosen: ours.isChosen,
    isMine: creator !== undefined,
    state: ledger.certificate !== null ? "closed" : expired ? "expired" : "open",
    certificate: ledger.certificate === null ? null : certificateView(ledger.certificate),
    mine: tally(ledger, ours),
  };
}

type Described = Omit<
  TaskView,
  "verified" | "signatureOk" | "exceeds" | "accepted" | "begun" | "failed" | "workers" | "consent" | "isChosen" | "isMine" | "state" |
  "certificate" | "mine"
>;

/** What a manifest says, as the screens show it. */
export function manifestView(manifest: Manifest, taskId: Hex): Described {
  return {
    taskId,
    name: manifest.name,
    description: manifest.description,
    link: manifest.link,
    creator: peerIdOf(manifest.creator),
    runtime: manifest.runtime,
    permissions: manifest.permissions,
    codeSha256: hex(manifest.code.sha256),
    codeBytes: manifest.code.size,
    inputBytes: manifest.inputs?.size ?? 0,
    memoryBytes: manifest.limits.memoryBytes,
    outputBytes: manifest.limits.outputBytes,
    chunkSeconds: manifest.limits.seconds,
    chunks: manifest.chunks,
    replication: manifest.policy.replication,
    eps: manifest.policy.eps,
    createdS: manifest.createdS,
    expiresS: manifest.expiresS,
    grid: gridView(manifest),
  };
}

function gridView({ split }: Manifest): GridView | null {
  if (split.kind !== "grid") return null;
  const [width, height, tileWidth, tileHeight] = [split.width, split.height, split.tileWidth, split.tileHeight].map(
    Number,
  ) as [number, number, number, number];
  return {
    columns: Math.ceil(width / tileWidth),
    rows: Math.ceil(height / tileHeight),
    width,
    height,
    tileWidth,
    tileHeight,
  };
}

function counts(ledger: Ledger): { readonly accepted: number; readonly failed: number; readonly begun: number } {
  let [accepted, failed, begun] = [0, 0, 0];
  for (const [shard, checkpoint] of ledger.checkpoints) {
    begun += Math.min(checkpoint.begun, ledger.shardSize(shard));
    accepted += ones(checkpoint.accepted);
    failed += ones(checkpoint.failed);
  }
  return { accepted, failed, begun };
}

function ones(bitmap: Uint8Array): number {
  let count = 0;
  for (let byte of bitmap) for (; byte !== 0; byte &= byte - 1) count++;
  return count;
}

/**
 * What became of our votes. They are sealed, so all a worker learns is which chunks were accepted, and, by a verdict,
 * that its own word was not.
 */
function tally(ledger: Ledger, ours: Ours): Tally {
  const done = ours.voted.size;
  let confirmed = 0;
  for (const chunk of ours.voted) {
    const checkpoint = ledger.checkpoints.get(Math.floor(chunk / SHARD_CHUNKS));
    if (checkpoint !== undefined && bit(checkpoint.accepted, chunk % SHARD_CHUNKS)) confirmed++;
  }
  const isVoid = ledger.isVoid(ours.publicKey);
  return {
    done,
    confirmed: isVoid ? 0 : confirmed,
    outvoted: isVoid ? done : 0,
    computeSeconds: ours.computeSeconds,
  };
}

function certificateView(certificate: CertificateBody): CertificateView {
  return {
    accepted: certificate.accepted,
    failed: certificate.failed,
    executions: certificate.executions,
    audits: certificate.workerAudits + certificate.creatorAudits,
    mismatches: certificate.mismatches,
    convicted: certificate.convicted,
    eps: certificate.eps,
    bound: certificate.bound,
    confidence: certificate.confidence,
    rootSha256: hex(certificate.root),
  };
}

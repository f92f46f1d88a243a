/** What a creator takes home from the page: one line per chunk with its result and the votes behind it. */

import { fromHex, hex, type Hex } from "../protocol/bytes";
import type { CreatorRole } from "../protocol/creator";
import { peerIdOf } from "../protocol/identity";
import type { ChunkResult, VoteView } from "./console";

const SCHEMA = 1;
/** Bytes of one call of `String.fromCharCode`: more arguments overflow the stack. */
const TEXT_BLOCK = 8_192;

/** One chunk of a task of ours, with who voted for what. */
export function chunkResult(creator: CreatorRole, chunk: number): ChunkResult {
  const result = creator.result(chunk);
  const votes: VoteView[] = [...creator.referee.voters(chunk)].flatMap(([worker, { value }]) => {
    if (!value) return [];
    const digest = creator.referee.leaf(chunk, value).digest;
    return [{ worker: idOf(worker), resultSha256: hex(digest), agrees: result.agreed.includes(worker) }];
  });
  const isAccepted = result.state === "ok" || result.state === "task error";
  return {
    chunk,
    state: isAccepted ? "accepted" : result.state === "failed" ? "failed" : result.votes > 0 ? "voted" : "open",
    bytes: result.state === "ok" ? creator.resultBytes(chunk) : null,
    votes,
    detail: reasons(creator, chunk).join("; "),
  };
}

/** results.ndjson as `cc-task results` writes it, with the result itself in base64 beside its hash. */
export function exportResults(creator: CreatorRole): Blob {
  const lines: string[] = [];
  for (let chunk = 0; chunk < creator.ledger.manifest.chunks; chunk++) {
    const result = creator.result(chunk);
    const bytes = result.state === "ok" ? creator.resultBytes(chunk) : null;
    const line = {
      schema: SCHEMA,
      index: chunk,
      status: result.state,
      sha256: result.digest === null ? null : hex(result.digest),
      size: result.size,
      votes: result.votes,
      agreed: result.agreed.map(idOf),
      disagreed: result.disagreed.map(idOf),
      reasons: reasons(creator, chunk),
      result: bytes === null ? null : base64(bytes),
    };
    lines.push(`${JSON.stringify(line)}\n`);
  }
  return new Blob(lines, { type: "application/x-ndjson" });
}

function reasons(creator: CreatorRole, chunk: number): readonly string[] {
  const result = creator.result(chunk);
  if (result.state !== "task error") return result.reasons;
  return [new TextDecoder().decode(creator.resultBytes(chunk) ?? new Uint8Array())];
}

function idOf(worker: Hex): string {
  return peerIdOf(fromHex(worker));
}

function base64(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += TEXT_BLOCK) {
    text += String.fromCharCode(...bytes.subarray(at, at + TEXT_BLOCK));
  }
  return btoa(text);
}

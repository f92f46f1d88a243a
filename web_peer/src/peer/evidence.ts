/** The records behind a certificate: as a file to take away, and checked, with the sentences of `cc-task audit`. */

import { fromHex, type Hex } from "../protocol/bytes";
import type { CreatorRole } from "../protocol/creator";
import { peerIdOf } from "../protocol/identity";
import { writeShown } from "../protocol/opening";
import type { Recount } from "../protocol/recount";
import { EVERYTHING } from "../protocol/records";

/** What became of a file: all that it shows, or the first thing that does not hold. */
export type EvidenceView =
  | { readonly holds: true; readonly taskId: Hex; readonly words: readonly (readonly [string, string])[] }
  | { readonly holds: false; readonly sentence: string };

/** records.ccr of a closed task of ours, as `cc-task results` writes it. */
export function exportEvidence(creator: CreatorRole): Blob {
  return new Blob([...writeShown(creator.evidence())] as Uint8Array<ArrayBuffer>[]);
}

/** The sentence about what does not hold. */
export function failed(what: string, chunk: number | null, worker: Hex | null): EvidenceView {
  const where = [
    ...(chunk === null ? [] : [`chunk ${chunk}`]),
    ...(worker === null ? [] : [`worker ${peerIdOf(fromHex(worker))}`]),
  ];
  return { holds: false, sentence: `does not hold: ${where.length > 0 ? `${where.join(", ")}: ` : ""}${what}` };
}

/** What was found, line by line. */
export function words(counted: Recount): readonly (readonly [string, string])[] {
  const { certificate: body, manifest } = counted;
  let millicredits = 0;
  for (const amount of counted.credit.values()) millicredits += amount;
  const convicted = [...counted.verdicts].map(([worker, { reason, voidTo }]): [string, string] => {
    const sentence =
      voidTo === EVERYTHING ? "banned, all it did is void" : "a strike, what it did until then is void";
    const wrong = count(counted.wrongVotes.get(worker) ?? 0);
    return ["convicted", `${peerIdOf(fromHex(worker))}  ${reason}, ${wrong} wrong votes; ${sentence}`];
  });
  const credits = (millicredits / 1_000).toLocaleString("en", { maximumFractionDigits: 3 });
  return [
    ["task", `${manifest.name}, ${count(manifest.chunks)} chunks`],
    ["creator", `${peerIdOf(manifest.creator)}  has signed the task and the certificate`],
    ["records", `${count(counted.records)} by ${count(counted.peers)} peers, every signature right`],
    ["votes", `${count(body.executions)}, each the one its author signed while it was sealed`],
    ["results", `${count(body.accepted)} accepted and ${count(body.failed)} failed, as the votes say`],
    ["audits", `${count(body.workerAudits)} by workers, ${count(body.creatorAudits)} by the creator, as certified`],
    ["credit", `${credits} credits to ${count(counted.credit.size)} workers, as earned`],
    ...(convicted.length > 0 ? convicted : ([["convicted", "nobody"]] as const)),
    ["holds", statement(counted)],
    ...counted.cannotCheck.map((point) => ["unchecked", point] as const),
  ];
}

/** What the certificate says, in one sentence. */
function statement({ certificate: body, manifest, cancelled }: Recount): string {
  let missing = "";
  if (body.failed > 0) {
    const whom = cancelled === body.failed ? "" : `${count(cancelled)} of them `;
    const because = cancelled > 0 ? `, ${whom}because the creator cancelled them` : "";
    missing = `; ${count(body.failed)} of ${count(body.chunks)} chunks have no result${because}`;
  }
  if (body.bound === 0) {
    return `all ${body.accepted} accepted results were re-executed by the creator's own node${missing}`;
  }
  const bound = `${(100 * body.bound).toFixed(2)}%`;
  const said = `at most ${bound} of the ${count(body.accepted)} accepted results are wrong, with ${percent(body.confidence)}`;
  const condition = `as long as at most ${percent(manifest.policy.liars)} of the workers' audits lie`;
  return body.workerAudits > 0 ? `${said} confidence, ${condition}${missing}` : `${said} confidence${missing}`;
}

function count(value: number): string {
  return value.toLocaleString("en");
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)}%`;
}

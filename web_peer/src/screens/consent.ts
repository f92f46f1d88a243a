/**
 * When a person is asked, and what about. Nothing is computed for a task before its consent is `given`; a link never
 * starts anything by itself (research/ux.md, pitfall 8).
 */

import type { Console, Snapshot, TaskView } from "../peer/console";
import { bytes, counted, duration, short } from "../widgets/format";

export function mayCompute(task: TaskView): boolean {
  return task.state === "open" && task.signatureOk && task.exceeds === null && task.consent.state === "given";
}

/** Whether pressing Start would compute something: a chosen task that is allowed to. */
export function canStart(snapshot: Snapshot): boolean {
  return snapshot.tasks.some((task) => task.isChosen && mayCompute(task));
}

export type Question =
  | { readonly kind: "ask"; readonly task: TaskView }
  /** The link names a task that no peer has told us of yet. */
  | { readonly kind: "looking" }
  | { readonly kind: "nothing to ask" };

/** What the join card shows: the linked task whatever its state, else the first open one of others without an answer. */
export function questionOf(snapshot: Snapshot, linkedTaskId: string | null): Question {
  if (linkedTaskId !== null) {
    const linked = snapshot.tasks.find((task) => task.taskId === linkedTaskId);
    return linked === undefined ? { kind: "looking" } : { kind: "ask", task: linked };
  }
  const open = snapshot.tasks.find(
    ({ state, signatureOk, isMine, consent }) =>
      state === "open" && signatureOk && !isMine && consent.state !== "given" && consent.state !== "refused",
  );
  return open === undefined ? { kind: "nothing to ask" } : { kind: "ask", task: open };
}

/** Why a task cannot be started however willing the person is; null when it can. */
export function refusalOf(task: TaskView): string | null {
  if (!task.signatureOk) return "The creator's signature on this task is wrong, so this device will not run it.";
  if (task.state === "expired") return "This task has expired: its creator asked for help only until a certain day.";
  if (task.state === "closed") return "This task is complete: its creator needs no more help.";
  if (task.exceeds !== null) return `${EXCEEDS[task.exceeds](task)}: more than a tab gives. A native node may take it.`;
  return null;
}

const EXCEEDS: Record<NonNullable<TaskView["exceeds"]>, (task: TaskView) => string> = {
  fetches: () => "This task has data fetched from other servers",
  memory: (task) => `A chunk of this task may use ${bytes(task.memoryBytes)} of memory`,
  time: (task) => `A chunk of this task may take ${duration(task.chunkSeconds)}`,
  inputs: (task) => `This task comes with ${bytes(task.inputBytes)} of data that every device must fetch`,
  "proof of work": () => "The creator of this task asks newcomers for much computing before they may help",
};

/** What of a task runs here and within which limits, in plain words, one line each. */
export function limitsOf(task: TaskView): readonly string[] {
  return [
    `${counted(task.chunks, "chunk")} (pieces of work), shared among everybody who helps`,
    `each at most ${duration(task.chunkSeconds)}, ${bytes(task.memoryBytes)} of memory, ${bytes(task.outputBytes)} sent back`,
    `${bytes(task.codeBytes)} of ${languageOf(task)}, SHA-256 ${short(task.codeSha256)}`,
    ...task.permissions.map((permission) => `fetches ${permission.slice(4)}`),
  ];
}

export function languageOf(task: TaskView): string {
  return { wasm: "WebAssembly", js: "JavaScript", gpu: "a kernel for GPUs", net: "no code, but rules of fetching" }[task.runtime];
}

/** The person pressed Start on the card: remember it, work on this task, go. */
export async function agree(peer: Console, taskId: string): Promise<void> {
  await peer.ask("consent", { taskId, give: true });
  await peer.ask("chooseTask", { taskId, chosen: true });
  await peer.ask("start", {});
}

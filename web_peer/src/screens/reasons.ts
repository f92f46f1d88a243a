/** What the person reads about the state of this device. Every pause has its reason, and says what would end it. */

import type { PauseReason, Snapshot } from "../peer/console";
import { percent } from "../widgets/format";

const REASONS: Record<PauseReason, string> = {
  "not started": "Nothing is computed until you press Start.",
  "paused by you": "Paused by you. Press Start to go on.",
  finishing: "Finishing the chunk in hand, then pausing.",
  "no task chosen": "No task is chosen. Pick one under Tasks.",
  "fetching a part of the page": "Fetching a part of this page. If that takes long, load the page again.",
  "no peers yet": "Looking for other computers in this network.",
  "nothing left to compute": "Nothing to compute just now: others are on the last chunks, or the task is done.",
  "on battery": "Waiting while this device runs on battery. You can change that in Settings.",
  "data saver is on": "Waiting because your browser is asked to save data. You can change that in Settings.",
  "the device is hot": "Waiting for this device to cool down.",
  "the browser cannot run this task":
    "The chosen task cannot run here: Settings do not accept JavaScript, or the connection doctor tells what is missing.",
};

export function reasonOf(snapshot: Snapshot): string {
  if (snapshot.reason !== null) return REASONS[snapshot.reason];
  const names = snapshot.tasks.filter((task) => task.isChosen && task.state === "open").map((task) => task.name);
  return names.length === 0 ? "Working." : `Working on ${names.join(", ")}.`;
}

/** Whether the person's wish is to compute, be it possible at the moment or not: then the big button pauses. */
export function isOn({ mode, reason }: Snapshot): boolean {
  return mode !== "off" && !(mode === "paused" && (reason === "paused by you" || reason === null));
}

/** Progress of what this device works on, in whole percent; null when it works on nothing. */
export function progressOf(snapshot: Snapshot): number | null {
  const chosen = snapshot.tasks.filter((task) => task.isChosen);
  const chunks = chosen.reduce((sum, task) => sum + task.chunks, 0);
  if (chunks === 0) return null;
  return percent(
    chosen.reduce((sum, task) => sum + task.accepted + task.failed, 0),
    chunks,
  );
}

/** One line for the state beside the name of the page. */
export function connectionOf(snapshot: Snapshot): string {
  const open = snapshot.peers.filter((peer) => peer.state === "open").length;
  if (open > 0) return open === 1 ? "1 peer" : `${open} peers`;
  if (snapshot.signaling === "unreachable") return "no server";
  return snapshot.signaling === "connecting" ? "connecting" : "no peers";
}

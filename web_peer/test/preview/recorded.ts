import type { CommandName, Commands, Console, Snapshot } from "../../src/peer/console";
import { away, marks, result } from "./snapshots";

/** A Console that plays a recorded state: it answers questions about it and notes what it was asked. */
export function recorded(
  initial: Snapshot,
): Console & { readonly asked: readonly (readonly [CommandName, unknown])[] } {
  let now = initial;
  const listeners = new Set<(snapshot: Snapshot) => void>();
  const asked: (readonly [CommandName, unknown])[] = [];
  const show = (part: Partial<Snapshot>): void => {
    now = { ...now, ...part };
    for (const listener of listeners) listener(now);
  };
  const taskOf = (taskId: string) => now.tasks.find((task) => task.taskId === taskId)!;
  const answers: { [Name in CommandName]: (args: Commands[Name]["args"]) => Commands[Name]["answer"] } = {
    start: () => show({ mode: "running", reason: null }),
    pause: () => show({ mode: "paused", reason: "paused by you" }),
    finish: () => show({ mode: "finishing", reason: "finishing" }),
    consent: ({ taskId, give }) =>
      show({
        tasks: now.tasks.map((task) =>
          task.taskId === taskId ? { ...task, consent: { state: give ? "given" : "refused", expiresS: null } } : task,
        ),
      }),
    chooseTask: ({ taskId, chosen }) =>
      show({ tasks: now.tasks.map((task) => (task.taskId === taskId ? { ...task, isChosen: chosen } : task)) }),
    changeSettings: (part) => show({ settings: { ...now.settings, ...part } }),
    account: ({ what }) => (what === "leaders" ? { leaders: [] } : { mine: null }),
    credit: () => [],
    exportEvidence: () => new Blob([]),
    away: ({ taskId }) => away(taskOf(taskId)),
    chunkMarks: ({ taskId }) => marks(taskOf(taskId)),
    chunkResult: ({ taskId, chunk }) => result(taskOf(taskId), chunk),
    exportResults: () => new Blob(['{"chunk":0}\n']),
    readBundle: () => taskOf(now.tasks[0]!.taskId),
    testRun: () => ({
      status: "ok",
      bytes: new TextEncoder().encode('{"first":0,"end":10000,"primes":1229}'),
      detail: "",
      seconds: 0.04,
    }),
    publishDraft: () => ({
      taskId: now.tasks[0]!.taskId,
      joinLink: `${location.origin}/j#n=main&t=${now.tasks[0]!.taskId}`,
    }),
    publishBundle: () => {
      throw new Error("This bundle was signed by another key, which may publish it from its own page.");
    },
    retrySignaling: () => undefined,
    forgetEverything: () => undefined,
  };
  return {
    asked,
    onFailure: () => () => undefined,
    onSnapshot(listener) {
      listeners.add(listener);
      listener(now);
      return () => listeners.delete(listener);
    },
    async ask(name, args) {
      asked.push([name, args]);
      return answers[name](args);
    },
  };
}

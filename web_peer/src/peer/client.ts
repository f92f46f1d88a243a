/**
 * The page's end of the peer: starts its Worker, lends it what exists only in a page (connections, the sandbox's
 * iframe, what the device tells) and passes snapshots and commands between it and the screens.
 */

import { sandboxUrl } from "virtual:sandbox";

import { wakeLock } from "./wake_lock";
import type { CommandName, Commands, Console, Snapshot } from "./console";
import { isSilent, notLoaded } from "./failure";
import { hostConnections } from "./rtc";
import { openSandbox, removeSandbox } from "../sandbox/host";
import type { FromWorker, ToWorker } from "./wire";

/** A slow connection may take so long for the peer's hundred kilobytes; whoever waits longer is told. */
const START_WITHIN_S = 20;

/** Start this tab's peer. Once per page. */
export function openConsole(): Console {
  const worker = new Worker(new URL("./peer.worker.ts", import.meta.url), { type: "module", name: "peer" });
  const post = (message: ToWorker, transfer: readonly Transferable[] = []): void => {
    worker.postMessage(message, [...transfer]);
  };
  const listeners = new Set<(snapshot: Snapshot) => void>();
  const failureListeners = new Set<(sentence: string) => void>();
  const asked = new Map<number, { resolve: (answer: never) => void; reject: (error: Error) => void }>();
  const keepAwake = wakeLock();
  const performRtc = hostConnections((event, transfer) => post({ to: "links", event }, transfer));
  let latest: Snapshot | null = null;
  let failure: string | null = null;
  let asks = 0;
  const fail = (sentence: string): void => {
    if (latest !== null) return;
    failure = sentence;
    for (const listener of failureListeners) listener(sentence);
  };
  setTimeout(() => failure === null && fail(isSilent(START_WITHIN_S)), 1_000 * START_WITHIN_S);

  worker.onmessage = ({ data }: MessageEvent<FromWorker>) => {
    switch (data.to) {
      case "rtc":
        performRtc(data.request);
        return;
      case "sandbox":
        if (data.isWanted) void openSandbox(sandboxUrl).then((port) => post({ to: "sandbox", port }, [port]));
        else removeSandbox();
        return;
      case "failure":
        fail(data.sentence);
        return;
      case "screens":
        latest = data.snapshot;
        keepAwake(latest.mode === "running" && latest.settings.keepAwake);
        for (const listener of listeners) listener(latest);
        return;
      case "asker": {
        const asker = asked.get(data.ask);
        asked.delete(data.ask);
        if (data.error === null) asker?.resolve(data.answer as never);
        else asker?.reject(new Error(data.error));
      }
    }
  };
  worker.onerror = (event) => {
    for (const asker of asked.values()) asker.reject(new Error(`The peer stopped: ${event.message}. Load the page again.`));
    asked.clear();
    fail(notLoaded(event.message));
  };
  post({ to: "peer", address: location.href });
  // Not part of the first load: nothing is computed before a person has read and agreed.
  void import("./conditions").then(({ watchConditions }) =>
    watchConditions((conditions) => post({ to: "conditions", conditions })),
  );

  return {
    onSnapshot(listener) {
      listeners.add(listener);
      if (latest !== null) listener(latest);
      return () => listeners.delete(listener);
    },
    onFailure(listener) {
      failureListeners.add(listener);
      if (failure !== null) listener(failure);
      return () => failureListeners.delete(listener);
    },
    ask<Name extends CommandName>(name: Name, args: Commands[Name]["args"]) {
      return new Promise<Commands[Name]["answer"]>((resolve, reject) => {
        asked.set(++asks, { resolve: resolve as (answer: never) => void, reject });
        post({ to: "commands", ask: asks, name, args });
      });
    },
  };
}

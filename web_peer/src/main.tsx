import { render } from "preact";
import { App } from "./app";
import { openConsole } from "./peer/client";
import type { Snapshot } from "./peer/console";
import "./styles.css";

const peer = openConsole();
render(<App console={peer} />, document.querySelector("#app")!);

/**
 * Keep the whole page at hand once somebody uses it. It fetches every screen, so it must not stand between a person and
 * the first chunk.
 */
const keepPage = ({ total, tasks }: Snapshot): void => {
  if (total.done === 0 && !tasks.some(({ isMine }) => isMine)) return;
  stop();
  // A server that is gone by now costs only the copy: the page goes on, and is kept at its next load.
  navigator.serviceWorker.register("/sw.js").catch(() => undefined);
};
// Insecure origins have no service workers; while developing, a cached page would hide changes.
const isKept = import.meta.env.PROD && "serviceWorker" in navigator;
const stop = isKept ? peer.onSnapshot(keepPage) : () => undefined;

/** What the tab itself shows: its title, its icon, the warning on closing. */

import { effect, type ReadonlySignal } from "@preact/signals";
import type { Snapshot } from "../peer/console";
import { progressOf } from "./reasons";

const SIGNS = { off: "", waiting: "… ", running: "▶ ", paused: "⏸ ", finishing: "▶ " } as const;
const ICONS = { off: "off", waiting: "on", running: "running", paused: "off", finishing: "running" } as const;

/** `▶ 62 % · Tasks · CrowdCompute`: the state first, because tabs are narrow. */
export function titleOf(snapshot: Snapshot | null, screen: string): string {
  const rest = screen === "" ? "CrowdCompute" : `${screen} · CrowdCompute`;
  if (snapshot === null) return rest;
  const progress = snapshot.mode === "off" ? null : progressOf(snapshot);
  return `${SIGNS[snapshot.mode]}${progress === null ? "" : `${progress} % · `}${rest}`;
}

/** Keep the tab true to the state until called back. `screen` names the screen that is open. */
export function showStateInTab(state: ReadonlySignal<Snapshot | null>, screen: ReadonlySignal<string>): () => void {
  const icon = document.querySelector<HTMLLinkElement>("#favicon");
  const stopShowing = effect(() => {
    document.title = titleOf(state.value, screen.value);
    const href = `/icons/${ICONS[state.value?.mode ?? "off"]}.svg`;
    if (icon !== null && icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  });

  const warn = (event: BeforeUnloadEvent): void => {
    if ((state.peek()?.executing ?? 0) > 0) event.preventDefault();
  };
  addEventListener("beforeunload", warn);
  return () => {
    stopShowing();
    removeEventListener("beforeunload", warn);
  };
}

/** What the tab itself shows: its title, its icon, the warning on closing. */

import { useEffect, useLayoutEffect } from "preact/hooks";
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

/** Keep the tab true to the state. `screen` names the screen that is open. */
export function useStateInTab(snapshot: Snapshot | null, screen: string): void {
  // A layout effect, because the others wait for a frame to be painted: a hidden tab paints none.
  useLayoutEffect(() => {
    document.title = titleOf(snapshot, screen);
    const icon = document.querySelector<HTMLLinkElement>("#favicon");
    const href = `/icons/${ICONS[snapshot?.mode ?? "off"]}.svg`;
    if (icon !== null && icon.getAttribute("href") !== href) icon.setAttribute("href", href);
  }, [snapshot, screen]);

  const isExecuting = (snapshot?.executing ?? 0) > 0;
  useEffect(() => {
    if (!isExecuting) return;
    const warn = (event: BeforeUnloadEvent): void => event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, [isExecuting]);
}

/** Keeps the screen on while asked to, which keeps a phone computing. Browsers let go of it when a page is hidden. */
export function wakeLock(): (wanted: boolean) => void {
  let isWanted = false;
  let held: WakeLockSentinel | null = null;
  const renew = async (): Promise<void> => {
    if (!isWanted || document.visibilityState !== "visible" || (held !== null && !held.released)) return;
    // Refused on low battery or plain http; computing goes on without.
    held = (await navigator.wakeLock?.request("screen").catch(() => null)) ?? null;
  };
  document.addEventListener("visibilitychange", () => void renew());
  return (wanted) => {
    isWanted = wanted;
    if (wanted) void renew();
    else void held?.release();
  };
}

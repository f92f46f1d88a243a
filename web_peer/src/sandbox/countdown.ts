/** Time limits that count only time in which the limited could run. */

const STEP_MS = 1_000;

/**
 * Call `onEnd` after `seconds`, and return how to prevent that.
 *
 * A laptop that slept, or a tab the browser froze, finds at most a step of it gone: timers go off late then, and the
 * Workers had no more time than we.
 */
export function countdown(seconds: number, onEnd: () => void): () => void {
  let restMs = seconds * 1_000;
  let timer = 0 as unknown as ReturnType<typeof setTimeout>;
  const step = (): void => {
    if (restMs <= 0) return onEnd();
    const stepMs = Math.min(restMs, STEP_MS);
    restMs -= stepMs;
    timer = setTimeout(step, stepMs);
  };
  step();
  return () => clearTimeout(timer);
}

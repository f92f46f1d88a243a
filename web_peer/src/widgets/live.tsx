import { useEffect, useRef, useState } from "preact/hooks";

/** Often enough to follow the work by ear, seldom enough to read the rest of the page meanwhile; a guess. */
const PAUSE_MS = 10_000;

/** Speaks `text` to screen readers when it changes, at most every ten seconds and then only its newest version. */
export function Live({ text }: { text: string }) {
  const [spoken, setSpoken] = useState(text);
  const spokenAtMs = useRef(0);
  useEffect(() => {
    if (text === spoken) return undefined;
    const timer = setTimeout(
      () => {
        spokenAtMs.current = Date.now();
        setSpoken(text);
      },
      Math.max(0, spokenAtMs.current + PAUSE_MS - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [text, spoken]);
  return (
    <p class="unseen" aria-live="polite">
      {spoken}
    </p>
  );
}

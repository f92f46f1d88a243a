import { percent } from "./format";

/** How far something is, as a bar and in words. */
export function Meter({ part, whole, label }: { part: number; whole: number; label: string }) {
  const done = percent(part, whole);
  return (
    <div class="meter" role="progressbar" aria-label={label} aria-valuemin={0} aria-valuemax={100} aria-valuenow={done}>
      <span style={{ inlineSize: `${done}%` }} />
    </div>
  );
}

/** Numbers as people read them: functions of their arguments, so that screens can be tested as text. */

const BYTE_UNITS = ["bytes", "kB", "MB", "GB", "TB"] as const;

/** `1234567` as `1,234,567`. */
export function count(value: number): string {
  return Math.round(value).toLocaleString("en");
}

/** `one` for 1, `one` with an s or `many` for the rest: `3 chunks`. */
export function counted(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

export function bytes(value: number): string {
  let unit = 0;
  let scaled = value;
  while (scaled >= 1000 && unit < BYTE_UNITS.length - 1) {
    scaled /= 1000;
    unit += 1;
  }
  const digits = unit === 0 || scaled >= 100 ? 0 : 1;
  return `${scaled.toFixed(digits).replace(/\.0$/, "")} ${BYTE_UNITS[unit]}`;
}

/** The two largest units: `2 d 3 h`, `4 min 10 s`, `12 s`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  const parts: readonly (readonly [string, number])[] = [
    ["d", Math.floor(whole / 86_400)],
    ["h", Math.floor(whole / 3_600) % 24],
    ["min", Math.floor(whole / 60) % 60],
    ["s", whole % 60],
  ];
  const first = parts.findIndex(([, value]) => value > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([, value]) => value > 0)
    .map(([unit, value]) => `${value} ${unit}`)
    .join(" ");
}

/** How long before `nowS` something was: `just now`, `5 min ago`, `3 d ago`. Only the largest unit. */
export function ago(atS: number, nowS: number): string {
  const seconds = nowS - atS;
  if (seconds < 5) return "just now";
  return `${duration(seconds).split(" ").slice(0, 2).join(" ")} ago`;
}

/** The share `part / whole` as a whole percent, never 100 before it is complete and never 0 once it has begun. */
export function percent(part: number, whole: number): number {
  if (whole <= 0 || part <= 0) return 0;
  if (part >= whole) return 100;
  return Math.min(99, Math.max(1, Math.round((100 * part) / whole)));
}

/** A probability small enough to matter: `0.4 %`, `0.01 %`, `1 in 10,000`. */
export function share(value: number): string {
  if (value <= 0) return "0 %";
  if (value < 1e-4) return `1 in ${count(1 / value)}`;
  return `${Number((value * 100).toPrecision(2))} %`;
}

/**
 * The part of a key that two people compare aloud: four groups of four.
 *
 * Peer ids all begin with `12D3KooW`, which says only that they are Ed25519 keys, so it is left out.
 */
export function fingerprint(key: string): string {
  const telling = key.startsWith("12D3KooW") ? key.slice(8) : key;
  return (telling.slice(0, 16).match(/.{1,4}/g) ?? []).join(" ");
}

/** A hash or an id, shortened in the middle; the whole of it belongs beside it in a title or behind Details. */
export function short(id: string): string {
  return id.length <= 14 ? id : `${id.slice(0, 6)}…${id.slice(-6)}`;
}

/** A date for a person, in their own time zone: `22 Nov 2026, 21:20`. */
export function date(atS: number): string {
  return new Date(atS * 1000).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

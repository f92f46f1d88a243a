import { useEffect, useState } from "preact/hooks";

const CELLS = 5;
const HALF = 3;

/**
 * Who that is, as a picture: their own, which came with what their account says, or one drawn from the id. Nothing is
 * fetched for it, so nobody learns who looks.
 */
export function Avatar({ id, picture, size = 32 }: { id: string; picture: Blob | null; size?: number }) {
  const [address, setAddress] = useState<string | null>(null);
  useEffect(() => {
    if (picture === null) return setAddress(null);
    const made = URL.createObjectURL(picture);
    setAddress(made);
    return () => URL.revokeObjectURL(made);
  }, [picture]);
  if (address !== null) return <img class="avatar" src={address} alt="" width={size} height={size} />;
  const { hue, cells } = drawnFrom(id);
  return (
    <svg class="avatar" viewBox={`0 0 ${CELLS} ${CELLS}`} width={size} height={size} aria-hidden="true">
      <rect width={CELLS} height={CELLS} fill={`hsl(${hue} 45% 88%)`} />
      <path d={cells.map(([x, y]) => `M${x} ${y}h1v1h-1z`).join("")} fill={`hsl(${hue} 60% 34%)`} />
    </svg>
  );
}

/** A colour and half of a small pattern, mirrored: what people tell apart and remember as a face. */
export function drawnFrom(id: string): { readonly hue: number; readonly cells: readonly (readonly [number, number])[] } {
  // FNV-1a: ids are keys, so any hash spreads them; nothing rests on two pictures differing.
  let hash = 0x811c9dc5;
  for (const character of id) hash = Math.imul(hash ^ character.charCodeAt(0), 0x01000193) >>> 0;
  const cells: (readonly [number, number])[] = [];
  for (let index = 0; index < HALF * CELLS; index++) {
    if (((hash >>> index) & 1) === 0) continue;
    const [x, y] = [index % HALF, Math.floor(index / HALF)];
    cells.push([x, y]);
    if (x < HALF - 1) cells.push([CELLS - 1 - x, y]);
  }
  return { hue: (hash >>> 15) % 360, cells };
}

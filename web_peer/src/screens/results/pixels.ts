/**
 * Results of a grid task as pixels.
 *
 * A manifest does not say what its results are, so the length decides: four, three, two or one byte for each pixel of
 * the tile mean RGBA, RGB, a little-endian 16-bit number, a grey. Anything else is no picture.
 */

import type { GridView } from "../../peer/console";

export type PixelFormat = "rgba" | "rgb" | "numbers" | "grey";

const FORMATS: readonly (readonly [number, PixelFormat])[] = [
  [4, "rgba"],
  [3, "rgb"],
  [2, "numbers"],
  [1, "grey"],
];

/** Numbers (iterations, heights) get a colour wheel over their logarithm; these are its turns while they grow e-fold. */
const TURNS_PER_E = 2;
/** Where red, green and blue stand on the wheel: dark blue, gold, white. */
const PHASES = [0.55, 0.45, 0.3] as const;

export interface Tile {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

/** Where a chunk's tile lies, row by row; tiles at the right and bottom edges are cut. */
export function tileOf(grid: GridView, chunk: number): Tile {
  const x = (chunk % grid.columns) * grid.tileWidth;
  const y = Math.floor(chunk / grid.columns) * grid.tileHeight;
  return { x, y, width: Math.min(grid.tileWidth, grid.width - x), height: Math.min(grid.tileHeight, grid.height - y) };
}

export function formatOf(tile: Tile, byteCount: number): PixelFormat | null {
  return FORMATS.find(([size]) => size * tile.width * tile.height === byteCount)?.[1] ?? null;
}

/** The smallest number above zero, which is where the colour wheel begins; 65536 when there is none. */
export function lowestOf(bytes: Uint8Array): number {
  let lowest = 65_536;
  for (let at = 0; at + 1 < bytes.length; at += 2) {
    const value = bytes[at]! | (bytes[at + 1]! << 8);
    if (value > 0 && value < lowest) lowest = value;
  }
  return lowest;
}

/** The RGBA bytes of a tile. `lowest` matters to numbers only: the same for all tiles of one picture. */
export function toRgba(format: PixelFormat, bytes: Uint8Array, lowest: number): Uint8ClampedArray<ArrayBuffer> {
  if (format === "rgba") return new Uint8ClampedArray(bytes);
  const size = format === "rgb" ? 3 : format === "numbers" ? 2 : 1;
  const pixels = bytes.length / size;
  const rgba = new Uint8ClampedArray(pixels * 4);
  const wheel = new Map<number, readonly number[]>();
  for (let pixel = 0; pixel < pixels; pixel++) {
    const from = pixel * size;
    const to = pixel * 4;
    rgba[to + 3] = 255;
    if (format === "numbers") {
      const value = bytes[from]! | (bytes[from + 1]! << 8);
      let colour = wheel.get(value);
      if (colour === undefined) {
        colour = colourOf(value, lowest);
        wheel.set(value, colour);
      }
      rgba.set(colour, to);
    } else {
      for (let channel = 0; channel < 3; channel++) rgba[to + channel] = bytes[from + (size === 3 ? channel : 0)]!;
    }
  }
  return rgba;
}

function colourOf(value: number, lowest: number): readonly number[] {
  if (value === 0) return [0, 0, 0];
  const turn = TURNS_PER_E * Math.log(value / lowest);
  return PHASES.map((phase) => 127.5 + 127.5 * Math.cos(2 * Math.PI * (turn + phase)));
}

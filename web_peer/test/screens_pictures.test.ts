/** Pictures: the map of a task's chunks, and results that are pixels. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ChunkMark } from "../src/peer/console";
import { formatOf, lowestOf, tileOf, toRgba } from "../src/screens/results/pixels";
import { cellsOf, stripColumns } from "../src/widgets/cells";

const states = fc.constantFrom<ChunkMark["state"]>("begun", "voted", "accepted", "failed");
const marks = fc.array(fc.record({ chunk: fc.nat({ max: 2_000 }), state: states, mine: fc.boolean() }), {
  maxLength: 50,
});

describe("the map", () => {
  it("has a cell for each chunk as long as they fit", () => {
    const cells = cellsOf(4, [{ chunk: 1, state: "accepted", mine: true }], 4);
    expect(cells).toEqual([
      { state: "open", mine: false, accepted: 0 },
      { state: "accepted", mine: true, accepted: 1 },
      { state: "open", mine: false, accepted: 0 },
      { state: "open", mine: false, accepted: 0 },
    ]);
  });

  it("puts neighbours into one cell when there are more, and shows the furthest along", () => {
    const [first] = cellsOf(
      100,
      [
        { chunk: 0, state: "accepted", mine: false },
        { chunk: 9, state: "begun", mine: true },
      ],
      10,
    );
    expect(first).toEqual({ state: "accepted", mine: true, accepted: 0.1 });
  });

  it("never has more cells than fit, and never shows more than all", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 1_500 }),
        marks,
        fc.integer({ min: 1, max: 600 }),
        (chunks, some, capacity) => {
          const unique = [...new Map(some.map((mark) => [mark.chunk, mark])).values()];
          const cells = cellsOf(chunks, unique, capacity);
          expect(cells.length).toBeLessThanOrEqual(capacity);
          for (const cell of cells) expect(cell.accepted).toBeLessThanOrEqual(1 + 1e-9);
        },
      ),
    );
  });

  it("makes strips about as wide as they should be", () => {
    expect(stripColumns(600, 600, 180)).toBe(45);
    expect(stripColumns(1, 390, 180)).toBe(1);
  });
});

describe("a tile", () => {
  const grid = { columns: 2, rows: 2, width: 100, height: 70, tileWidth: 64, tileHeight: 64 };

  it("is cut at the right and bottom edges", () => {
    expect(tileOf(grid, 0)).toEqual({ x: 0, y: 0, width: 64, height: 64 });
    expect(tileOf(grid, 3)).toEqual({ x: 64, y: 64, width: 36, height: 6 });
  });

  it("says by its length what its bytes are", () => {
    const tile = tileOf(grid, 3);
    const formats = [4, 3, 2, 1].map((size) => formatOf(tile, 36 * 6 * size));
    expect(formats).toEqual(["rgba", "rgb", "numbers", "grey"]);
    expect(formatOf(tile, 7)).toBeNull();
  });

  it("becomes opaque colours", () => {
    expect([...toRgba("rgb", new Uint8Array([1, 2, 3]), 1)]).toEqual([1, 2, 3, 255]);
    expect([...toRgba("grey", new Uint8Array([9]), 1)]).toEqual([9, 9, 9, 255]);
  });

  it("of numbers is black at zero and dark blue at the lowest", () => {
    const bytes = new Uint8Array([0, 0, 44, 1]);
    expect(lowestOf(bytes)).toBe(300);
    const [, , , , red, green, blue] = toRgba("numbers", bytes, 300);
    expect([...toRgba("numbers", bytes, 300).slice(0, 4)]).toEqual([0, 0, 0, 255]);
    expect(blue!).toBeGreaterThan(red! + green!);
  });
});

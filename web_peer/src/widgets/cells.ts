/**
 * What the picture of the work shows, cell by cell.
 *
 * Up to a screenful of chunks each has its own cell; beyond it a cell stands for a run of neighbouring chunks, and
 * tells their mean.
 */

import type { ChunkMark } from "../peer/console";

export type CellState = "open" | ChunkMark["state"];

export interface Cell {
  readonly state: CellState;
  readonly mine: boolean;
  /** Share of the cell's chunks that are accepted, 0 to 1. */
  readonly accepted: number;
}

/** Furthest along first: a cell of several chunks shows its most telling one. */
const RANK: readonly CellState[] = ["failed", "accepted", "voted", "begun", "open"];

/** Chunks that one cell stands for. */
export function chunksPerCell(chunks: number, capacity: number): number {
  return Math.max(1, Math.ceil(chunks / Math.max(1, capacity)));
}

/** At most `capacity` cells for `chunks` chunks, in order. Marks of chunks that do not exist are ignored. */
export function cellsOf(chunks: number, marks: readonly ChunkMark[], capacity: number): readonly Cell[] {
  const perCell = chunksPerCell(chunks, capacity);
  const cells = Array.from({ length: Math.ceil(chunks / perCell) }, () => ({
    state: "open" as CellState,
    mine: false,
    accepted: 0,
  }));
  for (const mark of marks) {
    const index = Math.floor(mark.chunk / perCell);
    const cell = cells[index];
    if (cell === undefined || mark.chunk >= chunks) continue;
    if (RANK.indexOf(mark.state) < RANK.indexOf(cell.state)) cell.state = mark.state;
    cell.mine ||= mark.mine;
    if (mark.state === "accepted") cell.accepted += 1 / Math.min(perCell, chunks - index * perCell);
  }
  return cells;
}

/** Columns of a strip that fills `width` pixels with about square cells and is about `height` pixels high. */
export function stripColumns(cells: number, width: number, height: number): number {
  const side = Math.max(1, Math.sqrt((width * height) / Math.max(1, cells)));
  return Math.max(1, Math.min(cells, Math.round(width / side)));
}

import { useEffect, useRef, useState } from "preact/hooks";
import type { ChunkMark, Console, TaskView } from "../../peer/console";
import { count } from "../../widgets/format";
import { WorkMap } from "../../widgets/work_map";
import { formatOf, lowestOf, tileOf, toRgba } from "./pixels";

/** Pixels of a picture drawn at most: a canvas of 64 MB. Larger tasks show the map of their chunks. */
const PIXELS_MAX = 16_000_000;
/** Results asked for at the same time, so that a picture of thousands of tiles does not fill the Worker's queue. */
const ASKED_AT_ONCE = 6;

interface PictureProps {
  readonly peer: Console;
  readonly task: TaskView;
  readonly marks: readonly ChunkMark[];
}

/** The picture of a grid task made of its results, as they arrive. Falls back to the map when they are not pixels. */
export function Picture({ peer, task, marks }: PictureProps) {
  const { grid, taskId } = task;
  const canvas = useRef<HTMLCanvasElement>(null);
  const [isPicture, setIsPicture] = useState(grid !== null && grid.width * grid.height <= PIXELS_MAX);
  const tiles = useRef(new Map<number, Uint8Array>());
  const asked = useRef(new Set<number>());
  const lowest = useRef(65_536);

  useEffect(() => {
    if (grid === null || !isPicture) return undefined;
    let isOver = false;
    const paint = (chunk: number, bytes: Uint8Array): void => {
      const tile = tileOf(grid, chunk);
      const format = formatOf(tile, bytes.length);
      const brush = canvas.current?.getContext("2d");
      if (format === null || brush === null || brush === undefined) return;
      brush.putImageData(new ImageData(toRgba(format, bytes, lowest.current), tile.width, tile.height), tile.x, tile.y);
    };
    const receive = (chunk: number, bytes: Uint8Array): void => {
      const format = formatOf(tileOf(grid, chunk), bytes.length);
      if (format === null) {
        setIsPicture(false);
        return;
      }
      tiles.current.set(chunk, bytes);
      const low = format === "numbers" ? lowestOf(bytes) : lowest.current;
      if (low < lowest.current) {
        // A new smallest number moves every colour.
        lowest.current = low;
        for (const [other, otherBytes] of tiles.current) paint(other, otherBytes);
      } else {
        paint(chunk, bytes);
      }
    };
    const missing = marks.filter((mark) => mark.state === "accepted" && !asked.current.has(mark.chunk));
    const fetchNext = async (): Promise<void> => {
      for (let mark = missing.pop(); mark !== undefined && !isOver; mark = missing.pop()) {
        asked.current.add(mark.chunk);
        const result = await peer.ask("chunkResult", { taskId, chunk: mark.chunk }).catch(() => null);
        // Not here yet: the next change of the marks asks again.
        if (result?.bytes == null) asked.current.delete(mark.chunk);
        else receive(mark.chunk, result.bytes);
      }
    };
    for (let line = 0; line < ASKED_AT_ONCE; line++) void fetchNext();
    return () => {
      isOver = true;
    };
  }, [peer, taskId, grid?.width, grid?.height, marks, isPicture]);

  if (grid === null || !isPicture) return <WorkMap task={task} marks={marks} />;
  return (
    <canvas
      ref={canvas}
      class="picture"
      data-grid
      style={{ "--aspect": `${grid.width} / ${grid.height}` }}
      width={grid.width}
      height={grid.height}
      role="img"
      aria-label={`The picture of ${task.name}, ${count(task.accepted)} of ${count(task.chunks)} tiles done`}
    />
  );
}

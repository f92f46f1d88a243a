import { useEffect, useRef } from "preact/hooks";
import type { ChunkMark, TaskView } from "../peer/console";
import { type Cell, cellsOf, chunksPerCell, stripColumns } from "./cells";
import { count } from "./format";

/** Cells of a strip at most: with more, a cell would be smaller than a finger can tell from its neighbour. */
const STRIP_CELLS_MAX = 600;
/** The height a strip aims for, in CSS pixels. */
const STRIP_HEIGHT = 180;
/** Cells smaller than this show their state by colour alone; larger ones by shape as well. */
const SHAPED_PX = 7;

/** The picture of a task filling in: one cell a chunk, tiles of a grid where they belong, yours outlined. */
export function WorkMap({ task, marks }: { task: TaskView; marks: readonly ChunkMark[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  useEffect(() => {
    const element = canvas.current;
    if (element === null) return undefined;
    const draw = (): void => paint(element, task, marks);
    draw();
    const resized = new ResizeObserver(draw);
    resized.observe(element);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", draw);
    return () => {
      resized.disconnect();
      scheme.removeEventListener("change", draw);
    };
  }, [task, marks]);
  const mine = marks.filter((mark) => mark.mine).length;
  const perCell = task.grid === null ? chunksPerCell(task.chunks, STRIP_CELLS_MAX) : 1;
  return (
    <figure class="work-map">
      <canvas
        ref={canvas}
        role="img"
        aria-label={`${count(task.accepted)} of ${count(task.chunks)} chunks done, ${count(mine)} of them computed here`}
        style={task.grid === null ? undefined : { "--aspect": `${task.grid.width} / ${task.grid.height}` }}
        data-grid={task.grid !== null}
      />
      <figcaption>
        <span data-state="begun">begun</span>
        <span data-state="voted">computed</span>
        <span data-state="accepted">confirmed</span>
        {task.failed > 0 && <span data-state="failed">failed</span>}
        <span data-state="mine">yours</span>
        {perCell > 1 && <small>each square is {count(perCell)} chunks</small>}
      </figcaption>
    </figure>
  );
}

function paint(canvas: HTMLCanvasElement, task: TaskView, marks: readonly ChunkMark[]): void {
  const { clientWidth } = canvas;
  const brush = canvas.getContext("2d");
  if (brush === null || clientWidth === 0) return;
  const cells = cellsOf(task.chunks, marks, task.grid === null ? STRIP_CELLS_MAX : task.chunks);
  const columns = task.grid?.columns ?? stripColumns(cells.length, clientWidth, STRIP_HEIGHT);
  const rows = task.grid?.rows ?? Math.ceil(cells.length / columns);
  const width = Math.round(clientWidth * devicePixelRatio);
  // Tiles keep the picture's own shape; the cells of a strip are square.
  const height = Math.round(
    task.grid === null ? (width / columns) * rows : (width * task.grid.height) / task.grid.width,
  );
  canvas.width = width;
  canvas.height = height;

  const style = getComputedStyle(canvas);
  const colour = (name: string): string => style.getPropertyValue(name);
  const cellWidth = task.grid === null ? width / columns : (width * task.grid.tileWidth) / task.grid.width;
  const cellHeight = task.grid === null ? height / rows : (height * task.grid.tileHeight) / task.grid.height;
  cells.forEach((cell, index) => {
    const x = (index % columns) * cellWidth;
    const y = Math.floor(index / columns) * cellHeight;
    // The last tiles of a grid may be cut.
    const box = { x, y, width: Math.min(cellWidth, width - x), height: Math.min(cellHeight, height - y) };
    paintCell(brush, cell, box, colour);
  });
}

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

function paintCell(brush: CanvasRenderingContext2D, cell: Cell, box: Box, colour: (name: string) => string): void {
  const isShaped = Math.min(box.width, box.height) >= SHAPED_PX * devicePixelRatio;
  const gap = isShaped ? Math.max(1, devicePixelRatio) : 0;
  const fill = (name: string, scale: number): void => {
    const width = (box.width - gap) * scale;
    const height = (box.height - gap) * scale;
    brush.fillStyle = colour(name);
    brush.fillRect(box.x + (box.width - gap - width) / 2, box.y + (box.height - gap - height) / 2, width, height);
  };
  fill("--map-open", 1);
  // The further along, the larger the square: the state shows without telling colours apart.
  if (cell.state === "begun") fill("--map-begun", isShaped ? 0.3 : 1);
  if (cell.state === "voted") fill("--map-voted", isShaped ? 0.6 : 1);
  if (cell.state === "accepted") {
    brush.globalAlpha = 0.35 + 0.65 * cell.accepted;
    fill("--map-accepted", 1);
    brush.globalAlpha = 1;
  }
  if (cell.state === "failed") {
    fill("--map-failed", 1);
    if (isShaped) strike(brush, box, colour("--card"));
  }
  if (cell.mine && isShaped) {
    // A thin line of the ground inside the outline keeps it apart from whatever fills the cell.
    outline(brush, box, gap, 3 * devicePixelRatio, colour("--card"));
    outline(brush, box, gap, 2 * devicePixelRatio, colour("--map-mine"));
  } else if (cell.mine) {
    fill("--map-mine", 0.5);
  }
}

function outline(brush: CanvasRenderingContext2D, box: Box, gap: number, line: number, colour: string): void {
  brush.strokeStyle = colour;
  brush.lineWidth = line;
  brush.strokeRect(box.x + line / 2, box.y + line / 2, box.width - gap - line, box.height - gap - line);
}

function strike(brush: CanvasRenderingContext2D, box: Box, colour: string): void {
  brush.strokeStyle = colour;
  brush.lineWidth = 2 * devicePixelRatio;
  brush.beginPath();
  brush.moveTo(box.x + box.width * 0.25, box.y + box.height * 0.25);
  brush.lineTo(box.x + box.width * 0.7, box.y + box.height * 0.7);
  brush.stroke();
}

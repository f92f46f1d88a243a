/** Recorded states of a peer, for looking at the screens and for testing what they say. */

import type { AwayView, ChunkMark, ChunkResult, Snapshot, TaskView } from "../../src/peer/console";

export const NOW_S = 1_795_382_400;

export const ZOOM_ID = "7b".repeat(32);
export const PRIMES_ID = "c4".repeat(32);
export const OLD_ID = "0f".repeat(32);

const CREATOR = "12D3KooWQnwEGNqcM2nAcPtRR9rAX8Hrg4k9kJLCHoTR5chJfz6d";
export const SELF = "12D3KooWHv7fSgkq2nYxSyWHHjBjqj4f7d2bVqjQaWz1s9pQm3uA";
const LIAR = "12D3KooWLiarPtRR9rAX8Hrg4k9kJLCHoTR5chJfz6dQnwEGNqcM";

const TASK: TaskView = {
  taskId: ZOOM_ID,
  name: "Deep zoom",
  description: "A satellite of the Mandelbrot set, magnified fifty thousand million times: 1024 x 1024 points.",
  link: "https://en.wikipedia.org/wiki/Mandelbrot_set",
  creator: CREATOR,
  verified: null,
  signatureOk: true,
  runtime: "wasm",
  codeSha256: "3f9a".repeat(16),
  codeBytes: 3_912,
  memoryBytes: 1_048_576,
  outputBytes: 8_192,
  chunkSeconds: 20,
  inputBytes: 0,
  permissions: [],
  exceeds: null,
  chunks: 256,
  accepted: 118,
  begun: 12,
  failed: 1,
  workers: 7,
  replication: 2,
  eps: 0.05,
  createdS: NOW_S - 7_200,
  expiresS: NOW_S + 590_000,
  grid: { columns: 16, rows: 16, width: 1024, height: 1024, tileWidth: 64, tileHeight: 64 },
  consent: { state: "given", expiresS: NOW_S + 2_500_000 },
  isChosen: true,
  isMine: false,
  state: "open",
  certificate: null,
  mine: { done: 41, confirmed: 36, outvoted: 0, computeSeconds: 612 },
};

export function task(part: Partial<TaskView> = {}): TaskView {
  return { ...TASK, ...part };
}

export const PRIMES = task({
  taskId: PRIMES_ID,
  name: "How many primes are there below ten thousand million?",
  description: "Counts primes in slices of ten million numbers. The answer is known: 455,052,511. Do we agree?",
  link: "",
  runtime: "js",
  codeBytes: 812,
  chunks: 1_000,
  accepted: 640,
  begun: 30,
  failed: 0,
  grid: null,
  isChosen: false,
  consent: { state: "none", expiresS: null },
  mine: { done: 0, confirmed: 0, outvoted: 0, computeSeconds: 0 },
});

export const OLD = task({
  taskId: OLD_ID,
  name: "Which solar panel suits this roof?",
  description: "Two hundred panels against a year of real weather.",
  state: "closed",
  accepted: 108,
  failed: 0,
  begun: 0,
  chunks: 108,
  grid: null,
  isChosen: false,
  certificate: {
    accepted: 108,
    failed: 0,
    executions: 223,
    audits: 14,
    mismatches: 1,
    convicted: 1,
    eps: 0.01,
    bound: 0.0064,
    confidence: 0.95,
    rootSha256: "91c2".repeat(16),
  },
  mine: { done: 22, confirmed: 21, outvoted: 1, computeSeconds: 1_840 },
});

export function snapshot(part: Partial<Snapshot> = {}): Snapshot {
  return {
    peerId: SELF,
    network: "main",
    signaling: "connected",
    signalingDetail: "",
    iceServers: [],
    mode: "running",
    reason: null,
    executing: 2,
    peers: ["a", "b", "c", "d", "e"].map((name) => ({ peerId: CREATOR + name, state: "open", dialled: true })),
    tasks: [TASK, PRIMES, OLD],
    settings: {
      power: 0.5,
      slots: 2,
      pauseOnBattery: true,
      pauseOnSaveData: true,
      pauseWhenHot: true,
      allowJs: true,
    gpu: "off",
      keepAwake: false,
      uploadBytesPerS: null,
    },
    total: { done: 63, confirmed: 57, outvoted: 1, computeSeconds: 2_452 },
    lastDay: [0, 0, 0, 0, 0, 0, 1, 4, 2, 0, 0, 0, 5, 7, 3, 0, 0, 0, 0, 0, 2, 9, 14, 16],
    happenings: [
      happening(4_000, "joined the network", null, null, ""),
      happening(900, "executed", ZOOM_ID, 41, "1.2 s"),
      happening(600, "confirmed", ZOOM_ID, 41, ""),
      happening(40, "executed", ZOOM_ID, 97, "1.4 s"),
      happening(2, "leased", ZOOM_ID, 112, ""),
    ],
    keyKind: "WebCrypto, not extractable",
    storedBytes: 384_112,
    ...part,
  };
}

function happening(agoS: number, what: string, taskId: string | null, chunk: number | null, detail: string) {
  return { atS: NOW_S - agoS, what, taskId, peerId: null, chunk, detail };
}

/** Somebody who just opened the link: nothing agreed, nothing computed. */
export const NEWCOMER = snapshot({
  mode: "off",
  reason: "not started",
  executing: 0,
  tasks: [
    task({ consent: { state: "none", expiresS: null }, isChosen: false, mine: PRIMES.mine }),
    { ...OLD, mine: PRIMES.mine, consent: { state: "none", expiresS: null } },
  ],
  total: { done: 0, confirmed: 0, outvoted: 0, computeSeconds: 0 },
  lastDay: new Array<number>(24).fill(0),
  happenings: [],
});

/** Half of what nobody has signed yet is known already, while the creator of a task without results of its own is away. */
export function away(view: TaskView): AwayView | null {
  if (view.taskId !== PRIMES_ID) return null;
  return {
    sinceS: view.createdS + 3_600,
    provisional: 212,
    bySteward: 96,
    sealed: 21,
    disputed: 2,
    credibility: 0.96,
    liarsFound: 1,
  };
}

export function marks(view: TaskView): readonly ChunkMark[] {
  const order = Array.from({ length: view.chunks }, (_, chunk) => chunk).sort((a, b) => draw(a) - draw(b));
  return order.slice(0, view.accepted + view.failed + view.begun).map((chunk, index) => ({
    chunk,
    state:
      index < view.accepted
        ? "accepted"
        : index < view.accepted + view.failed
          ? "failed"
          : index % 2 === 0
            ? "voted"
            : "begun",
    mine: index % 3 === 0 && view.mine.done > 0,
  }));
}

function draw(chunk: number): number {
  return (chunk * 2_654_435_761) % 4_294_967_296;
}

export function result(view: TaskView, chunk: number): ChunkResult {
  const agreed = "5ab2".repeat(16);
  const hasLiar = chunk % 9 === 0;
  return {
    chunk,
    state: "accepted",
    bytes:
      view.grid === null
        ? new TextEncoder().encode(JSON.stringify({ first: chunk * 10, primes: 4 }))
        : tile(view, chunk),
    votes: [
      { worker: SELF, resultSha256: agreed, agrees: true },
      { worker: CREATOR, resultSha256: agreed, agrees: true },
      ...(hasLiar ? [{ worker: LIAR, resultSha256: "00ff".repeat(16), agrees: false }] : []),
    ],
    detail: "",
  };
}

/** A tile of little-endian 16-bit iteration counts, as the deep zoom kernel returns them. */
function tile(view: TaskView, chunk: number): Uint8Array {
  const grid = view.grid!;
  const bytes = new Uint8Array(grid.tileWidth * grid.tileHeight * 2);
  for (let index = 0; index < bytes.length / 2; index++) {
    const column = (chunk % grid.columns) * grid.tileWidth + (index % grid.tileWidth);
    const row = Math.floor(chunk / grid.columns) * grid.tileHeight + Math.floor(index / grid.tileWidth);
    const [a, b] = [(column / grid.width) * 3 - 2.1, (row / grid.height) * 3 - 1.5];
    let [x, y, step] = [0, 0, 0];
    while (step < 200 && x * x + y * y < 4) {
      [x, y] = [x * x - y * y + a, 2 * x * y + b];
      step += 1;
    }
    const value = step === 200 ? 0 : step + 20;
    bytes[index * 2] = value & 255;
    bytes[index * 2 + 1] = value >> 8;
  }
  return bytes;
}

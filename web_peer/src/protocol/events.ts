/**
 * What the world tells a peer, and what a peer asks of the world.
 *
 * A driver (the peer's Worker, a test) feeds inputs to `Peer.handle(event, now)`, performs the outputs in the order
 * given, and wakes the peer at `Peer.wakeAt`. It decides nothing.
 *
 * Times are seconds on the driver's own monotonic clock. The one wall-clock reading a peer needs (is this task
 * expired?) is `ProtocolConfig.epochOffsetS`, fixed when the peer is made.
 *
 * Signatures are made in the background: outputs carry frames and records as values, and the driver encodes them once
 * `Signer.settled` says that every signature is filled in.
 */

import type { Hex } from "./bytes";
import type { Frame } from "./frames";
import type { PeerId } from "./identity";
import type { Limits, Runtime } from "./manifest";
import type { Signed } from "./records";

/** The two ordered reliable channels of a link, by data channel id. Control frames overtake bulk ones. */
export const Channel = { CONTROL: 0, BULK: 1 } as const;
export type Channel = (typeof Channel)[keyof typeof Channel];

/** How one chunk's execution ended. Only OK and TASK_ERROR are votes (spec/ledger.md, "Votes"). */
export const Status = { OK: 0, TASK_ERROR: 1, NO_RESULT: 2 } as const;
export type Status = (typeof Status)[keyof typeof Status];

/** One chunk to execute: its index, its input bytes, and the seed of its deterministic randomness. */
export interface ChunkInput {
  readonly chunk: number;
  readonly data: Uint8Array;
  readonly seed: bigint;
}

/** One executed chunk. `data` is the result or the task's own error text; `detail` says why there is no result. */
export interface ChunkOutcome {
  readonly chunk: number;
  readonly status: Status;
  readonly data: Uint8Array;
  readonly detail: string;
}

// ---- inputs

/** An authenticated connection to `peerId` is up; `dialled` when we made the offer. */
export interface LinkOpened {
  readonly kind: "linkOpened";
  readonly peerId: PeerId;
  readonly dialled: boolean;
}

export interface LinkClosed {
  readonly kind: "linkClosed";
  readonly peerId: PeerId;
  readonly reason: string;
}

export interface DialFailed {
  readonly kind: "dialFailed";
  readonly peerId: PeerId;
  readonly reason: string;
}

/** Peers of our network that the signaling server can introduce us to. */
export interface PeersDiscovered {
  readonly kind: "peersDiscovered";
  readonly peerIds: readonly PeerId[];
}

/** The driver has a signal (signaling.ts) of ours to `to`, for the neighbour `through` to pass on. */
export interface SignalMade {
  readonly kind: "signalMade";
  readonly to: PeerId;
  readonly through: PeerId;
  readonly signal: Uint8Array;
}

export interface FrameReceived {
  readonly kind: "frameReceived";
  readonly peerId: PeerId;
  readonly frame: Uint8Array;
}

/**
 * What was given to this link's bulk channel has left, nearly all of it (64 KiB may wait still): more may follow.
 *
 * A driver says so once after it was given bulk frames; pieces wait for it.
 */
export interface LinkDrained {
  readonly kind: "linkDrained";
  readonly peerId: PeerId;
}

/** The answer to one `Execute`: outcomes in the order asked for, and how long they took together. */
export interface Executed {
  readonly kind: "executed";
  readonly job: number;
  readonly outcomes: readonly ChunkOutcome[];
  readonly seconds: number;
}

/** `Peer.wakeAt` has come. */
export interface Woke {
  readonly kind: "woke";
}

/** We are the creator of this signed manifest, whose signature is filled in; its blobs are in the store already. */
export interface TaskPublished {
  readonly kind: "taskPublished";
  readonly manifest: Signed;
}

/** What `SaveRecords` saved in an earlier life of this peer, in the order saved. Feed it before anything else. */
export interface RecordsRestored {
  readonly kind: "recordsRestored";
  readonly records: readonly Signed[];
}

/** An earlier life of this peer was on these chunks, and the driver can go on with them where it was. */
export interface WorkBegun {
  readonly kind: "workBegun";
  readonly taskId: Hex;
  readonly chunks: readonly number[];
}

/** Take no new work; commit what is running. `Peer.idle` turns true when nothing runs any more. */
export interface FinishRequested {
  readonly kind: "finishRequested";
}

/**
 * Work on these tasks only, whichever of them are known by now or later; null: on every acceptable one.
 *
 * A task that is not chosen (any more) is still passed on, and results made for it are still served.
 */
export interface TasksChosen {
  readonly kind: "tasksChosen";
  readonly tasks: ReadonlySet<Hex> | null;
}

/** Execute this many jobs at a time; with 0, stop now: what runs is cancelled and its leases are released. */
export interface SlotsChanged {
  readonly kind: "slotsChanged";
  readonly slots: number;
}

/** Give others no more than so many bytes of blobs a second; `Infinity`: as much as links take. */
export interface UploadCapped {
  readonly kind: "uploadCapped";
  readonly bytesPerS: number;
}

export type Input =
  | LinkOpened
  | LinkClosed
  | DialFailed
  | PeersDiscovered
  | SignalMade
  | FrameReceived
  | LinkDrained
  | Executed
  | Woke
  | TaskPublished
  | RecordsRestored
  | WorkBegun
  | FinishRequested
  | TasksChosen
  | SlotsChanged
  | UploadCapped;

// ---- outputs

/** Outputs of one `handle` share one `Frame` object where neighbours get the same: encode each object once. */
export interface SendFrame {
  readonly kind: "sendFrame";
  readonly peerId: PeerId;
  readonly channel: Channel;
  readonly frame: Frame;
}

export interface CloseLink {
  readonly kind: "closeLink";
  readonly peerId: PeerId;
  readonly reason: string;
}

/**
 * Ask for a connection. Answered by `LinkOpened` or `DialFailed`.
 *
 * Signals go by way of the neighbour `through`, as `SignalMade`; where it is null, by the signaling server.
 */
export interface DialPeer {
  readonly kind: "dialPeer";
  readonly peerId: PeerId;
  readonly through: PeerId | null;
}

/** A neighbour passed a signal to us. Its signature is good; answer it through the same neighbour. */
export interface SignalArrived {
  readonly kind: "signalArrived";
  readonly through: PeerId;
  readonly signal: Uint8Array;
}

/** This neighbour cannot pass signals on to `to` (now): a dial through it has failed. */
export interface SignalUndelivered {
  readonly kind: "signalUndelivered";
  readonly to: PeerId;
  readonly through: PeerId;
}

/** Ask the signaling server for peers: no neighbour knows more of them. Answered by `PeersDiscovered`, or never. */
export interface SeekPeers {
  readonly kind: "seekPeers";
}

/** Run these chunks of one task, each in a fresh instance. Answered by one `Executed` with the same `job`. */
export interface Execute {
  readonly kind: "execute";
  readonly job: number;
  readonly taskId: Hex;
  readonly runtime: Runtime;
  /** SHA-256 of the code blob. */
  readonly code: Uint8Array;
  readonly limits: Limits;
  /** The inputs are i64s, which a command module gets as arguments (split.isNumbers). */
  readonly numbers: boolean;
  readonly chunks: readonly ChunkInput[];
}

/** Nobody needs this job's outcomes any more. `Executed` for it may or may not still come. */
export interface CancelJob {
  readonly kind: "cancelJob";
  readonly job: number;
}

/**
 * Keep these signed records (a manifest included) across a crash, before any later `SendFrame` leaves.
 *
 * The order is what makes a sudden death harmless: nothing is told to anybody that we could forget.
 */
export interface SaveRecords {
  readonly kind: "saveRecords";
  readonly records: readonly Signed[];
}

/** What a person watching would want to hear about. */
export type Notable =
  | "task seen"
  | "worker admitted"
  | "chunk accepted"
  | "chunk reopened"
  | "chunk failed"
  | "dispute"
  | "worker convicted"
  | "task closed"
  | "peer suspected";

/** Something notable happened: for the log, the screens and the progress bar. Never for decisions. */
export interface Notice {
  readonly kind: "notice";
  readonly what: Notable;
  readonly taskId: Hex | null;
  readonly chunk: number | null;
  readonly peerId: PeerId | null;
  readonly detail: string;
}

export type Output =
  | SendFrame
  | CloseLink
  | DialPeer
  | SignalArrived
  | SignalUndelivered
  | SeekPeers
  | Execute
  | CancelJob
  | SaveRecords
  | Notice;

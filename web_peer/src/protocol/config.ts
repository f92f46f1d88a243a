/** Every number of the protocol that a simulation may want to turn, in one frozen place. */

import type { Hex } from "./bytes";
import type { Runtime } from "./manifest";

/** One 64 KiB piece with its Merkle proof and header; far below the 256 KiB every WebRTC stack accepts. */
export const FRAME_BYTES_MAX = 66 * 1024;

export const PROTOCOL_VERSION = 1;

/** Fixed for the life of a peer. Defaults are for a network of native nodes and browsers on the internet. */
export interface ProtocolConfig {
  /** Name of the network: peers of different networks never talk. */
  readonly network: string;

  /** Software name and version told to neighbours, for the log only. */
  readonly agent: string;

  /** Unix time minus the driver's monotonic clock, measured once when the peer is made. */
  readonly epochOffsetS: number;

  /** Silence after which we ping. Any frame counts as life (DESIGN section 4, "Liveness"). */
  readonly pingAfterS: number;

  /** Silence after which a peer's leases may be re-run: leaves the length of a batch of the 5 s goal. */
  readonly suspectAfterS: number;

  /** Silence after which the link is closed. A channel's own state proves nothing (research/webrtc.md section 7). */
  readonly goneAfterS: number;

  /** A link on which nobody says hello in this time is closed. */
  readonly helloWithinS: number;

  /** Links we dial for. Gossip needs 6 to 8 (research/verification.md section 4.1). */
  readonly neighboursTarget: number;

  /** Links we hold. Further ones are closed at once. */
  readonly neighboursMax: number;

  /** Pause before a peer that could not be reached is dialled again; doubles each time up to a minute. */
  readonly redialAfterS: number;

  /** Mesh degree per topic, as gossipsub v1.1 recommends. */
  readonly meshLow: number;
  readonly meshTarget: number;
  readonly meshHigh: number;

  /** Mesh upkeep and ihave gossip, as gossipsub v1.1. */
  readonly heartbeatS: number;

  /** Records younger than this are announced to non-mesh neighbours at a heartbeat (gossipsub keeps 5 heartbeats). */
  readonly ihaveWindowS: number;

  /**
   * Pause between two pushes of records to neighbours: what comes meanwhile shares their frames. Nothing waits that
   * comes alone. Large networks save most of their frames with a second (simulations/scenarios/liars.toml).
   */
  readonly gossipGapS: number;

  /** After a prune, no graft to that peer for this time (gossipsub v1.1). */
  readonly pruneBackoffS: number;

  /** Token bucket per neighbour over control bytes. A guess: ten times what the busiest simulated shard sends. */
  readonly linkBytesPerS: number;
  readonly linkBytesBurst: number;

  /** A neighbour below this score is disconnected: four protocol errors, each -10. */
  readonly scoreFloor: number;

  /**
   * While links are lacking, somebody is asked for peers this often: newcomers are named those that were there before
   * them, and asking again finds those that came later.
   */
  readonly seekEveryS: number;

  /**
   * A peer that lacks no links dials one more this often, so that the halves of a healed partition meet again:
   * among 20 peers within seconds, and a link lasts a minute (simulations/scenarios/halves.toml).
   */
  readonly visitEveryS: number;

  /**
   * A peer that lacks no links asks the signaling server for others this often: it may have forgotten, or never
   * have heard of, whoever was cut off for long. A guess: ten thousand peers ask 33 times a second.
   */
  readonly strangersEveryS: number;

  /** Token bucket per link and direction over requests for peers and signals to pass on: the signaling server's. */
  readonly introductionsPerS: number;
  readonly introductionsBurst: number;

  /** Jobs executed at the same time: the driver's slots. */
  readonly slots: number;

  /** Whether this peer executes chunks of other people's tasks. */
  readonly work: boolean;

  /** What this peer can and may execute; tasks of another runtime are passed on and not worked on. */
  readonly runtimes: ReadonlySet<Runtime>;

  /** Public keys of the creators we work for; null means everybody. */
  readonly acceptCreators: ReadonlySet<Hex> | null;

  /** Limits above which a task is not taken. */
  readonly memoryBytesMax: number;
  readonly secondsMax: number;
  /** Inputs above this size are not fetched: a task that needs them is not taken. */
  readonly blobBytesMax: number;

  /** A join that wants more proof of work than this (about a second) is not worth it. */
  readonly powBitsMax: number;

  /**
   * A batch of chunks is sized to take about this long: the cost of a lease and a commit is paid per batch, and half of
   * one is lost with a machine that dies.
   */
  readonly batchS: number;

  /** Leases are renewed at half of this while the work runs. */
  readonly leaseTtlS: number;

  /** An assignment that waits behind running work is leased this soon after it came, together with others. */
  readonly sayBacklogWithinS: number;

  /** A worker that was not admitted by then works as a guest: the creator is away, or admits slowly. */
  readonly guestAfterS: number;

  /**
   * After following a shard, wait at most this long for its records before picking: picks made blindly repeat others'
   * work.
   */
  readonly settleS: number;

  /** Where few chunks are left an idle worker waits this long for the creator to deal them out, then picks itself. */
  readonly creatorFirstS: number;

  /** A leased chunk is re-run on an idle worker when its lease is at least this old, and older than usual. */
  readonly endgameAfterS: number;

  /** Results up to this size travel inside the sealed batch (DESIGN section 6). */
  readonly inlineResultBytes: number;

  /** Peers that are asked to keep a large result besides its maker (DESIGN section 6). */
  readonly custodians: number;

  /**
   * A creator that is there takes a result within this time, mostly. What it has not taken by then is given to
   * custodians, or at once when nothing was heard of it for as long. A guess.
   */
  readonly custodyAfterS: number;

  /** Results of others that we keep in memory, half of them of one task at most. */
  readonly custodyBytes: number;

  /** A worker fetches tables of credit that are too large for a checkpoint this often. */
  readonly creditEveryS: number;

  /** A shard whose accepted set changed gets a new checkpoint at most this often. */
  readonly checkpointS: number;

  /** Workers a creator admits per minute: bounds how fast identities can be made (research section 1.6). */
  readonly admitPerMinute: number;

  /** A worker heard from within this time may be assigned work: a lease, busy or idle, comes every 7.5 s. */
  readonly activeS: number;

  /** An assignment that no lease of its worker names by then goes to somebody else. */
  readonly acceptAssignmentS: number;

  /** However often leased, an assignment not committed in this time plus the task's own limit is given away. */
  readonly assignmentMaxS: number;

  /** A chunk that lacks votes and finds no eligible worker for this long is executed by the creator's own node. */
  readonly refereeAfterS: number;

  /** Links we dial for while we fetch a large blob (research section 4.3). */
  readonly blobNeighbours: number;
  /** Pieces asked of one neighbour at a time: 1 MiB in flight at most. */
  readonly blobWindow: number;
  /** Pieces are sent no faster than this, to all neighbours together. */
  readonly uploadBytesPerS: number;
  /**
   * Inputs up to this size are fetched before a task begins; of larger ones what each batch reads, where the split
   * tells (`lines` do not). A guess: a minute at 1 Mbit/s.
   */
  readonly blobWholeBytes: number;
  /** Code and inputs of one creator's open tasks that we take; beyond it, its further tasks are left to others. */
  readonly creatorBytesMax: number;

  /** A piece not come in this time is asked of somebody else. */
  readonly blobTimeoutS: number;
}

const DEFAULTS: ProtocolConfig = {
  network: "main",
  agent: "crowdcompute",
  epochOffsetS: 0,
  pingAfterS: 1,
  suspectAfterS: 3,
  goneAfterS: 10,
  helloWithinS: 10,
  neighboursTarget: 8,
  neighboursMax: 32,
  redialAfterS: 5,
  meshLow: 4,
  meshTarget: 6,
  meshHigh: 12,
  heartbeatS: 1,
  ihaveWindowS: 5,
  gossipGapS: 0,
  pruneBackoffS: 60,
  linkBytesPerS: 8e6,
  linkBytesBurst: 32e6,
  scoreFloor: -40,
  seekEveryS: 20,
  visitEveryS: 60,
  strangersEveryS: 300,
  introductionsPerS: 20,
  introductionsBurst: 200,
  slots: 1,
  work: true,
  runtimes: new Set<Runtime>(["wasm", "js", "gpu"]),
  acceptCreators: null,
  memoryBytesMax: 2 ** 30,
  secondsMax: 3_600,
  blobBytesMax: 2 ** 30,
  powBitsMax: 20,
  batchS: 1,
  leaseTtlS: 15,
  sayBacklogWithinS: 1,
  guestAfterS: 0.5,
  settleS: 1,
  creatorFirstS: 3,
  endgameAfterS: 1,
  inlineResultBytes: 4_096,
  custodians: 3,
  custodyAfterS: 10,
  custodyBytes: 2 ** 27,
  creditEveryS: 30,
  checkpointS: 2,
  admitPerMinute: 600,
  activeS: 15,
  acceptAssignmentS: 5,
  assignmentMaxS: 60,
  refereeAfterS: 10,
  blobNeighbours: 16,
  blobWindow: 16,
  uploadBytesPerS: Infinity,
  blobWholeBytes: 8 * 1024 * 1024,
  creatorBytesMax: 5 * 2 ** 28,
  blobTimeoutS: 8,
};

/** A configuration that differs from the defaults where the caller says so. */
export function protocolConfig(changes: Partial<ProtocolConfig> = {}): ProtocolConfig {
  return Object.freeze({ ...DEFAULTS, ...changes });
}

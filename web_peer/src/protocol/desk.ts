/**
 * What a role (worker, creator) may ask of the peer it works in.
 *
 * Roles decide; the peer turns their wishes into outputs. Splitting it so keeps each role free of links and frames.
 */

import type { Hex } from "./bytes";
import type { Custody } from "./custody";
import type { Notable } from "./events";
import type { Frame } from "./frames";
import type { PeerId } from "./identity";
import type { Ledger } from "./ledger";
import type { BlobRef } from "./manifest";
import type { LedgerRecord } from "./records";
import type { Pace } from "./sizing";

/** What a notice is about. */
export interface Subject {
  readonly chunk?: number;
  readonly peer?: Uint8Array;
  readonly detail?: string;
}

/** The peer, as its roles see it. */
export interface Desk {
  /** Sign, save, add to the ledger and gossip one record of ours. Roles do not hear it back. */
  publish(ledger: Ledger, record: LedgerRecord): void;

  /** Take part in a topic. */
  follow(topic: Hex): void;

  /** Take no further part in a topic. */
  leave(topic: Hex): void;

  /** Whether what neighbours hold of a topic we began to follow is here. */
  synced(topic: Hex): boolean;

  /** Nobody needs this job any more. */
  cancel(job: number): void;

  /** Get a blob, which these peers have. The role hears of it when it is here or cannot be had. */
  fetch(digest: Uint8Array, size: number, root: Uint8Array | null, providers: readonly Uint8Array[]): void;

  /** Get some pieces (pieces.ts) of a blob. The role hears of the blob when all it wanted of it so far is here. */
  fetchPieces(blob: BlobRef, pieces: bigint): void;

  /** The pieces that are here of a blob being fetched. */
  piecesHere(digest: Uint8Array): bigint;

  /** Do not fetch a blob any longer. */
  forget(digest: Uint8Array): void;

  /** Neighbours that take part in a topic. */
  followers(topic: Hex): readonly PeerId[];

  /** Send a neighbour a frame. */
  tell(peerId: PeerId, frame: Frame): void;

  /** Have a link with this very peer, if it can be reached. */
  want(peerId: PeerId): void;

  /** What earlier tasks with the same code have taught. */
  pace(ledger: Ledger): Pace;

  /** Where sealed results are that are kept for others. */
  readonly custody: Custody;

  /** Tell whoever watches. */
  notice(what: Notable, ledger: Ledger, about?: Subject): void;
}

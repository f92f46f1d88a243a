/**
 * Blobs between neighbours: asked for by hash, sent in verified pieces, from several peers at once (spec/blobs.md).
 *
 *     a blob we want:  WANTED --piece by piece--> HERE
 *                         '--nobody left to ask--> UNREACHABLE (the asker is told; it may ask again)
 *
 * Nothing is ever sent unasked. A piece that does not come in time is asked of the next provider. Without a known
 * Merkle root only the whole can be checked, so such a blob is taken from one provider at a time: then it is clear who
 * lied.
 */

import { PIECE_BYTES, PieceAssembly, pieceCount, pieceHashes } from "./blobs";
import { hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import type { BlobFrame, BlobPiece } from "./frames";
import type { Addressed } from "./gossip";
import type { PeerId } from "./identity";
import * as merkle from "./merkle";
import type { BlobStore } from "./storage";

/** Blobs whose piece hashes are remembered, so that serving a piece does not hash the whole again. */
const PROOFS_KEPT = 64;
/** Pieces one frame may ask for. */
const PIECES_PER_WANT_MAX = 64;

interface Asked {
  readonly peerId: PeerId;
  readonly at: number;
}

interface Fetch {
  assembly: PieceAssembly;
  readonly providers: PeerId[];
  readonly asked: Map<number, Asked>;
  readonly useless: Set<PeerId>;
  /** Without a root: whose pieces these are. */
  source: PeerId | null;
  /** Since when no provider has been linked: one may be on its way. */
  stuckSince: number | null;
}

/** A blob that is here, or that cannot be had now. */
export interface Finished {
  readonly digest: Uint8Array;
  readonly isHere: boolean;
}

/** Serves what the blob store holds and fetches what it lacks. */
export class Exchange {
  /** Whom we can ask: they have said hello. */
  readonly neighbours = new Set<PeerId>();
  /** Pieces asked of each neighbour, over all blobs. */
  private readonly load = new Map<PeerId, number>();
  private readonly fetches = new Map<Hex, Fetch>();
  private readonly proofs = new Map<Hex, readonly Uint8Array[]>();
  private frames: Addressed[] = [];
  private finished: Finished[] = [];

  constructor(
    private readonly config: ProtocolConfig,
    private readonly blobs: BlobStore,
  ) {}

  linkOpened(peerId: PeerId, now: number): void {
    this.neighbours.add(peerId);
    this.askAll(now);
  }

  linkClosed(peerId: PeerId, now: number): void {
    this.neighbours.delete(peerId);
    for (const fetch of this.fetches.values()) this.forgetAsked(fetch, peerId);
    this.askAll(now);
  }

  /** Want a blob. `drain` will say when it is here, or that nobody we can reach has it. */
  fetch(digest: Uint8Array, size: number, root: Uint8Array | null, providers: Iterable<PeerId>, now: number): void {
    if (this.blobs.size(digest) !== null) {
      this.finished.push({ digest, isHere: true });
      return;
    }
    const key = hex(digest);
    let fetch = this.fetches.get(key);
    if (fetch === undefined) {
      const assembly = new PieceAssembly(digest, size, root);
      fetch = { assembly, providers: [], asked: new Map(), useless: new Set(), source: null, stuckSince: null };
      this.fetches.set(key, fetch);
    }
    fetch.useless.clear();
    for (const peerId of providers) if (!fetch.providers.includes(peerId)) fetch.providers.push(peerId);
    if (fetch.assembly.complete) this.complete(fetch); // a blob of no bytes
    else this.ask(fetch, now);
  }

  /**
   * Apply one blob frame.
   *
   * @throws RemoteProtocolError for a piece that is not what its proof says.
   */
  received(peerId: PeerId, frame: BlobFrame, now: number): void {
    switch (frame.kind) {
      case "blob-want":
        return this.serve(peerId, frame.sha256, frame.first, frame.count);
      case "blob-missing": {
        const fetch = this.fetches.get(hex(frame.sha256));
        if (fetch !== undefined) {
          fetch.useless.add(peerId);
          this.forgetAsked(fetch, peerId);
          this.askAll(now); // Others may have waited for room in this peer's window.
        }
        return;
      }
      case "blob-piece":
        return this.pieceReceived(peerId, frame, now);
    }
  }

  /** Whether this peer was asked for this piece and the answer is outstanding. */
  expects(peerId: PeerId, piece: BlobPiece): boolean {
    return this.fetches.get(hex(piece.sha256))?.asked.get(piece.index)?.peerId === peerId;
  }

  /** Ask somebody else for pieces that did not come. */
  advance(now: number): void {
    for (const fetch of this.fetches.values()) {
      let isLate = false;
      for (const [index, { peerId, at }] of fetch.asked) {
        if (now < at + this.config.blobTimeoutS) continue;
        isLate = true;
        this.answered(fetch, index);
        fetch.useless.add(peerId);
      }
      if (isLate) this.askAll(now);
      if (fetch.stuckSince === null) continue;
      const isHopeless = fetch.providers.every((peerId) => fetch.useless.has(peerId));
      if (isHopeless || now >= fetch.stuckSince + this.config.blobTimeoutS) this.finish(fetch, false);
    }
  }

  wakeAt(): number | null {
    let due = Infinity;
    for (const fetch of this.fetches.values()) {
      for (const { at } of fetch.asked.values()) due = Math.min(due, at);
      if (fetch.stuckSince !== null) due = Math.min(due, fetch.stuckSince);
    }
    return due === Infinity ? null : due + this.config.blobTimeoutS;
  }

  /** Frames to send. */
  drainFrames(): readonly Addressed[] {
    const { frames } = this;
    this.frames = [];
    return frames;
  }

  /** Blobs that are here or cannot be had now. */
  drainFinished(): readonly Finished[] {
    const { finished } = this;
    this.finished = [];
    return finished;
  }

  private pieceReceived(peerId: PeerId, piece: BlobPiece, now: number): void {
    if (!this.expects(peerId, piece)) return; // It came too late, or was never asked for: only the link's share pays.
    const fetch = this.fetches.get(hex(piece.sha256))!;
    this.answered(fetch, piece.index);
    try {
      fetch.assembly.add(piece.index, piece.data, piece.proof);
      if (fetch.assembly.complete) this.complete(fetch);
    } catch (error) {
      if (error instanceof RemoteProtocolError) {
        fetch.useless.add(peerId);
        this.forgetAsked(fetch, peerId);
      }
      throw error;
    } finally {
      this.askAll(now);
    }
  }

  private askAll(now: number): void {
    for (const fetch of this.fetches.values()) this.ask(fetch, now);
  }

  private ask(fetch: Fetch, now: number): void {
    let providers = fetch.providers.filter((peerId) => this.neighbours.has(peerId) && !fetch.useless.has(peerId));
    if (fetch.assembly.root === null && providers.length > 0) providers = [this.onlySource(fetch, providers)];
    if (providers.length === 0) {
      if (fetch.asked.size === 0) fetch.stuckSince ??= now;
      return;
    }
    fetch.stuckSince = null;
    if (this.loadOf(this.leastLoaded(providers)) >= this.config.blobWindow) return;
    const wanted = new Map<PeerId, number[]>();
    for (const index of fetch.assembly.missing()) {
      if (fetch.asked.has(index)) continue;
      const peerId = this.leastLoaded(providers);
      if (this.loadOf(peerId) >= this.config.blobWindow) break;
      this.load.set(peerId, this.loadOf(peerId) + 1);
      fetch.asked.set(index, { peerId, at: now });
      const indices = wanted.get(peerId);
      if (indices === undefined) wanted.set(peerId, [index]);
      else indices.push(index);
    }
    for (const [peerId, indices] of wanted) {
      let first = 0;
      for (let at = 1; at <= indices.length; at++) {
        if (at < indices.length && indices[at] === indices[at - 1]! + 1 && at - first < PIECES_PER_WANT_MAX) continue;
        const { digest } = fetch.assembly;
        this.frames.push([peerId, { kind: "blob-want", sha256: digest, first: indices[first]!, count: at - first }]);
        first = at;
      }
    }
  }

  /** Keep to one provider where only the whole can be checked; a change of provider starts from nothing. */
  private onlySource(fetch: Fetch, providers: readonly PeerId[]): PeerId {
    if (fetch.source !== null && providers.includes(fetch.source)) return fetch.source;
    if (fetch.source !== null) {
      this.forgetAsked(fetch, fetch.source);
      fetch.assembly = new PieceAssembly(fetch.assembly.digest, fetch.assembly.size, null);
    }
    fetch.source = providers[0]!;
    return fetch.source;
  }

  private forgetAsked(fetch: Fetch, peerId: PeerId): void {
    for (const [index, asked] of fetch.asked) if (asked.peerId === peerId) this.answered(fetch, index);
  }

  private answered(fetch: Fetch, index: number): void {
    const { peerId } = fetch.asked.get(index)!;
    fetch.asked.delete(index);
    const left = this.loadOf(peerId) - 1;
    if (left === 0) this.load.delete(peerId);
    else this.load.set(peerId, left);
  }

  private loadOf(peerId: PeerId): number {
    return this.load.get(peerId) ?? 0;
  }

  private leastLoaded(providers: readonly PeerId[]): PeerId {
    let least = providers[0]!;
    for (const peerId of providers) if (this.loadOf(peerId) < this.loadOf(least)) least = peerId;
    return least;
  }

  private complete(fetch: Fetch): void {
    this.blobs.put(fetch.assembly.digest, fetch.assembly.whole());
    this.finish(fetch, true);
  }

  private finish(fetch: Fetch, isHere: boolean): void {
    this.fetches.delete(hex(fetch.assembly.digest));
    this.finished.push({ digest: fetch.assembly.digest, isHere });
  }

  private serve(peerId: PeerId, digest: Uint8Array, first: number, count: number): void {
    const size = this.blobs.size(digest);
    if (size === null) {
      this.frames.push([peerId, { kind: "blob-missing", sha256: digest }]);
      return;
    }
    const hashes = this.pieceHashesOf(digest, size);
    const end = Math.min(first + count, pieceCount(size));
    for (let index = first; index < end; index++) {
      const data = this.blobs.read(digest, index * PIECE_BYTES, PIECE_BYTES);
      const proof = merkle.proof(hashes, index);
      this.frames.push([peerId, { kind: "blob-piece", sha256: digest, size, index, data, proof }]);
    }
  }

  private pieceHashesOf(digest: Uint8Array, size: number): readonly Uint8Array[] {
    const key = hex(digest);
    const hashes = this.proofs.get(key) ?? pieceHashes(this.blobs.read(digest, 0, size));
    // Whatever was used last stands last; the first is let go.
    this.proofs.delete(key);
    this.proofs.set(key, hashes);
    if (this.proofs.size > PROOFS_KEPT) this.proofs.delete(this.proofs.keys().next().value!);
    return hashes;
  }
}

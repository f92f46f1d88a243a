/**
 * Blobs between neighbours: asked for by hash, sent in verified pieces (spec/blobs.md).
 *
 *     with a known root:  WANTED --from all who have some, each piece checked--> HERE           (swarm.ts)
 *     without one:        WANTED --piece by piece, from one at a time----------> HERE
 *                            '--nobody left to ask--> UNREACHABLE (the asker is told; it may ask again)
 *
 * Nothing is ever sent unasked. Without a known Merkle root only the whole can be checked, so such a blob is taken from
 * one provider at a time: then it is clear who lied. What others ask of us waits its turn in serving.ts; a blob of
 * which we are the only source is shown bit by bit (seeding.ts).
 */

import { PIECE_BYTES, PieceAssembly, pieceCount, pieceHashes } from "./blobs";
import { hex, type Hex } from "./bytes";
import type { ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import type { BlobFrame, BlobHave, BlobPiece } from "./frames";
import type { Addressed } from "./gossip";
import type { PeerId } from "./identity";
import { all, contains, Partial, PieceTree, setOf } from "./pieces";
import type { Rng } from "./rng";
import { Seeding } from "./seeding";
import { type Server, Serving } from "./serving";
import type { BlobStore } from "./storage";
import { haveFrames, piecesIn, Swarm } from "./swarm";

/** Blobs whose trees are remembered, so that serving a piece does not hash the whole again. */
const TREES_KEPT = 64;
/** A blob of so many pieces, 4 MiB, is worth links of its own. */
const LARGE_PIECES = 64;
/** Blobs shown bit by bit at a time; of others everything is shown at once. */
const SEEDINGS_MAX = 64;
/** Pieces one frame may ask for. */
const PIECES_PER_WANT_MAX = 64;

interface Asked {
  readonly peerId: PeerId;
  readonly at: number;
}

/** A blob without a root. */
interface Fetch {
  assembly: PieceAssembly;
  readonly providers: PeerId[];
  readonly asked: Map<number, Asked>;
  readonly useless: Set<PeerId>;
  /** Whose pieces these are. */
  source: PeerId | null;
  /** Since when no provider has been linked: one may be on its way. */
  stuckSince: number | null;
}

/** A blob that is here, or that cannot be had now. */
export interface Finished {
  readonly digest: Uint8Array;
  readonly isHere: boolean;
}

/**
 * Serves what the blob store holds and fetches what it lacks.
 *
 * - `serving`: where pieces wait to be sent; shared by all exchanges of a peer, for it has one way out.
 */
export class Exchange implements Server {
  /** Whom we can ask: they have said hello. */
  readonly neighbours = new Set<PeerId>();
  /** Pieces asked of each neighbour, over all blobs without a root. */
  private readonly load = new Map<PeerId, number>();
  private readonly fetches = new Map<Hex, Fetch>();
  private readonly swarms = new Map<Hex, Swarm>();
  private readonly seedings = new Map<Hex, Seeding>();
  /** Blobs that came from a swarm or have all been given once: we are not their only source. */
  private readonly givenOn = new Set<Hex>();
  private readonly trees = new Map<Hex, PieceTree>();
  private frames: Addressed[] = [];
  private finished: Finished[] = [];

  constructor(
    private readonly config: ProtocolConfig,
    private readonly blobs: BlobStore,
    private readonly rng: Rng,
    readonly serving = new Serving(config),
  ) {}

  linkOpened(peerId: PeerId, now: number): void {
    this.neighbours.add(peerId);
    for (const swarm of this.swarms.values()) this.seek(swarm, peerId);
    this.askAll(now);
  }

  linkClosed(peerId: PeerId, now: number): void {
    this.neighbours.delete(peerId);
    this.serving.linkClosed(peerId);
    for (const seeding of this.seedings.values()) seeding.left(peerId);
    for (const swarm of this.swarms.values()) swarm.drop(peerId);
    for (const fetch of this.fetches.values()) this.forgetAsked(fetch, peerId);
    this.askAll(now);
  }

  /**
   * Want a blob. `drainFinished` will say when it is here, or that nobody we can reach has it.
   *
   * With a root it is fetched from all neighbours, and goes on being fetched until it is forgotten; without one, from
   * `providers`.
   */
  fetch(digest: Uint8Array, size: number, root: Uint8Array | null, providers: Iterable<PeerId>, now: number): void {
    if (this.blobs.size(digest) !== null) {
      this.finished.push({ digest, isHere: true });
    } else if (root === null) {
      this.fetchAlone(digest, size, providers, now);
    } else {
      const swarm = this.swarm(digest, size, root, now);
      if (swarm.isWhole) return;
      swarm.wantAll();
      this.begin(swarm, now, [...providers]);
    }
  }

  /** Want some pieces (pieces.ts) of a blob. `drainFinished` will name it when all that is wanted of it is here. */
  fetchPieces(digest: Uint8Array, size: number, root: Uint8Array, pieces: bigint, now: number): void {
    if (this.blobs.size(digest) !== null) {
      this.finished.push({ digest, isHere: true });
      return;
    }
    const swarm = this.swarm(digest, size, root, now);
    swarm.want(pieces);
    this.begin(swarm, now);
  }

  /** Whether much has to come still. */
  get isMoving(): boolean {
    for (const { partial, lacking } of this.swarms.values()) if (partial.count >= LARGE_PIECES && lacking !== 0n) return true;
    return false;
  }

  /** The pieces that are here of a blob being fetched. */
  here(digest: Uint8Array): bigint {
    return this.swarms.get(hex(digest))?.partial.here ?? 0n;
  }

  /** Do not fetch a blob any longer. What is here of it stays in the store. */
  forget(digest: Uint8Array): void {
    if (!this.swarms.delete(hex(digest))) return;
    for (const peerId of this.neighbours) this.frames.push([peerId, { kind: "blob-missing", sha256: digest }]);
  }

  /**
   * Apply one blob frame.
   *
   * @throws RemoteProtocolError for a piece that is not what its proof says, or more than anybody should ask for.
   */
  received(peerId: PeerId, frame: BlobFrame, now: number): void {
    switch (frame.kind) {
      case "blob-want":
        return this.wanted(peerId, frame.sha256, frame.first, frame.count);
      case "blob-cancel":
        return this.serving.cancel(peerId, frame.sha256, frame.pieces);
      case "blob-seek":
        return this.sought(peerId, frame.sha256, frame.whole);
      case "blob-have":
        return this.had(peerId, frame, now);
      case "blob-got":
        return this.got(peerId, frame.sha256, frame.pieces, now);
      case "blob-missing":
        return this.missing(peerId, frame.sha256, now);
      case "blob-piece": {
        if (!this.expects(peerId, frame)) return; // Too late, or never asked for: only the link's share pays.
        const swarm = this.swarms.get(hex(frame.sha256));
        if (swarm === undefined) this.lonePiece(peerId, frame, now);
        else this.swarmPiece(peerId, swarm, frame, now);
      }
    }
  }

  /** Whether this peer was asked for this piece and the answer is outstanding. */
  expects(peerId: PeerId, piece: BlobPiece): boolean {
    const key = hex(piece.sha256);
    const swarm = this.swarms.get(key);
    if (swarm !== undefined) return swarm.expects(peerId, piece.index);
    return this.fetches.get(key)?.asked.get(piece.index)?.peerId === peerId;
  }

  /** Ask somebody else for pieces that did not come. */
  advance(now: number): void {
    for (const swarm of this.swarms.values()) {
      if (swarm.advance(now)) this.finished.push({ digest: swarm.partial.digest, isHere: false });
      this.frames.push(...swarm.ask(now));
    }
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
    due += this.config.blobTimeoutS;
    for (const swarm of this.swarms.values()) due = Math.min(due, swarm.wakeAt());
    due = Math.min(due, this.serving.wakeAt());
    return due === Infinity ? null : due;
  }

  /** Frames to send. */
  drainFrames(now: number): readonly Addressed[] {
    const pieces = this.serving.pump(now);
    for (const swarm of this.swarms.values()) this.frames.push(...swarm.tell(now));
    const { frames } = this;
    this.frames = [];
    return [...frames, ...pieces];
  }

  /** Blobs that are here or cannot be had now. */
  drainFinished(): readonly Finished[] {
    const { finished } = this;
    this.finished = [];
    return finished;
  }

  // ---- giving

  piece(peerId: PeerId, digest: Uint8Array, index: number): BlobPiece | null {
    const key = hex(digest);
    const partial = this.swarms.get(key)?.partial;
    const whole = this.blobs.size(digest);
    if (whole === null && (partial === undefined || !contains(partial.here, index))) {
      this.frames.push([peerId, { kind: "blob-missing", sha256: digest }]);
      return null;
    }
    const size = whole ?? partial!.size;
    const tree = whole === null ? partial!.tree : this.tree(key, digest, size);
    const data = this.blobs.read(digest, index * PIECE_BYTES, PIECE_BYTES);
    const seeding = this.seedings.get(key);
    if (seeding !== undefined) {
      seeding.served(peerId, index);
      this.show(digest, seeding, peerId);
    }
    return { kind: "blob-piece", sha256: digest, size, index, data, proof: tree.proof(index) };
  }

  private wanted(peerId: PeerId, digest: Uint8Array, first: number, count: number): void {
    const size = this.blobs.size(digest);
    const pieces = size === null ? this.swarms.get(hex(digest))?.partial.count : pieceCount(size);
    if (pieces === undefined) this.frames.push([peerId, { kind: "blob-missing", sha256: digest }]);
    else this.serving.ask(peerId, this, digest, first, Math.min(first + count, pieces));
  }

  private sought(peerId: PeerId, digest: Uint8Array, isWhole: boolean): void {
    const key = hex(digest);
    const size = this.blobs.size(digest);
    const swarm = this.swarms.get(key);
    if (size !== null) {
      let seeding = this.seedings.get(key);
      if (seeding === undefined && isWhole && !this.givenOn.has(key) && this.seedings.size < SEEDINGS_MAX) {
        this.seedings.set(key, (seeding = new Seeding(pieceCount(size), this.rng)));
      }
      if (seeding === undefined || !isWhole) {
        this.tell(peerId, digest, pieceCount(size), all(pieceCount(size)));
      } else {
        seeding.joined(peerId);
        this.show(digest, seeding, peerId);
      }
    } else if (swarm === undefined) {
      this.frames.push([peerId, { kind: "blob-missing", sha256: digest }]);
    } else if (!swarm.followers.has(peerId)) {
      swarm.followers.add(peerId);
      this.tell(peerId, digest, swarm.partial.count, swarm.partial.here);
    }
  }

  private tell(peerId: PeerId, digest: Uint8Array, count: number, here: bigint): void {
    for (const frame of haveFrames(digest, count, here)) this.frames.push([peerId, frame]);
  }

  private show(digest: Uint8Array, seeding: Seeding, peerId: PeerId): void {
    if (seeding.isDone) {
      // Everything has been given once: the network can do the rest, with whatever it likes of ours.
      this.seedings.delete(hex(digest));
      this.givenOn.add(hex(digest));
      for (const neighbour of seeding.neighbours) this.tell(neighbour, digest, seeding.count, all(seeding.count));
      return;
    }
    const pieces = seeding.show(peerId);
    if (pieces.length > 0) this.frames.push([peerId, { kind: "blob-got", sha256: digest, pieces }]);
  }

  private tree(key: Hex, digest: Uint8Array, size: number): PieceTree {
    const tree = this.trees.get(key) ?? PieceTree.of(pieceHashes(this.blobs.read(digest, 0, size)));
    this.remember(key, tree);
    return tree;
  }

  private remember(key: Hex, tree: PieceTree): void {
    // Whatever was used last stands last; the first is let go.
    this.trees.delete(key);
    this.trees.set(key, tree);
    if (this.trees.size > TREES_KEPT) this.trees.delete(this.trees.keys().next().value!);
  }

  // ---- fetching with a root

  private swarm(digest: Uint8Array, size: number, root: Uint8Array, now: number): Swarm {
    const key = hex(digest);
    let swarm = this.swarms.get(key);
    if (swarm === undefined) {
      swarm = new Swarm(this.config, new Partial(this.blobs, digest, size, root), this.rng, now);
      this.swarms.set(key, swarm);
    }
    return swarm;
  }

  private begin(swarm: Swarm, now: number, holders: readonly PeerId[] = []): void {
    for (const peerId of [...this.neighbours].sort()) {
      if (swarm.partial.count === 1 && holders.includes(peerId)) swarm.has(peerId, 1n);
      else this.seek(swarm, peerId);
    }
    this.frames.push(...swarm.ask(now));
    this.settle(swarm);
  }

  private seek({ partial, isWhole }: Swarm, peerId: PeerId): void {
    this.frames.push([peerId, { kind: "blob-seek", sha256: partial.digest, whole: isWhole }]);
  }

  private has(peerId: PeerId, digest: Uint8Array, pieces: bigint, now: number): void {
    const swarm = this.swarms.get(hex(digest));
    const seeding = this.seedings.get(hex(digest));
    if (swarm !== undefined) {
      swarm.has(peerId, pieces);
      if (!swarm.followers.has(peerId)) {
        swarm.followers.add(peerId);
        this.tell(peerId, digest, swarm.partial.count, swarm.partial.here);
      }
      this.frames.push(...swarm.ask(now, [peerId]));
    } else if (seeding !== undefined) {
      seeding.has(peerId, pieces);
      this.show(digest, seeding, peerId);
    }
  }

  private had(peerId: PeerId, { sha256: digest, first, bits }: BlobHave, now: number): void {
    const count = this.countOf(digest);
    if (count === null) return;
    // Before a set is made of it: a number of four billion bits is soon claimed.
    if (first + 8 * bits.length >= count + 8) throw new RemoteProtocolError(`the blob has ${count} pieces, not more`);
    this.has(peerId, digest, piecesIn(first, bits), now);
  }

  /** The pieces of a blob that we fetch, or show bit by bit. */
  private countOf(digest: Uint8Array): number | null {
    return this.swarms.get(hex(digest))?.partial.count ?? this.seedings.get(hex(digest))?.count ?? null;
  }

  private got(peerId: PeerId, digest: Uint8Array, indices: readonly number[], now: number): void {
    const count = this.countOf(digest);
    if (count === null) return;
    if (Math.max(...indices) >= count) throw new RemoteProtocolError(`the blob has ${count} pieces, not more`);
    this.has(peerId, digest, setOf(indices), now);
  }

  private swarmPiece(peerId: PeerId, swarm: Swarm, frame: BlobPiece, now: number): void {
    let calledOff: Addressed[];
    try {
      calledOff = swarm.received(peerId, frame, now);
    } catch (error) {
      this.frames.push(...swarm.ask(now));
      throw error;
    }
    this.frames.push(...calledOff, ...swarm.ask(now, [peerId, ...calledOff.map(([other]) => other)]));
    this.settle(swarm);
  }

  /** See whether all that is wanted is here. */
  private settle(swarm: Swarm): void {
    if (swarm.lacking !== 0n) return;
    const { digest, tree, isComplete } = swarm.partial;
    if (!isComplete) {
      this.finished.push({ digest, isHere: true });
      return;
    }
    this.swarms.delete(hex(digest));
    // Every piece was proved, so other bytes are the fault of whoever signed the reference: nobody can ever have it.
    const isHere = this.blobs.finish(digest);
    if (isHere) {
      this.givenOn.add(hex(digest));
      this.remember(hex(digest), tree);
      this.frames.push(...swarm.tell(Infinity));
    }
    this.finished.push({ digest, isHere });
  }

  // ---- fetching without a root

  private fetchAlone(digest: Uint8Array, size: number, providers: Iterable<PeerId>, now: number): void {
    let fetch = this.fetches.get(hex(digest));
    if (fetch === undefined) {
      const assembly = new PieceAssembly(digest, size);
      fetch = { assembly, providers: [], asked: new Map(), useless: new Set(), source: null, stuckSince: null };
      this.fetches.set(hex(digest), fetch);
    }
    fetch.useless.clear();
    for (const peerId of providers) if (!fetch.providers.includes(peerId)) fetch.providers.push(peerId);
    if (fetch.assembly.complete) this.complete(fetch); // a blob of no bytes
    else this.ask(fetch, now);
  }

  private missing(peerId: PeerId, digest: Uint8Array, now: number): void {
    const swarm = this.swarms.get(hex(digest));
    const fetch = this.fetches.get(hex(digest));
    if (swarm !== undefined) {
      swarm.drop(peerId);
      this.frames.push(...swarm.ask(now));
    }
    if (fetch !== undefined) {
      fetch.useless.add(peerId);
      this.forgetAsked(fetch, peerId);
      this.askAll(now); // Others may have waited for room in this peer's window.
    }
  }

  private lonePiece(peerId: PeerId, piece: BlobPiece, now: number): void {
    const fetch = this.fetches.get(hex(piece.sha256))!;
    this.answered(fetch, piece.index);
    if (piece.size !== fetch.assembly.size) {
      // Either it lies or whoever told us of the blob does: a vote, a savepoint. Nobody is blamed for the other.
      fetch.useless.add(peerId);
      this.forgetAsked(fetch, peerId);
      this.askAll(now);
      return;
    }
    try {
      fetch.assembly.add(piece.index, piece.data);
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
    for (const swarm of this.swarms.values()) this.frames.push(...swarm.ask(now));
  }

  private ask(fetch: Fetch, now: number): void {
    const providers = fetch.providers.filter((peerId) => this.neighbours.has(peerId) && !fetch.useless.has(peerId));
    if (providers.length === 0) {
      if (fetch.asked.size === 0) fetch.stuckSince ??= now;
      return;
    }
    fetch.stuckSince = null;
    const source = this.onlySource(fetch, providers);
    const room = this.config.blobWindow - this.loadOf(source);
    const indices: number[] = [];
    for (const index of fetch.assembly.missing()) {
      if (indices.length >= room) break;
      if (fetch.asked.has(index)) continue;
      fetch.asked.set(index, { peerId: source, at: now });
      indices.push(index);
    }
    if (indices.length > 0) this.load.set(source, this.loadOf(source) + indices.length);
    let first = 0;
    for (let at = 1; at <= indices.length; at++) {
      if (at < indices.length && indices[at] === indices[at - 1]! + 1 && at - first < PIECES_PER_WANT_MAX) continue;
      const { digest } = fetch.assembly;
      this.frames.push([source, { kind: "blob-want", sha256: digest, first: indices[first]!, count: at - first }]);
      first = at;
    }
  }

  /** Keep to one provider, for only the whole can be checked; a change of provider starts from nothing. */
  private onlySource(fetch: Fetch, providers: readonly PeerId[]): PeerId {
    if (fetch.source !== null && providers.includes(fetch.source)) return fetch.source;
    if (fetch.source !== null) {
      this.forgetAsked(fetch, fetch.source);
      fetch.assembly = new PieceAssembly(fetch.assembly.digest, fetch.assembly.size);
    }
    fetch.source = this.leastLoaded(providers);
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
}

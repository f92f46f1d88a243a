/**
 * Peers introduce peers: to its neighbours, a peer is a small signaling server (spec/session.md, "Introductions").
 *
 *     newcomer --ask----------> neighbour                           whom are you linked with?
 *     newcomer <--peers-------- neighbour
 *     newcomer --relay(offer)-> neighbour --relayed--> stranger     only to its own neighbours: one hop, so no loops
 *     newcomer <--relayed------ neighbour <--relay(answer)-- stranger
 *
 * The messages are those of signaling.ts. Unlike a server, a neighbour is answerable for what it passes on: it lets
 * through only what its sender signed for the peer named, so whoever receives anything else knows whom to blame.
 */

import { equal } from "./bytes";
import type { ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import type { SeekPeers, SignalArrived, SignalUndelivered } from "./events";
import type { Frame, IntroductionFrame } from "./frames";
import { type PeerId, peerIdOf, publicKeyOf, type Verifier } from "./identity";
import type { Neighbours } from "./neighbours";
import { type Rng, sample } from "./rng";
import { PEERS_MAX } from "./signaling";
import { openSignal, parseSignal } from "./signals";

/** Share of a neighbour's bucket we use: the two clocks differ, and more than the whole is a breach. */
const PACE = 0.8;

/** Tokens for requests and signals in one direction of a link. */
class Bucket {
  private tokens: number;

  constructor(
    private readonly perS: number,
    private readonly burst: number,
    private filledAt: number,
  ) {
    this.tokens = burst;
  }

  spend(now: number): boolean {
    this.tokens = Math.min(this.burst, this.tokens + (now - this.filledAt) * this.perS);
    this.filledAt = now;
    if (this.tokens < 1) return false;
    this.tokens -= 1;
    return true;
  }
}

interface Acquaintance {
  readonly theirs: Bucket;
  readonly ours: Bucket;
  /** We wait for its `peers`. */
  isAsked: boolean;
}

type Said = SignalArrived | SignalUndelivered | SeekPeers;

/** What one peer does to introduce and to be introduced. Throws `RemoteProtocolError` for breaches of neighbours. */
export class Introductions {
  private readonly acquaintances = new Map<PeerId, Acquaintance>();
  private seekAt: number;
  private strangersAt: number;
  /** The last neighbour we asked named nobody new. */
  private isFruitless = false;
  private frames: [PeerId, Frame][] = [];
  private outputs: Said[] = [];

  constructor(
    private readonly config: ProtocolConfig,
    private readonly publicKey: Uint8Array,
    private readonly verifier: Verifier,
    private readonly rng: Rng,
    private readonly neighbours: Neighbours,
    now: number,
  ) {
    this.seekAt = now + config.seekEveryS;
    this.strangersAt = this.nextStrangers(now);
  }

  // ---- links

  /** A neighbour has said hello. */
  linkOpened(peerId: PeerId, now: number): void {
    const { introductionsPerS: perS, introductionsBurst: burst } = this.config;
    this.acquaintances.set(peerId, {
      theirs: new Bucket(perS, burst, now),
      ours: new Bucket(PACE * perS, PACE * burst, now),
      isAsked: false,
    });
    if (this.neighbours.isLacking || this.neighbours.isVisited(peerId)) this.ask(peerId, now);
  }

  linkClosed(peerId: PeerId): void {
    this.acquaintances.delete(peerId);
  }

  // ---- our own wishes

  /** Have a neighbour pass a signal of ours on. */
  relay(to: PeerId, through: PeerId, signal: Uint8Array, now: number): void {
    if (this.acquaintances.get(through)?.ours.spend(now) !== true) {
      this.outputs.push({ kind: "signalUndelivered", to, through });
    } else {
      this.frames.push([through, { kind: "relay", to: publicKeyOf(to), signal }]);
    }
  }

  /**
   * If it is time and we lack links: ask a neighbour for its own, or, where none can help, whoever else can.
   *
   * Who lacks none asks the signaling server, rarely: our neighbours may be half of a network and know no more.
   */
  seek(now: number): void {
    if (now >= this.strangersAt) {
      this.strangersAt = this.nextStrangers(now);
      if (!this.neighbours.isLacking) this.outputs.push({ kind: "seekPeers" });
    }
    if (now < this.seekAt || !this.neighbours.isLacking) return;
    this.seekAt = now + this.config.seekEveryS;
    const willing: PeerId[] = [];
    for (const [peerId, { isAsked }] of this.acquaintances) {
      if (!isAsked && this.neighbours.introduces(peerId)) willing.push(peerId);
    }
    const [chosen] = this.isFruitless ? [] : sample(this.rng, willing, 1);
    if (chosen !== undefined) {
      this.ask(chosen, now);
    } else {
      this.isFruitless = false;
      this.outputs.push({ kind: "seekPeers" });
    }
  }

  /** When `seek` has something to do, if nothing happens before. */
  wakeAt(): number {
    return this.neighbours.isLacking ? Math.min(this.seekAt, this.strangersAt) : this.strangersAt;
  }

  private nextStrangers(now: number): number {
    return now + this.config.strangersEveryS * (0.5 + this.rng.random());
  }

  private ask(peerId: PeerId, now: number): void {
    const acquaintance = this.acquaintances.get(peerId)!;
    if (!acquaintance.ours.spend(now)) return;
    acquaintance.isAsked = true;
    this.frames.push([peerId, { kind: "ask", count: PEERS_MAX }]);
  }

  // ---- what neighbours say

  /**
   * Serve a neighbour, or take what it passes on.
   *
   * @throws RemoteProtocolError when it is too much, unasked for, or a signal that is not its author's to its receiver.
   */
  received(peerId: PeerId, frame: IntroductionFrame, now: number): void {
    const acquaintance = this.acquaintances.get(peerId)!;
    const isCharged = frame.kind === "ask" || frame.kind === "relay" || frame.kind === "relayed";
    if (isCharged && !acquaintance.theirs.spend(now)) {
      throw new RemoteProtocolError("more introductions than the link's share");
    }
    switch (frame.kind) {
      case "ask": {
        const others = [...this.acquaintances.keys()].filter((other) => other !== peerId);
        const named = others.length <= frame.count ? others : sample(this.rng, others, frame.count);
        this.frames.push([peerId, { kind: "peers", peers: named.map(publicKeyOf) }]);
        return;
      }
      case "peers": {
        if (!acquaintance.isAsked) throw new RemoteProtocolError("peers nobody asked for");
        acquaintance.isAsked = false;
        const named = frame.peers.filter((key) => !equal(key, this.publicKey)).map(peerIdOf);
        this.isFruitless = !this.neighbours.introduced(named, peerId, now);
        return;
      }
      case "relay":
        if (!equal(this.checked(frame.signal, frame.to), publicKeyOf(peerId))) {
          throw new RemoteProtocolError("a signal to pass on is not the sender's own");
        }
        this.passOn(peerId, frame.to, frame.signal, now);
        return;
      case "relayed":
        if (!equal(this.checked(frame.signal, this.publicKey), frame.sender)) {
          throw new RemoteProtocolError("a signal that was passed on is not its sender's");
        }
        this.outputs.push({ kind: "signalArrived", through: peerId, signal: frame.signal });
        return;
      case "undeliverable":
        this.outputs.push({ kind: "signalUndelivered", to: peerIdOf(frame.to), through: peerId });
    }
  }

  /** Whose signal this is. */
  private checked(data: Uint8Array, receiver: Uint8Array): Uint8Array {
    const signal = parseSignal(data);
    openSignal(this.verifier, signal, { network: this.config.network, publicKey: receiver });
    return signal.author;
  }

  private passOn(sender: PeerId, to: Uint8Array, signal: Uint8Array, now: number): void {
    const receiver = peerIdOf(to);
    if (this.acquaintances.get(receiver)?.ours.spend(now) !== true) {
      this.frames.push([sender, { kind: "undeliverable", to }]);
    } else {
      this.frames.push([receiver, { kind: "relayed", sender: publicKeyOf(sender), signal }]);
    }
  }

  // ---- outputs

  drainFrames(): readonly (readonly [PeerId, Frame])[] {
    const { frames } = this;
    this.frames = [];
    return frames;
  }

  drainOutputs(): readonly Said[] {
    const { outputs } = this;
    this.outputs = [];
    return outputs;
  }
}

/**
 * Turns peer ids into links: dials, accepts, and proves who is at the other end.
 *
 * One attempt per peer at a time:
 *
 *     offering --answer--> connecting --open, certificate is the signed one--> link
 *     answering ---------> connecting        |
 *          '---- 15 s, refused, peer absent, superseded ---> failed
 *
 * When both sides offer at once (glare), the offer of the smaller peer id wins: the other side drops its own and
 * answers. Whom to connect to is not decided here. Nothing a signaling server does can put anybody but the holder of
 * the dialled key at the other end: signals are signed for one network, one pair of peers and one certificate.
 */

import { equal, hex, type Hex } from "../protocol/bytes";
import { RemoteProtocolError } from "../protocol/errors";
import { peerIdOf, publicKeyOf, type PeerId, type Signer } from "../protocol/identity";
import {
  CANDIDATES_MAX,
  CONNECTION_BYTES,
  encodeSignal,
  fingerprintOf,
  openSignal,
  parseSignal,
  signalDomain,
  signalId,
  signSignal,
  type Answer,
  type Candidate,
  type Offer,
  type Signal,
  type SignalBody,
} from "../protocol/signals";
import { deferred, type Deferred } from "./deferred";
import type { Link, Links, RtcLink } from "./links";
import type { Signaling, SignalingEvent, SignalingState } from "./signaling_client";
import type { Verifying } from "./verifying";

/** From dial to open link. Without end-of-candidates ICE itself never gives up (research/webrtc.md section 6). */
const CONNECT_WITHIN_MS = 15_000;

/** Offers answered at the same time; more are ignored. Each costs sockets. */
const ANSWERING_MAX = 64;

/** Connection ids of offers seen, so that a replayed one costs nothing. */
const REMEMBERED_OFFERS = 1_024;

interface Attempt {
  readonly peerId: PeerId;
  readonly connection: Uint8Array;
  /** Whether the offer is ours. */
  readonly dialled: boolean;
  readonly link: RtcLink;
  /** Whether our side wants to hear of a failure. */
  asked: boolean;
  /** The neighbour that passes the signals on; null: the signaling server. */
  readonly through: PeerId | null;
  offerId: Uint8Array;
  readonly answer: Deferred<Answer>;
  isAnswered: boolean;
  /** Those that came before the description they belong to. */
  earlyCandidates: Candidate[];
  candidatesLeft: number;
  /** Whether the other side's description is known here, and candidates of it can be used. */
  isDescribed: boolean;
  /** Ours that were found before our description had left; null from then on. */
  unsent: { readonly mid: string; readonly candidate: string }[] | null;
}

export interface ConnectorEvents {
  /** A link is open, and `dialled` tells whether the offer was ours; attach to it at once. */
  onLink(link: Link, dialled: boolean): void;
  /** Answers a `dial` that made no link. */
  onDialFailed(peerId: PeerId, reason: string): void;
  /** A signal for the neighbour `through` to pass on. */
  onSignal(to: PeerId, through: PeerId, signal: Uint8Array): void;
  /** Peers the server named. */
  onPeers(peerIds: readonly PeerId[]): void;
  /** Every change of the connection to the server. */
  onSignaling(state: SignalingState, detail: string): void;
}

/** Makes links for one identity in one network. Events never come from within a call of ours. */
export class Connector {
  private readonly attempts = new Map<PeerId, Attempt>();
  private readonly open = new Map<PeerId, RtcLink>();
  private readonly seenOffers = new Set<Hex>();
  /** Signals are taken in the order they came, though each waits for its signature to be checked. */
  private reception: Promise<void> = Promise.resolve();
  private isClosed = false;

  constructor(
    private readonly signer: Signer,
    private readonly network: string,
    private readonly signaling: Signaling,
    private readonly links: Links,
    private readonly verifying: Verifying,
    private readonly events: ConnectorEvents,
  ) {}

  /**
   * Try to connect, by way of a neighbour or of the signaling server.
   *
   * Answered by `onLink` or `onDialFailed` for this peer, within about 15 s.
   */
  dial(peerId: PeerId, through: PeerId | null): void {
    if (this.isClosed) return;
    const running = this.attempts.get(peerId);
    if (running !== undefined) running.asked = true;
    else if (peerId === this.signer.peerId) this.failSoon(peerId, "this is our own peer id");
    else if (this.open.has(peerId)) this.failSoon(peerId, "there is a link already");
    else {
      const connection = crypto.getRandomValues(new Uint8Array(CONNECTION_BYTES));
      void this.run(this.begin(peerId, connection, { dialled: true, asked: true, through }), null);
    }
  }

  /** Ask the signaling server for other peers, to be told by `onPeers`. */
  askPeers(): void {
    this.signaling.ask();
  }

  /** Close every link and attempt. */
  close(): void {
    this.isClosed = true;
    for (const attempt of [...this.attempts.values()]) this.abandon(attempt, "we are stopping");
    for (const link of this.open.values()) link.close("we are stopping");
  }

  // ---- what neighbours and the signaling server bring

  /** A neighbour passed a signal on to us. */
  signalArrived(through: PeerId, data: Uint8Array): void {
    this.takeSignal(data, through);
  }

  /** A neighbour cannot pass a signal on. */
  signalUndelivered(to: PeerId, through: PeerId): void {
    const attempt = this.attempts.get(to);
    if (attempt?.through === through) fail(attempt, "the peer is no longer a neighbour of who named it");
  }

  /** What the client of the signaling server tells. */
  signaled(event: SignalingEvent): void {
    switch (event.kind) {
      case "stateChanged":
        this.events.onSignaling(event.state, event.detail);
        return;
      case "peersNamed":
        this.events.onPeers(event.peerIds);
        return;
      case "peerAbsent": {
        const attempt = this.attempts.get(event.peerId);
        if (attempt?.through === null) fail(attempt, "the peer is not connected to the signaling server");
        return;
      }
      case "signalReceived":
        this.takeSignal(event.data, null);
    }
  }

  private takeSignal(data: Uint8Array, through: PeerId | null): void {
    this.reception = this.reception.then(() => this.signalReceived(data, through)).catch(ignoreRemoteError);
  }

  private async signalReceived(data: Uint8Array, through: PeerId | null): Promise<void> {
    const signal = parseSignal(data);
    await this.verifying.prepare([{ ...signal, domain: signalDomain(signal.kind) }]);
    const receiver = { network: this.network, publicKey: this.signer.publicKey };
    const content = openSignal(this.verifying.verify, signal, receiver);
    const author = peerIdOf(signal.author);
    switch (content.kind) {
      case "offer":
        this.offered(author, content, signal, through);
        return;
      case "answer": {
        const attempt = this.attemptFor(author, content.connection);
        if (!attempt.dialled || !equal(content.offer, attempt.offerId) || attempt.isAnswered) {
          throw new RemoteProtocolError("an answer is not to the offer we made");
        }
        attempt.isAnswered = true;
        attempt.answer.resolve(content);
        return;
      }
      case "candidate": {
        const attempt = this.attemptFor(author, content.connection);
        if (--attempt.candidatesLeft < 0) {
          throw new RemoteProtocolError(`a peer sent more than ${CANDIDATES_MAX} candidates`);
        }
        if (attempt.isDescribed) attempt.link.addCandidate(content.mid, content.candidate);
        else attempt.earlyCandidates.push(content);
      }
    }
  }

  private attemptFor(peerId: PeerId, connection: Uint8Array): Attempt {
    const attempt = this.attempts.get(peerId);
    if (attempt === undefined || !equal(attempt.connection, connection)) {
      throw new RemoteProtocolError("a signal belongs to no connection that is being made");
    }
    return attempt;
  }

  private offered(peerId: PeerId, offer: Offer, signal: Signal, through: PeerId | null): void {
    const name = hex(offer.connection);
    if (this.isClosed || this.seenOffers.has(name)) return;
    this.remember(name);
    const running = this.attempts.get(peerId);
    const asked = running?.asked ?? false;
    if (running !== undefined) {
      // Glare: our offer wins, and the other side will answer it.
      if (running.dialled && this.signer.peerId < peerId) return;
      this.abandon(running, "another offer takes its place");
    } else if ([...this.attempts.values()].filter((attempt) => !attempt.dialled).length >= ANSWERING_MAX) {
      return;
    }
    const attempt = this.begin(peerId, offer.connection, { dialled: false, asked, through });
    attempt.offerId = signalId(signal);
    void this.run(attempt, offer);
  }

  private remember(connection: Hex): void {
    this.seenOffers.add(connection);
    for (const oldest of this.seenOffers) {
      if (this.seenOffers.size <= REMEMBERED_OFFERS) break;
      this.seenOffers.delete(oldest);
    }
  }

  // ---- one attempt

  private begin(
    peerId: PeerId,
    connection: Uint8Array,
    how: Pick<Attempt, "dialled" | "asked" | "through">,
  ): Attempt {
    const link = this.links.make(peerId, this.signaling.iceServers);
    const attempt: Attempt = {
      peerId,
      connection,
      ...how,
      link,
      offerId: new Uint8Array(),
      answer: deferred(),
      isAnswered: false,
      earlyCandidates: [],
      candidatesLeft: CANDIDATES_MAX,
      isDescribed: false,
      unsent: [],
    };
    // Nobody may be waiting for an answer when the attempt fails.
    attempt.answer.promise.catch(() => undefined);
    link.onCandidate = (mid, candidate) => {
      if (attempt.unsent !== null) attempt.unsent.push({ mid, candidate });
      else void this.sendCandidate(attempt, mid, candidate);
    };
    this.attempts.set(peerId, attempt);
    return attempt;
  }

  /** End an attempt that nobody waits for any more, without reporting it. */
  private abandon(attempt: Attempt, reason: string): void {
    this.attempts.delete(attempt.peerId);
    attempt.asked = false;
    fail(attempt, reason);
  }

  /** Carry one attempt through, answering `offer` or making our own; then stay until the link is closed. */
  private async run(attempt: Attempt, offer: Offer | null): Promise<void> {
    const { peerId, link } = attempt;
    const timer = setTimeout(
      () => fail(attempt, `no connection within ${CONNECT_WITHIN_MS / 1_000} s`),
      CONNECT_WITHIN_MS,
    );
    try {
      const fingerprint = offer === null ? await this.offer(attempt) : await this.answer(attempt, offer);
      await link.opened(fingerprint);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      if (this.attempts.get(peerId) === attempt) this.attempts.delete(peerId);
      link.close(reason);
      if (attempt.asked) this.events.onDialFailed(peerId, reason);
      return;
    } finally {
      clearTimeout(timer);
    }
    this.attempts.delete(peerId);
    this.open.get(peerId)?.close("replaced by a newer connection");
    this.open.set(peerId, link);
    this.events.onLink(link, attempt.dialled);
    await link.closed();
    if (this.open.get(peerId) === link) this.open.delete(peerId);
  }

  /** Offer, and take the answer. Returns the certificate fingerprint the other side signed. */
  private async offer(attempt: Attempt): Promise<Uint8Array> {
    const sdp = await attempt.link.makeOffer();
    attempt.offerId = await this.send(attempt, { ...this.between(attempt), kind: "offer", ...described(sdp) });
    this.sendUnsent(attempt);
    const answer = await attempt.answer.promise;
    attempt.link.acceptAnswer(answer.sdp);
    this.described(attempt);
    return answer.fingerprint;
  }

  /** Answer an offer. Returns the certificate fingerprint the other side signed. */
  private async answer(attempt: Attempt, offer: Offer): Promise<Uint8Array> {
    const sdp = await attempt.link.acceptOffer(offer.sdp);
    const accepted = { offer: attempt.offerId };
    await this.send(attempt, { ...this.between(attempt), kind: "answer", ...accepted, ...described(sdp) });
    this.sendUnsent(attempt);
    this.described(attempt);
    return offer.fingerprint;
  }

  private between({ peerId, connection, dialled }: Attempt): Omit<Candidate, "kind" | "mid" | "candidate"> {
    const [ours, theirs] = [this.signer.publicKey, publicKeyOf(peerId)];
    const { network } = this;
    return { network, connection, offerer: dialled ? ours : theirs, answerer: dialled ? theirs : ours };
  }

  /** Sign and send one signal; its id. */
  private async send(attempt: Attempt, content: SignalBody): Promise<Uint8Array> {
    const signal = signSignal(this.signer, content);
    await this.signer.settled();
    if (attempt.through !== null) {
      this.events.onSignal(attempt.peerId, attempt.through, encodeSignal(signal));
    } else if (!this.signaling.relay(publicKeyOf(attempt.peerId), encodeSignal(signal))) {
      throw new Error("there is no connection to the signaling server");
    }
    return signalId(signal);
  }

  private sendUnsent(attempt: Attempt): void {
    const unsent = attempt.unsent ?? [];
    attempt.unsent = null;
    for (const { mid, candidate } of unsent) void this.sendCandidate(attempt, mid, candidate);
  }

  private async sendCandidate(attempt: Attempt, mid: string, candidate: string): Promise<void> {
    if (candidate === "" || this.attempts.get(attempt.peerId) !== attempt) return;
    // Without the server this candidate is lost, and perhaps the attempt, which then times out.
    await this.send(attempt, { ...this.between(attempt), kind: "candidate", mid, candidate }).catch(() => undefined);
  }

  private described(attempt: Attempt): void {
    attempt.isDescribed = true;
    for (const { mid, candidate } of attempt.earlyCandidates) attempt.link.addCandidate(mid, candidate);
    attempt.earlyCandidates = [];
  }

  private failSoon(peerId: PeerId, reason: string): void {
    queueMicrotask(() => this.events.onDialFailed(peerId, reason));
  }
}

/** End the attempt now; `run` reports why. */
function fail(attempt: Attempt, reason: string): void {
  attempt.link.close(reason);
  attempt.answer.reject(new Error(reason));
}

function described(sdp: string): { readonly fingerprint: Uint8Array; readonly sdp: string } {
  return { fingerprint: fingerprintOf(sdp), sdp };
}

/**
 * Of what came from the server we cannot know whether it or the peer is lying; what a neighbour passed on was checked
 * before, and is now only too late. So nobody is blamed.
 */
function ignoreRemoteError(error: unknown): void {
  if (!(error instanceof RemoteProtocolError)) throw error;
}

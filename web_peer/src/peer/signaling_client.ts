/**
 * Our side of the connection to a signaling server.
 *
 *     CONNECTING --entered--> ENTERED --connection lost--> UNREACHABLE --back-off--> CONNECTING
 *         |                      |                              ^
 *         |                      '------- refused --------.     |
 *         '-- cannot connect, refused for now ------------+-----'
 *         '-- refused for good (same key elsewhere, not invited) --> REFUSED
 *
 * Only new introductions need the server: links that exist do not notice when it dies.
 */

import { RemoteProtocolError } from "../protocol/errors";
import { peerIdOf, type PeerId, type Signer } from "../protocol/identity";
import {
  encodeFromClient,
  enter,
  parseFromServer,
  PEERS_MAX,
  type FromClient,
  type FromServer,
  type IceServer,
} from "../protocol/signaling";

const CONNECT_WITHIN_MS = 10_000;
/** First and longest pause between attempts; it doubles, times a random 0.5 to 1.5 so that not all come at once. */
const BACK_OFF_MS = [500, 30_000] as const;

/** Messages waiting to be sent. More are dropped: the dials they belong to run into their timeout. */
const OUTGOING_MAX = 1_000;

/** Four fifths of the server's default token bucket: the two clocks differ, and its refusal costs a reconnect. */
const MESSAGES_PER_S = 16;
const MESSAGES_BURST = 160;

export type SignalingState = "connecting" | "entered" | "unreachable" | "refused";

export type SignalingEvent =
  /** `detail` says why it is unreachable or refused: one clause for a person. */
  | { readonly kind: "stateChanged"; readonly state: SignalingState; readonly detail: string }
  /** The server names peers of our network. It may lie; a dial will tell. */
  | { readonly kind: "peersNamed"; readonly peerIds: readonly PeerId[] }
  /** Bytes somebody sent us through the server. Only the signature inside says who. */
  | { readonly kind: "signalReceived"; readonly data: Uint8Array }
  /** A signal to this peer could not be delivered. */
  | { readonly kind: "peerAbsent"; readonly peerId: PeerId };

/** What introduces us to strangers: a client of one server, or of all of a network (signaling_servers.ts). */
export type Signaling = Pick<
  SignalingClient,
  "state" | "iceServers" | "start" | "retry" | "stop" | "relay" | "ask"
>;

/** One client of one server, for one identity in one network. It reconnects by itself. */
export class SignalingClient {
  state: SignalingState = "connecting";
  /** What the server recommends. */
  iceServers: readonly IceServer[] = [];
  private socket: WebSocket | null = null;
  private hasEntered = false;
  private outgoing: FromClient[] = [];
  private tokens = MESSAGES_BURST;
  private refilledAtMs = 0;
  private pauseMs: number = BACK_OFF_MS[0];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private sendTimer: ReturnType<typeof setTimeout> | undefined;
  private isStopped = false;

  constructor(
    private readonly url: string,
    private readonly signer: Signer,
    private readonly network: string,
    private readonly invite: string,
    private readonly onEvent: (event: SignalingEvent) => void,
  ) {}

  /** Connect and stay connected. */
  start(): void {
    this.isStopped = false;
    this.connect();
  }

  /** Try again now instead of at the end of the pause; after a refusal too, since a person asks for it. */
  retry(): void {
    if (this.state !== "unreachable" && this.state !== "refused") return;
    clearTimeout(this.timer);
    this.pauseMs = BACK_OFF_MS[0];
    this.connect();
  }

  stop(): void {
    this.isStopped = true;
    clearTimeout(this.timer);
    this.hangUp();
  }

  /** Send a signal to the peer with this public key; false when we are not ENTERED or far behind. */
  relay(to: Uint8Array, signal: Uint8Array): boolean {
    return this.put({ kind: "relay", to, signal });
  }

  /** Ask for other peers, to be told by `peersNamed`; false when we are not ENTERED or far behind. */
  ask(count = PEERS_MAX): boolean {
    return this.put({ kind: "ask", count: Math.min(count, PEERS_MAX) });
  }

  private put(message: FromClient): boolean {
    if (!this.hasEntered || this.outgoing.length >= OUTGOING_MAX) return false;
    this.outgoing.push(message);
    this.write();
    return true;
  }

  private connect(): void {
    this.change("connecting", "");
    const socket = new WebSocket(this.url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.timer = setTimeout(() => this.lost(`no answer within ${CONNECT_WITHIN_MS / 1_000} s`), CONNECT_WITHIN_MS);
    socket.onmessage = ({ data }) => {
      try {
        if (typeof data === "string") throw new RemoteProtocolError("the server sent text");
        this.received(parseFromServer(new Uint8Array(data as ArrayBuffer)));
      } catch (error) {
        if (!(error instanceof RemoteProtocolError)) throw error;
        this.lost(error.message);
      }
    };
    // A page is not told why a connection failed, nor whether it was refused or lost.
    socket.onclose = () => this.lost(this.hasEntered ? "the connection was lost" : "nothing answers there");
  }

  private received(message: FromServer): void {
    switch (message.kind) {
      case "welcome":
        if (this.hasEntered) throw new RemoteProtocolError("the server sent a second welcome");
        this.iceServers = [];
        void this.introduce(message.nonce);
        return;
      case "ice":
        this.iceServers = message.servers;
        return;
      case "entered":
        clearTimeout(this.timer);
        this.hasEntered = true;
        this.pauseMs = BACK_OFF_MS[0];
        this.tokens = MESSAGES_BURST;
        this.refilledAtMs = performance.now();
        this.change("entered", "");
        this.onEvent({ kind: "peersNamed", peerIds: message.peers.map(peerIdOf) });
        return;
      case "peers":
        this.onEvent({ kind: "peersNamed", peerIds: message.peers.map(peerIdOf) });
        return;
      case "relayed":
        this.onEvent({ kind: "signalReceived", data: message.signal });
        return;
      case "undeliverable":
        this.onEvent({ kind: "peerAbsent", peerId: peerIdOf(message.to) });
        return;
      case "refused":
        if (["replaced", "signature", "malformed", "invite"].includes(message.code)) {
          this.hangUp();
          this.change("refused", message.reason);
        } else {
          this.lost(message.reason);
        }
    }
  }

  private async introduce(nonce: Uint8Array): Promise<void> {
    const socket = this.socket;
    const message = enter(this.signer, this.network, nonce, this.invite);
    await this.signer.settled();
    if (socket?.readyState === WebSocket.OPEN) socket.send(encodeFromClient(message) as Uint8Array<ArrayBuffer>);
  }

  /** Send what is queued, never faster than the server's token bucket refills. */
  private write(): void {
    if (this.sendTimer !== undefined || this.socket?.readyState !== WebSocket.OPEN) return;
    const now = performance.now();
    this.tokens = Math.min(MESSAGES_BURST, this.tokens + ((now - this.refilledAtMs) / 1_000) * MESSAGES_PER_S);
    this.refilledAtMs = now;
    while (this.outgoing.length > 0 && this.tokens >= 1) {
      this.tokens -= 1;
      this.socket.send(encodeFromClient(this.outgoing.shift() as FromClient) as Uint8Array<ArrayBuffer>);
    }
    if (this.outgoing.length > 0) {
      this.sendTimer = setTimeout(
        () => {
          this.sendTimer = undefined;
          this.write();
        },
        (1_000 * (1 - this.tokens)) / MESSAGES_PER_S,
      );
    }
  }

  private lost(detail: string): void {
    this.hangUp();
    if (this.isStopped) return;
    this.change("unreachable", detail);
    this.timer = setTimeout(() => this.connect(), this.pauseMs * (0.5 + Math.random()));
    this.pauseMs = Math.min(2 * this.pauseMs, BACK_OFF_MS[1]);
  }

  private hangUp(): void {
    clearTimeout(this.timer);
    clearTimeout(this.sendTimer);
    this.sendTimer = undefined;
    this.outgoing = [];
    this.hasEntered = false;
    if (this.socket === null) return;
    this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.socket = null;
  }

  private change(state: SignalingState, detail: string): void {
    this.state = state;
    this.onEvent({ kind: "stateChanged", state, detail });
  }
}

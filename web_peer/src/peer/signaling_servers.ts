/**
 * All signaling servers of a network as one: we are present on each, and a newcomer needs only one of them.
 *
 *     entered while we are on any · refused when each refuses us · unreachable when none can be reached · else connecting
 *
 * What we send goes by all of them, because only the other side knows which it is on; it takes what comes twice once. A
 * peer is absent when every server that we are on says so.
 */

import type { PeerId, Signer } from "../protocol/identity";
import { checkServers, websocketUrls, type JoinLink } from "../protocol/join_link";
import type { IceServer } from "../protocol/signaling";
import { SignalingClient, type Signaling, type SignalingEvent, type SignalingState } from "./signaling_client";

/** Of all servers together: each costs every connection a question. */
const ICE_SERVERS_MAX = 8;

/** Peers of which some server said that they are absent. The oldest are forgotten: their dials run into their timeout. */
const ABSENT_MAX = 1_000;

/**
 * All servers of a link.
 *
 * @throws LocalProtocolError when one of them has no usable address.
 */
export function signalingServers(link: JoinLink, signer: Signer, onEvent: (event: SignalingEvent) => void): Signaling {
  checkServers(link.others);
  return new SignalingServers(websocketUrls(link), signer, link.network, link.invite, onEvent);
}

/** One client per server, for one identity in one network. */
class SignalingServers implements Signaling {
  state: SignalingState = "connecting";
  private readonly clients: readonly SignalingClient[];
  private readonly absent = new Map<PeerId, Set<SignalingClient>>();

  constructor(
    urls: readonly string[],
    signer: Signer,
    network: string,
    invite: string,
    private readonly onEvent: (event: SignalingEvent) => void,
  ) {
    this.clients = urls.map((url) => {
      const client: SignalingClient = new SignalingClient(url, signer, network, invite, (event) =>
        this.told(client, event),
      );
      return client;
    });
  }

  /** What the servers recommend. */
  get iceServers(): readonly IceServer[] {
    const recommended = new Map<string, IceServer>();
    for (const server of this.clients.flatMap(({ iceServers }) => iceServers)) {
      recommended.set(JSON.stringify([server.url, server.username, server.credential]), server);
    }
    return [...recommended.values()].slice(0, ICE_SERVERS_MAX);
  }

  start(): void {
    for (const client of this.clients) client.start();
  }

  retry(): void {
    for (const client of this.clients) client.retry();
  }

  stop(): void {
    for (const client of this.clients) client.stop();
  }

  /** Send a signal to the peer with this public key; false when no server takes it. */
  relay(to: Uint8Array, signal: Uint8Array): boolean {
    return this.clients.map((client) => client.relay(to, signal)).includes(true);
  }

  /** Ask for other peers, to be told by `peersNamed`; false when no server can be asked. */
  ask(): boolean {
    return this.clients.map((client) => client.ask()).includes(true);
  }

  private told(client: SignalingClient, event: SignalingEvent): void {
    if (event.kind === "stateChanged") {
      this.state = this.together();
      this.onEvent({ ...event, state: this.state, detail: this.state === "entered" ? "" : event.detail });
    } else if (event.kind === "peerAbsent") {
      const says = this.absent.get(event.peerId) ?? new Set();
      this.absent.set(event.peerId, says.add(client));
      if (this.clients.every((other) => other.state !== "entered" || says.has(other))) {
        this.absent.delete(event.peerId);
        this.onEvent(event);
      } else if (this.absent.size > ABSENT_MAX) {
        for (const [oldest] of this.absent) {
          this.absent.delete(oldest);
          break;
        }
      }
    } else {
      this.onEvent(event);
    }
  }

  private together(): SignalingState {
    const states = this.clients.map(({ state }) => state);
    if (states.includes("entered")) return "entered";
    if (states.every((state) => state === "refused")) return "refused";
    return states.includes("connecting") ? "connecting" : "unreachable";
  }
}

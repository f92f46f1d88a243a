/**
 * The page's part in a connection: `RTCPeerConnection` exists nowhere but in a page, so it lives here and does what
 * the peer's Worker asks.
 *
 *     Worker --make--> a connection, its two channels handed over at once
 *            --makeOffer / acceptOffer / acceptAnswer / addCandidate--> described, candidate, connected, ended
 *
 * Both channels are negotiated (ids 0 and 1) and transferred to the Worker before anything is sent: later a browser
 * refuses to. From then on no frame touches the page, whose timers and handlers browsers slow down. Where channels
 * cannot be transferred, their frames are passed on one by one.
 */

import type { IceServer } from "../protocol/signaling";

export const CHANNEL_NAMES = ["control", "bulk"] as const;

/** What the Worker asks. `id` names the connection; the Worker counts them. */
export type RtcRequest =
  | { readonly kind: "make"; readonly id: number; readonly iceServers: readonly IceServer[] }
  | { readonly kind: "makeOffer"; readonly id: number }
  | { readonly kind: "acceptOffer"; readonly id: number; readonly sdp: string }
  | { readonly kind: "acceptAnswer"; readonly id: number; readonly sdp: string }
  | { readonly kind: "addCandidate"; readonly id: number; readonly mid: string; readonly candidate: string }
  | { readonly kind: "close"; readonly id: number }
  | { readonly kind: "send"; readonly id: number; readonly channel: number; readonly frame: Uint8Array };

/** What the Worker is told. */
export type RtcEvent =
  | { readonly kind: "channels"; readonly id: number; readonly channels: readonly RTCDataChannel[] }
  | { readonly kind: "proxied"; readonly id: number }
  | { readonly kind: "described"; readonly id: number; readonly sdp: string }
  | { readonly kind: "candidate"; readonly id: number; readonly mid: string; readonly candidate: string }
  | {
      readonly kind: "connected";
      readonly id: number;
      /** The other side's DTLS certificate (DER); null where the browser does not show it. */
      readonly certificate: Uint8Array | null;
      readonly messageBytesMax: number;
    }
  | { readonly kind: "refused"; readonly id: number; readonly reason: string }
  | { readonly kind: "ended"; readonly id: number; readonly reason: string }
  | { readonly kind: "opened" | "closed"; readonly id: number; readonly channel: number }
  /** So many bytes of proxied frames wait no longer. */
  | { readonly kind: "taken"; readonly id: number; readonly channel: number; readonly bytes: number }
  | { readonly kind: "received"; readonly id: number; readonly channel: number; readonly frame: ArrayBuffer | string };

type Post = (event: RtcEvent, transfer?: readonly Transferable[]) => void;

/** Make connections for a peer's Worker; returns what takes its requests. */
export function hostConnections(post: Post): (request: RtcRequest) => void {
  const connections = new Map<number, Hosted>();
  // Without this the others learn only after seconds of silence that the tab is gone (research/webrtc.md section 4).
  addEventListener("pagehide", () => {
    for (const hosted of connections.values()) hosted.connection.close();
  });
  return (request) => {
    if (request.kind === "make") {
      connections.set(request.id, make(request.id, request.iceServers, post));
      return;
    }
    const hosted = connections.get(request.id);
    if (hosted === undefined) return;
    if (request.kind === "close") {
      // Closed connections count against the browser's limit of 500 until nothing refers to them.
      connections.delete(request.id);
      release(hosted);
    } else if (request.kind === "send") {
      hosted.channels[request.channel]?.send(request.frame);
    } else {
      perform(hosted.connection, request).then(
        (sdp) => sdp !== null && post({ kind: "described", id: request.id, sdp }),
        (error: unknown) => post({ kind: "refused", id: request.id, reason: String(error) }),
      );
    }
  };
}

interface Hosted {
  readonly connection: RTCPeerConnection;
  /** Empty once they have been transferred. */
  readonly channels: readonly Proxied[];
}

/** A channel that stayed here, for a Worker that cannot hold it. */
interface Proxied {
  send(frame: Uint8Array): void;
  release(): void;
}

function make(id: number, iceServers: readonly IceServer[], post: Post): Hosted {
  const connection = new RTCPeerConnection({
    iceServers: iceServers.map(({ url, username, credential }) => ({ urls: url, username, credential })),
  });
  const channels = CHANNEL_NAMES.map((name, number) =>
    connection.createDataChannel(name, { negotiated: true, id: number, ordered: true }),
  );
  const left = hand(id, channels, post);
  connection.onicecandidate = ({ candidate }) => {
    if (candidate === null) return;
    post({ kind: "candidate", id, mid: candidate.sdpMid ?? "0", candidate: candidate.candidate });
  };
  connection.onconnectionstatechange = () => {
    const state = connection.connectionState;
    if (state === "connected") {
      const [certificate] = connection.sctp?.transport.getRemoteCertificates?.() ?? [];
      post({
        kind: "connected",
        id,
        certificate: certificate === undefined ? null : new Uint8Array(certificate),
        messageBytesMax: connection.sctp?.maxMessageSize ?? 0,
      });
    } else if (state === "failed" || state === "closed") {
      post({ kind: "ended", id, reason: "no connection could be made, or the peer is gone" });
    }
  };
  connection.ondatachannel = () => post({ kind: "ended", id, reason: "the peer opened a channel of its own" });
  return { connection, channels: left };
}

/** Give the channels to the Worker; those that stay here because the browser cannot. */
function hand(id: number, channels: readonly RTCDataChannel[], post: Post): readonly Proxied[] {
  try {
    post({ kind: "channels", id, channels }, channels as unknown as Transferable[]);
    return [];
  } catch (error) {
    // A DataCloneError, or a TypeError from browsers that do not know the type as transferable at all.
    if (!(error instanceof DOMException || error instanceof TypeError)) throw error;
  }
  post({ kind: "proxied", id });
  return channels.map((dataChannel, channel) => proxy(id, channel, dataChannel, post));
}

/** As `links.ts` has it: the Worker cannot set the threshold of a channel it does not hold. */
const PROXIED_LOW_BYTES = 32 * 1024;

function proxy(id: number, channel: number, dataChannel: RTCDataChannel, post: Post): Proxied {
  let waiting = 0;
  const tell = (): void => {
    if (waiting > 0) post({ kind: "taken", id, channel, bytes: waiting });
    waiting = 0;
  };
  dataChannel.binaryType = "arraybuffer";
  dataChannel.bufferedAmountLowThreshold = PROXIED_LOW_BYTES;
  dataChannel.onopen = () => post({ kind: "opened", id, channel });
  dataChannel.onclose = () => post({ kind: "closed", id, channel });
  dataChannel.onbufferedamountlow = tell;
  dataChannel.onmessage = ({ data }) => {
    const frame = data as ArrayBuffer | string;
    post({ kind: "received", id, channel, frame }, typeof frame === "string" ? [] : [frame]);
  };
  return {
    send(frame) {
      if (dataChannel.readyState !== "open") return;
      dataChannel.send(frame as Uint8Array<ArrayBuffer>);
      waiting += frame.length;
      if (dataChannel.bufferedAmount <= PROXIED_LOW_BYTES) tell();
    },
    release() {
      dataChannel.onopen = dataChannel.onclose = dataChannel.onbufferedamountlow = dataChannel.onmessage = null;
    },
  };
}

type Step = Extract<RtcRequest, { kind: "makeOffer" | "acceptOffer" | "acceptAnswer" | "addCandidate" }>;

/** One step of the negotiation. The local description, where there is a new one. */
async function perform(connection: RTCPeerConnection, step: Step): Promise<string | null> {
  switch (step.kind) {
    case "makeOffer":
      await connection.setLocalDescription();
      return connection.localDescription?.sdp ?? null;
    case "acceptOffer":
      await connection.setRemoteDescription({ type: "offer", sdp: step.sdp });
      await connection.setLocalDescription();
      return connection.localDescription?.sdp ?? null;
    case "acceptAnswer":
      await connection.setRemoteDescription({ type: "answer", sdp: step.sdp });
      return null;
    case "addCandidate":
      // A candidate that is of no use here, such as another family's, is no reason to give up.
      await connection.addIceCandidate({ sdpMid: step.mid, candidate: step.candidate }).catch(() => undefined);
      return null;
  }
}

function release({ connection, channels }: Hosted): void {
  connection.onicecandidate = connection.onconnectionstatechange = connection.ondatachannel = null;
  for (const channel of channels) channel.release();
  connection.close();
}

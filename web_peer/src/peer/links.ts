/**
 * A link over two WebRTC data channels, from the Worker's side.
 *
 *     NEW --makeOffer / acceptOffer--> CONNECTING --both channels open, certificate checked--> OPEN
 *      |                                    |                                                   |
 *      '------------- close ---------------'-- close, timeout, peer gone --> CLOSED <----------'
 *
 * The browser has one queue for each channel and drains them by its own rules; our own two queues stand before it and
 * let at most `HIGH_BYTES` in, so that a control frame waits behind no more than that.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { equal } from "../protocol/bytes";
import { FRAME_BYTES_MAX } from "../protocol/config";
import { LocalProtocolError, RemoteProtocolError } from "../protocol/errors";
import { Channel } from "../protocol/events";
import type { PeerId } from "../protocol/identity";
import type { IceServer } from "../protocol/signaling";
import { deferred } from "./deferred";
import type { RtcEvent, RtcRequest } from "./rtc";

/** Bytes let into the browser's own queues. More stalls a fresh connection (research/webrtc.md section 4). */
export const HIGH_BYTES = 256 * 1024;
/** Where they are filled up again. */
export const LOW_BYTES = 64 * 1024;
/** The first bytes of a connection go more slowly: 11 of 20 fresh ones stalled for seconds otherwise (ibid., end). */
const SLOW_START_BYTES = 4 * 1024 * 1024;
/** A link whose sender never pauses is closed here: the other side does not read. Chromium throws at the same size. */
const BUFFERED_MAX_BYTES = 16 * 1024 * 1024;
/** Bytes kept for a receiver that has not attached yet. It attaches in the same turn; this bounds a mistake. */
const EARLY_BYTES_MAX = 1024 * 1024;
/** How long a link we close waits until its last frames are delivered. SCTP repeats a lost one after 1 s. */
const LINGER_MS = 2_500;

/** A live, authenticated connection to one peer. Nothing is ever delivered from within `send` or `close`. */
export interface Link {
  readonly peerId: PeerId;

  /**
   * Say who receives, once. Frames that came before are handed over during this call, in order. `onClosed` is called
   * exactly once, whoever closed the link, and no frame follows it. `onDrained` is called once after bulk frames were
   * given, when at most `LOW_BYTES` wait.
   */
  attach(
    onFrame: (channel: Channel, frame: Uint8Array) => void,
    onClosed: (reason: string) => void,
    onDrained: () => void,
  ): void;

  /**
   * Queue one frame. On a closed link it is dropped: `onClosed` is on its way.
   *
   * @throws LocalProtocolError when the frame is longer than `FRAME_BYTES_MAX`.
   */
  send(channel: Channel, frame: Uint8Array): void;

  /** Close from our side. Frames already queued get a moment to leave. Closing twice is fine. */
  close(reason: string): void;
}

/** What a link needs of a data channel, whether it is here or proxied from the page. */
interface DataChannel {
  readonly readyState: RTCDataChannelState;
  readonly bufferedAmount: number;
  send(frame: Uint8Array<ArrayBuffer>): void;
  close(): void;
}

type State = "new" | "connecting" | "open" | "closed";

/** One connection that the page holds for us and its two channels. A `Link` once `opened` has resolved. */
export class RtcLink implements Link {
  state: State = "new";
  /** Told of every candidate of ours, from the moment we have described ourselves. */
  onCandidate: (mid: string, candidate: string) => void = () => {};
  private reason = "";
  private channels: readonly DataChannel[] = [];
  private readonly queues: readonly [Uint8Array[], Uint8Array[]] = [[], []];
  private queuedBytes = 0;
  private sentBytes = 0;
  private early: [Channel, Uint8Array][] = [];
  private earlyBytes = 0;
  private onFrame: ((channel: Channel, frame: Uint8Array) => void) | null = null;
  private onClosed: ((reason: string) => void) | null = null;
  private onDrained: () => void = () => {};
  private hasBulk = false;
  private certificate: Uint8Array | null = null;
  private messageBytesMax: number | null = null;
  private readonly description = deferred<string>();
  private readonly changed = deferred<void>();
  private readonly gone = deferred<void>();

  constructor(
    readonly peerId: PeerId,
    private readonly request: (request: RequestBody) => void,
    iceServers: readonly IceServer[],
  ) {
    // Nobody may be waiting for it when it is refused.
    this.description.promise.catch(() => undefined);
    request({ kind: "make", iceServers });
  }

  // ---- making the connection

  /** The SDP of our offer. Candidates follow by `onCandidate`. Rejects when the link is closed meanwhile. */
  makeOffer(): Promise<string> {
    this.state = "connecting";
    this.request({ kind: "makeOffer" });
    return this.description.promise;
  }

  /** Take the other side's offer; the SDP of our answer. Rejects when the browser cannot use theirs. */
  acceptOffer(sdp: string): Promise<string> {
    this.state = "connecting";
    this.request({ kind: "acceptOffer", sdp });
    return this.description.promise;
  }

  acceptAnswer(sdp: string): void {
    this.request({ kind: "acceptAnswer", sdp });
  }

  addCandidate(mid: string, candidate: string): void {
    if (candidate !== "") this.request({ kind: "addCandidate", mid, candidate });
  }

  /**
   * Resolves once frames can flow and the certificate in use is the signed one; rejects when the connection failed.
   *
   * The browser itself has compared the certificate with the fingerprint in the SDP, which is the signed one
   * (`openSignal`). Where it shows the certificate, we compare as well.
   */
  async opened(fingerprint: Uint8Array): Promise<void> {
    await this.changed.promise;
    if (this.state === "closed") throw new Error(this.reason);
    if (this.certificate !== null && !equal(sha256(this.certificate), fingerprint)) {
      throw new RemoteProtocolError("the DTLS certificate in use is not the signed one");
    }
    if ((this.messageBytesMax ?? 0) < FRAME_BYTES_MAX) {
      throw new RemoteProtocolError(`the peer does not take frames of ${FRAME_BYTES_MAX} bytes`);
    }
    this.state = "open";
    this.pump();
  }

  /** Resolves when the page has let go of the connection. */
  closed(): Promise<void> {
    return this.gone.promise;
  }

  /** What the page tells about this connection. */
  told(event: RtcEvent): void {
    switch (event.kind) {
      case "channels":
        this.channels = event.channels.map((channel, number) => this.listen(channel, number as Channel));
        return;
      case "proxied":
        this.channels = [Channel.CONTROL, Channel.BULK].map((number) => new ProxiedChannel(number, this.request));
        return;
      case "described":
        this.description.resolve(event.sdp);
        return;
      case "candidate":
        this.onCandidate(event.mid, event.candidate);
        return;
      case "connected":
        this.certificate = event.certificate;
        this.messageBytesMax = event.messageBytesMax;
        this.channelOpened();
        return;
      case "refused":
        this.end(`the browser cannot use an SDP: ${event.reason}`);
        return;
      case "ended":
        this.end(event.reason);
        return;
      case "received":
        this.received(event.channel as Channel, event.frame);
        return;
      case "opened":
      case "closed":
      case "taken":
        (this.channels[event.channel] as ProxiedChannel).told(event);
        if (event.kind === "opened") this.channelOpened();
        else if (event.kind === "closed") this.end("the peer closed the connection");
        else this.pump();
    }
  }

  // ---- Link

  attach(
    onFrame: (channel: Channel, frame: Uint8Array) => void,
    onClosed: (reason: string) => void,
    onDrained: () => void,
  ): void {
    const { early } = this;
    this.early = [];
    for (const [channel, frame] of early) onFrame(channel, frame);
    this.onDrained = onDrained;
    this.onFrame = onFrame;
    this.onClosed = onClosed;
    if (this.state === "closed") queueMicrotask(() => onClosed(this.reason));
  }

  send(channel: Channel, frame: Uint8Array): void {
    if (frame.length > FRAME_BYTES_MAX) {
      throw new LocalProtocolError(`a frame of ${frame.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
    }
    if (this.state === "closed") return;
    this.queues[channel].push(frame);
    this.queuedBytes += frame.length;
    if (channel === Channel.BULK) this.hasBulk = true;
    this.pump();
    if (this.queuedBytes > BUFFERED_MAX_BYTES) this.end("the peer does not keep up with what we send");
  }

  close(reason: string): void {
    this.end(reason, this.state === "open");
  }

  // ---- what the channels tell us

  private listen(channel: RTCDataChannel, number: Channel): RTCDataChannel {
    channel.binaryType = "arraybuffer";
    // Two channels waiting at their thresholds are still at most LOW_BYTES together.
    channel.bufferedAmountLowThreshold = LOW_BYTES / 2;
    channel.onopen = () => this.channelOpened();
    channel.onmessage = ({ data }) => this.received(number, data as ArrayBuffer | string);
    channel.onbufferedamountlow = () => this.pump();
    channel.onclose = () => this.end("the peer closed the connection");
    return channel;
  }

  private channelOpened(): void {
    const isOpen = this.channels.length === 2 && this.channels.every((channel) => channel.readyState === "open");
    if (isOpen && this.messageBytesMax !== null) this.changed.resolve();
  }

  private received(channel: Channel, message: ArrayBuffer | string): void {
    if (this.state === "closed") return;
    if (typeof message === "string") {
      this.end("the peer sent text");
    } else if (message.byteLength > FRAME_BYTES_MAX) {
      this.end("the peer sent a frame that is too long");
    } else if (this.onFrame !== null) {
      this.onFrame(channel, new Uint8Array(message));
    } else {
      this.early.push([channel, new Uint8Array(message)]);
      this.earlyBytes += message.byteLength;
      if (this.earlyBytes > EARLY_BYTES_MAX) this.end("frames came before anybody listened");
    }
  }

  /** Move frames into the channels, control before bulk, up to the high-water mark. */
  private pump(): void {
    if (this.state !== "open" && this.state !== "closed") return;
    const highBytes = this.sentBytes < SLOW_START_BYTES ? LOW_BYTES : HIGH_BYTES;
    while (this.queuedBytes > 0 && this.inChannels < highBytes) {
      const number = this.queues[Channel.CONTROL].length > 0 ? Channel.CONTROL : Channel.BULK;
      const channel = this.channels[number];
      if (channel?.readyState !== "open") return;
      const frame = this.queues[number].shift() as Uint8Array<ArrayBuffer>;
      this.queuedBytes -= frame.length;
      this.sentBytes += frame.length;
      channel.send(frame);
    }
    if (this.hasBulk && this.queuedBytes + this.inChannels <= LOW_BYTES) {
      this.hasBulk = false;
      queueMicrotask(this.onDrained);
    }
  }

  private get inChannels(): number {
    return this.channels.reduce((bytes, channel) => bytes + channel.bufferedAmount, 0);
  }

  // ---- the end

  /** The only place where a link becomes CLOSED. */
  private end(reason: string, linger = false): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.reason = reason;
    this.early = [];
    this.changed.resolve();
    this.description.reject(new Error(reason));
    const { onClosed } = this;
    if (onClosed !== null) queueMicrotask(() => onClosed(reason));
    const release = (): void => {
      this.channels = [];
      this.request({ kind: "close" });
      this.gone.resolve();
    };
    if (!linger) {
      release();
      return;
    }
    // A channel that is closed still delivers what was sent before, which a closed connection does not.
    this.pump();
    const timer = setTimeout(release, LINGER_MS);
    let open = this.channels.length;
    for (const channel of this.channels) {
      const onClose = (): void => {
        if (--open > 0) return;
        clearTimeout(timer);
        release();
      };
      if (channel instanceof ProxiedChannel) channel.onClose = onClose;
      else (channel as RTCDataChannel).onclose = onClose;
      channel.close();
    }
  }
}

/** A channel that stayed in the page: its frames go through the page one by one. */
class ProxiedChannel implements DataChannel {
  readyState: RTCDataChannelState = "connecting";
  bufferedAmount = 0;
  onClose: () => void = () => {};

  constructor(
    private readonly channel: number,
    private readonly request: (request: RequestBody) => void,
  ) {}

  send(frame: Uint8Array<ArrayBuffer>): void {
    this.bufferedAmount += frame.length;
    this.request({ kind: "send", channel: this.channel, frame });
  }

  close(): void {
    // The page closes both with the connection; what was sent before is in the browser's hands by then.
    this.onClose();
  }

  told(event: Extract<RtcEvent, { kind: "opened" | "closed" | "taken" }>): void {
    if (event.kind === "taken") this.bufferedAmount -= event.bytes;
    else this.readyState = event.kind === "opened" ? "open" : "closed";
  }
}

type WithoutId<T> = T extends unknown ? Omit<T, "id"> : never;
type RequestBody = WithoutId<RtcRequest>;

/** Makes links with the page's help. */
export class Links {
  private readonly links = new Map<number, RtcLink>();
  private made = 0;

  constructor(private readonly post: (request: RtcRequest) => void) {}

  make(peerId: PeerId, iceServers: readonly IceServer[]): RtcLink {
    const id = ++this.made;
    const link = new RtcLink(
      peerId,
      (request) => {
        if (request.kind === "close") this.links.delete(id);
        this.post({ ...request, id } as RtcRequest);
      },
      iceServers,
    );
    this.links.set(id, link);
    return link;
  }

  /** What the page tells about one of them. */
  told(event: RtcEvent): void {
    this.links.get(event.id)?.told(event);
  }
}

/**
 * One link's life: hello, then liveness (spec/session.md).
 *
 *     GREETING --hello--> OPEN --silent 4 s--> SUSPECTED --silent 10 s--> GONE
 *        |                  ^                      |
 *        |                  '------- a frame ------'
 *        '--no hello in time, or a foreign one--> GONE       (`bye` and `part` lead there, too)
 *
 * Any frame counts as life. While the other side is silent we ping, so that an idle but healthy peer answers before it
 * is suspected. A channel's own state proves nothing: libwebrtc's stay 'open' after the peer has died.
 */

import { PROTOCOL_VERSION, type ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import type { Frame, Hello } from "./frames";

export type SessionState = "greeting" | "open" | "suspected" | "gone";

const NOTHING: readonly Frame[] = [];

/** Liveness of one link. What `received` and `advance` return are frames for the caller to send to this peer. */
export class Session {
  state: SessionState = "greeting";
  agent = "";
  reason = "";
  /** It is gone because the peer has other neighbours: no reason to think that the peer itself is gone. */
  hasParted = false;
  private readonly config: ProtocolConfig;
  private readonly openedAt: number;
  private heardAt: number;
  private pingedAt: number | null = null;
  private nonce = 0;

  constructor(config: ProtocolConfig, now: number) {
    this.config = config;
    this.openedAt = now;
    this.heardAt = now;
  }

  /** What we say first. */
  greeting(): Hello {
    return { kind: "hello", versions: [PROTOCOL_VERSION], network: this.config.network, agent: this.config.agent };
  }

  /**
   * Account for one frame and answer it if it concerns the session.
   *
   * @throws RemoteProtocolError for another version or network, a frame before hello, or a second hello.
   */
  received(frame: Frame, now: number): readonly Frame[] {
    this.heardAt = now;
    this.pingedAt = null;
    if (this.state === "suspected") this.state = "open";
    if (frame.kind === "hello") {
      this.greeted(frame);
    } else if (this.state === "greeting") {
      throw new RemoteProtocolError("a frame before hello");
    } else if (frame.kind === "ping") {
      return [{ kind: "pong", nonce: frame.nonce }];
    } else if (frame.kind === "bye") {
      this.end(`the peer left: ${frame.reason}`);
    } else if (frame.kind === "part") {
      this.hasParted = true;
      this.end("the peer has other neighbours");
    }
    return NOTHING;
  }

  /** Let time pass: ping, suspect, give up. Look at `state` afterwards. */
  advance(now: number): readonly Frame[] {
    // Every moment is computed by the same sum here and in `wakeAt`: a driver that wakes us exactly then must not find
    // that rounding says a little later.
    if (now < this.wakeAt() || this.state === "gone") return NOTHING;
    if (this.state === "greeting") {
      this.end("no hello in time");
      return NOTHING;
    }
    if (now >= this.heardAt + this.config.goneAfterS) {
      this.end(`silent for ${this.config.goneAfterS} s`);
      return NOTHING;
    }
    if (now >= this.heardAt + this.config.suspectAfterS) this.state = "suspected";
    if (now >= this.pingAt()) {
      this.pingedAt = now;
      this.nonce += 1;
      return [{ kind: "ping", nonce: this.nonce }];
    }
    return NOTHING;
  }

  /** When `advance` has something to do next, if no frame comes before. */
  wakeAt(): number {
    if (this.state === "greeting") return this.openedAt + this.config.helloWithinS;
    const due = Math.min(this.heardAt + this.config.goneAfterS, this.pingAt());
    return this.state === "open" ? Math.min(due, this.heardAt + this.config.suspectAfterS) : due;
  }

  private greeted(hello: Hello): void {
    if (this.state !== "greeting") throw new RemoteProtocolError("a second hello");
    if (!hello.versions.includes(PROTOCOL_VERSION)) {
      const versions = hello.versions.join(", ");
      throw new RemoteProtocolError(`the peer speaks versions ${versions}, we speak ${PROTOCOL_VERSION}`);
    }
    if (hello.network !== this.config.network) {
      throw new RemoteProtocolError(`the peer is of network '${hello.network}', we are of '${this.config.network}'`);
    }
    this.state = "open";
    this.agent = hello.agent;
  }

  private pingAt(): number {
    return (this.pingedAt ?? this.heardAt) + this.config.pingAfterS;
  }

  private end(reason: string): void {
    this.state = "gone";
    this.reason = reason;
  }
}

/**
 * The driver of one peer: feeds it what happens, performs what it asks, keeps its one timer. It decides nothing.
 *
 *     links, lanes, timer --input--> Peer.handle --outputs--> store, links, lanes, whoever watches
 *
 * Frames in and records out wait here for what is asynchronous in a browser: a frame for the signatures inside it to be
 * verified, then it is fed; outputs for our own signatures to be made and for the store to have written, then they
 * leave. Each of the two keeps its order.
 */

import { equal, hex } from "../protocol/bytes";
import { decode, encode } from "../protocol/codec";
import type { ProtocolConfig } from "../protocol/config";
import type { Channel, ChunkOutcome, Execute, Input, Notice } from "../protocol/events";
import { RemoteProtocolError } from "../protocol/errors";
import { decodeFrame, encodeFrame, type Frame } from "../protocol/frames";
import type { PeerId, Signer } from "../protocol/identity";
import { openManifest } from "../protocol/manifest";
import { Peer } from "../protocol/peer";
import { domainOf, parse, recordKey, Signed } from "../protocol/records";
import { parseSignal, signalDomain } from "../protocol/signals";
import { wholeBlob, type BrowserBlobs } from "./blobs";
import { BrowserRng } from "./chance";
import type { Later } from "./later";
import type { Link } from "./links";
import type { Store, StoredRecord } from "./store";
import type { Verifying } from "./verifying";

/** Frames of one link that wait for their signatures. More come only from a peer that floods us with forged ones. */
const WAITING_BYTES_MAX = 8 * 1024 * 1024;

/** What leaves, in order. The link is the one of that moment: a later one to the same peer never gets these. */
type Outgoing =
  | { readonly kind: "send"; readonly link: Link; readonly channel: Channel; readonly frame: Frame }
  | { readonly kind: "save"; readonly records: readonly Signed[] }
  | { readonly kind: "close"; readonly link: Link; readonly reason: string };

interface Inbox {
  last: Promise<void> | null;
  bytes: number;
}

export interface RuntimeEvents {
  onExecute(order: Execute, module: Uint8Array): void;
  onCancel(job: number): void;
  onDial(peerId: PeerId, through: PeerId | null): void;
  /** A neighbour passed a signal on to us. */
  onSignalArrived(through: PeerId, signal: Uint8Array): void;
  /** A neighbour could not pass a signal of ours on. */
  onSignalUndelivered(to: PeerId, through: PeerId): void;
  /** The signaling server should name peers. */
  onSeek(): void;
  onNotice(notice: Notice): void;
  /** Records of ours and of our tasks have been kept; in the order saved. */
  onSaved(records: readonly Signed[]): void;
  /** Something may have changed that a person sees. */
  onChanged(): void;
  /** The runtime has stopped: what it signs could no longer be kept, or there is a bug. */
  onFailed(error: Error): void;
}

export class Runtime {
  readonly peer: Peer;
  private readonly links = new Map<PeerId, Link>();
  private readonly dialled = new Map<PeerId, boolean>();
  private outgoing: Outgoing[] = [];
  private isFlushing = false;
  private flushing: Promise<void> = Promise.resolve();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private isClosed = false;

  constructor(
    config: ProtocolConfig,
    private readonly signer: Signer,
    private readonly verifying: Verifying,
    private readonly blobs: BrowserBlobs,
    private readonly store: Store,
    private readonly later: Later,
    private readonly events: RuntimeEvents,
    private readonly now: () => number,
  ) {
    this.peer = new Peer(config, signer, verifying.verify, new BrowserRng(), blobs, later, now());
  }

  /** Take up what the store remembers. Call it before anything else. */
  async restore(): Promise<readonly Signed[]> {
    const stored = await this.store.records(this.peer.config.network);
    const records = stored.map(({ signed }) => decode(Signed, signed));
    const manifests = records.filter(({ kind }) => kind === "manifest");
    await this.verifying.prepare(manifests.map(claimOf));
    const ours = manifests.filter(({ author }) => equal(author, this.signer.publicKey));
    if (ours.length > 0) await this.later.prepareToCreate(ours.map((each) => openManifest(each, this.verifying.verify).runtime));
    if (records.length > 0) this.feed({ kind: "recordsRestored", records });
    return records;
  }

  /**
   * Give the peer one input and perform what it answers.
   *
   * @throws LocalProtocolError when a `taskPublished` is not ours to publish, or has expired.
   */
  feed(event: Input): void {
    if (this.isClosed) return;
    try {
      for (const output of this.peer.handle(event, this.now())) {
        switch (output.kind) {
          case "sendFrame": {
            const link = this.links.get(output.peerId);
            if (link !== undefined) this.outgoing.push({ ...output, kind: "send", link });
            break;
          }
          case "saveRecords":
            this.outgoing.push({ kind: "save", records: output.records });
            break;
          case "closeLink": {
            const link = this.links.get(output.peerId);
            if (link === undefined) break;
            this.links.delete(output.peerId);
            this.outgoing.push({ kind: "close", link, reason: output.reason });
            break;
          }
          case "execute":
            this.events.onExecute(output, wholeBlob(this.blobs, output.code));
            break;
          case "cancelJob":
            this.events.onCancel(output.job);
            break;
          case "dialPeer":
            this.events.onDial(output.peerId, output.through);
            break;
          case "signalArrived":
            this.events.onSignalArrived(output.through, output.signal);
            break;
          case "signalUndelivered":
            this.events.onSignalUndelivered(output.to, output.through);
            break;
          case "seekPeers":
            this.events.onSeek();
            break;
          case "notice":
            this.events.onNotice(output);
        }
      }
    } catch (error) {
      if (event.kind === "taskPublished") throw error;
      this.fail(error);
      return;
    }
    void this.flush();
    this.setTimer();
    this.events.onChanged();
  }

  /** A job's chunks were executed. */
  executed(order: Execute, outcomes: readonly ChunkOutcome[], seconds: number): void {
    this.feed({ kind: "executed", job: order.job, outcomes, seconds });
  }

  linkOpened(link: Link, dialled: boolean): void {
    const { peerId } = link;
    this.links.set(peerId, link);
    this.dialled.set(peerId, dialled);
    this.feed({ kind: "linkOpened", peerId, dialled });
    const inbox: Inbox = { last: null, bytes: 0 };
    link.attach(
      (_channel, frame) => this.received(link, inbox, frame),
      (reason) => {
        if (this.links.get(peerId) !== link) return;
        this.links.delete(peerId);
        this.dialled.delete(peerId);
        this.feed({ kind: "linkClosed", peerId, reason });
      },
      () => {
        if (this.links.get(peerId) === link) this.feed({ kind: "linkDrained", peerId });
      },
    );
  }

  /** Whether the offer of the link to this peer was ours. */
  hasDialled(peerId: PeerId): boolean {
    return this.dialled.get(peerId) ?? false;
  }

  get linkCount(): number {
    return this.links.size;
  }

  /** Say goodbye and stop; what is queued still leaves. */
  async close(reason: string): Promise<void> {
    if (this.isClosed) return;
    for (const output of this.peer.farewell(reason)) {
      const link = output.kind === "sendFrame" ? this.links.get(output.peerId) : undefined;
      if (output.kind === "saveRecords") this.outgoing.push({ kind: "save", records: output.records });
      if (output.kind === "sendFrame" && link !== undefined) this.outgoing.push({ ...output, kind: "send", link });
    }
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.flush();
  }

  /** Resolves once everything handed over so far is kept and has left. */
  flushed(): Promise<void> {
    return this.flushing;
  }

  // ---- frames in

  private received(link: Link, inbox: Inbox, frame: Uint8Array): void {
    const wait = this.verifying.prepare(claimsIn(frame));
    if (wait === null && inbox.last === null) {
      this.take(link, frame);
      return;
    }
    inbox.bytes += frame.length;
    if (inbox.bytes > WAITING_BYTES_MAX) {
      link.close("more signatures than we can check");
      return;
    }
    const take = (): void => {
      inbox.bytes -= frame.length;
      if (inbox.last === turn) inbox.last = null;
      this.take(link, frame);
    };
    const turn = Promise.all([inbox.last, wait]).then(take, () => link.close("we cannot check its signatures now"));
    inbox.last = turn;
  }

  private take(link: Link, frame: Uint8Array): void {
    if (this.links.get(link.peerId) === link) this.feed({ kind: "frameReceived", peerId: link.peerId, frame });
  }

  // ---- frames and records out

  /** Let out what is queued, in order: everything that waits shares one transaction of the store. */
  private flush(): Promise<void> {
    if (!this.isFlushing) {
      this.isFlushing = true;
      this.flushing = this.letOut();
    }
    return this.flushing;
  }

  private async letOut(): Promise<void> {
    try {
      while (this.outgoing.length > 0 || this.blobs.hasChanges) {
        const leaving = this.outgoing;
        this.outgoing = [];
        await this.signer.settled();
        const records = leaving.flatMap((each) => (each.kind === "save" ? each.records : []));
        if (records.length > 0 || this.blobs.hasChanges) {
          await this.store.commit({ records: records.map((each) => this.stored(each)), ...this.blobs.takeChanges() });
          if (records.length > 0) this.events.onSaved(records);
        }
        this.leave(leaving);
      }
    } catch (error) {
      this.fail(error);
    } finally {
      // In one step with the last look at what waits: what is fed from now on begins anew.
      this.isFlushing = false;
    }
  }

  private leave(leaving: readonly Outgoing[]): void {
    const encoded = new Map<Frame, Uint8Array>();
    for (const each of leaving) {
      if (each.kind === "close") {
        each.link.close(each.reason);
      } else if (each.kind === "send") {
        let frame = encoded.get(each.frame);
        if (frame === undefined) encoded.set(each.frame, (frame = encodeFrame(each.frame)));
        each.link.send(each.channel, frame);
      }
    }
  }

  private stored(signed: Signed): StoredRecord {
    const record = recordKey(signed);
    const task = signed.kind === "manifest" ? record : hex(parse(signed).task);
    return { record, task, network: this.peer.config.network, signed: encode(Signed, signed) };
  }

  private setTimer(): void {
    clearTimeout(this.timer);
    const waitMs = Math.max(0, 1_000 * (this.peer.wakeAt - this.now()));
    this.timer = setTimeout(() => this.feed({ kind: "woke" }), waitMs);
  }

  private fail(error: unknown): void {
    if (this.isClosed) return;
    this.isClosed = true;
    clearTimeout(this.timer);
    for (const link of this.links.values()) link.close("this peer has stopped");
    this.events.onFailed(error instanceof Error ? error : new Error(String(error)));
  }
}

export function claimOf(signed: Signed): { author: Uint8Array; domain: string; body: Uint8Array; signature: Uint8Array } {
  return { author: signed.author, domain: domainOf(signed.kind), body: signed.body, signature: signed.signature };
}

/** The signatures a frame carries. What is no frame carries none: the core will say so. */
function claimsIn(frame: Uint8Array): ReturnType<typeof claimOf>[] {
  try {
    const decoded = decodeFrame(frame);
    switch (decoded.kind) {
      case "publish":
        return decoded.records.map(claimOf);
      case "relay":
      case "relayed": {
        const signal = parseSignal(decoded.signal);
        return [{ ...signal, domain: signalDomain(signal.kind) }];
      }
      default:
        return [];
    }
  } catch (error) {
    if (error instanceof RemoteProtocolError) return [];
    throw error;
  }
}

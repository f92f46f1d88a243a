/**
 * Gossip of records over a mesh per topic, after gossipsub v1.1 (spec/gossip.md).
 *
 *     a neighbour follows our topic:  OUTSIDE --graft--> MESH --prune--> OUTSIDE (and no graft for the backoff time)
 *
 * New records are pushed to the mesh at once; everybody else who follows the topic hears their ids (ihave) and asks for
 * what is missing (iwant). When two neighbours discover that they follow the same topic, they compare what they hold
 * (comparing.ts), which is how a newcomer, or the two halves of a healed partition, come to hold the same set.
 *
 * This module moves ids and opaque records; what a record means, and whether it is valid, the caller says. It asks the
 * `Shelf` for what is held, because records live in the ledgers, once.
 */

import { fromHex, hex, type Hex } from "./bytes";
import { ASKED_FIRST_WITHIN_S, Comparisons } from "./comparing";
import { FRAME_BYTES_MAX, type ProtocolConfig } from "./config";
import { RemoteProtocolError } from "./errors";
import { type Frame, type GossipFrame, IDS_MAX, type Publish, RECORDS_MAX, TOPICS_MAX } from "./frames";
import type { PeerId } from "./identity";
import type { Answer } from "./reconcile";
import type { Signed } from "./records";
import { type Rng, sample } from "./rng";

const PUBLISH_BYTES_MAX = FRAME_BYTES_MAX - 1_024;
/** Ids remembered as seen: a string of 64 characters each and overhead, about 30 MB when full. */
const SEEN_MAX = 200_000;
const TOPICS_PER_NEIGHBOUR_MAX = 4_096;
const WANTED_MAX = 50_000;
/** Heartbeats at which a record in a topic that no neighbour follows is passed to somebody else again. */
const STRAY_TRIES = 4;
/** Heartbeats at which our record in a topic that is not ours is passed to others still, though somebody follows it. */
const OFF_TOPIC_TRIES = 2;
/** Neighbours remembered as holders of one wanted record: the next to ask, and nobody to send it to. */
const OFFERS_MAX = 16;
const ASK_AGAIN_AFTER_S = 3;
/** Followers outside the mesh that hear of recent ids at a heartbeat. */
const ANNOUNCED_MAX = 6;
const ENVELOPE_BYTES = 160;

/** Who holds the records: the ledgers, behind two questions. */
export interface Shelf {
  /** Ids of everything still worth having in this topic. */
  recordIds(topic: Hex): Iterable<Hex>;
  /** The record of this id, if it is held. */
  record(recordId: Hex): Signed | null;
}

interface Neighbour {
  readonly follows: Set<Hex>;
  /** What goes with the next push, and in which topic, by id: what is asked for a thousand times goes once. */
  outbox: Map<Hex, readonly [topic: Hex, record: Signed]>;
}

/** A record somebody offered: asked of one neighbour at a time, so that a newcomer hears each record once. */
interface Wanted {
  readonly topic: Hex;
  askedOf: PeerId;
  askedAt: number;
  readonly others: PeerId[];
}

/** Our record in a topic that is not ours. */
interface Stray {
  readonly topic: Hex;
  readonly triesLeft: number;
}

interface Recent {
  readonly at: number;
  readonly topic: Hex;
  readonly recordId: Hex;
  readonly isOurs: boolean;
}

/** A frame and the neighbour to send it to. */
export type Addressed = readonly [peerId: PeerId, frame: Frame];

/** The mesh of one peer. Methods return nothing; `drain` gives the frames that became due. */
export class Gossip {
  private readonly neighbours = new Map<PeerId, Neighbour>();
  /** Our topics, and the mesh of each. */
  private readonly topics = new Map<Hex, Set<PeerId>>();
  private readonly backoff = new Map<string, number>();
  private readonly seenIds = new Set<Hex>();
  private readonly wanted = new Map<Hex, Wanted>();
  /** How many of `wanted` are of a topic. */
  private readonly wantedIn = new Map<Hex, number>();
  /** Topic -> followers that have not told us what they hold. */
  private readonly unheard = new Map<Hex, Set<PeerId>>();
  private readonly comparisons: Comparisons;
  private recent: Recent[] = [];
  private frames: Addressed[] = [];
  /** Neighbours whose outbox holds something. */
  private due = new Set<PeerId>();
  private pushAt = 0;
  private readonly strays = new Map<Hex, Stray>();
  private heartbeatAt: number | null = null;

  constructor(
    private readonly config: ProtocolConfig,
    private readonly peerId: PeerId,
    private readonly rng: Rng,
    private readonly shelf: Shelf,
  ) {
    this.comparisons = new Comparisons(rng, (topic) => shelf.recordIds(topic));
  }

  // ---- neighbours and topics

  /** A neighbour said hello. */
  linkOpened(peerId: PeerId): void {
    this.neighbours.set(peerId, { follows: new Set(), outbox: new Map() });
    const topics = [...this.topics.keys()].map(fromHex);
    for (let start = 0; start < topics.length; start += TOPICS_MAX) {
      this.frames.push([peerId, { kind: "topics", follow: topics.slice(start, start + TOPICS_MAX), leave: [] }]);
    }
  }

  linkClosed(peerId: PeerId): void {
    this.neighbours.delete(peerId);
    this.comparisons.linkClosed(peerId);
    for (const mesh of this.topics.values()) mesh.delete(peerId);
    for (const unheard of this.unheard.values()) unheard.delete(peerId);
  }

  /** Take part in a topic from now on. */
  follow(topic: Hex): void {
    if (this.topics.has(topic)) return;
    this.topics.set(topic, new Set());
    const followers = this.followers(topic);
    this.unheard.set(topic, new Set(followers));
    this.tellAll({ kind: "topics", follow: [fromHex(topic)], leave: [] });
    for (const peerId of followers) this.met(peerId, topic, 0, true);
    this.maintain(topic, 0);
  }

  /** Take no further part in a topic. */
  leave(topic: Hex): void {
    if (this.topics.delete(topic)) {
      this.unheard.delete(topic);
      this.comparisons.leave(topic);
      this.tellAll({ kind: "topics", follow: [], leave: [fromHex(topic)] });
    }
  }

  /** Take no further part in the topics that begin so. */
  leaveAll(prefix: Hex): void {
    for (const topic of [...this.topics.keys()]) if (topic.startsWith(prefix)) this.leave(topic);
  }

  follows(topic: Hex): boolean {
    return this.topics.has(topic);
  }

  /** Whether everything that the followers we met on joining the topic told us of has come. */
  synced(topic: Hex): boolean {
    return !this.unheard.get(topic)?.size && !this.wantedIn.has(topic);
  }

  /** Neighbours that follow a topic. */
  followers(topic: Hex): PeerId[] {
    const followers: PeerId[] = [];
    for (const [peerId, neighbour] of this.neighbours) if (neighbour.follows.has(topic)) followers.push(peerId);
    return followers;
  }

  mesh(topic: Hex): ReadonlySet<PeerId> {
    return this.topics.get(topic) ?? new Set();
  }

  // ---- records

  /** Whether this id was published or received before. */
  seen(recordId: Hex): boolean {
    return this.seenIds.has(recordId);
  }

  markSeen(recordId: Hex): void {
    this.seenIds.add(recordId);
    this.unwant(recordId);
    if (this.seenIds.size > SEEN_MAX) {
      for (const oldest of this.seenIds) {
        this.seenIds.delete(oldest);
        break;
      }
    }
  }

  /**
   * Send a valid record on: to the mesh, or to any followers while our mesh of the topic is thin.
   *
   * Nobody gets it who offered it to us: whoever catches up on a topic asks for what all around it have had for long.
   * `source` is who sent it to us, null when it is our own. `towards` is who needs the record most, should it be a
   * neighbour: the creator of its task.
   */
  publish(
    topic: Hex,
    recordId: Hex,
    record: Signed,
    now: number,
    source: PeerId | null = null,
    towards: PeerId | null = null,
  ): void {
    const holders = this.wanted.get(recordId)?.others;
    this.markSeen(recordId);
    this.recent.push({ at: now, topic, recordId, isOurs: source === null });
    const mesh = this.topics.get(topic);
    let targets = mesh === undefined ? [] : [...mesh];
    if (targets.length < this.config.meshLow) {
      const followers = this.followers(topic).filter((peerId) => mesh === undefined || !mesh.has(peerId));
      targets = targets.concat(sampleUpTo(this.rng, followers, this.config.meshTarget - targets.length));
    }
    const isLonely = targets.length === 0;
    targets = targets.filter((peerId) => peerId !== source && !holders?.includes(peerId));
    if (mesh === undefined || isLonely) {
      // We say something in a topic we do not follow: a vote we were asked for. Those near us who follow it may be few
      // and cut off from the rest. Or we alone follow it, as far as we see. Somebody knows somebody who does.
      const triesLeft = targets.length > 0 ? OFF_TOPIC_TRIES : STRAY_TRIES;
      if (towards !== null && towards !== source && this.neighbours.has(towards)) {
        if (!targets.includes(towards)) targets.push(towards);
      } else if (source === null) {
        this.strays.set(recordId, { topic, triesLeft });
      }
      if (targets.length === 0) targets = this.anybody(source);
    }
    for (const peerId of targets) this.post(peerId, topic, recordId, record);
  }

  /**
   * Apply one gossip frame other than `Publish`, whose records the caller validates and publishes on.
   *
   * @throws RemoteProtocolError when a neighbour follows more topics than anybody needs, or sends what is no request to
   *   reconcile or answer to ours.
   */
  received(peerId: PeerId, frame: GossipFrame, now: number): void {
    switch (frame.kind) {
      case "topics":
        return this.topicsReceived(peerId, frame.follow, frame.leave, now);
      case "graft":
        return this.graftReceived(peerId, frame.topic);
      case "prune": {
        // Of topics that are not ours nothing is remembered: a stranger could name millions.
        const topic = hex(frame.topic);
        const mesh = this.topics.get(topic);
        if (mesh !== undefined) {
          mesh.delete(peerId);
          this.backoff.set(backoffKey(peerId, topic), now + this.config.pruneBackoffS);
        }
        return;
      }
      case "ihave": {
        const topic = hex(frame.topic);
        if (this.topics.has(topic)) {
          this.unheard.get(topic)!.delete(peerId);
          this.offered(peerId, topic, frame.ids.map(hex), now);
        }
        return;
      }
      case "reconcile":
        if (this.topics.has(hex(frame.topic))) {
          for (const part of this.comparisons.requested(peerId, frame, now)) this.frames.push([peerId, part]);
        }
        return;
      case "reconcile-cells":
      case "reconcile-ids":
        return this.answerReceived(peerId, frame, now);
      case "iwant": {
        const topic = hex(frame.topic);
        for (const id of frame.ids) {
          const recordId = hex(id);
          const record = this.shelf.record(recordId);
          if (record !== null) this.post(peerId, topic, recordId, record);
        }
        return;
      }
    }
  }

  heartbeatDue(now: number): boolean {
    return this.heartbeatAt === null || now >= this.heartbeatAt;
  }

  /** When a heartbeat or a push is due. */
  wakeAt(): number | null {
    if (this.neighbours.size === 0) return null;
    if (this.due.size === 0) return this.heartbeatAt;
    return this.heartbeatAt === null ? this.pushAt : Math.min(this.pushAt, this.heartbeatAt);
  }

  /** Keep every mesh between its bounds and announce recent ids to followers outside it. */
  heartbeat(now: number): void {
    this.heartbeatAt = now + this.config.heartbeatS;
    for (const [key, until] of this.backoff) if (until <= now) this.backoff.delete(key);
    this.recent = this.recent.filter((entry) => now - entry.at <= this.config.ihaveWindowS);
    this.askAgain(now);
    this.comparisons.giveUp(now);
    this.sendStrays();
    const recent = new Map<Hex, Hex[]>();
    for (const entry of this.recent) listIn(recent, entry.topic).push(entry.recordId);
    for (const [topic, mesh] of this.topics) {
      this.maintain(topic, now);
      const ids = recent.get(topic);
      if (ids === undefined) continue;
      const outside = this.followers(topic).filter((peerId) => !mesh.has(peerId));
      this.announce(sampleUpTo(this.rng, outside, ANNOUNCED_MAX), topic, ids);
    }
  }

  /**
   * We leave: the next `drain` gives all that waits, and what we said of late to those outside the mesh, too. There is
   * no heartbeat any more at which they would hear of it, and nobody to ask for it.
   */
  lastWords(): void {
    this.pushAt = 0;
    for (const { topic, recordId, isOurs } of this.recent) {
      const record = isOurs ? this.shelf.record(recordId) : null;
      if (record === null) continue;
      for (const peerId of this.followers(topic)) {
        if (!this.topics.get(topic)?.has(peerId)) this.post(peerId, topic, recordId, record);
      }
    }
  }

  /** Frames to send, oldest first; records bound for one neighbour share frames up to the limit. */
  drain(now: number): readonly Addressed[] {
    const { frames } = this;
    this.frames = [];
    frames.push(...this.comparisons.begin(now, (topic) => this.wantedIn.has(topic)));
    if (this.due.size === 0 || now < this.pushAt) return frames;
    this.pushAt = now + this.config.gossipGapS;
    const due = this.due;
    this.due = new Set();
    const made = new Map<Hex, Publish[]>();
    for (const peerId of due) {
      const neighbour = this.neighbours.get(peerId);
      if (neighbour === undefined) continue; // Its link was closed meanwhile.
      const byTopic = new Map<Hex, Signed[]>();
      for (const [topic, record] of neighbour.outbox.values()) listIn(byTopic, topic).push(record);
      for (const [topic, records] of byTopic) {
        let begin = 0;
        let batchBytes = 0;
        for (let end = 0; end < records.length; end++) {
          const recordBytes = records[end]!.body.length + ENVELOPE_BYTES;
          if (end > begin && (batchBytes + recordBytes > PUBLISH_BYTES_MAX || end - begin === RECORDS_MAX)) {
            frames.push([peerId, publishOnce(made, topic, records.slice(begin, end))]);
            begin = end;
            batchBytes = 0;
          }
          batchBytes += recordBytes;
        }
        frames.push([peerId, publishOnce(made, topic, begin === 0 ? records : records.slice(begin))]);
      }
      neighbour.outbox = new Map();
    }
    return frames;
  }

  // ---- inside

  private topicsReceived(
    peerId: PeerId,
    follow: readonly Uint8Array[],
    leave: readonly Uint8Array[],
    now: number,
  ): void {
    const { follows } = this.neighbour(peerId);
    for (const bytes of follow) {
      const topic = hex(bytes);
      if (follows.has(topic)) continue;
      follows.add(topic);
      if (this.topics.has(topic)) this.met(peerId, topic, now);
    }
    for (const bytes of leave) {
      const topic = hex(bytes);
      follows.delete(topic);
      this.comparisons.forget(peerId, topic);
      this.topics.get(topic)?.delete(peerId);
    }
    if (follows.size > TOPICS_PER_NEIGHBOUR_MAX) {
      throw new RemoteProtocolError(`a neighbour follows more than ${TOPICS_PER_NEIGHBOUR_MAX} topics`);
    }
  }

  private graftReceived(peerId: PeerId, bytes: Uint8Array): void {
    const topic = hex(bytes);
    const mesh = this.topics.get(topic);
    // Grafts cross: whoever is in the mesh already stays, or one side would think so and the other not.
    if (mesh === undefined || (!mesh.has(peerId) && mesh.size >= this.config.meshHigh)) {
      this.frames.push([peerId, { kind: "prune", topic: bytes }]);
    } else {
      this.neighbour(peerId).follows.add(topic);
      mesh.add(peerId);
    }
  }

  private neighbour(peerId: PeerId): Neighbour {
    return this.neighbours.get(peerId)!;
  }

  private tellAll(frame: Frame): void {
    for (const peerId of this.neighbours.keys()) this.frames.push([peerId, frame]);
  }

  private post(peerId: PeerId, topic: Hex, recordId: Hex, record: Signed): void {
    const { outbox } = this.neighbour(peerId);
    if (!outbox.has(recordId)) outbox.set(recordId, [topic, record]);
    this.due.add(peerId);
  }

  private anybody(source: PeerId | null): PeerId[] {
    const others = [...this.neighbours.keys()].filter((peerId) => peerId !== source);
    return sample(this.rng, others, this.config.meshTarget);
  }

  /** Say again, to others, what we said in a topic that is not ours. */
  private sendStrays(): void {
    for (const [recordId, { topic, triesLeft }] of this.strays) {
      const record = this.shelf.record(recordId);
      if (record === null || triesLeft === 1) this.strays.delete(recordId);
      else this.strays.set(recordId, { topic, triesLeft: triesLeft - 1 });
      if (record !== null) for (const peerId of this.anybody(null)) this.post(peerId, topic, recordId, record);
    }
  }

  /** We and a neighbour found out that we follow the same topic: mesh if there is room, and compare sets. */
  private met(peerId: PeerId, topic: Hex, now: number, isNewcomer = false): void {
    const mesh = this.topics.get(topic)!;
    if (mesh.size < this.config.meshTarget && !this.backoff.has(backoffKey(peerId, topic))) {
      mesh.add(peerId);
      this.frames.push([peerId, { kind: "graft", topic: fromHex(topic) }]);
    }
    // A newcomer asks, because it pays for the set; else one of the two, and the other if nobody does.
    const asksAtOnce = isNewcomer || this.peerId < peerId;
    this.comparisons.plan(peerId, topic, asksAtOnce ? now : now + ASKED_FIRST_WITHIN_S, isNewcomer);
  }

  private answerReceived(peerId: PeerId, frame: Answer, now: number): void {
    const received = this.comparisons.received(peerId, frame, now);
    if (received === null) return;
    const [topic, next] = received;
    if (next.kind === "reconcile") {
      this.frames.push([peerId, next]);
      return;
    }
    this.unheard.get(topic)!.delete(peerId);
    this.offered(peerId, topic, next.missing, now);
    this.announce([peerId], topic, next.surplus);
  }

  private announce(peerIds: readonly PeerId[], topic: Hex, ids: readonly Hex[]): void {
    if (peerIds.length === 0) return;
    const bytes = fromHex(topic);
    for (let start = 0; start < ids.length; start += IDS_MAX) {
      const frame: Frame = { kind: "ihave", topic: bytes, ids: ids.slice(start, start + IDS_MAX).map(fromHex) };
      for (const peerId of peerIds) this.frames.push([peerId, frame]);
    }
  }

  /** Ask for what is new of these. Of more than may be wanted at a time, the rest is compared again. */
  private offered(peerId: PeerId, topic: Hex, ids: readonly Hex[], now: number): void {
    const unasked: Hex[] = [];
    for (const recordId of ids) {
      if (this.seenIds.has(recordId)) continue;
      const wanted = this.wanted.get(recordId);
      if (wanted !== undefined) {
        const isNew = peerId !== wanted.askedOf && !wanted.others.includes(peerId);
        if (isNew && wanted.others.length < OFFERS_MAX) wanted.others.push(peerId);
      } else if (this.wanted.size < WANTED_MAX) {
        this.wanted.set(recordId, { topic, askedOf: peerId, askedAt: now, others: [] });
        this.wantedIn.set(topic, (this.wantedIn.get(topic) ?? 0) + 1);
        unasked.push(recordId);
      } else {
        this.comparisons.plan(peerId, topic, now);
        break;
      }
    }
    this.want(peerId, topic, unasked);
  }

  private want(peerId: PeerId, topic: Hex, ids: readonly Hex[]): void {
    for (let start = 0; start < ids.length; start += IDS_MAX) {
      const asked = ids.slice(start, start + IDS_MAX).map(fromHex);
      this.frames.push([peerId, { kind: "iwant", topic: fromHex(topic), ids: asked }]);
    }
  }

  private unwant(recordId: Hex): void {
    const wanted = this.wanted.get(recordId);
    if (wanted === undefined) return;
    this.wanted.delete(recordId);
    const left = this.wantedIn.get(wanted.topic)! - 1;
    if (left > 0) {
      this.wantedIn.set(wanted.topic, left);
    } else {
      this.wantedIn.delete(wanted.topic);
      this.comparisons.lookAgain();
    }
  }

  /** Turn to the next neighbour that offered a record which the one asked has not sent. */
  private askAgain(now: number): void {
    const again = new Map<PeerId, Map<Hex, Hex[]>>();
    for (const [recordId, wanted] of this.wanted) {
      if (now - wanted.askedAt < ASK_AGAIN_AFTER_S) continue;
      let next = wanted.others.shift();
      while (next !== undefined && !this.neighbours.has(next)) next = wanted.others.shift();
      if (next === undefined) {
        this.unwant(recordId);
        continue;
      }
      let byTopic = again.get(next);
      if (byTopic === undefined) again.set(next, (byTopic = new Map()));
      listIn(byTopic, wanted.topic).push(recordId);
      wanted.askedOf = next;
      wanted.askedAt = now;
    }
    for (const [peerId, byTopic] of again) {
      for (const [topic, ids] of byTopic) this.want(peerId, topic, ids);
    }
  }

  private maintain(topic: Hex, now: number): void {
    const mesh = this.topics.get(topic)!;
    if (mesh.size < this.config.meshLow) {
      const candidates = this.followers(topic).filter(
        (peerId) => !mesh.has(peerId) && !this.backoff.has(backoffKey(peerId, topic)),
      );
      if (candidates.length === 0) return;
      const frame: Frame = { kind: "graft", topic: fromHex(topic) };
      for (const peerId of sampleUpTo(this.rng, candidates, this.config.meshTarget - mesh.size)) {
        mesh.add(peerId);
        this.frames.push([peerId, frame]);
      }
    } else if (mesh.size > this.config.meshHigh) {
      const frame: Frame = { kind: "prune", topic: fromHex(topic) };
      for (const peerId of sample(this.rng, [...mesh], mesh.size - this.config.meshTarget)) {
        mesh.delete(peerId);
        this.backoff.set(backoffKey(peerId, topic), now + this.config.pruneBackoffS);
        this.frames.push([peerId, frame]);
      }
    }
  }
}

function backoffKey(peerId: PeerId, topic: Hex): string {
  return `${peerId} ${topic}`;
}

function listIn<K, T>(lists: Map<K, T[]>, key: K): T[] {
  let list = lists.get(key);
  if (list === undefined) lists.set(key, (list = []));
  return list;
}

/** All of a few, or as many as `count` of many: chance is drawn only where there is a choice. */
function sampleUpTo(rng: Rng, peerIds: PeerId[], count: number): PeerId[] {
  return peerIds.length <= count ? peerIds : sample(rng, peerIds, count);
}

/** Most neighbours get the very same records: they share one frame, so that the driver encodes it once. */
function publishOnce(made: Map<Hex, Publish[]>, topic: Hex, records: readonly Signed[]): Publish {
  const frames = listIn(made, topic);
  for (const frame of frames) {
    if (frame.records.length !== records.length) continue;
    let same = 0;
    while (same < records.length && frame.records[same] === records[same]) same++;
    if (same === records.length) return frame;
  }
  const frame: Publish = { kind: "publish", topic: fromHex(topic), records };
  frames.push(frame);
  return frame;
}

/**
 * Which neighbour is compared with when, and what has come of it (spec/gossip.md, "Compare").
 *
 *     a neighbour and a topic of both:  PLANNED --request--> UNDER WAY --difference--> forgotten
 *                                          ^                     |
 *                                          '-- silent for 3 s ---'
 *
 * Who asks takes the neighbours of a topic one after the other, and the next when everything the last one had has come:
 * so a newcomer pays for the set once, and all others find nothing, or little, to add.
 */

import { equal, fromHex, hex, type Hex } from "./bytes";
import type { PeerId } from "./identity";
import { Allowance, answer, type Answer, type Difference, type Reconcile, Reconciliation } from "./reconcile";
import type { Rng } from "./rng";

/** Comparisons at the same time: what has come of an answer is kept until all of it is here, 8.4 MB at most. */
const UNDER_WAY_MAX = 4;
/** A neighbour that sends nothing of its answer for so long is asked again later. */
const SILENT_AFTER_S = 3;
/** Who leaves the asking to the neighbour asks itself when no request has come by then. */
export const ASKED_FIRST_WITHIN_S = 10;
const AGAIN_AFTER_S = 30;

interface Plan {
  readonly peerId: PeerId;
  readonly topic: Hex;
  readonly dueAt: number;
  /** We are the newcomer: the neighbour's own request is left alone, since ours says when we are ready for it. */
  readonly isOurs: boolean;
}

interface UnderWay extends Plan {
  readonly reconciliation: Reconciliation;
  heardAt: number;
}

/** All comparisons of one peer, asking and asked. `recordIds` says what we hold in a topic. */
export class Comparisons {
  private readonly plans = new Map<string, Plan>();
  private underWay: UnderWay[] = [];
  private readonly allowances = new Map<PeerId, Allowance>();
  /** Before this moment nothing can begin, unless `lookAgain` is called. */
  private lookAt = Infinity;

  constructor(
    private readonly rng: Rng,
    private readonly recordIds: (topic: Hex) => Iterable<Hex>,
  ) {}

  /** Compare with a neighbour when the time has come and the topic is free. */
  plan(peerId: PeerId, topic: Hex, dueAt: number, isOurs = false): void {
    this.plans.set(keyOf(peerId, topic), { peerId, topic, dueAt, isOurs });
    this.lookAt = Math.min(this.lookAt, dueAt);
  }

  /** A topic may have become free. */
  lookAgain(): void {
    this.lookAt = -Infinity;
  }

  /** A neighbour does not follow a topic any more. */
  forget(peerId: PeerId, topic: Hex): void {
    this.plans.delete(keyOf(peerId, topic));
    this.drop((each) => each.peerId === peerId && each.topic === topic);
  }

  linkClosed(peerId: PeerId): void {
    this.dropAll((each) => each.peerId === peerId);
    this.allowances.delete(peerId);
  }

  /** We do not follow a topic any more. */
  leave(topic: Hex): void {
    this.dropAll((each) => each.topic === topic);
  }

  /** Requests to send now; `isBusy` says whether records of a topic are still on their way. */
  begin(now: number, isBusy: (topic: Hex) => boolean): (readonly [PeerId, Reconcile])[] {
    const requests: (readonly [PeerId, Reconcile])[] = [];
    if (now < this.lookAt) return requests;
    this.lookAt = Infinity;
    for (const plan of [...this.plans.values()]) {
      const { peerId, topic, dueAt } = plan;
      if (dueAt > now) {
        this.lookAt = Math.min(this.lookAt, dueAt);
        continue;
      }
      if (this.underWay.length === UNDER_WAY_MAX) break;
      if (isBusy(topic) || this.underWay.some((each) => each.topic === topic)) continue;
      const ids = [...this.recordIds(topic)];
      if (!this.spend(peerId, ids.length, now)) {
        this.plan(peerId, topic, now + AGAIN_AFTER_S);
        continue;
      }
      this.plans.delete(keyOf(peerId, topic));
      const reconciliation = new Reconciliation(fromHex(topic), this.rng);
      this.underWay.push({ ...plan, reconciliation, heardAt: now });
      requests.push([peerId, reconciliation.begin(ids)]);
    }
    return requests;
  }

  /**
   * Take a request about a topic of ours: what to answer, which then is the comparison.
   *
   * @throws RemoteProtocolError when it is no request.
   */
  requested(peerId: PeerId, request: Reconcile, now: number): Answer[] {
    const topic = hex(request.topic);
    const ours = [this.plans.get(keyOf(peerId, topic)), ...this.underWay];
    if (ours.some((each) => each?.isOurs && each.peerId === peerId && each.topic === topic)) return [];
    this.forget(peerId, topic);
    const ids = [...this.recordIds(topic)];
    return this.spend(peerId, ids.length, now) ? answer(request, ids) : [];
  }

  /**
   * Take a frame of an answer: the topic and what follows, once something does.
   *
   * @throws RemoteProtocolError when the frames do not make up an answer; the comparison is over.
   */
  received(peerId: PeerId, frame: Answer, now: number): readonly [topic: Hex, next: Reconcile | Difference] | null {
    const each = this.underWay.find(
      ({ peerId: asked, reconciliation: { salt } }) => asked === peerId && salt !== null && equal(salt, frame.salt),
    );
    if (each === undefined) return null;
    each.heardAt = now;
    this.drop((other) => other === each); // Whatever is refused below ends it.
    const outcome = each.reconciliation.received(frame, this.recordIds(each.topic));
    if (outcome?.kind !== "difference") this.underWay.push(each);
    return outcome === null ? null : [each.topic, outcome];
  }

  /** Put off comparisons of which nothing comes. */
  giveUp(now: number): void {
    for (const each of this.underWay.filter(({ heardAt }) => now - heardAt >= SILENT_AFTER_S)) {
      this.drop((other) => other === each);
      this.plan(each.peerId, each.topic, now + AGAIN_AFTER_S);
    }
  }

  // ---- inside

  private drop(isMeant: (each: UnderWay) => boolean): void {
    this.underWay = this.underWay.filter((each) => !isMeant(each));
    this.lookAgain();
  }

  private dropAll(isMeant: (each: Plan) => boolean): void {
    for (const [key, plan] of this.plans) if (isMeant(plan)) this.plans.delete(key);
    this.drop(isMeant);
  }

  /** Asking counts too: a neighbour that follows a topic again and again would have us hash it each time. */
  private spend(peerId: PeerId, ids: number, now: number): boolean {
    let allowance = this.allowances.get(peerId);
    if (allowance === undefined) this.allowances.set(peerId, (allowance = new Allowance(now)));
    return allowance.spend(ids, now);
  }
}

function keyOf(peerId: PeerId, topic: Hex): string {
  return `${peerId} ${topic}`;
}

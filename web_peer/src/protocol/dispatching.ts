/**
 * Who is asked for what the creator wants executed (spec/ledger.md, "Assign").
 *
 *     a chunk:  --wanted--> HUNGRY --asked of a worker--> outstanding (assigning.ts) --commit--> votes
 *                  ^           '--nobody is eligible--> the creator executes it (executing.ts)
 *                  '-- no lease, too slow, silent or void --'
 *
 * What is wanted are second votes and audits, copies of what others have been on for long, and open chunks where too few
 * are left for workers to pick from. Which of them it is, nobody who is asked can tell. What a suspected worker leaves
 * behind, or lets run out, is urgent and goes first, to whoever can begin it soonest: others have waited for it already.
 */

import { Assignments, type WorkerPace } from "./assigning";
import type { Hex } from "./bytes";
import type { Closing } from "./closing";
import type { ProtocolConfig } from "./config";
import type { Executing } from "./executing";
import type { Ledger } from "./ledger";
import { isOpen, pickEndgame } from "./picking";
import { COMMIT_CHUNKS_MAX, type Commit, type Lease } from "./records";
import type { Referee } from "./referee";
import type { Rng } from "./rng";

/** Hungry chunks looked at beyond the room there is: those whose eligible workers are all full must not block more. */
const DISPATCH_SPARE = 256;

/** Chunks looked at in one review for open ones to deal out: some milliseconds. */
const SCAN_CHUNKS = 4_096;

/** Open chunks dealt out at a time for each idle worker. A guess; simulations/scenarios/liars.toml. */
const DEALT_PER_WORKER = 16;

/** Or as many as take it this long: the last thousands of chunks that take no time went out in hundreds of rounds. */
const DEALT_S = 0.1;

/**
 * What is wanted while everybody is busy shares its assignments with what is wanted this much later: each costs a seal, a
 * signature and a record, and its worker has something to do.
 */
const GATHER_S = 0.1;

/** Who answers fewer chunks in that time is asked at once: assignments are few then. */
const GATHERED_MIN = 8;

/**
 * Somebody else is asked for a chunk whose answer takes so many times as long as answers usually do: sooner hedges nearly
 * half of all, later waits.
 */
const HEDGED_AFTER = 1.5;

/** Who has so little of its usual time left may just have begun what comes next: an answer is on its way for a while. */
const NEARLY_DONE = 0.25;

/** A worker that let a chunk go so often is not asked for it again: it may be busy once, but stallers do so for ever. */
const LET_GO_MAX = 2;

/** What a worker's last answer tells of its pace. */
interface Answer {
  readonly at: number;
  readonly chunks: number;
  /** How long its answers take, of late. */
  readonly everyS: number;
}

/** The workers of one task of ours, and the chunks they are to be asked for. */
export class Dispatch {
  private readonly assignments: Assignments;
  /** Admitted workers that are not void. */
  private readonly members = new Set<Hex>();
  private readonly heardAt = new Map<Hex, number>();
  /** Each worker's last one. */
  private readonly answers = new Map<Hex, Answer>();
  /** The shard in which each worker listens. */
  private readonly home = new Map<Hex, number>();
  /** Workers that say they have nothing to do. */
  private readonly idle = new Set<Hex>();
  /** Chunk that wants votes -> since when. */
  private hungry = new Map<number, number>();
  /** Those of them that a suspected worker left behind. */
  private readonly first = new Set<number>();
  private askedAt = -Infinity;
  /** How many workers more than votes wanted are asked for a chunk, because others take long. */
  private readonly hedged = new Map<number, number>();
  /** Workers that were asked for a chunk and let it go, as often as they did. */
  private readonly letGo = new Map<number, Hex[]>();
  /** Workers that leased what they were asked for and did not finish it: asked for nothing until they commit. */
  private readonly stalling = new Set<Hex>();
  /** Chunks without a vote that somebody was asked for all the same, and how many votes of each we asked for. */
  private readonly dealt = new Map<number, number>();
  private scanAt = 0;
  private leaseAgeS = 0;

  /**
   * `ask` signs an assignment of chunks to a worker that listens in a shard; `capacity` is how many chunks each worker may
   * be asked for at a time, so far; `coming` says who has voted on a chunk without its vote being counted yet (named.ts).
   * What others have waited for is urgent.
   */
  constructor(
    private readonly config: ProtocolConfig,
    private readonly rng: Rng,
    private readonly ledger: Ledger,
    private readonly referee: Referee,
    private readonly closing: Closing,
    private readonly executing: Executing,
    private readonly ask: (worker: Hex, home: number, chunks: readonly number[], isUrgent: boolean) => void,
    capacity: Map<Hex, number>,
    private readonly coming: (chunk: number) => readonly Hex[] = () => [],
  ) {
    this.assignments = new Assignments(rng, config.batchS, capacity);
  }

  /** How many workers may be asked. */
  get memberCount(): number {
    return this.members.size;
  }

  /** Whether anything is wanted, or asked for and not answered. What others have answered is not waited for. */
  get isWaiting(): boolean {
    if (this.hungry.size > 0) return true;
    for (const chunk of this.assignments.chunks()) if (this.votesWanted(chunk) > 0) return true;
    return false;
  }

  // ---- workers

  /** A worker is there. */
  heard(worker: Hex, now: number): void {
    this.heardAt.set(worker, now);
  }

  /** A worker may be asked. Where there is but one shard, we know where it listens before it says so. */
  admitted(worker: Hex): void {
    this.members.add(worker);
    if (this.ledger.shards === 1 && !this.home.has(worker)) {
      this.home.set(worker, 0);
      this.idle.add(worker);
    }
  }

  /** A worker is void: what it was asked for goes to somebody else. */
  dismiss(worker: Hex, now: number): void {
    this.members.delete(worker);
    this.starve(this.assignments.withdraw(worker), now);
  }

  /**
   * A worker is suspected or leaves: what it was on (`left`, in this order) and was asked for goes first.
   *
   * To others: everybody may be busy for hours, and nobody know that this is what a result waits for.
   */
  silent(worker: Hex, left: readonly number[], now: number): void {
    this.heardAt.delete(worker);
    this.idle.delete(worker);
    const asked = new Set(this.assignments.withdraw(worker));
    const orphans = new Set<number>();
    for (const chunk of left) {
      const isPicked = this.members.has(worker) && !this.dealt.has(chunk) && isOpen(this.ledger, chunk, now);
      if (isPicked) this.dealt.set(chunk, 1);
      if (isPicked || asked.has(chunk)) orphans.add(chunk);
    }
    for (const chunk of [...asked].sort((a, b) => a - b)) orphans.add(chunk);
    const waiting = this.hungry;
    this.hungry = new Map();
    for (const chunk of orphans) {
      this.first.add(chunk);
      this.hungry.set(chunk, waiting.get(chunk) ?? now);
    }
    for (const [chunk, since] of waiting) this.hungry.set(chunk, since);
  }

  /** A worker says what it is on, or that it has nothing to do. */
  leased(worker: Hex, lease: Lease, now: number): void {
    this.heardAt.set(worker, now);
    this.home.set(worker, lease.home);
    if (lease.runs.length > 0) this.idle.delete(worker);
    else this.idle.add(worker);
  }

  /** A worker answers. */
  committed(worker: Hex, commit: Commit, chunks: readonly number[], now: number): void {
    this.heardAt.set(worker, now);
    const since = this.ledger.leases.of(worker, commit.shard)?.since.get(chunks[0]!);
    const last = this.answers.get(worker);
    // Between two answers it may have been idle, and what it leased may have waited behind other work: the shorter.
    let tookS = last === undefined ? this.config.batchS : now - last.at;
    if (since !== undefined) {
      this.leaseAgeS = 0.8 * this.leaseAgeS + 0.2 * (now - since);
      tookS = Math.min(tookS, now - since);
    }
    const everyS = last === undefined ? tookS : (last.everyS + tookS) / 2;
    this.answers.set(worker, { at: now, chunks: chunks.length, everyS });
    this.assignments.committed(worker, chunks, now);
    this.stalling.delete(worker);
  }

  // ---- chunks

  /** The votes on a chunk say something else: whether more of them are wanted, and of whom. */
  voted(chunk: number, now: number): void {
    if (this.referee.chunk(chunk).state === "open") {
      // Workers pick it themselves.
      this.hungry.delete(chunk);
      this.dealt.delete(chunk);
    } else if (this.votesWanted(chunk) > 0) {
      this.want(chunk, now);
    } else {
      this.hungry.delete(chunk);
      this.hedged.delete(chunk);
    }
  }

  /** Have a chunk executed again: by a worker, or by ourselves where every member has voted on it already. */
  want(chunk: number, now: number): void {
    if (this.members.size === 0 || this.isAnyLeft(this.members, chunk)) this.starve([chunk], now);
    else this.executeOurselves(chunk);
  }

  /** Have a chunk executed on which nobody's vote counts, though others think so. */
  deal(chunk: number, now: number): void {
    this.dealt.set(chunk, 1);
    this.starve([chunk], now);
  }

  /** Look for what was asked and not answered. */
  review(now: number): void {
    this.withdrawOverdue(now);
  }

  /**
   * When to ask for what is wanted: at once, unless everybody is busy with many chunks and it is not urgent.
   *
   * A task of one shard waits for nothing: somebody may wait for its few calls.
   */
  dueAt(now: number): number {
    const isGathered =
      this.ledger.shards > 1 && this.hungry.size > 0 && this.first.size === 0 && this.active(now).every((worker) => this.isBusy(worker));
    return isGathered ? this.askedAt + GATHER_S : now;
  }

  /**
   * Ask workers for what is wanted, as far as they have room: what suspected workers left, then the oldest.
   *
   * With `isEmploying`, idle workers for whom nothing of it is are given something else.
   */
  dispatch(now: number, isAuditing: boolean, isEmploying: boolean): void {
    this.askForWanted(now, isAuditing);
    if (isEmploying && this.employIdle(now)) this.askForWanted(now, isAuditing);
  }

  // ---- inside

  private askForWanted(now: number, isAuditing: boolean): void {
    if (this.hungry.size === 0) return;
    const active = this.active(now).filter((worker) => !this.stalling.has(worker));
    const wanted = this.wanted(this.assignments.room(active) + DISPATCH_SPARE);
    if (wanted.size === 0) return;
    const isUnasked = (worker: Hex, chunk: number): boolean => this.isUnasked(worker, chunk);
    const [first, rest] = [new Map<number, number>(), new Map<number, number>()];
    for (const [chunk, count] of wanted) (this.first.has(chunk) ? first : rest).set(chunk, count);
    const soonest = first.size > 0 ? this.assignments.handOver(first, this.pace(active, now), isUnasked, now) : [];
    const others = this.assignments.distribute(rest, active, isUnasked, now);
    for (const given of [soonest, others]) {
      for (const { worker, chunks } of given) {
        this.ask(worker, this.home.get(worker)!, chunks, given === soonest);
        this.askedAt = now;
        for (const chunk of chunks) {
          const left = wanted.get(chunk)! - 1;
          if (left > 0) {
            wanted.set(chunk, left);
          } else {
            wanted.delete(chunk);
            this.hungry.delete(chunk);
          }
        }
      }
    }
    for (const chunk of this.first) if (!this.hungry.has(chunk)) this.first.delete(chunk);
    // Between two audits nobody is waited for whom only luck would bring: each round would take as long.
    const patienceS = isAuditing && active.length > 0 ? 0 : this.config.refereeAfterS;
    for (const chunk of wanted.keys()) {
      // Somebody has been waited for already where a chunk is hedged.
      const waitS = this.hedged.has(chunk) ? Math.min(patienceS, this.config.creatorFirstS) : patienceS;
      if (now - this.hungry.get(chunk)! < waitS) continue;
      if (!this.isAnyLeft(active, chunk)) this.executeOurselves(chunk);
    }
  }

  private active(now: number): Hex[] {
    const active: Hex[] = [];
    for (const [worker, at] of this.heardAt) {
      if (now - at < this.config.activeS && this.members.has(worker) && this.home.has(worker)) active.push(worker);
    }
    return active;
  }

  /**
   * When each worker can begin something else, and how long a chunk takes it, as far as its answers tell.
   *
   * Whose answer is overdue, or nearly due, may just have begun what comes next.
   */
  private pace(active: readonly Hex[], now: number): Map<Hex, WorkerPace> {
    const pace = new Map<Hex, WorkerPace>();
    for (const worker of active) {
      const { at, chunks, everyS } = this.answers.get(worker) ?? { at: now, chunks: 1, everyS: this.config.batchS };
      let leftS = 0;
      if (!this.idle.has(worker) || this.assignments.backlog(worker) > 0) {
        leftS = at + everyS - now;
        if (leftS <= NEARLY_DONE * everyS) leftS = everyS;
      }
      pace.set(worker, { freeAt: now + leftS, chunkS: everyS / chunks });
    }
    return pace;
  }

  private votesWanted(chunk: number): number {
    const tally = this.referee.chunk(chunk);
    switch (tally.state) {
      case "agreed":
        return this.closing.due(chunk);
      case "open":
        return this.dealt.get(chunk) ?? 0;
      case "sealed":
        return tally.missing;
      default:
        return 0;
    }
  }

  /**
   * Have open chunks executed by `idle` workers that found too few to pick from; how many of them have some now.
   *
   * None of them is to be busy for long while others have nothing.
   */
  private dealOut(idle: readonly Hex[], now: number): number {
    const { chunks, policy } = this.ledger.manifest;
    const portion = Math.min(...idle.map((worker) => this.chunksIn(DEALT_S, worker)));
    const enough = idle.length * Math.max(DEALT_PER_WORKER, portion);
    let found = 0;
    for (let looked = 0; looked < Math.min(chunks, SCAN_CHUNKS) && found < enough; looked++) {
      this.scanAt = (this.scanAt + 1) % chunks;
      if (this.dealt.has(this.scanAt) || !isOpen(this.ledger, this.scanAt, now)) continue;
      // Nobody picks these: all votes are asked for at once, or the second would only begin when the first is there.
      this.dealt.set(this.scanAt, policy.replication);
      this.starve([this.scanAt], now);
      found++;
    }
    return Math.min(idle.length, found);
  }

  /** How many chunks a worker answers in so much time, as far as its last answer tells. */
  private chunksIn(seconds: number, worker: Hex): number {
    const last = this.answers.get(worker);
    if (last === undefined) return 0;
    return Math.min(COMMIT_CHUNKS_MAX, Math.floor((last.chunks * seconds) / Math.max(last.everyS, 1e-6)));
  }

  private isBusy(worker: Hex): boolean {
    return !this.isIdle(worker) && this.chunksIn(GATHER_S, worker) >= GATHERED_MIN;
  }

  private isIdle(worker: Hex): boolean {
    return this.idle.has(worker) && this.assignments.backlog(worker) === 0;
  }

  /**
   * While workers are idle: deal out open chunks, then ask for copies of those others have been on for long.
   *
   * Whether more is wanted than before.
   */
  private employIdle(now: number): boolean {
    const wanted = this.hungry.size;
    const idlers = this.active(now).filter((worker) => this.isIdle(worker));
    if (idlers.length === 0) return false;
    const isConfirming = this.ledger.manifest.policy.replication > 1;
    // The copy is the second vote and costs nothing; and a newcomer's first one is confirmed as soon as the first voter
    // commits, not after what that has still to do.
    if (isConfirming) this.copy(idlers.length, now, 0);
    const idle = idlers.length - this.dealOut(idlers, now);
    // Where one vote is enough a copy is worth it for the slow only.
    const usualS = this.leaseAgeS * (isConfirming ? 1 : 2);
    this.copy(idle, now, Math.max(this.config.endgameAfterS, usualS));
    this.hedge(idle, now);
    return this.hungry.size > wanted;
  }

  /** Have up to `count` chunks executed that others have been on for so long. */
  private copy(count: number, now: number, leasedForS: number): void {
    for (let shard = 0; shard < this.ledger.shards && count > 0; shard++) {
      for (; count > 0; count--) {
        const chunk = pickEndgame(this.ledger, shard, this.dealt, this.rng, now, leasedForS);
        if (chunk === null) break;
        this.dealt.set(chunk, 1);
        this.starve([chunk], now);
      }
    }
  }

  /**
   * Ask somebody else, too, for up to `count` chunks whose answer takes much longer than usual, the oldest first.
   *
   * It is a vote as well. A worker that is slow, or says that it is on them and is not, then costs others nothing but that
   * time.
   */
  private hedge(count: number, now: number): void {
    const afterS = Math.max(this.config.endgameAfterS, HEDGED_AFTER * this.assignments.answerS);
    const lastAskedAt = new Map<number, number>();
    for (const [, chunk, at] of this.assignments.outstanding()) {
      lastAskedAt.set(chunk, Math.max(at, lastAskedAt.get(chunk) ?? at));
    }
    const oldestFirst = [...lastAskedAt].sort(([one, oneAt], [other, otherAt]) => oneAt - otherAt || one - other);
    for (const [chunk, at] of oldestFirst) {
      if (count <= 0 || now - at < afterS) break;
      if (this.hungry.has(chunk) || this.votesWanted(chunk) === 0) continue;
      count--;
      this.hedged.set(chunk, (this.hedged.get(chunk) ?? 0) + 1);
      this.starve([chunk], now);
    }
  }

  private withdrawOverdue(now: number): void {
    const patienceS = this.config.assignmentMaxS + this.ledger.manifest.limits.seconds;
    for (const [worker, chunk, at] of this.assignments.outstanding()) {
      const ageS = now - at;
      if (ageS < this.config.acceptAssignmentS) continue;
      const isLeased = this.ledger.leases.on(chunk, now).some((lease) => lease.worker === worker);
      if (!isLeased || ageS >= patienceS) {
        this.assignments.withdraw(worker, [chunk]);
        // Who says that it is on a chunk, and never finishes, will not do so the next time.
        if (isLeased) this.stalling.add(worker);
        const times = Array<Hex>(isLeased ? LET_GO_MAX : 1).fill(worker);
        this.letGo.set(chunk, [...(this.letGo.get(chunk) ?? []), ...times]);
        if (this.votesWanted(chunk) > 0) {
          this.first.add(chunk);
          this.want(chunk, now);
        }
      }
    }
  }

  /** How many votes the longest hungry chunks want; those that want none any more are hungry no longer. */
  private wanted(limit: number): Map<number, number> {
    const wanted = new Map<number, number>();
    let looked = 0;
    for (const chunk of this.hungry.keys()) {
      if (looked++ >= limit) break;
      const more = this.hedged.get(chunk) ?? 0;
      const underWay = this.assignments.workersOn(chunk).size + this.coming(chunk).length;
      const count = this.votesWanted(chunk) - underWay + more;
      if (count <= 0 || this.executing.has(chunk)) this.hungry.delete(chunk);
      else wanted.set(chunk, count);
    }
    return wanted;
  }

  /** Whether any of these workers can be asked for a chunk. */
  private isAnyLeft(workers: Iterable<Hex>, chunk: number): boolean {
    for (const worker of workers) if (!this.isUnasked(worker, chunk)) return true;
    return false;
  }

  /** Whether a worker is not asked for a chunk: it has voted on it, let it go too often, or could not confirm it. */
  private isUnasked(worker: Hex, chunk: number): boolean {
    if (this.referee.voters(chunk).has(worker) || this.coming(chunk).includes(worker)) return true;
    if (this.referee.isStranger(worker, chunk)) return true;
    const times = this.letGo.get(chunk)?.filter((each) => each === worker).length ?? 0;
    return times >= LET_GO_MAX;
  }

  private starve(chunks: readonly number[], now: number): void {
    for (const chunk of chunks) if (!this.hungry.has(chunk)) this.hungry.set(chunk, now);
  }

  private executeOurselves(chunk: number): void {
    if (this.config.slots > 0) this.executing.want([chunk]);
  }
}

/**
 * This tab's peer as the person who lends the device deals with it: what it may work on, when, and how fast.
 *
 *     OFF --start--> ON --pause--> PAUSED --start--> ON
 *                    ON --finish--> FINISHING --nothing runs--> PAUSED
 *
 * On, it computes unless the device is on battery, saves data or is hot, as far as the person wants that heeded. It
 * works on tasks that were consented to and on nothing else: before the first consent no cycle is spent.
 */

import { fromHex, hex, type Hex } from "../protocol/bytes";
import { LocalProtocolError, ProtocolError } from "../protocol/errors";
import type { ChunkOutcome, Execute, Notice } from "../protocol/events";
import { Status } from "../protocol/events";
import type { Runtime as TaskRuntime } from "../protocol/manifest";
import type { JoinLink } from "../protocol/join_link";
import { parse, recordKey, type Signed } from "../protocol/records";
import { chunksOf } from "../protocol/runs";
import type { BrowserBlobs } from "./blobs";
import { NO_CONDITIONS, type Conditions } from "./conditions";
import type {
  Commands,
  CommandName,
  Draft,
  Happening,
  Mode,
  PauseReason,
  Settings,
  Snapshot,
  TaskView,
  TestRun,
} from "./console";
import type { Consents } from "./consents";
import type { Counting } from "./counting";
import type { Keys } from "./keys";
import type { Lanes } from "./lanes";
import type { Later } from "./later";
import type { Prepared } from "./publishing";
import type { Runtime } from "./runtime";
import type { Signaling } from "./signaling_client";
import type { Store } from "./store";
import type { Verifying } from "./verifying";
import { taskView } from "./views";

const HAPPENINGS_MAX = 200;
/** How long after its end a consent may still count. */
const LOOK_AGAIN_MS = 3_600_000;
/** A part of the page that did not come is asked for again. */
const FETCH_AGAIN_MS = 10_000;
/** A device is hot once the browser has said so for this long: starting a program alone takes a second or two. */
const HOT_AFTER_S = 10;
/** Numbers of the jobs of trials: far from those of the core, which counts its own from one. */
const TRIAL_JOBS_FROM = 2 ** 40;

/** Half the power, half the cores: what nobody notices while working at the same machine. */
export function defaultSettings(cores: number): Settings {
  return {
    power: 0.5,
    slots: Math.max(1, Math.ceil(cores / 2)),
    pauseOnBattery: true,
    pauseOnSaveData: true,
    pauseWhenHot: true,
    allowJs: true,
    gpu: "off",
    keepAwake: false,
    uploadBytesPerS: null,
  };
}

type Wish = "off" | "on" | "paused" | "finishing";

/** Everything a station is made of. */
export interface Parts {
  readonly link: JoinLink;
  readonly keys: Keys;
  readonly store: Store;
  readonly blobs: BrowserBlobs;
  readonly verifying: Verifying;
  readonly signaling: Signaling;
  readonly later: Later;
  readonly consents: Consents;
  readonly counting: Counting;
  readonly settings: Settings;
  readonly unchosen: readonly Hex[];
  readonly cores: number;
  readonly now: () => number;
  readonly unixS: () => number;
  readonly onChanged: (isAwaited?: boolean) => void;
  /** Have the page remove the sandbox, with what still runs in it. */
  readonly removeSandbox: () => void;
}

export class Station {
  signalingDetail = "";
  /** Null until what works is here: then nothing can have been begun. */
  private lanes: Lanes | null = null;
  private readonly me: Hex;
  private readonly voted = new Map<Hex, Set<number>>();
  private readonly happenings: Happening[] = [];
  private readonly unchosen: Set<Hex>;
  private settings: Settings;
  private conditions = NO_CONDITIONS;
  private hotSince = Infinity;
  private wish: Wish = "off";
  private failure = "";
  private trials = 0;
  private trialsRunning = 0;
  private isFetching = false;
  private runtime!: Runtime;

  constructor(private readonly parts: Parts) {
    this.me = hex(parts.keys.signer.publicKey);
    this.settings = parts.settings;
    this.unchosen = new Set(parts.unchosen);
  }

  /** Say which runtime is meant: it tells this station, and this station drives it, so neither can be made first. */
  attach(runtime: Runtime): void {
    this.runtime = runtime;
  }

  /** Take up what was stored; `isOn`: go on as before the page was closed. */
  begin(restored: readonly Signed[], isOn: boolean): void {
    this.countVotes(restored);
    this.fetchAhead(this.runtime.peer.ledgers.keys());
    if (isOn && this.parts.consents.hasAny) this.wish = "on";
    this.adjust();
    // Consents run out without anything happening.
    setInterval(() => this.adjust(), LOOK_AGAIN_MS);
  }

  // ---- what the runtime tells

  execute(order: Execute, module: Uint8Array): void {
    this.lanes!.add(order, module);
  }

  cancel(job: number): void {
    this.lanes?.cancel(job);
  }

  /** Records have been kept: among them, our own votes. */
  saved(records: readonly Signed[]): void {
    const chunks = this.countVotes(records);
    if (chunks > 0) this.parts.counting.voted(chunks);
  }

  /** Note the chunks that our own commits among these name; how many. */
  private countVotes(records: readonly Signed[]): number {
    let count = 0;
    for (const signed of records) {
      if (signed.kind !== "commit" || hex(signed.author) !== this.me) continue;
      const commit = parse(signed);
      // As a creator we commit too, as the referee of our own task: that is nobody's spare time.
      if (commit.kind !== "commit" || this.runtime.peer.creators.has(hex(commit.task))) continue;
      const voted = this.votedOn(hex(commit.task));
      for (const chunk of chunksOf(commit.shard, commit.runs)) voted.add(chunk);
      count += commit.runs.reduce((chunks, [, length]) => chunks + length, 0);
    }
    return count;
  }

  noticed(notice: Notice): void {
    const { what, taskId, peerId, chunk, detail } = notice;
    // Thousands of these a minute would push everything else off the list.
    if (what !== "chunk accepted") this.happened(what, { taskId, peerId, chunk, detail });
    if (what === "task seen" && taskId !== null) {
      this.fetchAhead([taskId]);
      this.parts.onChanged(true); // Somebody waits for the question whether it may run.
    }
    if (what === "task seen" || what === "task closed") queueMicrotask(() => this.adjust());
  }

  failed(error: Error): void {
    this.failure = error.message;
    this.wish = "paused";
    this.lanes?.pace(0, 1);
    this.happened("stopped", { detail: error.message });
  }

  conditionsChanged(conditions: Conditions): void {
    if (!conditions.isHot) this.hotSince = Infinity;
    else if (!this.conditions.isHot) {
      this.hotSince = this.parts.now();
      setTimeout(() => this.adjust(), 1_000 * HOT_AFTER_S);
    }
    this.conditions = conditions;
    this.adjust();
  }

  private executed(order: Execute, outcomes: readonly ChunkOutcome[], seconds: number): void {
    this.parts.counting.worked(order.taskId, seconds);
    for (const { chunk, status, detail } of outcomes) {
      if (status === Status.NO_RESULT) this.happened("no result", { taskId: order.taskId, chunk, detail });
    }
    this.runtime.executed(order, outcomes, seconds);
    // The first chunk no longer waits for anything: now everything else that may be needed is fetched.
    this.parts.verifying.loadSoftware().catch(() => undefined);
  }

  // ---- what follows from it

  /** Let the core and the lanes do what is wanted now. */
  private adjust(): void {
    this.parts.later.gpu = this.settings.gpu;
    const isComputing = this.wish === "on" && this.heeded() === null && this.isEquipped();
    this.lanes ??= this.parts.later.lanes((order, outcomes, seconds) => this.executed(order, outcomes, seconds));
    const wasExecuting = this.executing > 0;
    const slots = isComputing || (this.wish === "off" && this.hasOpenTaskOfOurs) ? this.settings.slots : 0;
    if (this.wish !== "finishing") {
      this.lanes?.undrain();
      this.runtime.feed({ kind: "tasksChosen", tasks: isComputing ? this.chosen() : new Set() });
      for (const begun of this.parts.later.savepoints?.begun() ?? []) this.runtime.feed(begun);
      this.runtime.feed({ kind: "slotsChanged", slots });
      this.runtime.feed({ kind: "uploadCapped", bytesPerS: this.settings.uploadBytesPerS ?? Infinity });
      this.lanes?.pace(slots, this.settings.power);
      if (slots === 0 && wasExecuting) this.clearSandbox();
      this.fitSandbox();
    }
    this.parts.onChanged();
  }

  /** Tasks are known: while the person reads about them, what they need is fetched. */
  private fetchAhead(taskIds: Iterable<Hex>): void {
    const runtimes = this.runtimesOf(taskIds);
    // When it fails, it is tried again as soon as somebody presses Start.
    if (runtimes.length > 0) this.parts.later.prepare(runtimes).catch(() => undefined);
  }

  /** Whether what the chosen tasks need is here; else it is fetched, and then looked at again. */
  private isEquipped(): boolean {
    const runtimes = this.runtimesOf(this.chosen());
    if (this.parts.later.isReadyFor(runtimes)) return true;
    if (this.isFetching) return false;
    this.isFetching = true;
    const lookAgain = (): void => {
      this.isFetching = false;
      this.adjust();
    };
    this.parts.later.prepare(runtimes).then(lookAgain, () => setTimeout(lookAgain, FETCH_AGAIN_MS));
    return false;
  }

  private runtimesOf(taskIds: Iterable<Hex>): TaskRuntime[] {
    return [...taskIds].flatMap((taskId) => this.runtime.peer.ledgers.get(taskId)?.manifest.runtime ?? []);
  }

  /** Paused, there is still a slot for a trial. */
  private fitSandbox(): void {
    this.parts.later.resize(Math.max(this.lanes?.slots ?? 0, Math.min(1, this.trialsRunning)));
  }

  /** The jobs are cancelled; this ends what they cost. A trial of the person's own goes on. */
  private clearSandbox(): void {
    if (this.trialsRunning === 0 && this.parts.later.forgetPage()) this.parts.removeSandbox();
  }

  /** The condition that keeps us from computing. */
  private heeded(): PauseReason | null {
    const { settings, conditions } = this;
    if (settings.pauseOnBattery && conditions.onBattery) return "on battery";
    if (settings.pauseOnSaveData && conditions.savesData) return "data saver is on";
    // Browsers judge by how busy all cores are. With more than half of them ours, that says nothing but what we do.
    const isTelling = settings.slots * settings.power <= this.parts.cores / 2;
    const isHot = isTelling && this.parts.now() - this.hotSince >= HOT_AFTER_S;
    if (settings.pauseWhenHot && isHot) return "the device is hot";
    return null;
  }

  private chosen(): ReadonlySet<Hex> {
    const tasks = new Set<Hex>();
    for (const taskId of this.runtime.peer.ledgers.keys()) if (this.isChosen(taskId)) tasks.add(taskId);
    return tasks;
  }

  private isChosen(taskId: Hex): boolean {
    const runtime = this.runtime.peer.ledgers.get(taskId)?.manifest.runtime;
    // No page fetches: there is nothing to get ready for, whatever its person has said.
    const isAllowed = runtime !== "net" && (runtime !== "js" || this.settings.allowJs);
    return isAllowed && !this.unchosen.has(taskId) && this.parts.consents.isGiven(taskId);
  }

  /** Chunks being executed at this moment. */
  private get executing(): number {
    return this.lanes?.executing ?? 0;
  }

  private get hasOpenTaskOfOurs(): boolean {
    for (const creator of this.runtime.peer.creators.values()) if (creator.state !== "closed") return true;
    return false;
  }

  // ---- what the person asks

  async perform<Name extends CommandName>(
    name: Name,
    args: Commands[Name]["args"],
  ): Promise<Commands[Name]["answer"]> {
    const act = this[name] as (args: Commands[Name]["args"]) => Promise<Commands[Name]["answer"]>;
    try {
      return await act.call(this, args);
    } catch (error) {
      // Sentences of the protocol begin small: they stand after a colon in a terminal.
      if (error instanceof ProtocolError) throw new Error(sentence(error.message));
      throw error;
    }
  }

  async start(): Promise<void> {
    if (this.failure !== "") throw new Error(this.failure);
    await this.want("on");
  }

  async pause(): Promise<void> {
    await this.want("paused");
  }

  async finish(): Promise<void> {
    if (this.wish !== "on") return;
    await this.want("finishing");
    const drained = (): void => {
      if (this.wish === "finishing") void this.want("paused");
    };
    if (this.lanes === null) drained();
    else this.lanes.drain(drained);
  }

  async consent({ taskId, give }: Commands["consent"]["args"]): Promise<void> {
    const ledger = this.ledgerOf(taskId);
    await this.parts.consents.answer(taskId, hex(ledger.manifest.creator), give);
    if (give) this.unchosen.delete(taskId);
    await this.parts.store.write("unchosen", [...this.unchosen]);
    this.adjust();
  }

  async chooseTask({ taskId, chosen }: Commands["chooseTask"]["args"]): Promise<void> {
    if (chosen && !this.parts.consents.isGiven(taskId)) throw new Error("Say yes to this task first.");
    if (chosen) this.unchosen.delete(taskId);
    else this.unchosen.add(taskId);
    await this.parts.store.write("unchosen", [...this.unchosen]);
    this.adjust();
  }

  async changeSettings(changes: Partial<Settings>): Promise<void> {
    this.settings = { ...this.settings, ...changes };
    await this.parts.store.write("settings", this.settings);
    this.adjust();
  }

  async away({ taskId }: Commands["away"]["args"]): Promise<Commands["away"]["answer"]> {
    const { awayView } = await import("./away");
    return awayView(this.ledgerOf(taskId), this.parts.now());
  }

  async chunkMarks({ taskId }: Commands["chunkMarks"]["args"]): Promise<Commands["chunkMarks"]["answer"]> {
    const { chunkMarks } = await import("./marks");
    return chunkMarks(this.ledgerOf(taskId), this.votedOn(taskId), this.parts.now());
  }

  async chunkResult({ taskId, chunk }: Commands["chunkResult"]["args"]): Promise<Commands["chunkResult"]["answer"]> {
    const { chunkResult } = await import("./results");
    return chunkResult(this.creatorOf(taskId), chunk);
  }

  async exportResults({ taskId }: Commands["exportResults"]["args"]): Promise<Blob> {
    const { exportResults } = await import("./results");
    return exportResults(this.creatorOf(taskId));
  }

  async exportEvidence({ taskId }: Commands["exportEvidence"]["args"]): Promise<Blob> {
    const { exportEvidence } = await import("./evidence");
    return exportEvidence(this.creatorOf(taskId));
  }

  async credit(): Promise<Commands["credit"]["answer"]> {
    const { earned } = await import("./earned");
    return earned(this.runtime.peer.ledgers.values(), this.parts.blobs, this.parts.keys.signer.publicKey);
  }

  async account(asked: Commands["account"]["args"]): Promise<Commands["account"]["answer"]> {
    const { link, keys, store, verifying, blobs, unixS } = this.parts;
    const [{ account }] = await Promise.all([import("./account"), verifying.loadSoftware()]);
    const { verify } = verifying;
    const ledgers = this.runtime.peer.ledgers;
    return account(asked, { server: link.baseUrl, signer: keys.signer, store, verify, blobs, ledgers, unixS: unixS() });
  }

  /** Have the server know whose this device is, if it is somebody's. */
  async toldWhose(): Promise<void> {
    if (await this.parts.store.read("account")) await this.account({ what: "look" });
  }

  async readBundle({ bytes }: Commands["readBundle"]["args"]): Promise<TaskView> {
    const { bundleView, openBundle } = await this.publishing();
    const bundle = openBundle(bytes, this.parts.verifying.verify);
    return bundleView(bundle.manifest, hex(bundle.taskId), this.parts.unixS());
  }

  async testRun(args: Commands["testRun"]["args"]): Promise<TestRun> {
    const { keys, verifying, later, unixS } = this.parts;
    const { trial, trialEnded } = await this.publishing();
    const job = trial(args, keys.signer, verifying.verify, unixS(), TRIAL_JOBS_FROM + ++this.trials);
    await later.prepare([job.runtime]);
    // A trial is the person's own wish: it runs at once, whatever is paused.
    this.trialsRunning++;
    this.fitSandbox();
    const execution = await later.run(job);
    this.trialsRunning--;
    this.fitSandbox();
    return trialEnded(execution);
  }

  async publishDraft({ draft }: { readonly draft: Draft }): Promise<Commands["publishDraft"]["answer"]> {
    const { fromDraft } = await this.publishing();
    return this.publish(fromDraft(draft, this.parts.keys.signer, this.parts.unixS()));
  }

  async publishBundle({ bytes }: Commands["publishBundle"]["args"]): Promise<Commands["publishBundle"]["answer"]> {
    const { asOurs, openBundle } = await this.publishing();
    const bundle = openBundle(bytes, this.parts.verifying.verify);
    return this.publish(asOurs(bundle, this.parts.keys.signer, this.parts.unixS()));
  }

  /** What makes and opens tasks. It seals, and verifies what no neighbour sent. */
  private async publishing(): Promise<typeof import("./publishing")> {
    const { later, verifying } = this.parts;
    const [publishing] = await Promise.all([import("./publishing"), later.prepare([]), verifying.loadSoftware()]);
    return publishing;
  }

  private async publish(prepared: Prepared): Promise<Commands["publishDraft"]["answer"]> {
    const { formatJoinLink, signed } = await this.publishing();
    const { signer } = this.parts.keys;
    const manifest = signed(prepared, signer, this.parts.unixS());
    await signer.settled();
    await this.parts.later.prepareToCreate([prepared.manifest.runtime]);
    for (const [digest, blob] of prepared.blobs) this.parts.blobs.put(fromHex(digest), blob);
    this.runtime.feed({ kind: "taskPublished", manifest });
    await this.runtime.flushed();
    this.adjust();
    const taskId = recordKey(manifest);
    return { taskId, joinLink: formatJoinLink({ ...this.parts.link, taskId }) };
  }

  async retrySignaling(): Promise<void> {
    this.parts.signaling.retry();
  }

  async forgetEverything(): Promise<void> {
    await this.want("paused");
    await this.runtime.close("this browser forgets its peer");
    this.parts.signaling.stop();
    await this.parts.store.forget();
  }

  private async want(wish: Wish): Promise<void> {
    this.wish = wish;
    this.adjust();
    await this.parts.store.write("isOn", wish === "on");
  }

  private ledgerOf(taskId: Hex): NonNullable<ReturnType<Runtime["peer"]["ledgers"]["get"]>> {
    const ledger = this.runtime.peer.ledgers.get(taskId);
    if (ledger === undefined) throw new LocalProtocolError("nobody here has heard of this task yet");
    return ledger;
  }

  private creatorOf(taskId: Hex): NonNullable<ReturnType<Runtime["peer"]["creators"]["get"]>> {
    const creator = this.runtime.peer.creators.get(taskId);
    if (creator === undefined) throw new LocalProtocolError("only the creator of a task has its results");
    return creator;
  }

  private votedOn(taskId: Hex): Set<number> {
    let voted = this.voted.get(taskId);
    if (voted === undefined) this.voted.set(taskId, (voted = new Set()));
    return voted;
  }

  // ---- what the person sees

  private happened(what: string, about: Partial<Omit<Happening, "atS" | "what">>): void {
    const nothing = { taskId: null, peerId: null, chunk: null, detail: "" };
    this.happenings.push({ atS: this.parts.unixS(), what, ...nothing, ...about });
    if (this.happenings.length > HAPPENINGS_MAX) this.happenings.shift();
    this.parts.onChanged();
  }

  snapshot(): Snapshot {
    const { parts, runtime } = this;
    const { peer } = runtime;
    const tasks: TaskView[] = [];
    for (const [taskId, ledger] of peer.ledgers) {
      tasks.push(
        taskView(ledger, peer.creators.get(taskId), {
          verified: parts.later.vouches?.shown(ledger.manifest, parts.unixS()) ?? null,
          consent: parts.consents.stateOf(taskId),
          isChosen: this.isChosen(taskId),
          voted: this.votedOn(taskId),
          computeSeconds: parts.counting.secondsOf(taskId),
          publicKey: this.me,
          config: peer.config,
          unixS: parts.unixS(),
        }),
      );
    }
    const [mode, reason] = this.modeNow(tasks);
    return {
      peerId: peer.peerId,
      network: parts.link.network,
      signaling: SIGNALING[parts.signaling.state],
      signalingDetail: this.signalingDetail,
      iceServers: parts.signaling.iceServers.map(({ url, username, credential }) => ({ urls: url, username, credential })),
      mode,
      reason,
      executing: this.executing,
      peers: [...peer.neighbours].map(([peerId, state]) => ({ peerId, state, dialled: runtime.hasDialled(peerId) })),
      tasks,
      settings: this.settings,
      total: {
        done: sum(tasks, ({ mine }) => mine.done),
        confirmed: sum(tasks, ({ mine }) => mine.confirmed),
        outvoted: sum(tasks, ({ mine }) => mine.outvoted),
        computeSeconds: parts.counting.totalSeconds,
      },
      lastDay: parts.counting.lastDay,
      happenings: [...this.happenings],
      keyKind: parts.keys.kind,
      storedBytes: parts.blobs.usedBytes,
    };
  }

  private modeNow(tasks: readonly TaskView[]): readonly [Mode, PauseReason | null] {
    if (this.wish === "off") return ["off", "not started"];
    if (this.wish === "paused") return ["paused", "paused by you"];
    if (this.wish === "finishing") return ["finishing", "finishing"];
    const heeded = this.heeded();
    if (heeded !== null) return ["paused", heeded];
    const chosen = tasks.filter(({ isChosen }) => isChosen);
    if (chosen.length === 0) {
      const isRefused = tasks.some(({ runtime, consent }) => runtime === "js" && consent.state === "given");
      return ["waiting", isRefused && !this.settings.allowJs ? "the browser cannot run this task" : "no task chosen"];
    }
    if (!this.parts.later.isReadyFor(chosen.map(({ runtime }) => runtime))) return ["waiting", "fetching a part of the page"];
    if (this.executing > 0 || !this.runtime.peer.idle) return ["running", null];
    if (this.runtime.linkCount === 0) return ["waiting", "no peers yet"];
    return ["waiting", "nothing left to compute"];
  }
}

const SIGNALING = {
  connecting: "connecting",
  entered: "connected",
  unreachable: "unreachable",
  refused: "unreachable",
} as const;

function sum(tasks: readonly TaskView[], of: (task: TaskView) => number): number {
  return tasks.reduce((total, task) => total + of(task), 0);
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

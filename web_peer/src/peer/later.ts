/**
 * The parts of the program that come after the question "may this run here?", so that the question is there sooner.
 *
 *     first load    keys, links, gossip, ledgers            what shows a task and asks
 *     working       a worker's role, blobs, sealing, the     fetched while the person reads
 *                   sandbox and its lanes
 *     scripts       what JavaScript tasks run in             with the first such task
 *     kernels       what checks and runs GPU tasks           likewise
 *     creating      a creator's role                         with a task of one's own
 *
 * The core is synchronous, so whoever gives it work first waits for the part that this work needs.
 */


import type { Absences } from "../protocol/absence";
import type { mayEnter } from "../protocol/checking";
import type { CreatorRole } from "../protocol/creator";
import type { Custody } from "../protocol/custody";
import type { Exchange } from "../protocol/exchange";
import type { Ledger } from "../protocol/ledger";
import type { Runtime } from "../protocol/manifest";
import type { Roles } from "../protocol/peer";
import type { Slots } from "../protocol/slots";
import type { WorkerRole } from "../protocol/worker";
import type { SandboxClient } from "../sandbox/client";
import type { GpuChoice } from "../sandbox/gpu_messages";
import type { Keys } from "./keys";
import type { Lanes } from "./lanes";
import type { Savepoints } from "./savepoints";
import type { Store } from "./store";
import type { Vouched } from "./vouched";

const UNREACHABLE = "A part of this page could not be fetched: its server does not answer. Load the page again.";

export class Later implements Roles {
  private slotCount = 0;
  /** Where kernels may run from now on. */
  gpu: GpuChoice = "off";
  private workerRole: typeof WorkerRole | null = null;
  private mayEnter: typeof mayEnter | null = null;
  private absences: typeof Absences | null = null;
  private custodyPart: typeof Custody | null = null;
  private exchangePart: typeof Exchange | null = null;
  private slotsPart: typeof Slots | null = null;
  private creatorRole: typeof CreatorRole | null = null;
  private client: SandboxClient | null = null;
  private lanesPart: typeof Lanes | null = null;
  savepoints: Savepoints | null = null;
  vouches: Vouched | null = null;
  private readonly fetching = new Map<Runtime, Promise<void>>();

  constructor(
    private readonly keys: Keys,
    private readonly openSandbox: () => Promise<MessagePort>,
    private readonly store: Store,
    private readonly vouching: ConstructorParameters<typeof Vouched>,
  ) {}

  /** Whether tasks of these kinds can be worked on now. */
  isReadyFor(runtimes: Iterable<Runtime>): boolean {
    const { client } = this;
    const isHere = { wasm: true, js: client?.js !== null, gpu: client?.kernelScript !== "", net: false };
    return client !== null && [...runtimes].every((runtime) => isHere[runtime]);
  }

  /**
   * Have what working on tasks of these kinds needs.
   *
   * @throws Error with one sentence for the person. Asking again tries again; Chromium though remembers for a Worker's
   *   life which scripts failed.
   */
  async prepare(runtimes: Iterable<Runtime>): Promise<void> {
    const fetch = { wasm: this.fetchWorking, js: this.fetchScripts, gpu: this.fetchKernels, net: async () => {} };
    const fetchOnce = (runtime: Runtime): Promise<void> => {
      let part = this.fetching.get(runtime);
      if (part === undefined) {
        this.fetching.set(runtime, (part = fetch[runtime].call(this)));
        // What failed is forgotten, so that whoever asks next tries anew.
        part.catch(() => this.fetching.delete(runtime));
      }
      return part;
    };
    await Promise.all(["wasm" as const, ...runtimes].map(fetchOnce));
  }

  /** Have, besides, what a creator of such tasks needs. */
  async prepareToCreate(runtimes: Iterable<Runtime>): Promise<void> {
    const [creator] = await Promise.all([reached(import("../protocol/creator")), this.prepare(runtimes)]);
    this.creatorRole = creator.CreatorRole;
  }

  private async fetchWorking(): Promise<void> {
    const [worker, absence, checking, custody, exchange, sealing, slots, sandbox, lanes, vouched, saved] = await reached(
      Promise.all([
        import("../protocol/worker"),
        import("../protocol/absence"),
        import("../protocol/checking"),
        import("../protocol/custody"),
        import("../protocol/exchange"),
        import("../protocol/sealing"),
        import("../protocol/slots"),
        import("../sandbox/client"),
        import("./lanes"),
        import("./vouched"),
        import("./savepoints").then(({ Savepoints }) => Savepoints.open(this.store)),
      ]),
    );
    this.workerRole = worker.WorkerRole;
    this.absences = absence.Absences;
    this.mayEnter = checking.mayEnter;
    this.custodyPart = custody.Custody;
    this.exchangePart = exchange.Exchange;
    this.slotsPart = slots.Slots;
    this.keys.sealWith(sealing.SealKeys);
    this.savepoints = saved;
    this.vouches = new vouched.Vouched(...this.vouching);
    this.lanesPart = lanes.Lanes;
    this.client = new sandbox.SandboxClient(this.slotCount, this.openSandbox);
  }

  private async fetchScripts(): Promise<void> {
    const js = await reached(import("./scripts").then(({ fetchJs }) => fetchJs()));
    await this.prepare([]);
    this.client!.js = js;
  }

  private async fetchKernels(): Promise<void> {
    const { script } = await reached(import("virtual:kernel"));
    await this.prepare([]);
    this.client!.kernelScript = script;
  }

  // ---- what the core asks for

  worker(...parts: ConstructorParameters<typeof WorkerRole>): WorkerRole {
    return new this.workerRole!(...parts);
  }

  check(...parts: Parameters<typeof mayEnter>): boolean {
    return this.mayEnter?.(...parts) ?? false;
  }

  attend(ledger: Ledger): void {
    this.absences!.of(ledger);
  }

  custody(...parts: ConstructorParameters<typeof Custody>): Custody {
    return new this.custodyPart!(...parts);
  }

  exchange(...parts: ConstructorParameters<typeof Exchange>): Exchange {
    return new this.exchangePart!(...parts);
  }

  slots(...parts: ConstructorParameters<typeof Slots>): Slots {
    return new this.slotsPart!(...parts);
  }

  creator(...parts: ConstructorParameters<typeof CreatorRole>): CreatorRole {
    return new this.creatorRole!(...parts);
  }

  // ---- the sandbox: nothing runs in it before it is here

  /** What runs jobs in it; null before that. */
  lanes(onDone: ConstructorParameters<typeof Lanes>[1]): Lanes | null {
    return this.lanesPart && new this.lanesPart(this, onDone);
  }

  resize(slots: number): void {
    this.slotCount = slots;
    this.client?.resize(slots);
  }

  run(job: Parameters<SandboxClient["run"]>[0]): ReturnType<SandboxClient["run"]> {
    const order = { ...job, gpu: this.gpu };
    return job.taskId === undefined ? this.client!.run(order) : this.savepoints!.run(this.client!, job.taskId, order);
  }

  cancel(job: number): void {
    this.client?.cancel(job);
  }

  forgetPage(): boolean {
    return this.client?.forgetPage() ?? false;
  }
}

function reached<T>(part: Promise<T>): Promise<T> {
  return part.catch(() => {
    throw new Error(UNREACHABLE);
  });
}

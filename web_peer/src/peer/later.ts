/**
 * The parts of the program that come after the question "may this run here?", so that the question is there sooner.
 *
 *     first load    keys, links, gossip, ledgers            what shows a task and asks
 *     working       a worker's role, blobs, sealing, the     fetched while the person reads
 *                   sandbox
 *     scripts       what JavaScript tasks run in             with the first such task
 *     kernels       what checks and runs GPU tasks           likewise
 *     creating      a creator's role                         with a task of one's own
 *
 * The core is synchronous, so whoever gives it work first waits for the part that this work needs.
 */

import libmUrl from "../../../protocol/crowdcompute/protocol/javascript/libm.wasm?url";
import preludeUrl from "../../../protocol/crowdcompute/protocol/javascript/prelude.js?url";

import { kernelUrl } from "virtual:kernel";

import type { CreatorRole } from "../protocol/creator";
import type { Custody } from "../protocol/custody";
import type { Exchange } from "../protocol/exchange";
import type { Runtime } from "../protocol/manifest";
import type { Roles } from "../protocol/peer";
import type { WorkerRole } from "../protocol/worker";
import type { SandboxClient } from "../sandbox/client";
import type { GpuChoice } from "../sandbox/gpu_messages";
import type { Keys } from "./keys";

const UNREACHABLE = "A part of this page could not be fetched: its server does not answer. Load the page again.";

export class Later implements Roles {
  private slots = 0;
  private gpuChoice: GpuChoice = "off";
  private workerRole: typeof WorkerRole | null = null;
  private custodyPart: typeof Custody | null = null;
  private exchangePart: typeof Exchange | null = null;
  private creatorRole: typeof CreatorRole | null = null;
  private client: SandboxClient | null = null;
  private fetching: Promise<void> | null = null;
  private fetchingScripts: Promise<void> | null = null;
  private fetchingKernels: Promise<void> | null = null;

  constructor(
    private readonly keys: Keys,
    private readonly openSandbox: () => Promise<MessagePort>,
  ) {}

  /** Whether tasks of these kinds can be worked on now. */
  isReadyFor(runtimes: Iterable<Runtime>): boolean {
    const { client } = this;
    const wanted = new Set(runtimes);
    const lacksJs = wanted.has("js") && client?.js === null;
    return client !== null && !lacksJs && !(wanted.has("gpu") && client.kernelScript === "");
  }

  /**
   * Have what working on tasks of these kinds needs.
   *
   * @throws Error with one sentence for the person. Asking again tries again; Chromium though remembers for a Worker's
   *   life which scripts failed.
   */
  async prepare(runtimes: Iterable<Runtime>): Promise<void> {
    const parts = [(this.fetching ??= again(this.fetchWorking(), () => (this.fetching = null)))];
    const wanted = new Set(runtimes);
    if (wanted.has("gpu")) {
      parts.push((this.fetchingKernels ??= again(this.fetchKernels(), () => (this.fetchingKernels = null))));
    }
    if (wanted.has("js")) {
      parts.push((this.fetchingScripts ??= again(this.fetchScripts(), () => (this.fetchingScripts = null))));
    }
    await Promise.all(parts);
  }

  /** Have, besides, what a creator of such tasks needs. */
  async prepareToCreate(runtimes: Iterable<Runtime>): Promise<void> {
    const [creator] = await Promise.all([reached(import("../protocol/creator")), this.prepare(runtimes)]);
    this.creatorRole = creator.CreatorRole;
  }

  private async fetchWorking(): Promise<void> {
    const [worker, custody, exchange, sealing, sandbox] = await reached(
      Promise.all([
        import("../protocol/worker"),
        import("../protocol/custody"),
        import("../protocol/exchange"),
        import("../protocol/sealing"),
        import("../sandbox/client"),
      ]),
    );
    this.workerRole = worker.WorkerRole;
    this.custodyPart = custody.Custody;
    this.exchangePart = exchange.Exchange;
    this.keys.sealWith(sealing.SealKeys);
    this.client = new sandbox.SandboxClient(this.slots, this.openSandbox);
    this.client.gpu = this.gpuChoice;
  }

  private async fetchScripts(): Promise<void> {
    const [prelude, libm] = await reached(
      Promise.all([
        fetched(preludeUrl).then((response) => response.text()),
        fetched(libmUrl).then((response) => response.arrayBuffer()),
      ]),
    );
    await this.prepare([]);
    this.client!.js = { prelude, libm: new Uint8Array(libm) };
  }

  private async fetchKernels(): Promise<void> {
    const script = await reached(fetched(kernelUrl).then((response) => response.text()));
    await this.prepare([]);
    this.client!.kernelScript = script;
  }

  // ---- what the core asks for

  worker(...parts: ConstructorParameters<typeof WorkerRole>): WorkerRole {
    return new this.workerRole!(...parts);
  }

  custody(...parts: ConstructorParameters<typeof Custody>): Custody {
    return new this.custodyPart!(...parts);
  }

  exchange(...parts: ConstructorParameters<typeof Exchange>): Exchange {
    return new this.exchangePart!(...parts);
  }

  creator(...parts: ConstructorParameters<typeof CreatorRole>): CreatorRole {
    return new this.creatorRole!(...parts);
  }

  // ---- the sandbox: nothing runs in it before it is here

  resize(slots: number): void {
    this.slots = slots;
    this.client?.resize(slots);
  }

  /** Where kernels may run from now on. */
  set gpu(choice: GpuChoice) {
    this.gpuChoice = choice;
    if (this.client !== null) this.client.gpu = choice;
  }

  run(job: Parameters<SandboxClient["run"]>[0]): ReturnType<SandboxClient["run"]> {
    return this.client!.run(job);
  }

  cancel(job: number): void {
    this.client?.cancel(job);
  }

  forgetPage(): boolean {
    return this.client?.forgetPage() ?? false;
  }
}

/** What failed is forgotten, so that whoever asks next tries anew. */
function again(attempt: Promise<void>, forget: () => void): Promise<void> {
  attempt.catch(forget);
  return attempt;
}

async function fetched(url: string): Promise<Response> {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return response;
}

function reached<T>(part: Promise<T>): Promise<T> {
  return part.catch(() => {
    throw new Error(UNREACHABLE);
  });
}

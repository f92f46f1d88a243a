/** The Worker with the `SandboxClient`: answers the questions of page.ts. */

import libmUrl from "../../../protocol/crowdcompute/protocol/javascript/libm.wasm?url&inline";
import prelude from "../../../protocol/crowdcompute/protocol/javascript/prelude.js?raw";

import { fromHex, hex } from "../../src/protocol/bytes";
import type { Runtime } from "../../src/protocol/manifest";
import type { Limits } from "../../src/protocol/manifest";
import { SandboxClient } from "../../src/sandbox/client";

/** Bytes in hexadecimal, seeds in decimal: what Playwright can carry. */
interface AskedJob {
  readonly runtime: Runtime;
  readonly code: string;
  readonly limits: Limits;
  readonly numbers: boolean;
  readonly chunks: readonly (readonly [chunk: number, data: string, seed: string])[];
}

export type Ask =
  /** Answered by outcomes and seconds, or null when `cancelAfterMs` came first. */
  | { readonly kind: "run"; readonly job: AskedJob; readonly cancelAfterMs?: number }
  /** So many chunks of the same input, in jobs of `batch`: answered by chunks a second. */
  | { readonly kind: "measure"; readonly job: AskedJob; readonly count: number; readonly batch: number }
  | { readonly kind: "resize"; readonly slots: number }
  | { readonly kind: "lost" };

/** What src/peer/later.ts fetches, put here by build.mjs. */
declare const __KERNEL_SCRIPT__: string;

let opened: (port: MessagePort) => void = () => undefined;
let jobs = 0;

const client = new SandboxClient(1, () => {
  postMessage("page");
  return new Promise((resolve) => (opened = resolve));
});

// The file has all in one; src/peer/later.ts fetches these.
const libm = Uint8Array.from(atob(libmUrl.slice(libmUrl.indexOf(",") + 1)), (character) => character.charCodeAt(0));
client.js = { prelude, libm };
client.kernelScript = __KERNEL_SCRIPT__;

self.onmessage = ({ data }: MessageEvent<MessagePort | { readonly ask: number; readonly question: Ask }>) => {
  if (data instanceof MessagePort) return opened(data);
  void answer(data.question).then((told) => postMessage({ ask: data.ask, answer: told }));
};

async function answer(question: Ask): Promise<unknown> {
  switch (question.kind) {
    case "run":
      return run(question.job, question.cancelAfterMs);
    case "measure":
      return measure(question.job, question.count, question.batch);
    case "resize":
      return client.resize(question.slots);
    case "lost":
      return client.lost;
  }
}

async function run(asked: AskedJob, cancelAfterMs?: number): Promise<unknown> {
  const job = ++jobs;
  const chunks = asked.chunks.map(([chunk, data, seed]) => ({ chunk, data: fromHex(data), seed: BigInt(seed) }));
  const code = fromHex(asked.code);
  if (cancelAfterMs !== undefined) setTimeout(() => client.cancel(job), cancelAfterMs);
  const execution = await client.run({ ...asked, job, code, codeId: await nameOf(code), chunks });
  if (execution === null) return null;
  const { outcomes, seconds } = execution;
  return { outcomes: outcomes.map(({ chunk, status, data, detail }) => [chunk, status, hex(data), detail]), seconds };
}

async function measure(asked: AskedJob, count: number, batch: number): Promise<number> {
  const code = fromHex(asked.code);
  const codeId = await nameOf(code);
  const [, data, seed] = asked.chunks[0]!;
  const startedMs = performance.now();
  // Two at a time: the next one's message is under way while one runs.
  let next = 0;
  const loop = async (): Promise<void> => {
    while (next < count) {
      const first = next;
      next += batch;
      const chunks = Array.from({ length: batch }, (_, index) => ({
        chunk: first + index,
        data: fromHex(data),
        seed: BigInt(seed),
      }));
      await client.run({ ...asked, job: ++jobs, code, codeId, chunks });
    }
  };
  await Promise.all([loop(), loop()]);
  return (1_000 * next) / (performance.now() - startedMs);
}

async function nameOf(code: Uint8Array): Promise<string> {
  return hex(new Uint8Array(await crypto.subtle.digest("SHA-256", new Uint8Array(code))));
}

/**
 * A page with a sandbox and nothing else, which tests/interop/test_browser_sandbox.py drives: jobs are passed on to the
 * Worker that a `SandboxClient` lives in, as the peer's does.
 */

import { openSandbox } from "../../src/sandbox/host";
import type { Ask } from "./peer";
import Peer from "./peer?worker&inline";

const peer = new Peer();
const asked = new Map<number, (answer: unknown) => void>();
let asks = 0;

peer.onmessage = ({ data }: MessageEvent<{ readonly ask: number; readonly answer: unknown } | "page">) => {
  if (data === "page") {
    void openSandbox().then((port) => peer.postMessage(port, [port]));
    return;
  }
  asked.get(data.ask)?.(data.answer);
  asked.delete(data.ask);
};

function ask(question: Ask): Promise<unknown> {
  return new Promise((resolve) => {
    asked.set(++asks, resolve);
    peer.postMessage({ ask: asks, question });
  });
}

Object.assign(globalThis, { ask });

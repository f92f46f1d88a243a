/**
 * The sandbox's page: a document with an opaque origin and no network, which starts and ends Workers for the peer.
 *
 * It runs in a process of its own where the browser isolates such documents, so that whatever a Worker does to its
 * process, the peer's page lives. It keeps no time: timers of pages sleep when the tab is hidden. Its commander does.
 */

import { GpuHost } from "./gpu_host";
import type { FromPage, ToPage } from "./messages";
import TaskWorker from "./task_worker?worker&inline";

const workers = new Map<number, { readonly worker: Worker; readonly gpu: GpuHost | null }>();

self.addEventListener("message", ({ source, ports: [port] }) => {
  if (source === parent && port !== undefined) port.onmessage = ({ data }: MessageEvent<ToPage>) => obey(port, data);
});
// Whoever opened us waits for this before it sends the port.
parent.postMessage("ready", "*");

function obey(port: MessagePort, message: ToPage): void {
  switch (message.kind) {
    case "start":
      return start(port, message);
    case "end": {
      const ended = workers.get(message.worker);
      ended?.worker.terminate();
      ended?.gpu?.close();
      workers.delete(message.worker);
      return;
    }
    case "ping":
      port.postMessage({ kind: "pong" } satisfies FromPage);
  }
}

function start(port: MessagePort, { worker: number, port: workerPort, gpu }: ToPage & { kind: "start" }): void {
  const worker = new TaskWorker();
  const { port1, port2 } = new MessageChannel();
  workers.set(number, { worker, gpu: gpu === "off" ? null : new GpuHost(port1, gpu) });
  worker.onerror = (event) => {
    event.preventDefault();
    port.postMessage({ kind: "died", worker: number, detail: event.message ?? "" } satisfies FromPage);
  };
  worker.postMessage(null, gpu === "off" ? [workerPort] : [workerPort, port2]);
}

/**
 * The sandbox's page: a document with an opaque origin and no network, which starts and ends Workers for the peer.
 *
 * It runs in a process of its own where the browser isolates such documents, so that whatever a Worker does to its
 * process, the peer's page lives. It keeps no time: timers of pages sleep when the tab is hidden. Its commander does.
 */

import type { FromPage, ToPage } from "./messages";
import TaskWorker from "./task_worker?worker&inline";

const workers = new Map<number, Worker>();

self.addEventListener("message", ({ source, ports: [port] }) => {
  if (source === parent && port !== undefined) port.onmessage = ({ data }: MessageEvent<ToPage>) => obey(port, data);
});
// Whoever opened us waits for this before it sends the port.
parent.postMessage("ready", "*");

function obey(port: MessagePort, message: ToPage): void {
  switch (message.kind) {
    case "start":
      return start(port, message.worker, message.port);
    case "end":
      workers.get(message.worker)?.terminate();
      workers.delete(message.worker);
      return;
    case "ping":
      port.postMessage({ kind: "pong" } satisfies FromPage);
  }
}

function start(port: MessagePort, number: number, workerPort: MessagePort): void {
  const worker = new TaskWorker();
  workers.set(number, worker);
  worker.onerror = (event) => {
    event.preventDefault();
    port.postMessage({ kind: "died", worker: number, detail: event.message ?? "" } satisfies FromPage);
  };
  worker.postMessage(null, [workerPort]);
}

/**
 * The peer's Worker: keys, store, protocol, timers and the connection to the signaling server, in one place that
 * browsers do not slow down when the tab is hidden. The page lends it what a Worker does not have (wire.ts).
 */

import { protocolConfig } from "../protocol/config";
import type { JoinLink } from "../protocol/join_link";
import { BrowserBlobs } from "./blobs";
import { Connector } from "./connector";
import { Consents } from "./consents";
import { Counting } from "./counting";
import { notStarted } from "./failure";
import { deferred, type Deferred } from "./deferred";
import { loadKeys } from "./keys";
import { Later } from "./later";
import { Links } from "./links";
import { Runtime } from "./runtime";
import { SignalingClient, type Signaling, type SignalingEvent } from "./signaling_client";
import { defaultSettings, Station } from "./station";
import { openStore } from "./store";
import { Verifying } from "./verifying";
import type { FromWorker, ToWorker } from "./wire";

/** What a page shows changes at most so often. */
const SNAPSHOT_EVERY_MS = 250;
/** A tab holds fewer connections than a node: each costs memory in the browser's own process. */
const NEIGHBOURS = { neighboursTarget: 6, neighboursMax: 12 };
/** A tab's blobs lie in its memory, and on a phone's data plan: a sixteenth of what a node takes. */
const BLOB_BYTES_MAX = 64 * 2 ** 20;
const NETWORK_OF_PLAIN_ADDRESS = "main";

const post = (message: FromWorker): void => self.postMessage(message);
const now = (): number => performance.now() / 1_000;
const unixS = (): number => Date.now() / 1_000;

const links = new Links((request) => post({ to: "rtc", request }));
const sandboxes: Deferred<MessagePort>[] = [];
/** Commands and conditions wait for the station, whose keys and records are read from the disk first. */
const station = deferred<Station>();

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.to) {
    case "peer":
      begin(data.address).then(station.resolve, (error: Error) => {
        station.reject(error);
        post({ to: "failure", sentence: notStarted(error) });
      });
      return;
    case "links":
      links.told(data.event);
      return;
    case "sandbox":
      sandboxes.shift()?.resolve(data.port);
      return;
    case "conditions":
      station.promise.then((begun) => begun.conditionsChanged(data.conditions)).catch(() => undefined);
      return;
    case "commands": {
      const { ask } = data;
      station.promise
        .then((begun) => begun.perform(data.name, data.args))
        .then(
          (answer) => post({ to: "asker", ask, answer, error: null }),
          (error: unknown) => post({ to: "asker", ask, answer: null, error: messageOf(error) }),
        );
    }
  }
};

async function begin(address: string): Promise<Station> {
  const link = linkOf(address);
  const store = await openStore();
  const keys = await loadKeys(store);
  const blobs = new BrowserBlobs(await store.blobs());
  const verifying = new Verifying();
  const { signer } = keys;
  if (keys.kind === "software key") await verifying.loadSoftware();
  const later = new Later(keys, openSandbox, store, [verifying, link.vouchers, () => onChanged()]);
  const told = (event: SignalingEvent): void => connector.signaled(event);
  // Most links name one server: what stands on several is not part of the first load.
  const signaling: Signaling =
    link.others.length === 0
      ? new SignalingClient(`ws${link.baseUrl.slice("http".length)}/ws`, signer, link.network, link.invite, told)
      : (await import("./signaling_servers")).signalingServers(link, signer, told);
  const onChanged = snapshots(() => made.snapshot());
  const settings = { ...defaultSettings(navigator.hardwareConcurrency), ...(await store.read("settings")) };
  const made = new Station({
    ...{ link, keys, store, blobs, verifying, signaling, later, now, unixS, onChanged },
    removeSandbox: () => post({ to: "sandbox", isWanted: false }),
    consents: new Consents(store, await store.consents(), unixS),
    counting: new Counting(store, await store.read("counters"), unixS),
    cores: navigator.hardwareConcurrency,
    settings,
    unchosen: (await store.read("unchosen")) ?? [],
  });
  const config = protocolConfig({
    ...NEIGHBOURS,
    network: link.network,
    agent: "crowdcompute web",
    epochOffsetS: unixS() - now(),
    slots: settings.slots,
    blobBytesMax: BLOB_BYTES_MAX,
    custodyBytes: BLOB_BYTES_MAX / 8,
  });
  const runtime = new Runtime(
    ...([config, signer, verifying, blobs, store, later] as const),
    {
      onExecute: (order, module) => made.execute(order, module),
      onCancel: (job) => made.cancel(job),
      onDial: (peerId, through) => connector.dial(peerId, through),
      onSignalArrived: (through, signal) => connector.signalArrived(through, signal),
      onSignalUndelivered: (to, through) => connector.signalUndelivered(to, through),
      onSeek: () => connector.askPeers(),
      onNotice: (notice) => made.noticed(notice),
      onSaved: (records) => made.saved(records),
      onChanged: () => onChanged(),
      onFailed: (error) => made.failed(error),
    },
    now,
  );
  const connector = new Connector(signer, link.network, signaling, links, verifying, {
    onLink: (opened, dialled) => runtime.linkOpened(opened, dialled),
    onDialFailed: (peerId, reason) => runtime.feed({ kind: "dialFailed", peerId, reason }),
    onSignal: (to, through, signal) => runtime.feed({ kind: "signalMade", to, through, signal }),
    onPeers: (peerIds) => runtime.feed({ kind: "peersDiscovered", peerIds }),
    onSignaling: (state, detail) => {
      made.signalingDetail = detail;
      onChanged();
      // The server forgets at its end whose this device is.
      if (state === "entered") void made.toldWhose().catch(() => undefined);
    },
  });
  made.attach(runtime);
  // Before consent nothing is worked on, whatever the restored records would allow.
  runtime.feed({ kind: "tasksChosen", tasks: new Set() });
  runtime.feed({ kind: "slotsChanged", slots: 0 });
  made.begin(await runtime.restore(), (await store.read("isOn")) ?? false);
  signaling.start();
  return made;
}

/** The page came from its signaling server; which network is meant stands behind `#`. */
function linkOf(address: string): JoinLink {
  const { origin, hash } = new URL(address);
  const fields = new URLSearchParams(hash.slice(1));
  return {
    baseUrl: origin,
    network: fields.get("n") ?? NETWORK_OF_PLAIN_ADDRESS,
    taskId: null,
    invite: fields.get("i") ?? "",
    others: fields.getAll("s"),
    bootstrap: [],
    vouchers: fields.getAll("v"),
  };
}

function openSandbox(): Promise<MessagePort> {
  const sandbox = deferred<MessagePort>();
  sandboxes.push(sandbox);
  post({ to: "sandbox", isWanted: true });
  return sandbox.promise;
}

/** Post a snapshot after changes: what a person waits for at once, the rest no more than once in each interval. */
function snapshots(take: () => ReturnType<Station["snapshot"]>): (isAwaited?: boolean) => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let postedMs = -Infinity;
  const postNow = (): void => {
    timer = undefined;
    postedMs = performance.now();
    post({ to: "screens", snapshot: take() });
  };
  return (isAwaited = false) => {
    if (isAwaited) clearTimeout(timer);
    if (isAwaited) timer = setTimeout(postNow, 0);
    else timer ??= setTimeout(postNow, Math.max(0, postedMs + SNAPSHOT_EVERY_MS - performance.now()));
  };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

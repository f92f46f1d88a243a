/**
 * What the connection doctor tries. Each probe uses the thing itself rather than asking whether its name exists, and
 * answers with one sentence that a person without the jargon can act on.
 *
 * A report holds no address, key or credential: people paste it into public places.
 */

import type { Console, Draft, Snapshot } from "../../peer/console";
import { bytes, counted } from "../../widgets/format";

export interface Finding {
  /** `note`: not needed to take part, or nothing to try. */
  readonly kind: "good" | "bad" | "note";
  readonly sentence: string;
}

export interface Probe {
  readonly name: string;
  readonly run: (peer: Console, snapshot: Snapshot) => Promise<Finding>;
}

/** Long enough for a slow phone on a slow line, short enough to wait for. */
const PROBE_MS_MAX = 8_000;

const good = (sentence: string): Finding => ({ kind: "good", sentence });
const bad = (sentence: string): Finding => ({ kind: "bad", sentence });
const note = (sentence: string): Finding => ({ kind: "note", sentence });

export const PROBES: readonly Probe[] = [
  { name: "Secure origin", run: secureOrigin },
  { name: "Storage", run: storage },
  { name: "Signing", run: signing },
  { name: "WebSocket to the server", run: webSocket },
  { name: "WebRTC", run: webRtc },
  { name: "STUN and TURN", run: iceServers },
  { name: "Other peers", run: otherPeers },
  { name: "WebAssembly", run: webAssembly },
  { name: "WebAssembly in the sandbox", run: (peer) => sandbox(peer, "wasm", ECHO_MODULE) },
  { name: "JavaScript in the sandbox", run: (peer) => sandbox(peer, "js", ECHO_SCRIPT) },
  { name: "Graphics processor", run: gpu },
];

/** Run a probe; one that throws or never answers is a finding too. */
export async function examine(probe: Probe, peer: Console, snapshot: Snapshot): Promise<Finding> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<Finding>((resolve) => {
    timer = setTimeout(() => resolve(bad(`No answer within ${PROBE_MS_MAX / 1000} seconds.`)), PROBE_MS_MAX);
  });
  try {
    return await Promise.race([probe.run(peer, snapshot), late]);
  } catch (error) {
    return bad(error instanceof Error && error.message !== "" ? error.message : "It failed without saying why.");
  } finally {
    clearTimeout(timer);
  }
}

const SIGNS = { good: "ok  ", bad: "FAIL", note: "note" } as const;

/** The findings as text to paste into a report of a problem. */
export function reportOf(findings: readonly (readonly [string, Finding])[], browser: string): string {
  const rows = findings.map(([name, finding]) => `${SIGNS[finding.kind]}  ${name}: ${finding.sentence}`);
  return ["CrowdCompute connection report", browser, "", ...rows].join("\n");
}

async function secureOrigin(): Promise<Finding> {
  return isSecureContext
    ? good("The page came over a connection nobody could change.")
    : note("The page came over plain http. Computing works; a protected key, installing and keeping awake need https.");
}

async function storage(): Promise<Finding> {
  const name = "crowdcompute-probe";
  await new Promise<void>((resolve, reject) => {
    const opening = indexedDB.open(name);
    opening.onsuccess = () => {
      opening.result.close();
      indexedDB.deleteDatabase(name);
      resolve();
    };
    opening.onerror = () =>
      reject(new Error("The browser refuses to store anything for this page, so a reload forgets your work."));
  });
  if (navigator.storage?.estimate === undefined) return good("Work survives a reload.");
  const { quota = 0 } = await navigator.storage.estimate();
  const isKept = await navigator.storage.persisted();
  return good(
    `Work survives a reload, ${bytes(quota)} may be used${isKept ? "" : "; the browser may clear it when space is short"}.`,
  );
}

async function signing(): Promise<Finding> {
  if (globalThis.crypto?.subtle === undefined)
    return note("Signatures are made in software here: slower, but the same.");
  try {
    await crypto.subtle.generateKey("Ed25519", false, ["sign", "verify"]);
    return good("The browser signs with a key that cannot be copied out.");
  } catch {
    return note("This browser does not know Ed25519, so signatures are made in software: slower, but the same.");
  }
}

async function webSocket(): Promise<Finding> {
  const scheme = location.protocol === "https:" ? "wss" : "ws";
  const startedMs = performance.now();
  await new Promise<void>((resolve, reject) => {
    const socket = new WebSocket(`${scheme}://${location.host}/ws`);
    const end = (settle: () => void): void => {
      socket.onmessage = socket.onclose = null;
      socket.close();
      settle();
    };
    // The server speaks first; an open socket alone may be a proxy that swallows everything.
    socket.onmessage = () => end(resolve);
    socket.onclose = () =>
      end(() =>
        reject(
          new Error("The server that introduces peers does not answer. Peers already connected go on without it."),
        ),
      );
  });
  return good(`The server that introduces peers answers in ${Math.round(performance.now() - startedMs)} ms.`);
}

async function webRtc(): Promise<Finding> {
  const [one, other] = [new RTCPeerConnection(), new RTCPeerConnection()];
  try {
    one.onicecandidate = ({ candidate }) => void other.addIceCandidate(candidate ?? undefined).catch(() => undefined);
    other.onicecandidate = ({ candidate }) => void one.addIceCandidate(candidate ?? undefined).catch(() => undefined);
    const channel = one.createDataChannel("probe");
    const arrived = new Promise<void>((resolve) => {
      other.ondatachannel = ({ channel: remote }) => {
        remote.onmessage = () => resolve();
      };
    });
    channel.onopen = () => channel.send("hello");
    await one.setLocalDescription();
    await other.setRemoteDescription(one.localDescription!);
    await other.setLocalDescription();
    await one.setRemoteDescription(other.localDescription!);
    const isThrough = await Promise.race([arrived.then(() => true), pause(5_000).then(() => false)]);
    return isThrough
      ? good("This browser can connect directly to other peers.")
      : bad("Two connections inside this browser do not reach each other: an extension or a policy blocks WebRTC.");
  } finally {
    one.close();
    other.close();
  }
}

async function iceServers(_peer: Console, snapshot: Snapshot): Promise<Finding> {
  const servers = snapshot.iceServers;
  if (servers.length === 0) {
    return note("This network names no STUN server: peers on the same local network connect, others may not.");
  }
  const found = new Set<string>();
  const connection = new RTCPeerConnection({ iceServers: [...servers] });
  try {
    connection.createDataChannel("probe");
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.type != null) found.add(candidate.type);
    };
    const gathered = new Promise<void>((resolve) => {
      connection.onicegatheringstatechange = () => {
        if (connection.iceGatheringState === "complete") resolve();
      };
    });
    await connection.setLocalDescription();
    await Promise.race([gathered, pause(6_000)]);
  } finally {
    connection.close();
  }
  if (found.has("relay")) return good("A TURN server relays for this device, so strict firewalls are no obstacle.");
  if (found.has("srflx")) return good("A STUN server told this device its public address.");
  return bad("None of the network's STUN servers answered: only peers on the same local network can be reached.");
}

async function otherPeers(_peer: Console, snapshot: Snapshot): Promise<Finding> {
  const open = snapshot.peers.filter((peer) => peer.state === "open").length;
  if (open > 0) return good(`Connected to ${counted(open, "peer")}.`);
  return note("Connected to nobody at the moment. If others are online, the rows above say what is in the way.");
}

async function webAssembly(): Promise<Finding> {
  // Only asked: the page's own policy lets nothing be compiled outside the sandbox, which the next row tries.
  if (!WebAssembly.validate(ECHO_MODULE)) throw new Error("This browser does not understand the simplest module.");
  return good("This browser understands WebAssembly.");
}

/** Executes one chunk of a task that sends its input back, along the whole way that real chunks take. */
async function sandbox(peer: Console, runtime: Draft["runtime"], source: Uint8Array): Promise<Finding> {
  const { status, detail, seconds } = await peer.ask("testRun", { draft: echoDraft(runtime, source), chunk: 0 });
  if (status !== "ok") return bad(`The sandbox ran a tiny task and got nothing back: ${detail}`);
  return good(`A tiny task ran in the closed box in ${Math.round(seconds * 1000)} ms.`);
}

async function gpu(): Promise<Finding> {
  if (!("gpu" in navigator)) return note("This browser shows none to web pages: tasks made for one run on the processor.");
  const { gpu: graphics } = navigator as { gpu: { requestAdapter(): Promise<object | null> } };
  return note(
    (await graphics.requestAdapter()) === null
      ? "WebGPU is there, but it finds no graphics processor: tasks made for one run on the processor."
      : "Available through WebGPU. No task uses it today.",
  );
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function echoDraft(runtime: Draft["runtime"], source: Uint8Array): Draft {
  return {
    name: "Probe",
    description: "",
    link: "",
    runtime,
    source,
    split: { kind: "range", start: "0", stop: "1", step: "1" },
    seconds: 5,
    memoryBytes: runtime === "js" ? 16 * 1024 * 1024 : 65_536,
    outputBytes: 1024,
    replication: 1,
    eps: 0.5,
  };
}

const ECHO_SCRIPT = new TextEncoder().encode(
  "export default function (args, stdin) { return args.map(String).join(' '); }\n",
);

/**
 * A reactor (spec/modules.md) that returns its input: `cc_alloc` always gives address 1024, `cc_run` gives back
 * `pointer << 32 | length`. Written out by hand, section by section.
 */
export const ECHO_MODULE = new Uint8Array([
  ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
  // types: (i32) -> i32, (i32, i32) -> i64
  ...[0x01, 0x0c, 0x02, 0x60, 0x01, 0x7f, 0x01, 0x7f, 0x60, 0x02, 0x7f, 0x7f, 0x01, 0x7e],
  // functions, and a memory of exactly one page
  ...[0x03, 0x03, 0x02, 0x00, 0x01],
  ...[0x05, 0x04, 0x01, 0x01, 0x01, 0x01],
  // exports: memory, cc_alloc, cc_run
  ...[0x07, 0x1e, 0x03],
  ...[0x06, 0x6d, 0x65, 0x6d, 0x6f, 0x72, 0x79, 0x02, 0x00],
  ...[0x08, 0x63, 0x63, 0x5f, 0x61, 0x6c, 0x6c, 0x6f, 0x63, 0x00, 0x00],
  ...[0x06, 0x63, 0x63, 0x5f, 0x72, 0x75, 0x6e, 0x00, 0x01],
  // code
  ...[0x0a, 0x14, 0x02],
  // i32.const 1024
  ...[0x05, 0x00, 0x41, 0x80, 0x08, 0x0b],
  // (i64.extend(pointer) << 32) | i64.extend(length)
  ...[0x0c, 0x00, 0x20, 0x00, 0xad, 0x42, 0x20, 0x86, 0x20, 0x01, 0xad, 0x84, 0x0b],
]);

/** The connection doctor: its report, its patience, and the tiny module it sends through the sandbox. */

import { describe, expect, it } from "vitest";
import { ECHO_MODULE, examine, PROBES, reportOf } from "../src/screens/doctor/probes";
import { recorded } from "./preview/recorded";
import { snapshot } from "./preview/snapshots";

const probe = (run: () => Promise<never>) => ({ name: "Probe", run });

describe("the doctor", () => {
  it("turns a probe that fails into a finding", async () => {
    const finding = await examine(
      probe(async () => {
        throw new Error("The cable is loose.");
      }),
      recorded(snapshot()),
      snapshot(),
    );
    expect(finding).toEqual({ kind: "bad", sentence: "The cable is loose." });
  });

  it("sends a real chunk through the sandbox", async () => {
    const peer = recorded(snapshot());
    const found = PROBES.find(({ name }) => name === "WebAssembly in the sandbox")!;
    expect((await examine(found, peer, snapshot())).kind).toBe("good");
    expect(peer.asked.map(([name]) => name)).toEqual(["testRun"]);
  });

  it("writes a report without keys, addresses or credentials", async () => {
    const state = snapshot({ iceServers: [{ urls: "turn:10.1.2.3", username: "alice", credential: "s3cret" }] });
    const findings = await Promise.all(
      // Those that need a browser fail here: what they say then goes into reports as well.
      PROBES.map(async (one) => [one.name, await examine(one, recorded(state), state)] as const),
    );
    const report = reportOf(findings, "Some browser");
    expect(report).toContain("Some browser");
    for (const secret of [state.peerId, "10.1.2.3", "alice", "s3cret"]) expect(report).not.toContain(secret);
  });

  it("has a module that gives its input back", async () => {
    const { instance } = await WebAssembly.instantiate(ECHO_MODULE);
    const { memory, cc_alloc, cc_run } = instance.exports as {
      memory: WebAssembly.Memory;
      cc_alloc: (size: number) => number;
      cc_run: (pointer: number, size: number) => bigint;
    };
    const at = cc_alloc(3);
    new Uint8Array(memory.buffer).set([7, 8, 9], at);
    const packed = cc_run(at, 3);
    expect([Number(packed >> 32n), Number(packed & 0xffff_ffffn)]).toEqual([at, 3]);
  });
});

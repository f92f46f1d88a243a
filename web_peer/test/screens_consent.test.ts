/** Consent: who is asked about what, and that nothing starts by itself. */

import { describe, expect, it } from "vitest";
import type { ConsentState, TaskView } from "../src/peer/console";
import { agree, canStart, limitsOf, mayCompute, questionOf, refusalOf } from "../src/screens/consent";
import { recorded } from "./preview/recorded";
import { NEWCOMER, OLD, PRIMES, PRIMES_ID, snapshot, task, ZOOM_ID } from "./preview/snapshots";

const consent = (state: ConsentState["state"]): Partial<TaskView> => ({ consent: { state, expiresS: null } });

describe("a task may compute", () => {
  it("only with a yes that still holds", () => {
    expect(mayCompute(task(consent("given")))).toBe(true);
    for (const state of ["none", "refused", "expired"] as const) expect(mayCompute(task(consent(state)))).toBe(false);
  });

  it("only while it is open and its signature holds", () => {
    expect(mayCompute(task({ state: "closed" }))).toBe(false);
    expect(mayCompute(task({ state: "expired" }))).toBe(false);
    expect(mayCompute(task({ signatureOk: false }))).toBe(false);
  });

  it("from the Start button only when it is also chosen", () => {
    expect(canStart(snapshot())).toBe(true);
    expect(canStart(snapshot({ tasks: [task({ isChosen: false })] }))).toBe(false);
    expect(canStart(NEWCOMER)).toBe(false);
  });
});

describe("the question", () => {
  it("is about the task of the link, whatever else is open", () => {
    expect(questionOf(snapshot(), PRIMES_ID)).toEqual({ kind: "ask", task: PRIMES });
  });

  it("waits for the task of the link until a peer tells of it", () => {
    expect(questionOf(snapshot(), "ee".repeat(32))).toEqual({ kind: "looking" });
  });

  it("is about the first open task without an answer, when the link names none", () => {
    expect(questionOf(snapshot(), null)).toEqual({ kind: "ask", task: PRIMES });
  });

  it("does not come again after a no, nor for a task that is over or wrongly signed", () => {
    const tasks = [task(consent("refused")), OLD, task({ ...consent("none"), signatureOk: false })];
    expect(questionOf(snapshot({ tasks }), null)).toEqual({ kind: "nothing to ask" });
  });

  it("is never about a task of our own", () => {
    const own = task({ ...consent("none"), isMine: true });
    expect(questionOf(snapshot({ tasks: [own] }), null)).toEqual({ kind: "nothing to ask" });
  });

  it("comes again when a yes has expired", () => {
    expect(questionOf(snapshot({ tasks: [task(consent("expired"))] }), null).kind).toBe("ask");
  });

  it("names size, limits and hash of what would run", () => {
    const text = limitsOf(task()).join("\n");
    for (const part of ["3.9 kB of WebAssembly", "20 s", "1 MB of memory", "3f9a3f…9a3f9a", "256 chunks"]) {
      expect(text).toContain(part);
    }
  });

  it("turns into a refusal for a task that must not run", () => {
    expect(refusalOf(task())).toBeNull();
    expect(refusalOf(task({ signatureOk: false }))).toContain("signature");
    const large = task({ exceeds: "inputs", inputBytes: 100 * 2 ** 20, ...consent("given") });
    expect(refusalOf(large)).toMatch(/^This task comes with 10\d MB of data .+: more than a tab gives\./);
    expect(mayCompute(large)).toBe(false);
    expect(refusalOf(OLD)).toContain("complete");
  });
});

describe("Start on the card", () => {
  it("remembers the yes and chooses the task before anything starts", async () => {
    const peer = recorded(NEWCOMER);
    expect(peer.asked).toEqual([]);
    await agree(peer, ZOOM_ID);
    expect(peer.asked).toEqual([
      ["consent", { taskId: ZOOM_ID, give: true }],
      ["chooseTask", { taskId: ZOOM_ID, chosen: true }],
      ["start", {}],
    ]);
  });

  it("starts nothing when the yes could not be kept", async () => {
    const peer = recorded(NEWCOMER);
    const forgetful = { ...peer, ask: async () => Promise.reject(new Error("The disk is full.")) };
    await expect(agree(forgetful, ZOOM_ID)).rejects.toThrow("The disk is full.");
    expect(peer.asked).toEqual([]);
  });
});

/** What the screens say: numbers, states and reasons as a person reads them. */

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PauseReason } from "../src/peer/console";
import { awayWords } from "../src/screens/away";
import { titleOf } from "../src/screens/page_state";
import { connectionOf, progressOf, reasonOf } from "../src/screens/reasons";
import { previewOf } from "../src/screens/results/preview";
import { ago, bytes, count, counted, duration, fingerprint, percent, share, short } from "../src/widgets/format";
import { NEWCOMER, snapshot, task } from "./preview/snapshots";

describe("numbers", () => {
  it("read as people write them", () => {
    expect(count(1_234_567)).toBe("1,234,567");
    expect(counted(1, "chunk")).toBe("1 chunk");
    expect(counted(0, "chunk")).toBe("0 chunks");
    expect([bytes(0), bytes(999), bytes(3_912), bytes(1_048_576), bytes(16_000_000)]).toEqual([
      "0 bytes",
      "999 bytes",
      "3.9 kB",
      "1 MB",
      "16 MB",
    ]);
    expect([duration(0), duration(59.6), duration(3_600), duration(93_784)]).toEqual([
      "0 s",
      "1 min",
      "1 h",
      "1 d 2 h",
    ]);
    expect([ago(100, 101), ago(100, 400)]).toEqual(["just now", "5 min ago"]);
    expect([share(0), share(0.004), share(0.05), share(1e-5)]).toEqual(["0 %", "0.4 %", "5 %", "1 in 100,000"]);
  });

  it("say 100 % only when everything is done, and 0 % only when nothing is", () => {
    fc.assert(
      fc.property(fc.nat(), fc.nat(), (done, rest) => {
        const shown = percent(done, done + rest);
        expect(shown === 100).toBe(done > 0 && rest === 0);
        expect(shown === 0).toBe(done === 0);
      }),
    );
  });

  it("show of a key what tells it apart", () => {
    expect(fingerprint("12D3KooWQnwEGNqcM2nAcPtRR9rA")).toBe("QnwE GNqc M2nA cPtR");
    expect(fingerprint("00112233445566778899")).toBe("0011 2233 4455 6677");
    expect(short("ab".repeat(32))).toBe("ababab…ababab");
  });
});

describe("the tab's title", () => {
  it("begins with the state and the progress", () => {
    expect(titleOf(snapshot(), "")).toBe("▶ 46 % · CrowdCompute");
    expect(titleOf(snapshot({ mode: "paused" }), "Tasks")).toBe("⏸ 46 % · Tasks · CrowdCompute");
  });

  it("is the name alone while off", () => {
    expect(titleOf(null, "")).toBe("CrowdCompute");
    expect(titleOf(NEWCOMER, "Join")).toBe("Join · CrowdCompute");
  });
});

describe("the state", () => {
  it("has a sentence for every reason to wait", () => {
    const reasons: readonly PauseReason[] = [
      "not started",
      "paused by you",
      "finishing",
      "no task chosen",
      "no peers yet",
      "nothing left to compute",
      "on battery",
      "data saver is on",
      "the device is hot",
      "the browser cannot run this task",
    ];
    for (const reason of reasons) expect(reasonOf(snapshot({ reason }))).toMatch(/^[A-Z].*\.$/);
  });

  it("names the chosen tasks while computing", () => {
    expect(reasonOf(snapshot())).toBe("Working on Deep zoom.");
  });

  it("counts failed chunks as progress, since nobody computes them again", () => {
    expect(progressOf(snapshot({ tasks: [task({ chunks: 4, accepted: 3, failed: 1 })] }))).toBe(100);
    expect(progressOf(snapshot({ tasks: [] }))).toBeNull();
  });

  it("counts only peers with an open link", () => {
    const peer = { peerId: "a", dialled: true };
    expect(
      connectionOf(
        snapshot({
          peers: [
            { ...peer, state: "open" },
            { ...peer, state: "gone" },
          ],
        }),
      ),
    ).toBe("1 peer");
    expect(connectionOf(snapshot({ peers: [], signaling: "unreachable" }))).toBe("no server");
  });
});

describe("a result in one line", () => {
  const encoded = (text: string): Uint8Array => new TextEncoder().encode(text);

  it("is text when the bytes are text", () => {
    expect(previewOf(encoded('{"primes":4}'))).toBe('{"primes":4}');
    expect(previewOf(encoded("x".repeat(500)))).toHaveLength(161);
  });

  it("is whole numbers when a few 64-bit numbers fit", () => {
    expect(previewOf(new Uint8Array([255, 255, 255, 255, 255, 255, 255, 255, 7, 0, 0, 0, 0, 0, 0, 0]))).toBe("-1, 7");
  });

  it("is hexadecimal otherwise, and never fails", () => {
    expect(previewOf(new Uint8Array([0, 1, 254]))).toBe("00 01 fe");
    fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (some) => previewOf(some).length > 0));
  });
});

describe("a task whose creator is away", () => {
  const nothing = {
    sinceS: 1_800_000_000,
    provisional: 0,
    bySteward: 0,
    sealed: 0,
    disputed: 0,
    credibility: null,
    liarsFound: 0,
  };
  const said = (part: Partial<Parameters<typeof awayWords>[0]>) => awayWords({ ...nothing, ...part }, { chunks: 240 });

  it("is said to be provisional, how far, since when, and what that means", () => {
    const { headline, meaning, more } = said({ provisional: 238, credibility: 0.99996, sealed: 2 });
    expect(headline).toMatch(/^Provisional: 238 of 240, creator away since .*2027/);
    expect(meaning).toMatch(/drawn by lot .* not yet final\. .*probability of 99\.99 % at least\. When the creator is back/);
    expect(more).toBe("2 chunks wait for a second vote.");
  });

  it("says whose word a steward's is", () => {
    expect(said({ bySteward: 240 }).meaning).toMatch(/^They were settled by a steward/);
    expect(said({ provisional: 1, bySteward: 3, credibility: 0.8 }).meaning).toMatch(/3 of them were settled/);
  });

  it("promises no certainty, and nothing where there is nothing", () => {
    expect(said({ provisional: 1, credibility: 0.999999 }).meaning).not.toContain("100 %");
    expect(said({}).headline).toMatch(/^Provisional: 0 of 240/);
    expect(said({}).meaning).toMatch(/^Results are computed and kept, and nobody has confirmed any yet/);
    expect(said({ disputed: 1, liarsFound: 2 }).more).toBe("1 chunk in dispute, 2 devices found to lie.");
  });
});

/** One link's life under any sequence of inputs, and a driver that wakes it at the very moment it asks for. */

import fc from "fast-check";
import { expect, test } from "vitest";

import { protocolConfig } from "../src/protocol/config";
import { RemoteProtocolError } from "../src/protocol/errors";
import type { Frame, Hello } from "../src/protocol/frames";
import { Session, type SessionState } from "../src/protocol/session";

const CONFIG = protocolConfig();
const HELLO: Hello = { kind: "hello", versions: [1], network: "main", agent: "test" };

function seconds(min: number, max: number): fc.Arbitrary<number> {
  return fc.double({ min, max, noNaN: true });
}

const NEXT: Record<SessionState, readonly SessionState[]> = {
  greeting: ["greeting", "open", "gone"],
  open: ["open", "suspected", "gone"],
  suspected: ["suspected", "open", "gone"],
  gone: ["gone"],
};

test("no sequence of inputs breaks a session", () => {
  const frame = fc.constantFrom<Frame | null>(
    null,
    HELLO,
    { ...HELLO, versions: [9] },
    { kind: "ping", nonce: 3 },
    { kind: "pong", nonce: 3 },
    { kind: "bye", reason: "" },
    { kind: "part" },
    { kind: "graft", topic: new Uint8Array() },
  );
  fc.assert(
    fc.property(seconds(0, 1e9), fc.array(fc.tuple(seconds(0, 6), frame), { maxLength: 40 }), (start, inputs) => {
      const session = new Session(CONFIG, start);
      let now = start;
      for (const [pauseS, frame] of inputs) {
        now += pauseS;
        const before = session.state;
        try {
          const answers = frame === null ? session.advance(now) : session.received(frame, now);
          for (const { kind } of answers) expect(kind).toBe(frame === null ? "ping" : "pong");
        } catch (error) {
          expect(error).toBeInstanceOf(RemoteProtocolError);
          expect(before === "greeting" || frame?.kind === "hello").toBe(true);
          return; // The peer closes the link in the first case and lowers the score in the second.
        }
        expect(NEXT[before]).toContain(session.state);
        if (session.state === "gone") {
          expect(session.reason).not.toBe("");
          return;
        }
      }
    }),
    { seed: 1, numRuns: 300 },
  );
});

test("a driver that wakes it exactly when asked always gets on", () => {
  const heard = fc.array(seconds(0.001, 12), { maxLength: 20 });
  const limit = seconds(0.01, 20);
  fc.assert(
    fc.property(seconds(0, 1e9), heard, limit, limit, limit, (start, heard, pingAfterS, suspectAfterS, goneAfterS) => {
      const session = new Session(protocolConfig({ pingAfterS, suspectAfterS, goneAfterS }), start);
      session.received(HELLO, start);
      let frameAt = start;
      for (const pauseS of [...heard, 1e12]) {
        frameAt += pauseS;
        for (let at = session.wakeAt(); at <= frameAt; at = session.wakeAt()) {
          const before = session.state;
          const pings = session.advance(at);
          if ((session.state as SessionState) === "gone") return;
          expect(pings.length > 0 || session.state !== before || session.wakeAt() > at).toBe(true);
        }
        session.received({ kind: "pong", nonce: 0 }, frameAt);
      }
      throw new Error("a session outlived a silence of 30,000 years");
    }),
    { seed: 1, numRuns: 200 },
  );
});

import { expect } from "vitest";

import { protocolConfig } from "../../src/protocol/config";
import { decodeFrame, encodeFrame, type Frame } from "../../src/protocol/frames";
import { Session } from "../../src/protocol/session";
import { type Case, expectBytes, expectRefused, fromHex, hex, vectors } from "./read";

const { greeting, ping_after_s, suspect_after_s, gone_after_s, hello_within_s, scripts } = vectors("session");
const config = protocolConfig();

export const cases: Case[] = [
  { name: "the greeting", check: () => expectBytes(encodeFrame(new Session(config, 0).greeting()), greeting) },
  {
    name: "the times",
    check: () => {
      const { pingAfterS, suspectAfterS, goneAfterS, helloWithinS } = config;
      const expected = [ping_after_s, suspect_after_s, gone_after_s, hello_within_s];
      expect([pingAfterS, suspectAfterS, goneAfterS, helloWithinS]).toEqual(expected);
    },
  },
];

for (const { name, steps } of scripts) {
  cases.push({
    name,
    check: () => {
      const session = new Session(config, 0);
      for (const step of steps) {
        const act = (): readonly Frame[] =>
          step.do === "received"
            ? session.received(decodeFrame(fromHex(step.frame)), step.at)
            : session.advance(step.at);
        if (step.refused) {
          expectRefused(act);
          continue;
        }
        expect(act().map((frame) => hex(encodeFrame(frame)))).toEqual(step.sends);
        expect(session.state).toBe(step.state);
        if (step.wake_at !== undefined) expect(session.wakeAt()).toBe(step.wake_at);
      }
    },
  });
}

/** What the driver of a browser peer lets out, and when. */

import { expect, test } from "vitest";
import { BrowserBlobs } from "../src/peer/blobs";
import type { Later } from "../src/peer/later";
import type { Link } from "../src/peer/links";
import { Runtime, type RuntimeEvents } from "../src/peer/runtime";
import type { Store } from "../src/peer/store";
import { Verifying } from "../src/peer/verifying";
import { protocolConfig } from "../src/protocol/config";
import { decodeFrame } from "../src/protocol/frames";
import { LateSigner } from "./platform_keys";
import { ROLES } from "./roles";

const nothing = (): void => undefined;
const events: RuntimeEvents = {
  ...{ onExecute: nothing, onCancel: nothing, onDial: nothing, onSignalArrived: nothing, onSignalUndelivered: nothing },
  ...{ onSeek: nothing, onNotice: nothing, onSaved: nothing, onChanged: nothing },
  onFailed: (error) => {
    throw error;
  },
};

test("what is fed in the turn in which the last output has left waits for nothing else", async () => {
  const store = { commit: () => Promise.resolve() } as unknown as Store;
  const parts = [new Verifying(), new BrowserBlobs([], 100), store, ROLES as unknown as Later] as const;
  const signer = new LateSigner(new Uint8Array(32).fill(1));
  const runtime = new Runtime(protocolConfig({}), signer, ...parts, events, () => 0);
  const sent: string[] = [];
  const link: Link = {
    peerId: new LateSigner(new Uint8Array(32).fill(2)).peerId,
    attach: nothing,
    send: (_channel, frame) => sent.push(decodeFrame(frame).kind),
    close: nothing,
  };
  runtime.feed({ kind: "slotsChanged", slots: 0 }); // Nothing leaves.
  runtime.linkOpened(link, true); // Our hello does.
  await runtime.flushed();
  expect(sent).toEqual(["hello"]);
  await runtime.close("the test is over");
});

import { expect } from "vitest";

import { formatJoinLink, parseJoinLink, websocketUrls } from "../../src/protocol/join_link";
import {
  checkEnter,
  encodeFromClient,
  encodeFromServer,
  enter,
  parseFromClient,
  parseFromServer,
} from "../../src/protocol/signaling";
import {
  encodeSignal,
  openSignal,
  parseSignal,
  signalId,
  signSignal,
  type SignalBody,
} from "../../src/protocol/signals";
import { SoftwareIdentity, verify } from "../../src/protocol/software";
import { type Case, expectBytes, expectRefused, fromHex, hex, vectors } from "./read";

const { seeds, nonce, from_client, from_server, signals, sdp, join_links, refused } = vectors("signaling");
const offerer = new SoftwareIdentity(fromHex(seeds.offerer));
const answerer = new SoftwareIdentity(fromHex(seeds.answerer));

interface SignalVector {
  readonly bytes: string;
  readonly receiver: string;
  readonly id: string;
}

function opened({ bytes, receiver }: SignalVector): SignalBody {
  return openSignal(verify, parseSignal(fromHex(bytes)), { network: "main", publicKey: fromHex(receiver) });
}

function each<T>(vectors: object): [string, T][] {
  return Object.entries(vectors);
}

export const cases: Case[] = [
  {
    name: "entering is signed",
    check: () => {
      const message = enter(offerer, "main", fromHex(nonce));
      expectBytes(encodeFromClient(message), from_client.enter);
      const invited = enter(offerer, "lab", fromHex(nonce), "correct-horse_1");
      expectBytes(encodeFromClient(invited), from_client["enter invited"]);
      checkEnter(verify, message, fromHex(nonce));
      expectRefused(() => checkEnter(verify, message, new Uint8Array(32)));
    },
  },
  {
    name: "an answer names the offer it accepts, and both carry their description",
    check: () => {
      const offer = opened(signals.offer);
      const answer = opened(signals.answer);
      expect([offer.kind, answer.kind]).toEqual(["offer", "answer"]);
      if (offer.kind !== "offer" || answer.kind !== "answer") return;
      expect([offer.sdp, answer.sdp]).toEqual([sdp.offer, sdp.answer]);
      expect(hex(answer.offer)).toBe(signals.offer.id);
    },
  },
];

for (const [name, bytes] of each<string>(from_client)) {
  const again = (): Uint8Array => encodeFromClient(parseFromClient(fromHex(bytes)));
  cases.push({ name: `from a client: ${name}`, check: () => expectBytes(again(), bytes) });
}
for (const [name, bytes] of each<string>(from_server)) {
  const again = (): Uint8Array => encodeFromServer(parseFromServer(fromHex(bytes)));
  cases.push({ name: `from the server: ${name}`, check: () => expectBytes(again(), bytes) });
}
for (const [name, vector] of each<SignalVector>(signals)) {
  const signal = parseSignal(fromHex(vector.bytes));
  cases.push(
    { name: `${name} opens`, check: () => expect(opened(vector).kind).toBe(signal.kind) },
    { name: `${name} has its id`, check: () => expectBytes(signalId(signal), vector.id) },
    {
      name: `${name} is signed and encoded again`,
      check: () => {
        const author = hex(signal.author) === hex(offerer.publicKey) ? offerer : answerer;
        expectBytes(encodeSignal(signSignal(author, opened(vector))), vector.bytes);
      },
    },
  );
}
for (const { link, websocket_urls, network, task, invite, bootstrap, vouchers } of join_links) {
  cases.push({
    name: `the join link ${link}`,
    check: () => {
      const parsed = parseJoinLink(link);
      expect([websocketUrls(parsed), parsed.network, parsed.taskId]).toEqual([websocket_urls, network, task]);
      expect(parsed.bootstrap).toEqual(bootstrap);
      expect(parsed.vouchers).toEqual(vouchers);
      expect(parsed.invite).toBe(invite);
      expect(formatJoinLink(parsed)).toBe(link);
    },
  });
}
for (const [why, bytes] of each<string>(refused.from_client)) {
  cases.push({ name: `no client says: ${why}`, check: () => expectRefused(() => parseFromClient(fromHex(bytes))) });
}
for (const [why, bytes] of each<string>(refused.from_server)) {
  cases.push({ name: `no server says: ${why}`, check: () => expectRefused(() => parseFromServer(fromHex(bytes))) });
}
for (const [why, vector] of each<SignalVector>(refused.signals)) {
  cases.push({ name: `no signal: ${why}`, check: () => expectRefused(() => opened(vector)) });
}

/** What travels on a link: one MessagePack array per frame, its first element the frame's kind (spec/session.md). */

import { array, bool, bytes, bytes32, decode, encode, type Infer, integer, tagged, text, u32, u53 } from "./codec";
import { FRAME_BYTES_MAX } from "./config";
import { LocalProtocolError, RemoteProtocolError } from "./errors";
import { RECONCILE_FRAMES } from "./reconcile";
import { Signed } from "./records";
import { ANSWERED, ASKED } from "./signaling";

/** Record ids of one ihave or iwant: 48 kB. */
export const IDS_MAX = 1_500;

/** Topics of one frame, each way. */
export const TOPICS_MAX = 512;

/** Records of one publish. */
export const RECORDS_MAX = 1_024;

/** Empty: manifests of the whole network. A task id: that task's records. Task id and big-endian u32: a shard's. */
const Topic = bytes({ max: 36 });
const Topics = array(Topic, { max: TOPICS_MAX });
const Ids = array(bytes32, { max: IDS_MAX });

export const Frame = tagged("Frame", {
  /** First frame in both directions. */
  hello: { versions: array(u32, { min: 1, max: 16 }), network: text({ max: 64 }), agent: text({ max: 64 }) },
  ping: { nonce: u53 },
  pong: { nonce: u53 },
  /** The sender is leaving on purpose. */
  bye: { reason: text({ max: 200 }) },
  /** The sender closes this link and stays on the network: it has other neighbours. */
  part: {},
  /** Topics the sender follows from now on, and those it no longer does. */
  topics: { follow: Topics, leave: Topics },
  graft: { topic: Topic },
  prune: { topic: Topic },
  ihave: { topic: Topic, ids: Ids },
  iwant: { topic: Topic, ids: Ids },
  ...RECONCILE_FRAMES,
  /** Records of one topic, new or asked for. */
  publish: { topic: Topic, records: array(Signed, { max: RECORDS_MAX }) },
  /** Please send `count` pieces of a blob from piece `first` on. */
  "blob-want": { sha256: bytes32, first: u32, count: integer(1, 64) },
  "blob-piece": { sha256: bytes32, size: u53, index: u32, data: bytes(), proof: array(bytes32, { max: 40 }) },
  /** I fetch this blob, all of it or only pieces that I name: say which you have, now and as they come. */
  "blob-seek": { sha256: bytes32, whole: bool },
  /** Of the pieces from `first` on, those of the set bits are the sender's to give: bit i of byte j is 8 j + i. */
  "blob-have": { sha256: bytes32, first: u32, bits: bytes({ min: 1, max: 8_192 }) },
  /** The sender now has these pieces to give, too. */
  "blob-got": { sha256: bytes32, pieces: array(u32, { min: 1, max: 256 }) },
  /** These pieces have come from somebody else: do not send them any more. */
  "blob-cancel": { sha256: bytes32, pieces: array(u32, { min: 1, max: 256 }) },
  /** The sender does not have (or no longer has) this blob. */
  "blob-missing": { sha256: bytes32 },
  /** Please fetch this sealed result of mine and keep it until its chunk is closed (keeping.ts). */
  keep: { task: bytes32, chunk: u32, sha256: bytes32, size: u53 },
  /** The answer to `keep`: whether the sender has it now and keeps it. */
  kept: { task: bytes32, sha256: bytes32, kept: bool },
  // The signaling server's own messages, said between neighbours (introductions.ts).
  ...ASKED,
  ...ANSWERED,
});

export type Frame = Infer<typeof Frame>;
type FrameOf<Kind extends Frame["kind"]> = Extract<Frame, { readonly kind: Kind }>;

export type Hello = FrameOf<"hello">;
export type Publish = FrameOf<"publish">;
export type BlobPiece = FrameOf<"blob-piece">;
export type BlobHave = FrameOf<"blob-have">;
/** What the mesh is kept by; `Publish`, which carries the records, stands apart. */
export type GossipFrame = FrameOf<
  "topics" | "graft" | "prune" | "ihave" | "iwant" | keyof typeof RECONCILE_FRAMES
>;
export type BlobFrame = FrameOf<
  "blob-want" | "blob-piece" | "blob-seek" | "blob-have" | "blob-got" | "blob-cancel" | "blob-missing"
>;
export type Keep = FrameOf<"keep">;
export type Kept = FrameOf<"kept">;
export type IntroductionFrame = FrameOf<keyof typeof ASKED | keyof typeof ANSWERED>;

/**
 * Encode one frame.
 *
 * @throws LocalProtocolError when it exceeds `FRAME_BYTES_MAX`, which is our own bug.
 */
export function encodeFrame(frame: Frame): Uint8Array {
  const data = encode(Frame, frame);
  if (data.length > FRAME_BYTES_MAX) throw new LocalProtocolError(`a ${frame.kind} frame of ${data.length} bytes`);
  return data;
}

/**
 * Decode one frame.
 *
 * @throws RemoteProtocolError when it is too long, or not exactly one known frame.
 */
export function decodeFrame(data: Uint8Array): Frame {
  if (data.length > FRAME_BYTES_MAX) {
    throw new RemoteProtocolError(`a frame of ${data.length} bytes is over the limit of ${FRAME_BYTES_MAX}`);
  }
  return decode(Frame, data);
}

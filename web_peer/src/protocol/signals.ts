/**
 * What two peers say to each other to connect, through a server or another peer (spec/signaling.md).
 *
 * Signals are offers, answers and candidates, signed end to end. A signature covers the network, both peers, the
 * connection and the DTLS fingerprint, and an answer names the exact offer it answers: whoever carries a signal can
 * withhold it, but at the other end of the connection is who holds the key of the peer id we asked for.
 */

import { equal, fromHex, type Hex } from "./bytes";
import { body, bytes, bytes32, bytes64, decode, encode, type Infer, literal, type Schema, struct, text } from "./codec";
import { RemoteProtocolError } from "./errors";
import { contentId, type Signer, type Verifier } from "./identity";

export const SIGNAL_BYTES_MAX = 24 * 1024;

/** A full offer of data channels has about 1.2 kB (m); a browser with many interfaces and TURN stays below 8 kB. */
export const SDP_CHARS_MAX = 16 * 1024;

/** Candidates of one SDP, and trickled candidates of one connection: each costs the receiver connectivity checks. */
export const CANDIDATES_MAX = 64;

export const CONNECTION_BYTES = 16;

export const NetworkName = text({ pattern: /^[a-z0-9][a-z0-9._-]{0,63}$/ });
export const SignalBytes = bytes({ max: SIGNAL_BYTES_MAX });
/** Sixteen bytes the offerer draws for each offer, so that late signals of an earlier try are recognised. */
const ConnectionId = bytes({ min: CONNECTION_BYTES, max: CONNECTION_BYTES });

const between = { network: NetworkName, connection: ConnectionId, offerer: bytes32, answerer: bytes32 };
const Sdp = text({ max: SDP_CHARS_MAX });

/** The offerer proposes a connection and commits to the DTLS certificate it will use. */
export const Offer = body("offer", { ...between, fingerprint: bytes32, sdp: Sdp });
export type Offer = Infer<typeof Offer>;

/** The answerer accepts one exact offer: `offer` is that offer's content id, so both fingerprints are signed. */
export const Answer = body("answer", { ...between, offer: bytes32, fingerprint: bytes32, sdp: Sdp });
export type Answer = Infer<typeof Answer>;

/** One more address of the sender, found after its offer or answer left (only browsers trickle). */
export const Candidate = body("candidate", { ...between, mid: text({ max: 32 }), candidate: text({ max: 1_024 }) });
export type Candidate = Infer<typeof Candidate>;

export type SignalBody = Offer | Answer | Candidate;
export type SignalKind = SignalBody["kind"];

const BODIES = { offer: Offer, answer: Answer, candidate: Candidate } as const;

/** One signed offer, answer or candidate as it travels. The signature covers the body's bytes. */
export const Signal = struct("Signal", {
  kind: literal("offer", "answer", "candidate"),
  author: bytes32,
  body: SignalBytes,
  signature: bytes64,
});
export type Signal = Infer<typeof Signal>;

export function signalDomain(kind: SignalKind): string {
  return `cc/${kind}/1`;
}

/** The name of a signal: what an answer calls the offer it accepts. */
export function signalId(message: Signal): Uint8Array {
  return contentId(signalDomain(message.kind), message.body);
}

/** Encode and sign one signal. From here on only these bytes count; encode it once the signer has settled. */
export function signSignal(signer: Signer, content: SignalBody): Signal {
  const data = encode(BODIES[content.kind] as Schema<SignalBody>, content);
  return {
    kind: content.kind,
    author: signer.publicKey,
    body: data,
    signature: signer.sign(signalDomain(content.kind), data),
  };
}

export function encodeSignal(message: Signal): Uint8Array {
  return encode(Signal, message);
}

/**
 * Decode a signal's envelope. Nothing is verified yet: see `openSignal`.
 *
 * @throws RemoteProtocolError when it is not exactly one signal.
 */
export function parseSignal(data: Uint8Array): Signal {
  if (data.length > SIGNAL_BYTES_MAX) {
    throw new RemoteProtocolError(`a signal of ${data.length} bytes is over the limit of ${SIGNAL_BYTES_MAX}`);
  }
  return decode(Signal, data);
}

/** Who opens a signal. */
export interface Receiver {
  readonly network: string;
  readonly publicKey: Uint8Array;
}

/**
 * Check everything about a signal that can be checked without knowing the connection, and return its body.
 *
 * The caller still has to compare: an answer's `offer` with the offer it made, a candidate's `connection` with one that
 * is open, and, once connected, the certificate in use with the signed fingerprint.
 *
 * @throws RemoteProtocolError for a wrong signature, another network or receiver, an author who may not say this, or an
 *   SDP that does not have exactly the signed fingerprint.
 */
export function openSignal(verifier: Verifier, message: Signal, receiver: Receiver): SignalBody {
  const { kind, author } = message;
  const content = decode(BODIES[kind] as Schema<SignalBody>, message.body);
  if (!verifier(author, signalDomain(kind), message.body, message.signature)) {
    throw new RemoteProtocolError(`the signature of this ${kind} is wrong`);
  }
  if (content.network !== receiver.network) {
    throw new RemoteProtocolError(
      `this ${kind} is for network '${content.network}', we are in '${receiver.network}'`,
    );
  }
  const isOfferer = equal(author, content.offerer);
  const isBetweenUs = isOfferer
    ? equal(receiver.publicKey, content.answerer)
    : equal(author, content.answerer) && equal(receiver.publicKey, content.offerer);
  if (!isBetweenUs || equal(author, receiver.publicKey)) {
    throw new RemoteProtocolError(`this ${kind} is not between its author and us`);
  }
  switch (content.kind) {
    case "offer":
      if (!isOfferer) throw new RemoteProtocolError("an offer is not signed by its offerer");
      checkSdp(content.sdp, content.fingerprint);
      break;
    case "answer":
      if (isOfferer) throw new RemoteProtocolError("an answer is not signed by its answerer");
      checkSdp(content.sdp, content.fingerprint);
      break;
    case "candidate":
      checkCandidate(content.candidate);
      break;
  }
  return content;
}

const FINGERPRINT = /^a=fingerprint:sha-256 ([0-9a-f]{2}(?::[0-9a-f]{2}){31})$/i;
const CANDIDATE = new RegExp(
  "^candidate:[A-Za-z0-9+/]{1,32} [1-9]\\d{0,2} (?:udp|tcp) \\d{1,10} [0-9A-Za-z.:-]{1,255} (\\d{1,5})" +
    " typ (?:host|srflx|prflx|relay)(?: [\\x21-\\x7e]{1,255} [\\x21-\\x7e]{1,255}){0,16}$",
  "i",
);
// Control characters, and what Python's splitlines calls a line end but a browser does not, could make two parsers see
// two different descriptions.
const PLAIN_TEXT = /^[\x20-\x7e\r\n]*$/;
const LINE_END = /\r\n|\r|\n/;

/**
 * The one SHA-256 DTLS fingerprint of an SDP.
 *
 * It may stand there several times (session and media level). Anything else that looks like a fingerprint, another
 * algorithm included, is refused: what is in use could then differ from what was signed.
 *
 * @throws RemoteProtocolError for no fingerprint, two different ones, or a line that only resembles one.
 */
export function fingerprintOf(description: string): Uint8Array {
  if (!PLAIN_TEXT.test(description)) throw new RemoteProtocolError("an SDP has characters outside printable ASCII");
  const found = new Set<Hex>();
  for (const line of description.split(LINE_END)) {
    if (!line.toLowerCase().includes("fingerprint")) continue;
    const match = FINGERPRINT.exec(line);
    if (match === null) throw new RemoteProtocolError("an SDP has a fingerprint that is not plain SHA-256");
    found.add(match[1]!.replaceAll(":", "").toLowerCase());
  }
  const [only] = found;
  if (only === undefined || found.size !== 1) {
    throw new RemoteProtocolError(`an SDP must have one DTLS fingerprint, this one has ${found.size}`);
  }
  return fromHex(only);
}

/**
 * Check that an SDP describes data channels only, under exactly the signed certificate.
 *
 * @throws RemoteProtocolError for another fingerprint, anything but one `m=application` section, or bad candidates.
 */
export function checkSdp(description: string, fingerprint: Uint8Array): void {
  if (!equal(fingerprintOf(description), fingerprint)) {
    throw new RemoteProtocolError("an SDP's DTLS fingerprint is not the signed one");
  }
  const lines = description.split(LINE_END);
  const sections = lines.filter((line) => line.startsWith("m="));
  if (sections.length !== 1 || !sections[0]!.startsWith("m=application ")) {
    throw new RemoteProtocolError("an SDP must have one section, of data channels");
  }
  const candidates = lines.filter((line) => line.startsWith("a=candidate"));
  if (candidates.length > CANDIDATES_MAX) {
    throw new RemoteProtocolError(`an SDP has more than ${CANDIDATES_MAX} candidates`);
  }
  for (const line of candidates) checkCandidate(line.slice("a=".length));
}

/**
 * Check one candidate's grammar (RFC 8839). The empty one means there are no more.
 *
 * @throws RemoteProtocolError when it is not a candidate.
 */
export function checkCandidate(line: string): void {
  if (line === "") return;
  const match = CANDIDATE.exec(line.replace(/ +$/, ""));
  if (match === null || Number(match[1]) > 65_535) {
    throw new RemoteProtocolError("a candidate does not follow the grammar of RFC 8839");
  }
}

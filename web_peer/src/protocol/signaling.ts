/**
 * What clients and the signaling server say to each other (spec/signaling.md).
 *
 * A client enters a network, hears of some of its peers, and has bytes passed on to them. Those bytes are signals
 * (`signals`), signed end to end: the server carries them and can withhold them, no more.
 */

import { sha256 } from "@noble/hashes/sha2.js";

import { concat } from "./bytes";
import { array, bytes, bytes32, bytes64, decode, encode, float, type Infer, integer, literal, struct, tagged, text } from "./codec";
import { RemoteProtocolError } from "./errors";
import { type Signer, type Verifier } from "./identity";
import { NetworkName, SignalBytes } from "./signals";

/** Longest message in either direction. */
export const MESSAGE_BYTES_MAX = 64 * 1024;

/** Peers named in one message: more than anybody needs to start gossiping. */
export const PEERS_MAX = 32;

/** STUN and TURN servers told to a client. Browsers warn above four. */
export const ICE_SERVERS_MAX = 8;

// What every stack can parse (RFC 7064 and 7065, without IPv6 literals, which aiortc refuses).
const ICE_URL =
  /^(?:stuns?:[^\s?:@/]{1,253}(?::\d{1,5})?|turns?:[^\s?:@/]{1,253}(?::\d{1,5})?(?:\?transport=(?:udp|tcp))?)$/;

/** One STUN or TURN server, as browsers configure it. STUN servers have empty strings for credentials. */
export const IceServer = struct("IceServer", {
  url: text({ pattern: ICE_URL }),
  username: text({ max: 256 }),
  credential: text({ max: 256 }),
});
export type IceServer = Infer<typeof IceServer>;

const PeerKeys = array(bytes32, { max: PEERS_MAX });

/** What is asked of whoever introduces peers: the signaling server, or a neighbour (introductions.ts). */
export const ASKED = {
  /** Name up to `count` peers, drawn anew. */
  ask: { count: integer(1, PEERS_MAX) },
  /** Pass these bytes to another peer of the network. */
  relay: { to: bytes32, signal: SignalBytes },
};

/** What it answers and passes on. */
export const ANSWERED = {
  /** The answer to `ask`. */
  peers: { peers: PeerKeys },
  /** Bytes from another peer. Who `sender` is, only the signature inside proves. */
  relayed: { sender: bytes32, signal: SignalBytes },
  /** No peer of that key is in the network. */
  undeliverable: { to: bytes32 },
};

export const FromClient = tagged("message of a client", {
  /**
   * First message of a client. The signature covers nonce and network: the key is really here, now. `invitation` proves
   * that the client knows the network's invite, without saying it; empty where it knows none.
   */
  enter: { publicKey: bytes32, network: NetworkName, invitation: bytes({ max: 32 }), signature: bytes64 },
  ...ASKED,
});
export type FromClient = Infer<typeof FromClient>;
export type Enter = Extract<FromClient, { readonly kind: "enter" }>;

export const FromServer = tagged("message of the server", {
  /** First message of the server: what to sign, and its clock. */
  welcome: { nonce: bytes32, timeS: float },
  /** The ICE servers to use from now on. Comes before `entered` if there are any, and again before they expire. */
  ice: { servers: array(IceServer, { max: ICE_SERVERS_MAX }) },
  /** The client is in. Some peers of its network, drawn at random. */
  entered: { peers: PeerKeys },
  ...ANSWERED,
  /**
   * Last message of the server before it hangs up.
   *
   * `malformed`: a message breaks the rules. `signature`: it does not verify. `invite`: this network asks for an
   * invitation, and this is none or another one. `full`: a cap of this server is reached.
   * `rate`: too many messages. `replaced`: the same key entered from elsewhere. `late`: no `enter` came in time.
   */
  refused: {
    code: literal("malformed", "signature", "invite", "full", "rate", "replaced", "late"),
    reason: text({ max: 200 }),
  },
});
export type FromServer = Infer<typeof FromServer>;

/**
 * Decode what a client sent.
 *
 * @throws RemoteProtocolError when it is too long, or not exactly one message a client may send.
 */
export function parseFromClient(data: Uint8Array): FromClient {
  checkLength(data);
  return decode(FromClient, data);
}

/**
 * Decode what a server sent.
 *
 * @throws RemoteProtocolError when it is too long, or not exactly one message a server may send.
 */
export function parseFromServer(data: Uint8Array): FromServer {
  checkLength(data);
  return decode(FromServer, data);
}

export function encodeFromClient(message: FromClient): Uint8Array {
  return encode(FromClient, message);
}

export function encodeFromServer(message: FromServer): Uint8Array {
  return encode(FromServer, message);
}

function checkLength(data: Uint8Array): void {
  if (data.length > MESSAGE_BYTES_MAX) {
    throw new RemoteProtocolError(`a message of ${data.length} bytes is over the limit of ${MESSAGE_BYTES_MAX}`);
  }
}

const utf8 = new TextEncoder();

function entering(network: string, nonce: Uint8Array): Uint8Array {
  return concat(nonce, utf8.encode(network));
}

/** The message that enters `network` in answer to a welcome's nonce. Send it once the signer has settled. */
export function enter(signer: Signer, network: string, nonce: Uint8Array, invite = ""): Enter {
  const { publicKey } = signer;
  const signature = signer.sign("cc/enter/1", entering(network, nonce));
  const invitation = invite === "" ? new Uint8Array() : invitationOf(invite, publicKey, nonce);
  return { kind: "enter", publicKey, network, invitation, signature };
}

/** The proof of knowing an invite: good for this key and this connection only. */
function invitationOf(invite: string, publicKey: Uint8Array, nonce: Uint8Array): Uint8Array {
  return sha256(concat(utf8.encode("cc/invite/1\0"), nonce, publicKey, utf8.encode(invite)));
}

/**
 * Check that the client holds the key it enters with.
 *
 * @throws RemoteProtocolError when the signature is not this key's over this nonce and network.
 */
export function checkEnter(verifier: Verifier, message: Enter, nonce: Uint8Array): void {
  if (!verifier(message.publicKey, "cc/enter/1", entering(message.network, nonce), message.signature)) {
    throw new RemoteProtocolError("the signature of an enter message is wrong");
  }
}

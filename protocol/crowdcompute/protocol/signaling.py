"""What clients and the signaling server say to each other (spec/signaling.md).

A client enters a network, hears of some of its peers, and has bytes passed on to them. Those bytes are signals
(`signals`), signed end to end: the server carries them and can withhold them, no more.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from msgspec import Meta

from .codec import Body, Bytes32, Bytes64, decode
from .errors import RemoteProtocolError
from .signals import SIGNAL_BYTES_MAX, NetworkName

if TYPE_CHECKING:
    from .identity import Signer, Verifier

MESSAGE_BYTES_MAX = 64 * 1024
"""Longest message in either direction."""

PEERS_MAX = 32
"""Peers named in one message: more than anybody needs to start gossiping."""

ICE_SERVERS_MAX = 8
"""STUN and TURN servers told to a client. Browsers warn above four."""

NONCE_BYTES = 32

# What every stack can parse (RFC 7064 and 7065, without IPv6 literals, which aiortc refuses).
_PORT = "(?::[0-9]{1,5})?"
_ICE_URL = rf"\A(?:stuns?:[^\s?:@/]{{1,253}}{_PORT}|turns?:[^\s?:@/]{{1,253}}{_PORT}(?:\?transport=(?:udp|tcp))?)\Z"


class IceServer(Body, frozen=True):
    """One STUN or TURN server, as browsers configure it. STUN servers have empty strings for credentials."""

    url: Annotated[str, Meta(pattern=_ICE_URL)]
    username: Annotated[str, Meta(max_length=256)]
    credential: Annotated[str, Meta(max_length=256)]


class Welcome(Body, frozen=True, tag="welcome"):
    """First message of the server: what to sign, and its clock."""

    nonce: Bytes32
    time_s: float


class Enter(Body, frozen=True, tag="enter"):
    """First message of a client. The signature covers nonce and network: the key is really here, now.

    `invitation` proves that the client knows the network's invite, without saying it; empty where it knows none.
    """

    public_key: Bytes32
    network: NetworkName
    invitation: Annotated[bytes, Meta(max_length=32)]
    signature: Bytes64


class Entered(Body, frozen=True, tag="entered"):
    """The client is in. Some peers of its network, drawn at random."""

    peers: Annotated[tuple[Bytes32, ...], Meta(max_length=PEERS_MAX)]


class Ice(Body, frozen=True, tag="ice"):
    """The ICE servers to use from now on. Comes before `Entered` if there are any, and again before they expire."""

    servers: Annotated[tuple[IceServer, ...], Meta(max_length=ICE_SERVERS_MAX)]


class Ask(Body, frozen=True, tag="ask"):
    """A client wants to hear of up to `count` peers, drawn anew."""

    count: Annotated[int, Meta(ge=1, le=PEERS_MAX)]


class Peers(Body, frozen=True, tag="peers"):
    """The answer to `Ask`."""

    peers: Annotated[tuple[Bytes32, ...], Meta(max_length=PEERS_MAX)]


class Relay(Body, frozen=True, tag="relay"):
    """Pass these bytes to another peer of the client's network."""

    to: Bytes32
    signal: Annotated[bytes, Meta(max_length=SIGNAL_BYTES_MAX)]


class Relayed(Body, frozen=True, tag="relayed"):
    """Bytes from another peer. Who `sender` is, only the signature inside proves."""

    sender: Bytes32
    signal: Annotated[bytes, Meta(max_length=SIGNAL_BYTES_MAX)]


class Undeliverable(Body, frozen=True, tag="undeliverable"):
    """No peer of that key is in the network."""

    to: Bytes32


RefusalCode = Literal["malformed", "signature", "invite", "full", "rate", "replaced", "late"]


class Refused(Body, frozen=True, tag="refused"):
    """Last message of the server before it hangs up.

    `malformed`: a message breaks the rules. `signature`: it does not verify. `invite`: this network asks for an
    invitation, and this is none or another one. `full`: a cap of this server is reached.
    `rate`: too many messages. `replaced`: the same key entered from elsewhere. `late`: no `Enter` came in time.
    """

    code: RefusalCode
    reason: Annotated[str, Meta(max_length=200)]


FromClient: TypeAlias = Enter | Ask | Relay
FromServer: TypeAlias = Welcome | Ice | Entered | Peers | Relayed | Undeliverable | Refused


def parse_from_client(data: bytes) -> FromClient:
    """Decode what a client sent.

    Raises:
        RemoteProtocolError: Too long, or not exactly one message a client may send.
    """
    _check_length(data)
    return decode(data, FromClient)  # type: ignore[arg-type]  # a union is not a class for mypy


def parse_from_server(data: bytes) -> FromServer:
    """Decode what a server sent.

    Raises:
        RemoteProtocolError: Too long, or not exactly one message a server may send.
    """
    _check_length(data)
    return decode(data, FromServer)  # type: ignore[arg-type]  # a union is not a class for mypy


def _check_length(data: bytes) -> None:
    if len(data) > MESSAGE_BYTES_MAX:
        raise RemoteProtocolError(f"a message of {len(data)} bytes is over the limit of {MESSAGE_BYTES_MAX}")


def enter(signer: Signer, network: str, nonce: bytes, invite: str = "") -> Enter:
    """The message that enters `network` in answer to a welcome's nonce."""
    invitation = invitation_of(invite, signer.public_key, nonce) if invite else b""
    return Enter(signer.public_key, network, invitation, signer.sign("cc/enter/1", nonce + network.encode()))


def invitation_of(invite: str, public_key: bytes, nonce: bytes) -> bytes:
    """The proof of knowing an invite: good for this key and this connection only."""
    return sha256(b"cc/invite/1\0" + nonce + public_key + invite.encode()).digest()


def check_enter(verifier: Verifier, message: Enter, nonce: bytes) -> None:
    """Check that the client holds the key it enters with. Whether it is invited is the server's own question.

    Raises:
        RemoteProtocolError: The signature is not this key's over this nonce and network.
    """
    if not verifier(message.public_key, "cc/enter/1", nonce + message.network.encode(), message.signature):
        raise RemoteProtocolError("the signature of an enter message is wrong")

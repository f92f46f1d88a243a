"""What clients and the signaling server say to each other, and what two peers say through it (spec/signaling.md).

Two layers. The *messages* go between a client and the server: enter a network, hear of some of its peers, pass bytes
on. The *signals* are those bytes: offers, answers and candidates, signed end to end. A signature covers the network,
both peers, the connection and the DTLS fingerprint, and an answer names the exact offer it answers: a lying server
can withhold a signal, but whoever is at the other end of the connection holds the key of the peer id we asked for.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias
from urllib.parse import parse_qsl, quote, urlsplit

from msgspec import Meta

from .codec import Body, Bytes32, Bytes64, decode, encode
from .errors import LocalProtocolError, RemoteProtocolError
from .identity import PeerId, content_id, public_key_of

if TYPE_CHECKING:
    from .identity import Signer, Verifier

MESSAGE_BYTES_MAX = 64 * 1024
"""Longest message in either direction."""

SIGNAL_BYTES_MAX = 24 * 1024
SDP_CHARS_MAX = 16 * 1024
"""A full offer of data channels has about 1.2 kB (m); a browser with many interfaces and TURN stays below 8 kB."""

CANDIDATES_MAX = 64
"""Candidates of one SDP, and trickled candidates of one connection: each costs the receiver connectivity checks."""

PEERS_MAX = 32
"""Peers named in one message: more than anybody needs to start gossiping."""

ICE_SERVERS_MAX = 8
"""STUN and TURN servers told to a client. Browsers warn above four."""

NONCE_BYTES = 32

NetworkName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
ConnectionId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""Sixteen bytes the offerer draws for each offer, so that late signals of an earlier try are recognised."""

# ---- messages

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


# ---- signals


class Offer(Body, frozen=True):
    """The offerer proposes a connection and commits to the DTLS certificate it will use."""

    network: NetworkName
    connection: ConnectionId
    offerer: Bytes32
    answerer: Bytes32
    fingerprint: Bytes32
    sdp: Annotated[str, Meta(max_length=SDP_CHARS_MAX)]


class Answer(Body, frozen=True):
    """The answerer accepts one exact offer: `offer` is that offer's content id, so both fingerprints are signed."""

    network: NetworkName
    connection: ConnectionId
    offerer: Bytes32
    answerer: Bytes32
    offer: Bytes32
    fingerprint: Bytes32
    sdp: Annotated[str, Meta(max_length=SDP_CHARS_MAX)]


class Candidate(Body, frozen=True):
    """One more address of the sender, found after its offer or answer left (only browsers trickle)."""

    network: NetworkName
    connection: ConnectionId
    offerer: Bytes32
    answerer: Bytes32
    mid: Annotated[str, Meta(max_length=32)]
    candidate: Annotated[str, Meta(max_length=1_024)]


SignalBody: TypeAlias = Offer | Answer | Candidate
SignalKind = Literal["offer", "answer", "candidate"]

_BODIES: dict[SignalKind, type[SignalBody]] = {"offer": Offer, "answer": Answer, "candidate": Candidate}
_KINDS: dict[type, SignalKind] = {body: kind for kind, body in _BODIES.items()}


class Signal(Body, frozen=True):
    """One signed offer, answer or candidate as it travels. The signature covers the body's bytes."""

    kind: SignalKind
    author: Bytes32
    body: Annotated[bytes, Meta(max_length=SIGNAL_BYTES_MAX)]
    signature: Bytes64

    @property
    def domain(self) -> str:
        return f"cc/{self.kind}/1"

    @property
    def signal_id(self) -> bytes:
        return content_id(self.domain, self.body)


def sign_signal(signer: Signer, body: SignalBody) -> Signal:
    """Encode and sign one signal. From here on only these bytes count."""
    kind, data = _KINDS[type(body)], encode(body)
    return Signal(kind, signer.public_key, data, signer.sign(f"cc/{kind}/1", data))


def parse_signal(data: bytes) -> Signal:
    """Decode a signal's envelope. Nothing is verified yet: see `open_signal`.

    Raises:
        RemoteProtocolError: Not exactly one signal.
    """
    if len(data) > SIGNAL_BYTES_MAX:
        raise RemoteProtocolError(f"a signal of {len(data)} bytes is over the limit of {SIGNAL_BYTES_MAX}")
    return decode(data, Signal)


def open_signal(verifier: Verifier, signal: Signal, *, network: str, receiver: bytes) -> SignalBody:
    """Check everything about a signal that can be checked without knowing the connection, and return its body.

    The caller still has to compare: an answer's `offer` with the offer it made, a candidate's `connection` with one
    that is open, and, once connected, the certificate in use with the signed fingerprint.

    Raises:
        RemoteProtocolError: Wrong signature, another network or receiver, an author who may not say this, or an SDP
            that does not have exactly the signed fingerprint.
    """
    body = decode(signal.body, _BODIES[signal.kind])
    if not verifier(signal.author, signal.domain, signal.body, signal.signature):
        raise RemoteProtocolError(f"the signature of this {signal.kind} is wrong")
    if body.network != network:
        raise RemoteProtocolError(f"this {signal.kind} is for network {body.network!r}, we are in {network!r}")
    if {signal.author, receiver} != {body.offerer, body.answerer} or signal.author == receiver:
        raise RemoteProtocolError(f"this {signal.kind} is not between its author and us")
    match body:
        case Offer():
            if signal.author != body.offerer:
                raise RemoteProtocolError("an offer is not signed by its offerer")
            check_sdp(body.sdp, body.fingerprint)
        case Answer():
            if signal.author != body.answerer:
                raise RemoteProtocolError("an answer is not signed by its answerer")
            check_sdp(body.sdp, body.fingerprint)
        case Candidate():
            check_candidate(body.candidate)
    return body


_FINGERPRINT = re.compile(r"a=fingerprint:sha-256 ([0-9a-f]{2}(?::[0-9a-f]{2}){31})", re.IGNORECASE | re.ASCII)
_CANDIDATE = re.compile(
    r"candidate:[A-Za-z0-9+/]{1,32} [1-9]\d{0,2} (?:udp|tcp) \d{1,10} [0-9A-Za-z.:-]{1,255} (\d{1,5})"
    r" typ (?:host|srflx|prflx|relay)(?: [\x21-\x7e]{1,255} [\x21-\x7e]{1,255}){0,16}",
    re.IGNORECASE | re.ASCII,
)
# Control characters, and what Python's splitlines calls a line end but a browser does not, could make two parsers
# see two different descriptions.
_PLAIN_TEXT = re.compile(r"[\x20-\x7e\r\n]*")


def fingerprint_of(sdp: str) -> bytes:
    """The one SHA-256 DTLS fingerprint of an SDP.

    It may stand there several times (session and media level). Anything else that looks like a fingerprint, another
    algorithm included, is refused: what is in use could then differ from what was signed.

    Raises:
        RemoteProtocolError: No fingerprint, two different ones, or a line that only resembles one.
    """
    if not _PLAIN_TEXT.fullmatch(sdp):
        raise RemoteProtocolError("an SDP has characters outside printable ASCII")
    found: set[bytes] = set()
    for line in sdp.splitlines():
        if "fingerprint" in line.lower():
            match = _FINGERPRINT.fullmatch(line)
            if match is None:
                raise RemoteProtocolError("an SDP has a fingerprint that is not plain SHA-256")
            found.add(bytes.fromhex(match[1].replace(":", "")))
    if len(found) != 1:
        raise RemoteProtocolError(f"an SDP must have one DTLS fingerprint, this one has {len(found)}")
    return found.pop()


def check_sdp(sdp: str, fingerprint: bytes) -> None:
    """Check that an SDP describes data channels only, under exactly the signed certificate.

    Raises:
        RemoteProtocolError: Another fingerprint, anything but one `m=application` section, or bad candidates.
    """
    if fingerprint_of(sdp) != fingerprint:
        raise RemoteProtocolError("an SDP's DTLS fingerprint is not the signed one")
    lines = sdp.splitlines()
    sections = [line for line in lines if line.startswith("m=")]
    if len(sections) != 1 or not sections[0].startswith("m=application "):
        raise RemoteProtocolError("an SDP must have one section, of data channels")
    candidates = [line for line in lines if line.startswith("a=candidate")]
    if len(candidates) > CANDIDATES_MAX:
        raise RemoteProtocolError(f"an SDP has more than {CANDIDATES_MAX} candidates")
    for line in candidates:
        check_candidate(line.removeprefix("a="))


def check_candidate(candidate: str) -> None:
    """Check one candidate's grammar (RFC 8839). The empty one means there are no more.

    Raises:
        RemoteProtocolError: It is not a candidate.
    """
    match = _CANDIDATE.fullmatch(candidate.rstrip(" "))
    if candidate and (match is None or int(match[1]) > 65_535):
        raise RemoteProtocolError("a candidate does not follow the grammar of RFC 8839")


# ---- join links

MEETING_PLACES_MAX = 8
"""Further servers, and peers to begin with, that one join link names."""

_SERVER = re.compile(r"https?://[A-Za-z0-9.:_/\[\]-]{1,250}")
_BOOTSTRAP = re.compile(
    r"/(?:ip4/[0-9.]{7,15}|ip6/[0-9a-fA-F:.]{2,45}|dns[46]?/[A-Za-z0-9.-]{1,253})/tcp/[0-9]{1,5}"
    r"/p2p/[1-9A-HJ-NP-Za-km-z]{40,60}"
)


@dataclass(frozen=True, slots=True)
class JoinLink:
    """Where to meet: a signaling server's page, and after `#` (which browsers keep to themselves) the network.

    `http://host:port/j#n=NETWORK`, `&t=TASK` (hex) to open one task's page, `&i=INVITE` where the network asks for it,
    `&s=URL` for each further server and `&b=MULTIADDR` for each native peer that can be dialled without any. What
    begins with `n=` is a link too: that of a network which needs no server.
    """

    base_url: str
    """`http://host:port` or `https://…`, without a slash at the end; empty where there is no server."""
    network: str
    task_id: bytes | None = None
    invite: str = ""
    """What the server wants to see proof of; empty for a network that is open to all."""
    others: tuple[str, ...] = ()
    """Further signaling servers of the same network, like `base_url`."""
    bootstrap: tuple[str, ...] = ()
    """Multiaddrs of native peers, each with a peer id."""

    @classmethod
    def parse(cls, text: str) -> JoinLink:
        """Read a link a person pasted.

        Raises:
            LocalProtocolError: It is not a join link. The message says which part is missing or wrong.
        """
        text = text.strip()
        has_server = not text.startswith("n=")
        base_url = _base_url(text) if has_server else ""
        fragment = urlsplit(text).fragment if has_server else text
        pairs = parse_qsl(fragment, keep_blank_values=True)
        fields = dict(pairs)
        network = fields.get("n", "")
        if not network:
            raise LocalProtocolError(f"the join link {text[:200]!r} names no network: it must end in #n=NETWORK")
        check_network_name(network)
        try:
            task_id = bytes.fromhex(fields["t"]) if "t" in fields else None
        except ValueError:
            task_id = b""
        if task_id is not None and len(task_id) != 32:
            raise LocalProtocolError(f"the join link {text[:200]!r} names a task that is not 64 hex digits")
        invite = fields.get("i", "")
        if "i" in fields:
            check_invite(invite)
        others = tuple(value.rstrip("/") for name, value in pairs if name == "s")
        bootstrap = tuple(value for name, value in pairs if name == "b")
        if max(len(others), len(bootstrap)) > MEETING_PLACES_MAX:
            raise LocalProtocolError(f"a join link names at most {MEETING_PLACES_MAX} further servers or peers")
        for url in others:
            check_server(url)
        for address in bootstrap:
            check_bootstrap(address)
        if others and not has_server:
            raise LocalProtocolError(
                f"the join link {text[:200]!r} begins without a server and names another: begin with http://host:port/j#"
            )
        return cls(base_url, network, task_id, invite, others, bootstrap)

    def __str__(self) -> str:
        task = f"&t={self.task_id.hex()}" if self.task_id is not None else ""
        invite = f"&i={self.invite}" if self.invite else ""
        others = "".join(f"&s={quote(url, safe=':/')}" for url in self.others)
        bootstrap = "".join(f"&b={quote(address, safe=':/')}" for address in self.bootstrap)
        server = f"{self.base_url}/j#" if self.base_url else ""
        return f"{server}n={quote(self.network)}{task}{invite}{others}{bootstrap}"

    @property
    def servers(self) -> tuple[str, ...]:
        """Every signaling server, the first one first."""
        return (self.base_url, *self.others) if self.base_url else ()

    @property
    def websocket_urls(self) -> tuple[str, ...]:
        """Where their WebSockets are: `ws://…/ws`, or `wss://` below https."""
        return tuple("ws" + url.removeprefix("http") + "/ws" for url in self.servers)


def _base_url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  # reading it is what checks it
    except ValueError as error:
        raise LocalProtocolError(f"the join link {text[:200]!r} is not a URL: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LocalProtocolError(
            f"{text[:200]!r} is not a join link: it looks like http://host:port/j#n=NETWORK"
            " (in a shell, put it in quotes)"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/j"):
        raise LocalProtocolError(
            f"the join link {text[:200]!r} does not point to a /j page: it looks like http://host:port/j#n=NETWORK"
        )
    return f"{parts.scheme}://{parts.netloc}{path.removesuffix('/j')}"


def check_server(url: str) -> None:
    """Check the address of a further signaling server.

    Raises:
        LocalProtocolError: It does not look like http://host:port.
    """
    if not _SERVER.fullmatch(url):
        raise LocalProtocolError(f"{url[:200]!r} is not a signaling server: it looks like http://host:port")
    _base_url(f"{url}/j")


def check_bootstrap(address: str) -> None:
    """Check the address of a native peer.

    Raises:
        LocalProtocolError: It does not look like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW….
    """
    if not _BOOTSTRAP.fullmatch(address):
        raise LocalProtocolError(
            f"{address[:200]!r} is not a peer's address: it looks like /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW…"
        )
    try:
        public_key_of(PeerId(address.rpartition("/")[2]))
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"the address {address[:200]!r} names no peer: {error}") from None


_INVITE = re.compile(r"[A-Za-z0-9_-]{8,64}")


def check_invite(invite: str) -> None:
    """Check an invite a person typed.

    Raises:
        LocalProtocolError: It is too short or long, or has other characters than letters, digits, '_' and '-'.
    """
    if not _INVITE.fullmatch(invite):
        raise LocalProtocolError("an invite has 8 to 64 letters, digits, '_' or '-': is the join link complete?")


_NETWORK_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def check_network_name(network: str) -> None:
    """Check a network name a person typed.

    Raises:
        LocalProtocolError: It has other characters than a-z, 0-9, '.', '_' and '-', or is too long.
    """
    if not _NETWORK_NAME.fullmatch(network):
        raise LocalProtocolError(
            f"{network[:80]!r} is not a network name: use up to 64 of a-z, 0-9, '.', '_' and '-', "
            "beginning with a letter or digit"
        )

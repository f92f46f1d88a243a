"""What two peers say to each other to connect, through a server or another peer (spec/signaling.md).

Signals are offers, answers and candidates, signed end to end. A signature covers the network, both peers, the
connection and the DTLS fingerprint, and an answer names the exact offer it answers: whoever carries a signal can
withhold it, but at the other end of the connection is who holds the key of the peer id we asked for.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

from msgspec import Meta

from .codec import Body, Bytes32, Bytes64, decode, encode
from .errors import RemoteProtocolError
from .identity import content_id

if TYPE_CHECKING:
    from .identity import Signer, Verifier

SIGNAL_BYTES_MAX = 24 * 1024
SDP_CHARS_MAX = 16 * 1024
"""A full offer of data channels has about 1.2 kB (m); a browser with many interfaces and TURN stays below 8 kB."""

CANDIDATES_MAX = 64
"""Candidates of one SDP, and trickled candidates of one connection: each costs the receiver connectivity checks."""

NetworkName = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
ConnectionId = Annotated[bytes, Meta(min_length=16, max_length=16)]
"""Sixteen bytes the offerer draws for each offer, so that late signals of an earlier try are recognised."""


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

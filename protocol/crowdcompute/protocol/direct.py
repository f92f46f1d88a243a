"""A TCP way from one native peer to another, offered in an SDP, and the proof of who takes it (spec/direct.md).

    a line of our SDP: certificate, addresses --signed end to end--> they connect there, TLS 1.3
    they see that certificate in use, and send `proof_of_meeting` --checked--> a link

Whoever listens is proved by its certificate, which its signed offer or answer names; whoever connects by a signature
over that certificate and this connection.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple

from .codec import Body, Bytes32, encode
from .errors import RemoteProtocolError
from .signals import ConnectionId, NetworkName

if TYPE_CHECKING:
    from .identity import Signer, Verifier

ADDRESSES_MAX = 8
PORT_MIN = 1_024
"""Nobody is made to knock at the services of a machine."""

PROOF_BYTES = 64
_DOMAIN = "cc/direct/1"
_PREFIX = "a=cc-direct:"
_LINE = re.compile(r"([0-9a-f]{64})((?: [0-9a-f.:]{2,45}/[1-9][0-9]{0,4})+)", re.ASCII)


class Address(NamedTuple):
    host: str
    """An IP address, never a name: nobody looks one up for a stranger."""
    port: int


class DirectWay(NamedTuple):
    """Where a peer listens while a connection is being made, and what it will show."""

    certificate: bytes
    """The SHA-256 of its TLS certificate."""
    addresses: tuple[Address, ...]


class Meeting(Body, frozen=True):
    """What whoever connects signs."""

    network: NetworkName
    connection: ConnectionId
    offerer: Bytes32
    answerer: Bytes32
    certificate: Bytes32


def with_direct_way(sdp: str, way: DirectWay) -> str:
    """The SDP with one line more, which whoever does not know it leaves alone (RFC 8866)."""
    places = "".join(f" {host}/{port}" for host, port in way.addresses[:ADDRESSES_MAX])
    return f"{sdp}{_PREFIX}{way.certificate.hex()}{places}\r\n"


def direct_way_of(sdp: str) -> DirectWay | None:
    """The way that an SDP offers, if it does.

    Raises:
        RemoteProtocolError: Two ways, or one that is none.
    """
    lines = [line.removeprefix(_PREFIX) for line in sdp.splitlines() if line.startswith(_PREFIX)]
    if not lines:
        return None
    match = _LINE.fullmatch(lines[0])
    if len(lines) > 1 or match is None:
        raise RemoteProtocolError("an SDP's direct way does not follow the grammar")
    places = match[2].split()
    if len(places) > ADDRESSES_MAX:
        raise RemoteProtocolError(f"an SDP's direct way has more than {ADDRESSES_MAX} addresses")
    return DirectWay(bytes.fromhex(match[1]), tuple(map(_address, places)))


def _address(place: str) -> Address:
    host, _, port = place.partition("/")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise RemoteProtocolError("an SDP's direct way has a host that is no IP address") from None
    if not PORT_MIN <= int(port) <= 65_535:
        raise RemoteProtocolError(f"an SDP's direct way has port {port}")
    return Address(host, int(port))


def prove_meeting(signer: Signer, meeting: Meeting) -> bytes:
    """What whoever connects sends first."""
    return signer.sign(_DOMAIN, encode(meeting))


def is_proof_of(verifier: Verifier, meeting: Meeting, connects: bytes, proof: bytes) -> bool:
    """Whether that was sent by the holder of the key `connects`."""
    return verifier(connects, _DOMAIN, encode(meeting), proof)

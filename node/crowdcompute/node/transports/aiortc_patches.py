"""Where aiortc and aioice need another behaviour than their public API can give.

They are pinned in pyproject.toml; every private name used is in this module and in aiortc_link.py, and a test runs each
patch against the real libraries. With another version than the one read here, nothing starts.
"""

from __future__ import annotations

import socket
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import aioice.ice
from aiortc import RTCSctpTransport
from cryptography.hazmat.primitives.serialization import Encoding

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiortc import RTCPeerConnection

PINNED = {"aiortc": "1.16.0", "aioice": "0.13.0"}

GATHER_WITHIN_S = 1
"""Time for STUN and TURN servers to answer; 5 s in aioice, spent on every dial when a server is unreachable (m)."""

CONSENT_INTERVAL_S = 2
CONSENT_FAILURES = 3
"""A peer that vanished is noticed within 8 s; 30.6 s with aioice's own 5 and 6 (m). Two failures drop bad links."""

RECEIVE_BUFFER_BYTES = 2 * 1024 * 1024
"""Asked of the kernel for each UDP socket; it may grant less. With aioice's 256 KiB, asyncio's own loop loses the tail
of a 500 KB burst on loopback every time, and it is sent again after a second: 1,040 ms instead of 45 ms (m)."""

REASSEMBLY_BYTES_MAX = 4 * 1024 * 1024
"""Parts of unfinished or out-of-order messages kept per connection. aiortc advertises a window of 1 MiB, but neither
keeps to one as sender nor enforces one as receiver: a peer could send parts of endless messages until we are out of
memory. An honest sender's window stays far below this."""


@cache
def apply() -> None:
    """Patch the two libraries, once per process."""
    for package, pinned in PINNED.items():
        found = version(package)
        assert found == pinned, f"{package} {found} is installed, but this program patches {pinned}"
    aioice.ice.CONSENT_INTERVAL = CONSENT_INTERVAL_S
    aioice.ice.CONSENT_FAILURES = CONSENT_FAILURES

    receive_data_chunk = RTCSctpTransport._receive_data_chunk

    async def bounded(self: RTCSctpTransport, chunk: Any) -> None:
        await receive_data_chunk(self, chunk)
        if self._advertised_rwnd < -REASSEMBLY_BYTES_MAX:
            # What the DTLS transport expects of a dead connection: it closes without a traceback.
            raise ConnectionError("the peer sends more than it may")

    RTCSctpTransport._receive_data_chunk = bounded  # type: ignore[method-assign]


def gather_from(pc: RTCPeerConnection, hosts: Sequence[str]) -> None:
    """Limit how `pc` gathers candidates: in time, and to the addresses `hosts` unless that is empty.

    aioice never offers loopback addresses by itself; naming them is how two peers of one machine meet offline.
    """
    assert pc.sctp is not None
    connection = pc.sctp.transport.transport._connection
    gather = connection.get_component_candidates

    async def limited(component: int, addresses: list[str]) -> Any:
        candidates = await gather(component=component, addresses=list(hosts) or addresses, timeout=GATHER_WITHIN_S)
        for protocol in connection._protocols:
            udp = protocol.transport.get_extra_info("socket")
            if udp is not None:  # A TURN allocation has none.
                udp.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        return candidates

    # On the instance, so that two connectors of one process may gather differently.
    connection.get_component_candidates = limited  # type: ignore[assignment, method-assign]


def certificate_in_use(pc: RTCPeerConnection) -> bytes | None:
    """The DER bytes of the certificate with which the other side completed DTLS, or None."""
    assert pc.sctp is not None
    ssl = pc.sctp.transport._ssl
    certificate = None if ssl is None else ssl.get_peer_certificate(as_cryptography=True)
    return None if certificate is None else certificate.public_bytes(Encoding.DER)


def message_bytes_max(pc: RTCPeerConnection) -> int:
    """Longest message the other side takes."""
    assert pc.sctp is not None
    return pc.sctp._remote_max_message_size or 2**32


def is_acknowledged(pc: RTCPeerConnection) -> bool:
    """Whether the other side has everything that ever left a data channel's buffer."""
    sctp = pc.sctp
    return sctp is None or not (sctp._data_channel_queue or sctp._outbound_queue or sctp._sent_queue)

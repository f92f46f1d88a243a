"""Frames on a plain stream of bytes, and what is said first there (spec/libp2p.md, spec/direct.md).

    OPENING --`listening`--> FRAMES

A stream has no messages and one order, so each frame follows a header of four bytes: its channel, then its length.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from .codec import Body, decode, encode
from .config import FRAME_BYTES_MAX
from .errors import LocalProtocolError, RemoteProtocolError
from .events import Channel
from .join_link import check_bootstrap
from .signals import NetworkName

STREAM_PROTOCOL = "/crowdcompute/1"
"""The libp2p protocol that carries links."""

HEADER_BYTES = 4
ADDRESSES_MAX = 8
_OPENING = 2
"""The channel number of the first message, which no later one has."""

_CHANNELS = {int(channel): channel for channel in Channel}


class Listening(Body, frozen=True, tag="listening"):
    """First on a stream in both directions: which network we mean, and where we can be dialled without introduction."""

    network: NetworkName
    addresses: Annotated[tuple[Annotated[str, Meta(max_length=350)], ...], Meta(max_length=ADDRESSES_MAX)]


def opening(network: str, addresses: tuple[str, ...]) -> bytes:
    """What to send first."""
    body = encode(Listening(network, addresses[:ADDRESSES_MAX]))
    return _header(_OPENING, len(body)) + body


def framed(channel: Channel, frame: bytes) -> bytes:
    """One frame with its header."""
    return _header(channel, len(frame)) + frame


def _header(channel: int, length: int) -> bytes:
    return (channel << 24 | length).to_bytes(HEADER_BYTES)


class FrameReader:
    """Takes a stream's bytes as they come, and gives the frames in them. Keeps at most one frame's bytes."""

    def __init__(self, network: str, peer_id: str) -> None:
        """`peer_id` is whom the transport has proved the other side to be."""
        self._network = network
        self._peer_id = peer_id
        self._buffer = bytearray()
        self.addresses: tuple[str, ...] | None = None
        """Where the peer says it listens, once it has said so; those of other peers are left out."""

    def feed(self, data: bytes) -> list[tuple[Channel, bytes]]:
        """The frames that are complete now.

        Raises:
            RemoteProtocolError: This is no stream of frames, or one of another network. Close it.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[Channel, bytes]] = []
        at = 0
        while len(buffer) - at >= HEADER_BYTES:
            channel, length = buffer[at], int.from_bytes(buffer[at + 1 : at + HEADER_BYTES])
            if length > FRAME_BYTES_MAX:
                raise RemoteProtocolError("the peer sent a frame that is too long")
            start, end = at + HEADER_BYTES, at + HEADER_BYTES + length
            if self.addresses is None:
                if channel != _OPENING:
                    raise RemoteProtocolError("the peer sent a frame before its opening")
            elif channel not in _CHANNELS:
                raise RemoteProtocolError(f"the peer sent a frame on a channel {channel}")
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                body = bytes(view[start:end])
            at = end
            if self.addresses is None:
                self._opened(decode(body, Listening))
            else:
                frames.append((_CHANNELS[channel], body))
        del buffer[:at]
        return frames

    def _opened(self, listening: Listening) -> None:
        if listening.network != self._network:
            raise RemoteProtocolError(f"the peer is of network {listening.network!r}, we are of {self._network!r}")
        self.addresses = tuple(address for address in listening.addresses if self._is_its_own(address))

    def _is_its_own(self, address: str) -> bool:
        # Its own only: nobody is to fill our memory, or have us knock, in another's name.
        try:
            check_bootstrap(address)
        except LocalProtocolError:
            return False
        return address.endswith(f"/p2p/{self._peer_id}")

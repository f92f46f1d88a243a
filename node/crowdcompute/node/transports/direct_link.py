"""A link over one TLS connection between two native peers (spec/direct.md): no engine, no thread, no hop.

    send --> queues, control before bulk --once a turn of the event loop--> TLS --> socket
    receiver <-- frames <-- TLS <-- socket

    OPEN --close, end of stream, bad frame--> CLOSED

What one turn of the event loop sends leaves in one write. Who is at the other end was proved before (direct.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.streams import HEADER_BYTES, framed

from .link import BUFFERED_LOW_BYTES, BUFFERED_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from crowdcompute.protocol.events import Channel
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.streams import FrameReader

LINGER_S = 2.5
"""How long a link we close may take to send what is queued, as over WebRTC."""

WRITE_BYTES = 256 * 1024
"""What leaves the queues in one turn: a control frame waits behind that, and what TCP holds, at most."""

UNSENT_BYTES = 128 * 1024
"""What the system holds of a connection before it has sent it, where it can be told so (Linux, macOS): its buffers
grow to megabytes otherwise, and every control frame waits behind them."""

EARLY_BYTES_MAX = 1024 * 1024
"""Bytes kept for a receiver that has not attached yet. It attaches in the same loop turn; this bounds a mistake."""


class DirectLink(asyncio.Protocol):
    """One connection. Implements `Link`; it becomes its transport's protocol once both sides have met."""

    over = "direct"

    def __init__(
        self, peer_id: PeerId, transport: asyncio.Transport, reader: FrameReader, first: list[tuple[Channel, bytes]]
    ) -> None:
        """`reader` has read the other side's opening, and the frames `first` behind it."""
        assert reader.addresses is not None
        self.peer_id = peer_id
        self.addresses = reader.addresses
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._reader = reader
        self._queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._queued_bytes = 0
        self._writes_soon = False
        self._paused = False
        self._reason: str | None = None
        self._early = first
        self._early_bytes = 0
        self._on_frame: Callable[[Channel, bytes], None] | None = None
        self._on_closed: Callable[[str], None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._gone = asyncio.Event()
        self._linger: asyncio.TimerHandle | None = None
        # Paused exactly when more waits there than `drained` allows.
        transport.set_write_buffer_limits(BUFFERED_LOW_BYTES, BUFFERED_LOW_BYTES // 2)
        with suppress(AttributeError, OSError):
            connection: socket.socket = transport.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)

    # ---- Link

    @property
    def buffered(self) -> int:
        return self._queued_bytes + self._transport.get_write_buffer_size()

    def attach(self, on_frame: Callable[[Channel, bytes], None], on_closed: Callable[[str], None]) -> None:
        assert self._on_frame is None, "a link has one receiver"
        early, self._early = self._early, []
        for channel, frame in early:
            on_frame(channel, frame)
        self._on_frame, self._on_closed = on_frame, on_closed
        if self._reason is not None:
            self._loop.call_soon(on_closed, self._reason)

    def send(self, channel: Channel, frame: bytes) -> None:
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes is over the limit of {FRAME_BYTES_MAX}")
        if self._reason is not None:
            return
        self._queues[channel].append(framed(channel, frame))
        self._queued_bytes += len(frame) + HEADER_BYTES
        self._write_soon()
        if self.buffered > BUFFERED_MAX_BYTES:
            self._end("the peer does not keep up with what we send", linger=False)
        else:
            self._look_drained()

    async def drained(self) -> None:
        await self._drained.wait()

    def close(self, reason: str) -> None:
        self._end(reason, linger=True)

    async def wait_closed(self) -> None:
        await self._gone.wait()

    # ---- what the connection tells us

    def data_received(self, data: bytes) -> None:
        if self._reason is not None:
            return
        try:
            frames = self._reader.feed(data)
        except RemoteProtocolError as error:
            self._end(str(error), linger=False)
            return
        for channel, frame in frames:
            if self._reason is not None:
                return
            if self._on_frame is not None:
                self._on_frame(channel, frame)
                continue
            self._early.append((channel, frame))
            self._early_bytes += len(frame)
            if self._early_bytes > EARLY_BYTES_MAX:
                self._end("frames came before anybody listened", linger=False)

    def eof_received(self) -> None:
        self._end("the peer closed the connection", linger=False)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._write_soon()
        self._look_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end("the peer is gone" if exc else "the peer closed the connection", linger=False)
        for queue in self._queues:
            queue.clear()
        self._queued_bytes = 0
        if self._linger is not None:
            self._linger.cancel()
        self._gone.set()

    # ---- sending

    def _write_soon(self) -> None:
        if self._queued_bytes and not self._writes_soon and not self._paused:
            self._writes_soon = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._writes_soon = False
        parts: list[bytes] = []
        size = 0
        for queue in self._queues:
            while queue and size < WRITE_BYTES:
                parts.append(queue.popleft())
                size += len(parts[-1])
        if parts and not self._transport.is_closing():
            self._queued_bytes -= size
            self._transport.write(b"".join(parts))
        self._write_soon()
        self._look_drained()
        if self._reason is not None and not self._queued_bytes:
            self._transport.close()

    def _look_drained(self) -> None:
        if self.buffered <= BUFFERED_LOW_BYTES or self._reason is not None:
            self._drained.set()
        else:
            self._drained.clear()

    # ---- the end

    def _end(self, reason: str, *, linger: bool) -> None:
        """The only place where a link becomes CLOSED."""
        if self._reason is not None:
            return
        self._reason = reason
        self._early.clear()
        self._drained.set()
        if self._on_closed is not None:
            self._loop.call_soon(self._on_closed, reason)
        if not linger:
            self._transport.abort()
            return
        self._linger = self._loop.call_later(LINGER_S, self._transport.abort)
        if not self._queued_bytes:
            self._transport.close()

"""A link over one libp2p stream (spec/libp2p.md), its two ends on two threads of the node.

    asyncio: the node                                    trio, a thread of its own: libp2p
    Libp2pLink.send --> queues (a lock) --------wake-----> writer --> stream
    Libp2pLink's receiver <-----call_soon_threadsafe------ reader <-- stream

    OPEN --close, end of stream, bad frame--> CLOSED

libp2p is trio only, and a trio of its own costs the node nothing while libp2p is busy (research/libp2p.md). The two
sides share a link's queues and nothing else. One stream carries both channels; a control frame overtakes bulk that
still waits in the queue.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import trio
from libp2p.network.stream.exceptions import StreamEOF

from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.streams import HEADER_BYTES, FrameReader, framed

from .link import BUFFERED_LOW_BYTES, BUFFERED_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

    from libp2p.abc import INetStream

    from crowdcompute.protocol.events import Channel
    from crowdcompute.protocol.identity import PeerId

log = logging.getLogger(__name__)

LINGER_S = 2.5
"""How long a link we close may take to send what is queued, as over WebRTC."""

WRITE_BYTES = 128 * 1024
"""What the writer takes from the queues at a time: a control frame waits behind that and yamux's window at most."""

READ_BYTES = 256 * 1024
UNDELIVERED_MAX_BYTES = 1024 * 1024
"""Frames on their way to the node's thread. Beyond it the reader waits, and the sender's window closes."""


class Threads:
    """The node's event loop and libp2p's trio, and how one asks something of the other: soon, and in order."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.trio: trio.lowlevel.TrioToken | None = None
        """None until libp2p runs."""

    def run_here(self, action: Callable[[], object]) -> None:
        """From libp2p's thread: do something on the node's, soon."""
        with suppress(RuntimeError):  # The loop is closed: nobody is left to be told.
            self.loop.call_soon_threadsafe(action)

    def run_there(self, action: Callable[[], object]) -> bool:
        """From the node's thread: do something on libp2p's, soon; False when that is not running."""
        if self.trio is None:
            return False
        try:
            self.trio.run_sync_soon(action)
        except trio.RunFinishedError:
            return False
        return True


class Libp2pLink:
    """One stream. Implements `Link`; whoever has one knows that the other side holds the key of `peer_id` (Noise)."""

    over = "libp2p"

    def __init__(self, threads: Threads, peer_id: PeerId, *, dialled: bool, addresses: tuple[str, ...]) -> None:
        self.peer_id = peer_id
        self.dialled = dialled
        self.addresses = addresses
        """Where the peer says it can be dialled."""
        self._threads = threads
        self._lock = threading.Lock()
        self._queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._buffered = 0
        self._writer_waits = False
        self._writing = 0
        self._wake: trio.Event | None = None
        self._readable: trio.Event | None = None
        self._undelivered = 0
        self._closing = False
        self._scope: trio.CancelScope | None = None
        self._ended_by = "the peer is gone"
        self._reason: str | None = None
        self._early: list[tuple[Channel, bytes]] = []
        self._on_frame: Callable[[Channel, bytes], None] | None = None
        self._on_closed: Callable[[str], None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._gone = asyncio.Event()

    # ---- Link, on the node's thread

    @property
    def buffered(self) -> int:
        return self._buffered

    def attach(self, on_frame: Callable[[Channel, bytes], None], on_closed: Callable[[str], None]) -> None:
        assert self._on_frame is None, "a link has one receiver"
        early, self._early = self._early, []
        for channel, frame in early:
            on_frame(channel, frame)
        self._on_frame, self._on_closed = on_frame, on_closed
        if self._reason is not None:
            asyncio.get_running_loop().call_soon(on_closed, self._reason)

    def send(self, channel: Channel, frame: bytes) -> None:
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes is over the limit of {FRAME_BYTES_MAX}")
        if self._reason is not None:
            return
        with self._lock:
            self._queues[channel].append(framed(channel, frame))
            self._buffered += len(frame)
            wakes, self._writer_waits = self._writer_waits, False
        if self._buffered > BUFFERED_LOW_BYTES:
            self._drained.clear()
            self._look_drained()
        if wakes:
            self._threads.run_there(self._wake_writer)
        if self._buffered > BUFFERED_MAX_BYTES:
            self._end("the peer does not keep up with what we send", linger=False)

    async def drained(self) -> None:
        await self._drained.wait()

    def close(self, reason: str) -> None:
        self._end(reason, linger=True)

    async def wait_closed(self) -> None:
        await self._gone.wait()

    def _look_drained(self) -> None:
        if self._buffered <= BUFFERED_LOW_BYTES or self._reason is not None:
            self._drained.set()

    def _end(self, reason: str, *, linger: bool) -> None:
        """The only place where a link becomes CLOSED."""
        if self._reason is not None:
            return
        self._reason = reason
        self._early.clear()
        self._drained.set()
        if self._on_closed is not None:
            asyncio.get_running_loop().call_soon(self._on_closed, reason)
        with self._lock:
            if not linger:
                for queue in self._queues:
                    queue.clear()
            self._closing = True
            self._writer_waits = False
        self._threads.run_there(self.begin_closing)

    def _received(self, frames: list[tuple[Channel, bytes]], size: int) -> None:
        with self._lock:
            self._undelivered -= size
            wakes = self._readable is not None and self._undelivered <= UNDELIVERED_MAX_BYTES
        if wakes:
            self._threads.run_there(self._wake_reader)
        for channel, frame in frames:
            if self._reason is not None:
                return
            if self._on_frame is None:
                self._early.append((channel, frame))
            else:
                self._on_frame(channel, frame)

    def vanished(self) -> None:
        """Nothing of the link is left on the other thread."""
        with self._lock:
            for queue in self._queues:
                queue.clear()
            self._buffered = 0
        self._drained.set()
        self._gone.set()

    # ---- on libp2p's thread

    async def carry(self, stream: INetStream, reader: FrameReader, first: list[tuple[Channel, bytes]]) -> bool:
        """Move frames both ways until the link is closed; whether everything we queued could leave."""
        finished = False
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            nursery.start_soon(self._read, stream, reader, first)
            try:
                await self._write(stream)
                finished = True
            except Exception as error:  # Every way in which a stream ends has an exception of its own.
                log.debug("a stream to %s ends: %r", self.peer_id, error)
            nursery.cancel_scope.cancel()
        self._threads.run_here(partial(self._end, self._ended_by, linger=False))
        return finished

    async def _write(self, stream: INetStream) -> None:
        while (data := self._take()) is not None:
            if data:
                await stream.write(data)
                self._sent()
            elif self._wake is not None:
                await self._wake.wait()

    async def _read(self, stream: INetStream, reader: FrameReader, frames: list[tuple[Channel, bytes]]) -> None:
        try:
            while True:
                await self._deliver(frames)
                data = await stream.read(READ_BYTES)
                if not data:
                    raise StreamEOF
                frames = reader.feed(data)
        except RemoteProtocolError as error:
            self._ended_by = str(error)
        except StreamEOF:
            self._ended_by = "the peer closed the connection"
        except Exception as error:
            log.debug("a stream from %s ends: %r", self.peer_id, error)
        if self._scope is not None:
            self._scope.cancel()

    def begin_closing(self) -> None:
        """Let what is queued leave, within `LINGER_S`."""
        if self._scope is not None:
            self._scope.deadline = trio.current_time() + LINGER_S
        self._wake_writer()
        self._wake_reader()

    def _take(self) -> bytes | None:
        """What to write next; nothing: wait for `_wake`; None: the link is closed and everything has left."""
        with self._lock:
            parts: list[bytes] = []
            size = 0
            for queue in self._queues:
                while queue and size < WRITE_BYTES:
                    parts.append(queue.popleft())
                    size += len(parts[-1])
            if parts:
                self._writing = size - HEADER_BYTES * len(parts)
                return b"".join(parts)
            if self._closing:
                return None
            self._writer_waits = True
            self._wake = trio.Event()
            return b""

    def _sent(self) -> None:
        with self._lock:
            before = self._buffered
            self._buffered = max(0, before - self._writing)
            crossed = before > BUFFERED_LOW_BYTES >= self._buffered
        if crossed:
            self._threads.run_here(self._look_drained)

    async def _deliver(self, frames: list[tuple[Channel, bytes]]) -> None:
        if not frames:
            return
        size = sum(len(frame) for _, frame in frames)
        with self._lock:
            self._undelivered += size
            if self._undelivered > UNDELIVERED_MAX_BYTES:
                self._readable = trio.Event()
        self._threads.run_here(partial(self._received, frames, size))
        if self._readable is not None:
            await self._readable.wait()
            self._readable = None

    def _wake_writer(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _wake_reader(self) -> None:
        if self._readable is not None:
            self._readable.set()

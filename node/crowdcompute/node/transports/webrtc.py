"""A link over WebRTC data channels, whatever engine makes them (aiortc_link.py, wrtc_link.py).

    NEW --make_offer / accept_offer--> CONNECTING --both channels open, certificate checked--> OPEN
     |                                     |                                                    |
     '------------- close ----------------'-- close, timeout, peer gone --> CLOSED <-----------'

Both channels are negotiated: `control` has id 0, `bulk` has id 1, on both sides, so no frame can come before its
handler. An engine has one queue for all channels of a connection; our own two queues stand before it and let at most
`BUFFERED_HIGH_BYTES` in, so that a control frame waits behind no more than that.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from contextlib import asynccontextmanager, suppress
from enum import Enum
from hashlib import sha256
from importlib.util import find_spec
from typing import TYPE_CHECKING

from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.events import Channel

from .link import BUFFERED_HIGH_BYTES, BUFFERED_LOW_BYTES, BUFFERED_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.signaling import IceServer

    from .link import StackName

EARLY_BYTES_MAX = 1024 * 1024
"""Bytes kept for a receiver that has not attached yet. It attaches in the same loop turn; this bounds a mistake."""

LINGER_S = 2.5
"""How long a link we close waits until its last frames are acknowledged. SCTP repeats a lost one after 1 s."""


def link_class(stack: StackName) -> type[WebRtcLink]:
    """The links of one engine; "auto" is the fastest that is installed. Importing one takes up to 0.4 s and 64 MB (m).

    Raises:
        LocalProtocolError: It is not installed.
    """
    has_wrtc = find_spec("webrtc") is not None and find_spec("wrtc") is not None
    if stack == "wrtc" and not has_wrtc:
        raise LocalProtocolError("wrtc is not installed: pip install 'crowdcompute[fast]', or choose --stack aiortc")
    if stack == "aiortc" or not has_wrtc:
        from .aiortc_link import AiortcLink

        return AiortcLink
    from .wrtc_link import WrtcLink

    return WrtcLink


class State(Enum):
    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class WebRtcLink(ABC):
    """One connection and its two data channels. Implements `Link` once `opened` has returned.

    `on_candidate(mid, candidate)` is told what the engine finds after its description was made; engines that find
    everything before never call it.
    """

    over = "webrtc"
    addresses: tuple[str, ...] = ()

    def __init__(
        self,
        peer_id: PeerId,
        *,
        ice_servers: Sequence[IceServer] = (),
        hosts: Sequence[str] = (),
        on_candidate: Callable[[str, str], None] = lambda mid, candidate: None,
    ) -> None:
        self.peer_id = peer_id
        self.state = State.NEW
        self._hosts = tuple(hosts)
        self._on_candidate = on_candidate
        self._reason = ""
        self._changed = asyncio.Event()
        """Set when both channels are open or the link is closed: what `opened` waits for."""
        self._queues: tuple[deque[bytes], deque[bytes]] = (deque(), deque())
        self._queued_bytes = 0
        self._early: list[tuple[Channel, bytes]] = []
        self._early_bytes = 0
        self._on_frame: Callable[[Channel, bytes], None] | None = None
        self._on_closed: Callable[[str], None] | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._negotiating = asyncio.Lock()
        self._gone = asyncio.Event()
        self._shutdown: asyncio.Task[None] | None = None
        self._connect(ice_servers)

    # ---- what an engine does

    @abstractmethod
    def _connect(self, ice_servers: Sequence[IceServer]) -> None:
        """Make the connection and its channels, and listen to them."""

    @abstractmethod
    async def _offer(self) -> str: ...

    @abstractmethod
    async def _answer(self, offer: str) -> str: ...

    @abstractmethod
    async def _answered(self, answer: str) -> None: ...

    @abstractmethod
    async def add_candidate(self, mid: str, candidate: str) -> None:
        """Take one more address of the other side, whose description we have. Useless ones are ignored.

        Raises:
            RemoteProtocolError: The engine cannot use this candidate.
        """

    @abstractmethod
    def _certificate_in_use(self) -> bytes | None:
        """The DER bytes of the certificate with which the other side completed DTLS, or None."""

    @abstractmethod
    def _message_bytes_max(self) -> float:
        """Longest message the other side takes."""

    @property
    @abstractmethod
    def _in_channels(self) -> int:
        """Bytes the channels have not given to the network yet."""

    @abstractmethod
    def _takes(self, channel: Channel) -> bool:
        """Whether this channel is open."""

    @abstractmethod
    def _put(self, channel: Channel, frame: bytes) -> None:
        """Give one frame to an open channel."""

    @abstractmethod
    async def _acknowledged(self) -> None:
        """Return once the other side has everything that was sent. May take for ever."""

    @abstractmethod
    async def _disconnect(self) -> None:
        """Close the connection and let go of its sockets."""

    # ---- making the connection

    async def make_offer(self) -> str:
        """The SDP of our offer.

        Raises:
            ConnectionError: The link was closed meanwhile.
        """
        async with self._negotiation():
            sdp = await self._offer()
        return plain_fingerprint(sdp)

    async def accept_offer(self, sdp: str) -> str:
        """Take the other side's offer; returns the SDP of our answer.

        Raises:
            ConnectionError: The link was closed meanwhile.
            RemoteProtocolError: The engine cannot use this SDP.
        """
        async with self._negotiation():
            answer = await self._answer(sanitised(sdp))
        return plain_fingerprint(answer)

    async def accept_answer(self, sdp: str) -> None:
        """Take the other side's answer to our offer.

        Raises:
            ConnectionError: The link was closed meanwhile.
            RemoteProtocolError: The engine cannot use this SDP.
        """
        async with self._negotiation():
            await self._answered(sanitised(sdp))

    async def opened(self, fingerprint: bytes) -> None:
        """Return once frames can flow and the certificate in use is the signed one.

        Raises:
            ConnectionError: The connection failed or was closed meanwhile; the text says why.
            RemoteProtocolError: The other side uses another certificate, or takes too short messages.
        """
        await self._changed.wait()
        if self.state is State.CLOSED:
            raise ConnectionError(self._reason)
        certificate = self._certificate_in_use()
        if certificate is None or sha256(certificate).digest() != fingerprint:
            raise RemoteProtocolError("the DTLS certificate in use is not the signed one")
        if self._message_bytes_max() < FRAME_BYTES_MAX:
            raise RemoteProtocolError(f"the peer does not take frames of {FRAME_BYTES_MAX} bytes")
        self.state = State.OPEN
        self._pump()

    @asynccontextmanager
    async def _negotiation(self) -> AsyncIterator[None]:
        """One step of offer and answer. Closing waits for it: aiortc leaks the sockets of an unfinished one."""
        async with self._negotiating:
            if self.state is State.CLOSED:
                raise ConnectionError(self._reason)
            self.state = State.CONNECTING
            try:
                yield
            except Exception as error:
                # The parsers were not made for hostile input: any exception of one is the SDP's fault.
                raise RemoteProtocolError(f"an SDP is not usable: {type(error).__name__}: {error}") from None
        if self.state is State.CLOSED:
            raise ConnectionError(self._reason)

    # ---- Link

    @property
    def buffered(self) -> int:
        return self._queued_bytes + self._in_channels

    def attach(self, on_frame: Callable[[Channel, bytes], None], on_closed: Callable[[str], None]) -> None:
        assert self._on_frame is None, "a link has one receiver"
        early, self._early = self._early, []
        for channel, frame in early:
            on_frame(channel, frame)
        self._on_frame, self._on_closed = on_frame, on_closed
        if self.state is State.CLOSED:
            asyncio.get_running_loop().call_soon(on_closed, self._reason)

    def send(self, channel: Channel, frame: bytes) -> None:
        if len(frame) > FRAME_BYTES_MAX:
            raise LocalProtocolError(f"a frame of {len(frame)} bytes is over the limit of {FRAME_BYTES_MAX}")
        if self.state is State.CLOSED:
            return
        self._queues[channel].append(frame)
        self._queued_bytes += len(frame)
        self._pump()
        if self.buffered > BUFFERED_MAX_BYTES:
            self._end("the peer does not keep up with what we send")

    async def drained(self) -> None:
        await self._drained.wait()

    def close(self, reason: str) -> None:
        self._end(reason, linger=self.state is State.OPEN)

    async def wait_closed(self) -> None:
        await self._gone.wait()

    # ---- what the engine tells us

    def _channel_opened(self) -> None:
        if all(self._takes(channel) for channel in Channel):
            self._changed.set()

    def _failed(self) -> None:
        self._end("the peer is gone" if self.state is State.OPEN else "no connection could be made")

    def _received(self, channel: Channel, message: bytes | str) -> None:
        if self.state is State.CLOSED:
            return
        if isinstance(message, str):
            self._end("the peer sent text")
        elif len(message) > FRAME_BYTES_MAX:
            self._end("the peer sent a frame that is too long")
        elif self._on_frame is not None:
            self._on_frame(channel, message)
        else:
            self._early.append((channel, message))
            self._early_bytes += len(message)
            if self._early_bytes > EARLY_BYTES_MAX:
                self._end("frames came before anybody listened")

    # ---- sending

    def _pump(self) -> None:
        """Move frames into the channels, control before bulk, up to the high-water mark."""
        if self.state in (State.OPEN, State.CLOSED):
            while self._queued_bytes and self._in_channels < BUFFERED_HIGH_BYTES:
                channel = Channel.CONTROL if self._queues[Channel.CONTROL] else Channel.BULK
                if not self._takes(channel):
                    return
                frame = self._queues[channel].popleft()
                self._queued_bytes -= len(frame)
                self._put(channel, frame)
        if self.buffered <= BUFFERED_LOW_BYTES or self.state is State.CLOSED:
            self._drained.set()
        else:
            self._drained.clear()

    # ---- the end

    def _end(self, reason: str, *, linger: bool = False) -> None:
        """The only place where a link becomes CLOSED."""
        if self.state is State.CLOSED:
            return
        self.state, self._reason = State.CLOSED, reason
        self._early.clear()
        self._changed.set()
        self._drained.set()
        if self._on_closed is not None:
            asyncio.get_running_loop().call_soon(self._on_closed, reason)
        self._shutdown = asyncio.create_task(self._shut_down(linger))

    async def _shut_down(self, linger: bool) -> None:
        try:
            if linger:
                with suppress(TimeoutError):
                    async with asyncio.timeout(LINGER_S):
                        await self._acknowledged()
            async with self._negotiating:
                await self._disconnect()
        finally:
            for queue in self._queues:
                queue.clear()
            self._queued_bytes = 0
            self._gone.set()


def plain_fingerprint(sdp: str) -> str:
    """Leave only the SHA-256 fingerprint, the one that is signed and that every browser uses."""
    return with_lines(
        sdp, lambda line: not line.startswith("a=fingerprint:") or line.startswith("a=fingerprint:sha-256 ")
    )


def sanitised(sdp: str) -> str:
    """Leave out what makes aiortc stall or fail (research/webrtc.md section 4); it helps no other engine either.

    A browser's `.local` candidates cost a second each and never resolve across networks; the browser connects to
    our address anyway. After `end-of-candidates` aioice gives up when it has not paired anything by then.
    """
    return with_lines(
        sdp,
        lambda line: line != "a=end-of-candidates" and (not line.startswith("a=candidate") or is_usable(line)),
    )


def is_usable(candidate: str) -> bool:
    return ".local " not in candidate and " tcp " not in candidate.lower()


def with_lines(sdp: str, keep: Callable[[str], bool]) -> str:
    return "".join(f"{line}\r\n" for line in sdp.splitlines() if keep(line))

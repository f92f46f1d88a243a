"""A link over WebRTC data channels, with aiortc.

    NEW --make_offer / accept_offer--> CONNECTING --both channels open, certificate checked--> OPEN
     |                                     |                                                    |
     '------------- close ----------------'-- close, timeout, peer gone --> CLOSED <-----------'

Both channels are negotiated: `control` has id 0, `bulk` has id 1, on both sides, so no frame can come before its
handler. aiortc has one queue for all channels of a connection; our own two queues stand before it and let at most
`BUFFERED_HIGH_BYTES` in, so that a control frame waits behind no more than that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, suppress
from enum import Enum
from hashlib import sha256
from typing import TYPE_CHECKING

from aiortc import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from aiortc.sdp import candidate_from_sdp

from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.events import Channel

from . import aiortc_patches
from .link import BUFFERED_HIGH_BYTES, BUFFERED_LOW_BYTES, BUFFERED_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.signaling import IceServer

EARLY_BYTES_MAX = 1024 * 1024
"""Bytes kept for a receiver that has not attached yet. It attaches in the same loop turn; this bounds a mistake."""

LINGER_S = 2.5
"""How long a link we close waits until its last frames are acknowledged. SCTP repeats a lost one after 1 s."""


class State(Enum):
    NEW = "new"
    CONNECTING = "connecting"
    OPEN = "open"
    CLOSED = "closed"


class WebRtcLink:
    """One RTCPeerConnection and its two data channels. Implements `Link` once `opened` has returned."""

    over = "webrtc"

    def __init__(self, peer_id: PeerId, *, ice_servers: Sequence[IceServer] = (), hosts: Sequence[str] = ()) -> None:
        aiortc_patches.apply()
        self.peer_id = peer_id
        self.state = State.NEW
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

        # An empty list, never None: without one aiortc asks a public STUN server, which takes 5 s offline (m).
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=_ice_servers(ice_servers)))
        self._channels: tuple[RTCDataChannel, RTCDataChannel] = (
            self._pc.createDataChannel("control", negotiated=True, id=Channel.CONTROL),
            self._pc.createDataChannel("bulk", negotiated=True, id=Channel.BULK),
        )
        aiortc_patches.gather_from(self._pc, hosts)
        for number, channel in zip(Channel, self._channels, strict=True):
            self._listen(number, channel)
        self._pc.on("connectionstatechange", self._connection_changed)
        self._pc.on("datachannel", lambda _: self._end("the peer opened a channel of its own"))

    # ---- making the connection

    async def make_offer(self) -> str:
        """The SDP of our offer, complete with all candidates.

        Raises:
            ConnectionError: The link was closed meanwhile.
        """
        async with self._negotiation():
            await self._pc.setLocalDescription(await self._pc.createOffer())
        return _plain_fingerprint(self._pc.localDescription.sdp)

    async def accept_offer(self, sdp: str) -> str:
        """Take the other side's offer; returns the SDP of our answer.

        Raises:
            ConnectionError: The link was closed meanwhile.
            RemoteProtocolError: aiortc cannot use this SDP.
        """
        async with self._negotiation():
            await self._pc.setRemoteDescription(RTCSessionDescription(_sanitised(sdp), "offer"))
            await self._pc.setLocalDescription(await self._pc.createAnswer())
        return _plain_fingerprint(self._pc.localDescription.sdp)

    async def accept_answer(self, sdp: str) -> None:
        """Take the other side's answer to our offer.

        Raises:
            ConnectionError: The link was closed meanwhile.
            RemoteProtocolError: aiortc cannot use this SDP.
        """
        async with self._negotiation():
            await self._pc.setRemoteDescription(RTCSessionDescription(_sanitised(sdp), "answer"))

    async def add_candidate(self, mid: str, candidate: str) -> None:
        """Take one more address of the other side, whose description we have. Useless ones are ignored.

        Raises:
            RemoteProtocolError: aiortc cannot use this candidate.
        """
        if self.state is State.CLOSED or not candidate or not _is_usable(candidate):
            return
        try:
            parsed = candidate_from_sdp(candidate.removeprefix("candidate:"))
            parsed.sdpMid = mid
            await self._pc.addIceCandidate(parsed)
        except (ValueError, AssertionError, InvalidStateError) as error:
            raise RemoteProtocolError(f"a candidate is not usable: {error}") from None

    async def opened(self, fingerprint: bytes) -> None:
        """Return once frames can flow and the certificate in use is the signed one.

        Raises:
            ConnectionError: The connection failed or was closed meanwhile; the text says why.
            RemoteProtocolError: The other side uses another certificate, or takes too short messages.
        """
        await self._changed.wait()
        if self.state is State.CLOSED:
            raise ConnectionError(self._reason)
        certificate = aiortc_patches.certificate_in_use(self._pc)
        if certificate is None or sha256(certificate).digest() != fingerprint:
            raise RemoteProtocolError("the DTLS certificate in use is not the signed one")
        if aiortc_patches.message_bytes_max(self._pc) < FRAME_BYTES_MAX:
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
                # aiortc's parser was not made for hostile input: any exception of it is the SDP's fault.
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

    # ---- what aiortc tells us

    def _listen(self, number: Channel, channel: RTCDataChannel) -> None:
        # Two frames waiting at both thresholds are still at most BUFFERED_LOW_BYTES together.
        channel.bufferedAmountLowThreshold = BUFFERED_LOW_BYTES // 2
        channel.on("open", self._channel_opened)
        channel.on("message", lambda message: self._received(number, message))
        channel.on("bufferedamountlow", self._pump)
        channel.on("close", lambda: self._end("the peer closed the connection"))

    def _channel_opened(self) -> None:
        if all(channel.readyState == "open" for channel in self._channels):
            self._changed.set()

    def _connection_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            established = self.state is State.OPEN
            self._end("the peer is gone" if established else "no connection could be made")

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

    @property
    def _in_channels(self) -> int:
        return sum(channel.bufferedAmount for channel in self._channels)

    def _pump(self) -> None:
        """Move frames into the channels, control before bulk, up to the high-water mark."""
        if self.state in (State.OPEN, State.CLOSED):
            while self._queued_bytes and self._in_channels < BUFFERED_HIGH_BYTES:
                channel = Channel.CONTROL if self._queues[Channel.CONTROL] else Channel.BULK
                if self._channels[channel].readyState != "open":
                    return
                frame = self._queues[channel].popleft()
                self._queued_bytes -= len(frame)
                self._channels[channel].send(frame)
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
                await self._pc.close()
        finally:
            for queue in self._queues:
                queue.clear()
            self._queued_bytes = 0
            self._gone.set()

    async def _acknowledged(self) -> None:
        # aiortc has no event for this; on a healthy link the wait is one round trip.
        while self._queued_bytes or not aiortc_patches.is_acknowledged(self._pc):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _plain_fingerprint(sdp: str) -> str:
    """Leave only the SHA-256 fingerprint, the one that is signed and that every browser uses."""
    return _with_lines(
        sdp, lambda line: not line.startswith("a=fingerprint:") or line.startswith("a=fingerprint:sha-256 ")
    )


def _sanitised(sdp: str) -> str:
    """Leave out what makes aiortc stall or fail (research/webrtc.md section 4).

    A browser's `.local` candidates cost a second each and never resolve across networks; the browser connects to
    our address anyway. After `end-of-candidates` aioice gives up when it has not paired anything by then.
    """
    return _with_lines(
        sdp,
        lambda line: line != "a=end-of-candidates" and (not line.startswith("a=candidate") or _is_usable(line)),
    )


def _is_usable(candidate: str) -> bool:
    return ".local " not in candidate and " tcp " not in candidate.lower()


def _with_lines(sdp: str, keep: Callable[[str], bool]) -> str:
    return "".join(f"{line}\r\n" for line in sdp.splitlines() if keep(line))


def _ice_servers(servers: Sequence[IceServer]) -> list[RTCIceServer]:
    return [
        RTCIceServer(server.url, username=server.username or None, credential=server.credential or None)
        for server in servers
    ]

"""WebRTC links with aiortc: Python throughout, and what a node without extras uses.

aiortc finds all its addresses before it describes itself, and asks one STUN and one TURN server at most.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiortc import RTCConfiguration, RTCDataChannel, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.exceptions import InvalidStateError
from aiortc.sdp import candidate_from_sdp

from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import Channel

from . import aiortc_patches
from .link import BUFFERED_LOW_BYTES
from .webrtc import State, WebRtcLink, is_usable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.signaling import IceServer


class AiortcLink(WebRtcLink):
    """One RTCPeerConnection of aiortc."""

    def _connect(self, ice_servers: Sequence[IceServer]) -> None:
        aiortc_patches.apply()
        # An empty list, never None: without one aiortc asks a public STUN server, which takes 5 s offline (m).
        self._pc = RTCPeerConnection(RTCConfiguration(iceServers=_ice_servers(ice_servers)))
        self._channels: tuple[RTCDataChannel, RTCDataChannel] = (
            self._pc.createDataChannel("control", negotiated=True, id=Channel.CONTROL),
            self._pc.createDataChannel("bulk", negotiated=True, id=Channel.BULK),
        )
        aiortc_patches.gather_from(self._pc, self._hosts)
        for number, channel in zip(Channel, self._channels, strict=True):
            self._listen(number, channel)
        self._pc.on("connectionstatechange", self._connection_changed)
        self._pc.on("datachannel", lambda _: self._end("the peer opened a channel of its own"))

    def _listen(self, number: Channel, channel: RTCDataChannel) -> None:
        # Two frames waiting at both thresholds are still at most BUFFERED_LOW_BYTES together.
        channel.bufferedAmountLowThreshold = BUFFERED_LOW_BYTES // 2
        channel.on("open", self._channel_opened)
        channel.on("message", lambda message: self._received(number, message))
        channel.on("bufferedamountlow", self._pump)
        channel.on("close", lambda: self._end("the peer closed the connection"))

    def _connection_changed(self) -> None:
        if self._pc.connectionState in ("failed", "closed"):
            self._failed()

    async def _offer(self) -> str:
        await self._pc.setLocalDescription(await self._pc.createOffer())
        return self._pc.localDescription.sdp

    async def _answer(self, offer: str) -> str:
        await self._pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
        await self._pc.setLocalDescription(await self._pc.createAnswer())
        return self._pc.localDescription.sdp

    async def _answered(self, answer: str) -> None:
        await self._pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    async def add_candidate(self, mid: str, candidate: str) -> None:
        if self.state is State.CLOSED or not candidate or not is_usable(candidate):
            return
        try:
            parsed = candidate_from_sdp(candidate.removeprefix("candidate:"))
            parsed.sdpMid = mid
            await self._pc.addIceCandidate(parsed)
        except (ValueError, AssertionError, InvalidStateError) as error:
            raise RemoteProtocolError(f"a candidate is not usable: {error}") from None

    def _certificate_in_use(self) -> bytes | None:
        return aiortc_patches.certificate_in_use(self._pc)

    def _message_bytes_max(self) -> float:
        return aiortc_patches.message_bytes_max(self._pc)

    @property
    def _in_channels(self) -> int:
        return sum(channel.bufferedAmount for channel in self._channels)

    def _takes(self, channel: Channel) -> bool:
        return self._channels[channel].readyState == "open"

    def _put(self, channel: Channel, frame: bytes) -> None:
        self._channels[channel].send(frame)

    async def _acknowledged(self) -> None:
        # aiortc has no event for this; on a healthy link the wait is one round trip.
        while self._queued_bytes or not aiortc_patches.is_acknowledged(self._pc):  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def _disconnect(self) -> None:
        await self._pc.close()


def _ice_servers(servers: Sequence[IceServer]) -> list[RTCIceServer]:
    return [
        RTCIceServer(server.url, username=server.username or None, credential=server.credential or None)
        for server in servers
    ]

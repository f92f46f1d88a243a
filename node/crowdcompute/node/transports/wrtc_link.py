"""WebRTC links with wrtc, Chrome's engine: six to eight times what aiortc carries, for an eighth of its work (m).

The engine finds addresses for as long as a dead STUN server takes, 40 s (m). So a description leaves after a moment
with what is known by then, and the rest follows one by one.

It says that a channel is empty, never that the other side has everything. But closing a channel waits for that.
"""

from __future__ import annotations

import asyncio
import ipaddress
from contextlib import suppress
from typing import TYPE_CHECKING

import webrtc

from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import Channel

from .link import BUFFERED_LOW_BYTES
from .webrtc import State, WebRtcLink, is_usable, with_lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crowdcompute.protocol.signaling import IceServer

# Before the first connection of the process, or never. Whether they are offered is decided per link.
webrtc.allow_loopback()

DESCRIBE_WITHIN_S = 0.2
"""How long a description waits for addresses. Those of this machine come in milliseconds (m)."""


class WrtcLink(WebRtcLink):
    """One RTCPeerConnection of libwebrtc."""

    def _connect(self, ice_servers: Sequence[IceServer]) -> None:
        servers = [
            webrtc.RTCIceServer(server.url, server.username or None, server.credential or None)
            for server in ice_servers
        ]
        self._pc = webrtc.RTCPeerConnection(webrtc.RTCConfiguration(ice_servers=servers))
        self._gathered = asyncio.Event()
        self._described = False
        self._channels: tuple[webrtc.RTCDataChannel, ...] = tuple(
            self._pc.create_data_channel(name, webrtc.RTCDataChannelInit(negotiated=True, id=int(number), ordered=True))
            for name, number in (("control", Channel.CONTROL), ("bulk", Channel.BULK))
        )
        self._closing = [asyncio.Event() for _ in Channel]
        for number, channel in zip(Channel, self._channels, strict=True):
            self._listen(number, channel)
        self._pc.on("icecandidate", self._found)
        self._pc.on("connectionstatechange", self._connection_changed)
        self._pc.on("datachannel", lambda _: self._end("the peer opened a channel of its own"))

    def _listen(self, number: Channel, channel: webrtc.RTCDataChannel) -> None:
        def message(event: webrtc.MessageEvent) -> None:
            assert not isinstance(event.data, webrtc.Blob), "the binary type says bytes"
            self._received(number, event.data)

        channel.binary_type = "arraybuffer"
        channel.buffered_amount_low_threshold = BUFFERED_LOW_BYTES // 2
        channel.on("open", lambda _: self._channel_opened())
        channel.on("message", message)
        channel.on("bufferedamountlow", lambda _: self._pump())
        channel.on("close", lambda _: self._channel_closed(number))

    def _channel_closed(self, number: Channel) -> None:
        self._closing[number].set()
        self._end("the peer closed the connection")

    def _connection_changed(self, _: object) -> None:
        if self._pc.connection_state in ("failed", "closed"):
            self._failed()

    def _found(self, event: webrtc.RTCPeerConnectionIceEvent) -> None:
        candidate = event.candidate
        if candidate is None:
            self._gathered.set()
        elif self._described and self._offers(candidate.candidate):
            self._on_candidate(candidate.sdp_mid or "0", candidate.candidate)

    def _offers(self, candidate: str) -> bool:
        """Whether others are told of this address: those we were told to offer, or all but loopback."""
        fields = candidate.split()
        if len(fields) < 8 or not is_usable(candidate):
            return False
        if fields[7] != "host":
            return True
        if self._hosts:
            return fields[4] in self._hosts
        with suppress(ValueError):
            return not ipaddress.ip_address(fields[4]).is_loopback
        return True

    async def _description(self) -> str:
        """Our description with the addresses that are known within a moment. Later ones are told by themselves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DESCRIBE_WITHIN_S):
                await self._gathered.wait()
        self._described = True
        description = self._pc.local_description
        assert description is not None
        return with_lines(
            description.sdp,
            lambda line: not line.startswith("a=candidate") or self._offers(line.removeprefix("a=")),
        )

    async def _offer(self) -> str:
        await self._pc.set_local_description(await self._pc.create_offer())
        return await self._description()

    async def _answer(self, offer: str) -> str:
        await self._pc.set_remote_description(webrtc.RTCSessionDescription("offer", offer))
        await self._pc.set_local_description(await self._pc.create_answer())
        return await self._description()

    async def _answered(self, answer: str) -> None:
        await self._pc.set_remote_description(webrtc.RTCSessionDescription("answer", answer))

    async def add_candidate(self, mid: str, candidate: str) -> None:
        if self.state is State.CLOSED or not candidate or not is_usable(candidate):
            return
        try:
            await self._pc.add_ice_candidate(webrtc.RTCIceCandidate(candidate=candidate, sdp_mid=mid))
        except Exception as error:
            raise RemoteProtocolError(f"a candidate is not usable: {error}") from None

    def _certificate_in_use(self) -> bytes | None:
        sctp = self._pc.sctp
        certificates = [] if sctp is None else sctp.transport.get_remote_certificates()
        return certificates[0] if certificates else None

    def _message_bytes_max(self) -> float:
        sctp = self._pc.sctp
        return 0 if sctp is None else sctp.max_message_size or 0

    @property
    def _in_channels(self) -> int:
        return sum(channel.buffered_amount for channel in self._channels)

    def _takes(self, channel: Channel) -> bool:
        return self._channels[channel].ready_state == "open"

    def _put(self, channel: Channel, frame: bytes) -> None:
        self._channels[channel].send(frame)

    async def _acknowledged(self) -> None:
        while self._queued_bytes:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for channel in self._channels:
            channel.close()
        for closing in self._closing:
            await closing.wait()

    async def _disconnect(self) -> None:
        # What it refers to lives on until nothing refers to it: 500 connections a process, closed ones included.
        for channel in self._channels:
            channel.remove_all_listeners()
        self._pc.remove_all_listeners()
        self._pc.close()

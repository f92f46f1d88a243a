"""What every link promises (transports/link.py), over WebRTC, libp2p and direct ones: two real ends on loopback."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.node.signaling_client import SignalingClient
from crowdcompute.node.transports.connector import Connector
from crowdcompute.node.transports.libp2p_host import Libp2pHost
from crowdcompute.node.transports.link import (
    BUFFERED_HIGH_BYTES,
    BUFFERED_LOW_BYTES,
    BUFFERED_MAX_BYTES,
    Link,
    StackName,
)
from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity, PeerId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

LOOPBACK = ("127.0.0.1",)
ALICE, BOB = (Identity(bytes([seed]) * 32) for seed in (1, 2))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class End:
    """One end: its links, what came, and what closed."""

    def __init__(self) -> None:
        self.links: list[tuple[Link, bool]] = []
        self.came: list[tuple[Channel, bytes]] = []
        self.closed: list[str] = []
        self.failed: list[str] = []
        self.attaches = True
        self._changed = asyncio.Event()

    def on_link(self, link: Link, dialled: bool) -> None:
        self.links.append((link, dialled))
        if self.attaches:
            self.attach()
        self._changed.set()

    def attach(self) -> None:
        self.link.attach(
            lambda channel, frame: self._note(self.came, (channel, frame)), lambda why: self._note(self.closed, why)
        )

    def _note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self._changed.set()

    def failed_to_dial(self, peer_id: PeerId, reason: str) -> None:
        self._note(self.failed, reason)

    @property
    def link(self) -> Link:
        return self.links[-1][0]

    def frames(self, channel: Channel) -> list[bytes]:
        return [frame for number, frame in self.came if number == channel]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def introduced(alice: End, bob: End, stack: StackName) -> AsyncIterator[Callable[[], None]]:
    """Two connectors that hand each other's signals over, as a neighbour of both would."""
    nobody = Identity(bytes(32)).peer_id
    connectors: dict[str, Connector] = {}
    for identity, end in ((ALICE, alice), (BOB, bob)):
        connectors[identity.peer_id] = Connector(
            identity,
            "main",
            SignalingClient("ws://127.0.0.1:9/ws", identity, "main", Random(1)),
            on_link=end.on_link,
            on_dial_failed=end.failed_to_dial,
            on_signal=lambda to, through, data: connectors[to].signal_arrived(through, data),
            on_peers=lambda _: None,
            on_signaling=lambda state, detail: None,
            hosts=LOOPBACK,
            ice_servers=(),
            stack=stack,
            meet_within_s=30,
        )
    try:
        yield lambda: connectors[BOB.peer_id].dial(ALICE.peer_id, nobody)
    finally:
        for connector in connectors.values():
            await connector.close()


@contextlib.asynccontextmanager
async def over_libp2p(alice: End, bob: End) -> AsyncIterator[Callable[[], None]]:
    hosts = [
        Libp2pHost(
            identity.secret(),
            "main",
            port=0,
            hosts=LOOPBACK,
            bootstrap=(),
            on_link=end.on_link,
            on_dial_failed=end.failed_to_dial,
            on_found=lambda peer_id, addresses: None,
        )
        for identity, end in ((ALICE, alice), (BOB, bob))
    ]
    for host in hosts:
        await host.start()
    try:
        yield lambda: hosts[1].dial(ALICE.peer_id, hosts[0].addresses)
    finally:
        for host in hosts:
            await host.close()


KINDS: dict[str, Callable[[End, End], contextlib.AbstractAsyncContextManager[Callable[[], None]]]] = {
    "webrtc": partial(introduced, stack="wrtc"),
    "direct": partial(introduced, stack="auto"),
    "libp2p": over_libp2p,
}


@contextlib.asynccontextmanager
async def linked(kind: str, *, alice_attaches: bool = True) -> AsyncIterator[tuple[End, End]]:
    """Alice and Bob, who has dialled her."""
    alice, bob = End(), End()
    alice.attaches = alice_attaches
    async with KINDS[kind](alice, bob) as dial:
        dial()
        await bob.until(lambda: bob.links)
        await alice.until(lambda: alice.links)
        yield alice, bob


kinds = pytest.mark.parametrize("kind", KINDS)


@kinds
async def test_both_ends_know_who_the_other_is_and_who_dialled(kind: str) -> None:
    async with linked(kind) as (alice, bob):
        assert (alice.link.peer_id, bob.link.peer_id) == (BOB.peer_id, ALICE.peer_id)
        assert (alice.links[0][1], bob.links[0][1]) == (False, True)
        assert alice.link.over == bob.link.over == kind


@kinds
async def test_frames_of_each_channel_arrive_whole_and_in_order_both_ways(kind: str) -> None:
    async with linked(kind) as (alice, bob):
        sizes = [1, 2, 100, 1_191, 16_384, FRAME_BYTES_MAX]
        sent = {channel: [Random(channel).randbytes(size) for size in sizes * 3] for channel in Channel}
        for channel in Channel:
            for frame in sent[channel]:
                alice.link.send(channel, frame)
                bob.link.send(channel, frame)
        for end in (alice, bob):
            await end.until(lambda end=end: len(end.came) == 36)  # type: ignore[misc]
            assert {channel: end.frames(channel) for channel in Channel} == sent


@kinds
async def test_frames_that_come_before_anybody_listens_are_kept(kind: str) -> None:
    async with linked(kind, alice_attaches=False) as (alice, bob):
        for number in range(20):
            bob.link.send(Channel.CONTROL, bytes([number]))
        async with asyncio.timeout(20):
            while len(alice.link._early) < 20:  # type: ignore[attr-defined]  # noqa: ASYNC110  # nobody tells of these
                await asyncio.sleep(0.01)
        alice.attach()
        assert alice.frames(Channel.CONTROL) == [bytes([number]) for number in range(20)]


@kinds
async def test_8_mib_arrive_whole_while_little_is_ever_buffered(kind: str) -> None:
    async with linked(kind) as (alice, bob):
        data = Random(1).randbytes(8 * 1024 * 1024)
        for start in range(0, len(data), 64 * 1024):
            alice.link.send(Channel.BULK, data[start : start + 64 * 1024])
            if alice.link.buffered > BUFFERED_HIGH_BYTES:
                await alice.link.drained()
                assert alice.link.buffered <= BUFFERED_LOW_BYTES
        await bob.until(lambda: len(bob.came) == 128)
        assert sha256(b"".join(bob.frames(Channel.BULK))).digest() == sha256(data).digest()


@kinds
async def test_a_control_frame_overtakes_bulk_frames_that_wait(kind: str) -> None:
    async with linked(kind) as (alice, bob):
        for _ in range(64):
            alice.link.send(Channel.BULK, bytes(64 * 1024))
        alice.link.send(Channel.CONTROL, b"urgent")
        await bob.until(lambda: bob.frames(Channel.CONTROL))
        before = bob.came.index((Channel.CONTROL, b"urgent"))
        # At most the high-water mark and the one frame that crossed it had been given to the transport.
        assert before <= BUFFERED_HIGH_BYTES // (64 * 1024) + 1


@kinds
async def test_a_link_whose_peer_does_not_keep_up_is_closed_instead_of_filling_memory(kind: str) -> None:
    async with linked(kind) as (alice, bob):
        for _ in range(BUFFERED_MAX_BYTES // (64 * 1024) + 40):
            alice.link.send(Channel.BULK, bytes(64 * 1024))
        await alice.until(lambda: alice.closed)
        assert alice.closed == ["the peer does not keep up with what we send"]
        await bob.until(lambda: bob.closed)


@kinds
async def test_what_was_sent_before_close_still_arrives_and_nothing_after(kind: str) -> None:
    async with linked(kind) as (alice, bob):
        for number in range(50):
            alice.link.send(Channel.BULK, bytes([number]) * 10_000)
        alice.link.close("bye")
        alice.link.close("twice is fine")
        alice.link.send(Channel.BULK, b"too late")
        await bob.until(lambda: bob.closed)
        assert bob.frames(Channel.BULK) == [bytes([number]) * 10_000 for number in range(50)]
        assert (alice.closed, bob.closed) == (["bye"], ["the peer closed the connection"])
        for end in (alice, bob):
            await end.link.wait_closed()


@kinds
async def test_a_frame_over_the_limit_is_our_own_mistake(kind: str) -> None:
    async with linked(kind) as (alice, _):
        with pytest.raises(LocalProtocolError, match="over the limit"):
            alice.link.send(Channel.BULK, bytes(FRAME_BYTES_MAX + 1))


@kinds
async def test_who_attaches_after_the_end_hears_of_it(kind: str) -> None:
    async with linked(kind, alice_attaches=False) as (alice, bob):
        bob.link.close("bye")
        await alice.link.wait_closed()
        alice.attach()
        await alice.until(lambda: alice.closed)
        assert alice.closed == ["the peer closed the connection"]

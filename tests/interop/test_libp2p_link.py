"""What is libp2p's own: who is refused, dials that cannot work, both dialling at once, finding others by the DHT."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.node.transports.libp2p_host import Libp2pHost
from crowdcompute.node.transports.link import GLARE_S, Link, outlives
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity, PeerId

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

ALICE, BOB, CARLA = (Identity(bytes([seed]) * 32) for seed in (1, 2, 3))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Node:
    """A host that remembers what it was told, and lets a test wait for it."""

    def __init__(self, identity: Identity, network: str = "main", **options: Any) -> None:
        self.identity = identity
        self.links: list[Link] = []
        self.closed: list[str] = []
        self.frames: list[bytes] = []
        self.failed: list[tuple[PeerId, str]] = []
        self.found: dict[PeerId, tuple[str, ...]] = {}
        self._changed = asyncio.Event()
        self.host = Libp2pHost(
            identity.secret(),
            network,
            **{"port": 0, "hosts": ("127.0.0.1",), "bootstrap": (), **options},
            on_link=self._on_link,
            on_dial_failed=lambda peer_id, reason: self._note(self.failed, (peer_id, reason)),
            on_found=self._on_found,
        )

    def _note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self._changed.set()

    def _on_link(self, link: Link, dialled: bool) -> None:
        link.attach(lambda _, frame: self._note(self.frames, frame), lambda why: self._note(self.closed, why))
        self._note(self.links, link)

    def _on_found(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        self.found[peer_id] = addresses
        self._changed.set()

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


@contextlib.asynccontextmanager
async def nodes(*made: Node) -> AsyncIterator[None]:
    try:
        for node in made:
            await node.host.start()
        yield
    finally:
        for node in made:
            await node.host.close()


async def test_the_dialled_peer_is_told_where_the_dialler_listens() -> None:
    alice, bob = Node(ALICE), Node(BOB)
    async with nodes(alice, bob):
        bob.host.dial(ALICE.peer_id, alice.host.addresses)
        await alice.until(lambda: alice.links)
        assert alice.links[0].addresses == bob.host.addresses
        assert bob.host.addresses[0].endswith(f"/p2p/{BOB.peer_id}")


async def test_another_key_at_the_dialled_address_makes_no_link() -> None:
    alice, bob = Node(ALICE), Node(BOB)
    async with nodes(alice, bob):
        bob.host.dial(CARLA.peer_id, alice.host.addresses)
        await bob.until(lambda: bob.failed)
        assert [peer_id for peer_id, _ in bob.failed] == [CARLA.peer_id]
        assert (alice.links, bob.links) == ([], [])


async def test_a_peer_of_another_network_makes_no_link() -> None:
    alice, bob = Node(ALICE), Node(BOB, "elsewhere")
    async with nodes(alice, bob):
        bob.host.dial(ALICE.peer_id, alice.host.addresses)
        await bob.until(lambda: bob.failed)
        assert (alice.links, bob.links) == ([], [])


async def test_a_dial_where_nobody_listens_fails_with_a_reason() -> None:
    bob = Node(BOB)
    async with nodes(bob):
        bob.host.dial(ALICE.peer_id, (f"/ip4/127.0.0.1/tcp/1/p2p/{ALICE.peer_id}",))
        await bob.until(lambda: bob.failed)
        assert bob.failed[0][0] == ALICE.peer_id
        assert bob.failed[0][1]


async def test_a_port_that_is_taken_is_refused_and_the_usual_one_replaced() -> None:
    alice = Node(ALICE)
    async with nodes(alice):
        port = int(alice.host.addresses[0].split("/")[4])
        with pytest.raises(OSError, match=f"port {port} is taken"):
            await Node(BOB, port=port).host.start()


async def test_a_peer_whose_process_dies_is_noticed() -> None:
    alice, bob = Node(ALICE), Node(BOB)
    async with nodes(alice, bob):
        bob.host.dial(ALICE.peer_id, alice.host.addresses)
        await alice.until(lambda: alice.links)
        await bob.until(lambda: bob.links)
        await bob.host.close()
        await alice.until(lambda: alice.closed)
        again = Node(BOB)
        async with nodes(again):
            again.host.dial(ALICE.peer_id, alice.host.addresses)
            await again.until(lambda: again.links)
            again.links[0].send(Channel.CONTROL, b"back")
            await alice.until(lambda: alice.frames)


async def test_peers_that_know_only_a_third_find_each_other_in_the_dht() -> None:
    alice = Node(ALICE)
    async with nodes(alice):
        bob, carla = (Node(identity, bootstrap=alice.host.addresses) for identity in (BOB, CARLA))
        async with nodes(bob, carla):
            await bob.until(lambda: CARLA.peer_id in bob.found)
            await carla.until(lambda: BOB.peer_id in carla.found)
            carla.host.dial(BOB.peer_id, carla.found[BOB.peer_id])
            await carla.until(lambda: carla.links)


class _Kind:
    def __init__(self, over: str) -> None:
        self.over = over


@pytest.mark.parametrize(
    ("older", "newer", "older_dialled", "newer_dialled", "age_s", "stays_at_the_smaller"),
    [
        ("libp2p", "webrtc", True, False, 60.0, True),
        ("webrtc", "libp2p", True, False, 60.0, False),
        ("webrtc", "webrtc", True, False, 0.0, False),
        ("libp2p", "libp2p", True, True, 0.0, False),
        ("libp2p", "libp2p", True, False, 0.0, True),
        ("libp2p", "libp2p", False, True, 0.0, False),
        ("libp2p", "libp2p", True, False, GLARE_S + 1, False),
    ],
)
def test_of_two_links_both_sides_keep_the_same_one(
    older: str, newer: str, older_dialled: bool, newer_dialled: bool, age_s: float, stays_at_the_smaller: bool
) -> None:
    for smaller in (True, False):
        dialled = (older_dialled, newer_dialled) if smaller else (not older_dialled, not newer_dialled)
        stays = outlives(
            _Kind(older),  # type: ignore[arg-type]
            _Kind(newer),  # type: ignore[arg-type]
            older_dialled=dialled[0],
            newer_dialled=dialled[1],
            age_s=age_s,
            smaller=smaller,
        )
        assert stays is stays_at_the_smaller

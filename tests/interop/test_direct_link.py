"""Direct links between two native peers: how they meet, who is kept out, and what happens when there is no way."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from crowdcompute.node.signaling_client import SignalingClient
from crowdcompute.node.transports import direct
from crowdcompute.node.transports.connector import Connector
from crowdcompute.node.transports.webrtc import link_class
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.direct import Address, DirectWay, direct_way_of, with_direct_way
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity, PeerId, verify
from crowdcompute.protocol.signals import Answer, Offer, fingerprint_of, open_signal, parse_signal, sign_signal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from crowdcompute.node.transports.link import Link, StackName

pytestmark = pytest.mark.anyio

LOOPBACK = ("127.0.0.1",)
# Sorted, so that ALICE's offer wins a glare.
ALICE, BOB, MALLORY = sorted((Identity(bytes([seed]) * 32) for seed in (1, 2, 3)), key=lambda each: each.peer_id)
NOBODY = Identity(bytes(32)).peer_id
PROOF, WRONG = b"p" * 64, b"w" * 64
LONG_S = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Watched:
    """Things that happen, and a way to wait for them."""

    def __init__(self) -> None:
        self.links: list[tuple[Link, bool]] = []
        self.frames: list[bytes] = []
        self.closed: list[str] = []
        self.failed: list[str] = []
        self.signals: list[bytes] = []
        self._changed = asyncio.Event()

    def note(self, where: list[Any], what: Any) -> None:
        where.append(what)
        self._changed.set()

    def on_link(self, link: Link, dialled: bool) -> None:
        link.attach(lambda _, frame: self.note(self.frames, frame), lambda why: self.note(self.closed, why))
        self.note(self.links, (link, dialled))

    @property
    def link(self) -> Link:
        return self.links[-1][0]

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(LONG_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


class Node(Watched):
    """A connector whose signals a neighbour carries."""

    def __init__(self, identity: Identity, stack: StackName = "auto", meet_within_s: float = LONG_S) -> None:
        super().__init__()
        self.identity = identity
        self.carry: Callable[[PeerId, bytes], None] = lambda to, data: self.note(self.signals, data)
        self.connector = Connector(
            identity,
            "main",
            SignalingClient("ws://127.0.0.1:9/ws", identity, "main", Random(1)),
            on_link=self.on_link,
            on_dial_failed=lambda _, why: self.note(self.failed, why),
            on_signal=lambda to, through, data: self.carry(to, data),
            on_peers=lambda _: None,
            on_signaling=lambda state, detail: None,
            hosts=LOOPBACK,
            ice_servers=(),
            stack=stack,
            meet_within_s=meet_within_s,
        )


@contextlib.asynccontextmanager
async def neighbours(*nodes: Node) -> AsyncIterator[None]:
    """Nodes that get each other's signals."""
    by_id = {node.identity.peer_id: node for node in nodes}

    def carry(to: PeerId, data: bytes) -> None:
        by_id[to].connector.signal_arrived(NOBODY, data)

    for node in nodes:
        node.carry = carry
    try:
        yield
    finally:
        for node in nodes:
            await node.connector.close()


async def test_both_ends_dialling_at_once_make_one_direct_link() -> None:
    alice, bob = Node(ALICE), Node(BOB)
    async with neighbours(alice, bob):
        alice.connector.dial(BOB.peer_id, NOBODY)
        bob.connector.dial(ALICE.peer_id, NOBODY)
        await alice.until(lambda: alice.links)
        await bob.until(lambda: bob.links)
        assert (alice.links[0][1], bob.links[0][1]) == (True, False)
        assert alice.link.over == bob.link.over == "direct"
        alice.link.send(Channel.CONTROL, b"still there")
        await bob.until(lambda: bob.frames)
        assert (len(alice.links), len(bob.links), alice.failed, bob.failed) == (1, 1, [], [])


@pytest.mark.parametrize("stacks", [("auto", "aiortc"), ("wrtc", "auto")], ids="-".join)
async def test_who_makes_no_direct_links_is_linked_by_webrtc(stacks: tuple[StackName, StackName]) -> None:
    alice, bob = Node(ALICE, stacks[0]), Node(BOB, stacks[1])
    async with neighbours(alice, bob):
        bob.connector.dial(ALICE.peer_id, NOBODY)
        await bob.until(lambda: bob.links)
        await alice.until(lambda: alice.links)
        assert alice.link.over == bob.link.over == "webrtc"


async def test_where_tcp_leads_nowhere_in_time_they_are_linked_by_webrtc() -> None:
    alice, bob = Node(ALICE, meet_within_s=0.0), Node(BOB, meet_within_s=0.0)
    async with neighbours(alice, bob):
        bob.connector.dial(ALICE.peer_id, NOBODY)
        await bob.until(lambda: bob.links)
        await alice.until(lambda: alice.links)
        assert alice.link.over == bob.link.over == "webrtc"
        bob.link.send(Channel.CONTROL, b"there")
        await alice.until(lambda: alice.frames)


async def test_who_cannot_be_reached_reaches_the_other_side() -> None:
    """Alice cannot come to Bob, who then comes to her."""
    alice, bob = Node(ALICE, meet_within_s=0.0), Node(BOB)
    async with neighbours(alice, bob):
        bob.connector.dial(ALICE.peer_id, NOBODY)
        await bob.until(lambda: bob.links)
        await alice.until(lambda: alice.links)
        assert alice.link.over == bob.link.over == "direct"
        assert (alice.links[0][1], bob.links[0][1]) == (False, True), "the offer says who dialled, not TCP"


async def test_a_way_to_somebody_mute_is_given_up_and_the_offer_answered() -> None:
    """The peer that offers says that it listens where a socket takes connections and never a word."""
    bob = Node(BOB, meet_within_s=0.1)
    mallory = link_class("wrtc")(BOB.peer_id, hosts=LOOPBACK)
    callers: list[asyncio.StreamWriter] = []
    mute = await asyncio.start_server(lambda reader, writer: callers.append(writer), *LOOPBACK, 0)
    try:
        way = DirectWay(bytes(32), (Address(LOOPBACK[0], mute.sockets[0].getsockname()[1]),))
        sdp = with_direct_way(await mallory.make_offer(), way)
        offer = Offer("main", bytes(16), MALLORY.public_key, BOB.public_key, fingerprint_of(sdp), sdp)
        bob.connector.signal_arrived(NOBODY, encode(sign_signal(MALLORY, offer)))
        await bob.until(lambda: bob.signals)
        answer = open_signal(verify, parse_signal(bob.signals[0]), network="main", receiver=MALLORY.public_key)
        assert isinstance(answer, Answer)
        assert direct_way_of(answer.sdp) is not None, "it may come to us instead"
        await mallory.accept_answer(answer.sdp)
        await mallory.opened(answer.fingerprint)
        await bob.until(lambda: bob.links)
        assert (bob.link.over, len(callers)) == ("webrtc", 1)
    finally:
        mallory.close("the test is over")
        await mallory.wait_closed()
        await bob.connector.close()
        for caller in callers:
            caller.close()
        mute.close()


# ---- a listener and who comes to it


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[direct.Listener, DirectWay, direct.Certificate]]:
    """Alice waits for Bob."""
    certificate = direct.Certificate()
    ends = direct.Ends("main", BOB.peer_id, ())
    listener = direct.Listener(certificate, ends, lambda proof: proof == PROOF)
    way = await listener.start(LOOPBACK)
    assert way is not None
    try:
        yield listener, way, certificate
    finally:
        if (link := listener.take()) is not None:
            link.close("the test is over")
            await link.wait_closed()
        listener.close()


async def come(way: DirectWay, proof: bytes = PROOF, network: str = "main") -> Link:
    ends = direct.Ends(network, ALICE.peer_id, ())
    return await direct.dial(direct.Certificate(), ends, way, proof, within_s=LONG_S)


async def test_strangers_are_hung_up_on_and_the_right_one_still_gets_in() -> None:
    async with listening() as (listener, way, _):
        with pytest.raises(ConnectionError, match="hung up"):
            await come(way, WRONG)
        with pytest.raises(ConnectionError, match="hung up"):
            await come(way, network="other")
        assert listener.take() is None
        link = await come(way)
        assert (await listener.came).peer_id == BOB.peer_id
        with pytest.raises(ConnectionError):
            await come(way)
        link.close("the test is over")
        await link.wait_closed()


async def test_a_proof_is_shown_to_the_signed_certificate_only() -> None:
    shown: list[bytes] = []

    def is_proof(proof: bytes) -> bool:
        shown.append(proof)
        return True

    listener = direct.Listener(direct.Certificate(), direct.Ends("main", BOB.peer_id, ()), is_proof)
    way = await listener.start(LOOPBACK)
    assert way is not None
    with pytest.raises(ConnectionError, match="not the signed one"):
        await come(way._replace(certificate=bytes(32)))
    assert shown == []
    listener.close()


async def test_nothing_listens_once_a_connection_is_made() -> None:
    alice, bob = Node(ALICE), Node(BOB)
    async with neighbours(alice, bob):
        offers: list[bytes] = []
        carry = bob.carry

        def overheard(to: PeerId, data: bytes) -> None:
            offers.append(data)
            carry(to, data)

        bob.carry = overheard
        bob.connector.dial(ALICE.peer_id, NOBODY)
        await bob.until(lambda: bob.links)
        offer = open_signal(verify, parse_signal(offers[0]), network="main", receiver=ALICE.public_key)
        assert isinstance(offer, Offer)
        way = direct_way_of(offer.sdp)
        assert way is not None
        for host, port in way.addresses:
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection(host, port)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"\x07\x00\x00\x00", "channel 7"),
        (b"\x00\xff\xff\xff", "too long"),
        (b"\x02\x00\x00\x00", "channel 2"),
    ],
)
async def test_a_peer_that_sends_what_is_no_frame_is_disconnected(said: bytes, why: str) -> None:
    async with listening() as (listener, way, _):
        link = await come(way)
        alice = Watched()
        alice.on_link(await listener.came, dialled=False)
        link._transport.write(said)  # type: ignore[attr-defined]
        await alice.until(lambda: alice.closed)
        assert why in alice.closed[0]
        await link.wait_closed()


async def test_no_bytes_of_a_stranger_get_past_the_door() -> None:
    rng = Random(1)
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    plain.check_hostname, plain.verify_mode = False, ssl.CERT_NONE
    async with listening() as (listener, way, _):
        for encrypted in (False, True):
            for _ in range(20):
                context = plain if encrypted else None
                at = way.addresses[0]
                reader, writer = await asyncio.open_connection(*at, ssl=context)
                writer.write(rng.randbytes(rng.randrange(64, 400)))
                writer.write_eof() if writer.can_write_eof() else None
                with contextlib.suppress(ConnectionError, ssl.SSLError):
                    async with asyncio.timeout(LONG_S):
                        assert len(await reader.read()) < 64, "an alert at most"
                writer.close()
        assert not listener.came.done()
        link = await come(way)
        link.close("the test is over")
        await link.wait_closed()


def test_addresses_are_tried_only_where_they_mean_the_same_machine() -> None:
    way = DirectWay(bytes(32), tuple(Address(host, 40_000) for host in ("127.0.0.1", "::1", "240.9.9.9", "1.1.1.1")))
    assert [at.host for at in direct.reachable(way, ()).addresses] == ["1.1.1.1"]
    assert [at.host for at in direct.reachable(way, LOOPBACK).addresses] == ["127.0.0.1", "::1", "1.1.1.1"]
    ours = [host for host in direct.own_addresses(()) if ":" not in host]
    here = DirectWay(bytes(32), tuple(Address(host, 40_000) for host in ours))
    assert direct.reachable(here, ()) == here

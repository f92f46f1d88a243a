"""Two connectors, a signaling server of its own process, real data channels over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import aioice.ice
import msgspec
import pytest
from aiortc import RTCSctpTransport
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from crowdcompute.node.signaling_client import SignalingClient, SignalingState
from crowdcompute.node.transports import aiortc_patches
from crowdcompute.node.transports.connector import Connector
from crowdcompute.node.transports.link import BUFFERED_HIGH_BYTES, BUFFERED_LOW_BYTES, Link, StackName
from crowdcompute.node.transports.webrtc import link_class
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity, PeerId
from crowdcompute.protocol.join_link import JoinLink
from crowdcompute.protocol.rendezvous import (
    ClientConnected,
    ClientId,
    ClientLeft,
    MessageReceived,
    Rendezvous,
    RendezvousConfig,
    Send,
)
from crowdcompute.protocol.signaling import IceServer, Relayed, parse_from_server
from crowdcompute.protocol.signals import Answer, Offer, Signal, fingerprint_of, parse_signal, sign_signal

pytestmark = pytest.mark.anyio

LOOPBACK = ("127.0.0.1",)
Stacks = tuple[StackName, StackName]
"""What makes the links of the first node, and of all others."""
AIORTC: Stacks = ("aiortc", "aiortc")
SAME: tuple[Stacks, ...] = (AIORTC, ("wrtc", "wrtc"))
MIXED: tuple[Stacks, ...] = (("aiortc", "wrtc"), ("wrtc", "aiortc"))
# Sorted, so that ALICE's offer wins a glare.
SEEDS = sorted((bytes([seed]) * 32 for seed in (1, 2, 3)), key=lambda seed: Identity(seed).peer_id)
ALICE, BOB, MALLORY = map(Identity, SEEDS)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=SAME, ids="-".join)
def stacks(request: pytest.FixtureRequest) -> Stacks:
    pair: Stacks = request.param
    return pair


@pytest.fixture(params=(*SAME, *MIXED), ids="-".join)
def mixed(request: pytest.FixtureRequest) -> Stacks:
    pair: Stacks = request.param
    return pair


class Node:
    """A connector that remembers what it was told, and lets a test wait for it."""

    def __init__(self, identity: Identity, url: str, network: str = "main", **options: Any) -> None:
        self.identity = identity
        self.links: list[tuple[Link, bool]] = []
        self.frames: dict[Channel, list[bytes]] = {channel: [] for channel in Channel}
        self.closed: list[str] = []
        self.failed: list[tuple[PeerId, str]] = []
        self.peers: list[PeerId] = []
        self.signals: list[tuple[PeerId, PeerId, bytes]] = []
        self.signaling: list[SignalingState] = []
        self._changed = asyncio.Event()
        self.client = SignalingClient(url, identity, network, Random(5))
        self.connector = Connector(
            identity,
            network,
            self.client,
            on_link=self._on_link,
            on_dial_failed=lambda peer_id, reason: self._note(self.failed, (peer_id, reason)),
            on_signal=lambda to, through, data: self._note(self.signals, (to, through, data)),
            on_peers=lambda peer_ids: self._note(self.peers, *peer_ids),
            on_signaling=lambda state, _: self._note(self.signaling, state),
            **{"hosts": LOOPBACK, "stack": "aiortc", **options},
        )

    def _note(self, where: list[Any], *what: Any) -> None:
        where.extend(what)
        self._changed.set()

    def _on_link(self, link: Link, dialled: bool) -> None:
        link.attach(
            lambda channel, frame: self._note(self.frames[channel], frame),
            lambda reason: self._note(self.closed, reason),
        )
        self._note(self.links, (link, dialled))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def next_event(self) -> None:
        self._changed.clear()
        async with asyncio.timeout(20):
            await self._changed.wait()

    @property
    def link(self) -> Link:
        return self.links[-1][0]


@contextlib.asynccontextmanager
async def nodes(url: str, *identities: Identity, stacks: Stacks = AIORTC, **options: Any) -> AsyncIterator[list[Node]]:
    """Nodes that have entered the network, in order."""
    before = asyncio.all_tasks()
    made = [Node(identity, url, stack=stacks[number > 0], **options) for number, identity in enumerate(identities)]
    try:
        for node in made:
            node.connector.start()
            await node.until(lambda node=node: SignalingState.ENTERED in node.signaling)  # type: ignore[misc]
        yield made
    finally:
        for node in made:
            await node.connector.close()
        left = {task for task in asyncio.all_tasks() - before if "websockets/" not in repr(task)}
        if left:  # aiortc's own last step takes another 20 ms.
            _, left = await asyncio.wait(left, timeout=1)
        assert not left, "a closed connector leaves nothing running"


async def connected(alice: Node, bob: Node) -> tuple[Link, Link]:
    bob.connector.dial(alice.identity.peer_id)
    await bob.until(lambda: bob.links)
    await alice.until(lambda: alice.links)
    return alice.link, bob.link


@contextlib.contextmanager
def signaling_server() -> Any:
    """`cc-signaling` in a process of its own: yields the process and its WebSocket URL."""
    command = [sys.executable, "-m", "crowdcompute.signaling", "serve", "--port", "0", "--ready-json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, JoinLink.parse(json.loads(process.stdout.readline())["join"]).websocket_urls[0]
        finally:
            process.kill()


@pytest.fixture(scope="module")
def server() -> Any:
    with signaling_server() as (_, url):
        yield url


async def test_two_strangers_connect_and_know_who_the_other_is(server: str, mixed: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=mixed) as (alice, bob):
        assert bob.peers == [ALICE.peer_id]
        at_alice, at_bob = await connected(alice, bob)
        assert (at_alice.peer_id, at_bob.peer_id) == (BOB.peer_id, ALICE.peer_id)
        assert (alice.links[0][1], bob.links[0][1]) == (False, True)


async def test_frames_of_each_channel_arrive_in_order_in_both_directions(server: str, mixed: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=mixed) as (alice, bob):
        await connected(alice, bob)
        sizes = [1, 2, 100, 1_191, 16_384, FRAME_BYTES_MAX]
        sent = {channel: [Random(channel).randbytes(size) for size in sizes * 3] for channel in Channel}
        for channel in Channel:
            for frame in sent[channel]:
                alice.link.send(channel, frame)
                bob.link.send(channel, frame)
        for node in (alice, bob):
            await node.until(lambda node=node: node.frames == sent)  # type: ignore[misc]


async def test_frames_that_come_before_anybody_listens_are_kept(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        unattached: list[Any] = []
        bob.connector._on_link = lambda link, _: bob._note(unattached, link)
        bob.connector.dial(ALICE.peer_id)
        await alice.until(lambda: alice.links)
        await bob.until(lambda: unattached)
        for number in range(20):
            alice.link.send(Channel.CONTROL, bytes([number]))
        async with asyncio.timeout(20):
            while len(unattached[0]._early) < 20:  # noqa: ASYNC110  # nobody tells of frames nobody listens to
                await asyncio.sleep(0.01)
        bob._on_link(unattached[0], dialled=True)
        assert bob.frames[Channel.CONTROL] == [bytes([number]) for number in range(20)]


async def test_8_mib_arrive_whole_while_little_is_ever_buffered(server: str, mixed: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=mixed) as (alice, bob):
        await connected(alice, bob)
        data = Random(1).randbytes(8 * 1024 * 1024)
        for start in range(0, len(data), 64 * 1024):
            alice.link.send(Channel.BULK, data[start : start + 64 * 1024])
            if alice.link.buffered > BUFFERED_HIGH_BYTES:
                await alice.link.drained()
                assert alice.link.buffered <= BUFFERED_LOW_BYTES
        await bob.until(lambda: len(bob.frames[Channel.BULK]) == 128)
        assert sha256(b"".join(bob.frames[Channel.BULK])).digest() == sha256(data).digest()


async def test_a_control_frame_overtakes_bulk_frames_that_wait(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        before = []
        receive = bob._note

        def note(where: list[Any], *what: Any) -> None:
            if where is bob.frames[Channel.CONTROL]:
                before.append(len(bob.frames[Channel.BULK]))
            receive(where, *what)

        bob._note = note  # type: ignore[method-assign]
        for _ in range(64):
            alice.link.send(Channel.BULK, bytes(64 * 1024))
        alice.link.send(Channel.CONTROL, b"urgent")
        await bob.until(lambda: bob.frames[Channel.CONTROL])
        # At most the high-water mark and the one frame that crossed it were already given to aiortc.
        assert before[0] <= BUFFERED_HIGH_BYTES // (64 * 1024) + 1


async def test_a_link_whose_peer_does_not_keep_up_is_closed_instead_of_filling_memory(
    server: str, stacks: Stacks
) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        for _ in range(300):
            alice.link.send(Channel.BULK, bytes(64 * 1024))
        await alice.until(lambda: alice.closed)
        assert alice.closed == ["the peer does not keep up with what we send"]
        await bob.until(lambda: bob.closed)


async def test_what_was_sent_before_close_still_arrives(server: str, mixed: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=mixed) as (alice, bob):
        await connected(alice, bob)
        for number in range(50):
            alice.link.send(Channel.BULK, bytes([number]) * 10_000)
        alice.link.close("bye")
        alice.link.send(Channel.BULK, b"too late")
        await bob.until(lambda: bob.closed)
        assert bob.frames[Channel.BULK] == [bytes([number]) * 10_000 for number in range(50)]
        assert (alice.closed, bob.closed) == (["bye"], ["the peer closed the connection"])


async def test_a_frame_over_the_limit_is_our_own_mistake(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        with pytest.raises(LocalProtocolError, match="over the limit"):
            alice.link.send(Channel.BULK, bytes(FRAME_BYTES_MAX + 1))


@pytest.mark.parametrize("message", ["text", bytes(FRAME_BYTES_MAX + 1)])
async def test_a_peer_that_sends_what_is_no_frame_is_disconnected(
    server: str, message: str | bytes, stacks: Stacks
) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        alice.link._channels[Channel.BULK].send(message)  # type: ignore[attr-defined]
        await bob.until(lambda: bob.closed)
        assert bob.closed[0].startswith("the peer sent")


async def test_a_peer_that_opens_a_channel_of_its_own_is_disconnected(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        alice.link._pc.createDataChannel("extra")  # type: ignore[attr-defined]
        await bob.until(lambda: bob.closed)
        assert bob.closed == ["the peer opened a channel of its own"]


@pytest.mark.parametrize("listener", ["aiortc", "wrtc"])
async def test_a_peer_that_sends_parts_of_endless_messages_is_disconnected(server: str, listener: StackName) -> None:
    async with nodes(server, ALICE, BOB, stacks=("aiortc", listener)) as (alice, bob):
        at_alice, _ = await connected(alice, bob)
        sctp = at_alice._pc.sctp  # type: ignore[attr-defined]
        sctp._remote_max_message_size = 0
        at_alice._channels[Channel.BULK].send(bytes(8 * 1024 * 1024))  # type: ignore[attr-defined]
        await bob.until(lambda: bob.closed)
        assert bob.closed != ["the peer sent a frame that is too long"], "it must not be collected to its end"


async def test_when_both_dial_at_once_the_smaller_peer_ids_offer_wins(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        alice.connector.dial(BOB.peer_id)
        bob.connector.dial(ALICE.peer_id)
        await alice.until(lambda: alice.links)
        await bob.until(lambda: bob.links)
        assert (alice.links[0][1], bob.links[0][1]) == (True, False)
        alice.link.send(Channel.CONTROL, b"still there")
        await bob.until(lambda: bob.frames[Channel.CONTROL])
        assert (len(alice.links), len(bob.links), alice.failed, bob.failed) == (1, 1, [], [])


async def test_dials_that_cannot_work_fail_with_a_reason(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        alice.connector.dial(ALICE.peer_id)
        alice.connector.dial(MALLORY.peer_id)
        await alice.until(lambda: len(alice.failed) == 2)
        await connected(alice, bob)
        alice.connector.dial(BOB.peer_id)
        await alice.until(lambda: len(alice.failed) == 3)
        assert dict(alice.failed) == {
            ALICE.peer_id: "this is our own peer id",
            MALLORY.peer_id: "the peer is not connected to the signaling server",
            BOB.peer_id: "there is a link already",
        }


async def test_a_dial_without_a_signaling_server_fails_at_once(unused_url: str) -> None:
    node = Node(ALICE, unused_url)
    node.connector.start()
    node.connector.dial(BOB.peer_id)
    await node.until(lambda: node.failed and SignalingState.UNREACHABLE in node.signaling)
    assert node.failed == [(BOB.peer_id, "there is no connection to the signaling server")]
    await node.connector.close()


async def test_a_peer_that_restarted_replaces_its_old_link(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        again = Node(BOB, server, stack=stacks[1])
        again.connector.start()
        await again.until(lambda: ALICE.peer_id in again.peers)
        again.connector.dial(ALICE.peer_id)
        await alice.until(lambda: len(alice.links) == 2 and alice.closed)
        assert alice.closed == ["replaced by a newer connection"]
        assert bob.signaling[-1] is SignalingState.REFUSED, "one key, one connection: the newest wins"
        await again.connector.close()


async def test_links_stay_when_the_signaling_server_dies(stacks: Stacks) -> None:
    with signaling_server() as (process, url):
        async with nodes(url, ALICE, BOB, stacks=stacks) as (alice, bob):
            await connected(alice, bob)
            process.send_signal(signal.SIGKILL)
            await alice.until(lambda: SignalingState.UNREACHABLE in alice.signaling)
            await bob.until(lambda: SignalingState.UNREACHABLE in bob.signaling)
            alice.link.send(Channel.CONTROL, b"still there")
            await bob.until(lambda: bob.frames[Channel.CONTROL])
            assert not alice.closed + bob.closed


DYING_PEER = """
import asyncio, sys
from random import Random
from crowdcompute.node.signaling_client import SignalingClient
from crowdcompute.node.transports.connector import Connector
from crowdcompute.protocol.identity import Identity

async def main(url, seed):
    identity = Identity(bytes.fromhex(seed))
    connector = Connector(
        identity, "main", SignalingClient(url, identity, "main", Random(1)),
        on_link=lambda link, dialled: link.attach(lambda *_: None, lambda _: None),
        on_dial_failed=lambda *_: None, on_signal=lambda *_: None, on_peers=lambda *_: None,
        on_signaling=lambda *_: None, hosts=("127.0.0.1",),
    )
    connector.start()
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_a_killed_peer_is_noticed(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    aiortc_patches.apply()
    monkeypatch.setattr(aioice.ice, "CONSENT_INTERVAL", 0.3)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", DYING_PEER, server, SEEDS[0].hex())
    async with nodes(server, BOB) as (bob,):
        while ALICE.peer_id not in bob.peers:
            bob.connector.ask_peers()
            await bob.next_event()
        bob.connector.dial(ALICE.peer_id)
        await bob.until(lambda: bob.links)
        process.kill()
        await process.wait()
        await bob.until(lambda: bob.closed)
        assert len(bob.closed) == 1


class LyingServer:
    """A signaling server that follows the protocol, except that `tamper` rewrites what it passes on."""

    def __init__(self, tamper: Callable[[Relayed], Relayed]) -> None:
        self._tamper = tamper
        self._rules = Rendezvous(RendezvousConfig(), Random(1))
        self._sockets: dict[ClientId, ServerConnection] = {}
        self.url = ""

    async def __aenter__(self) -> LyingServer:
        self._server = await serve(self._client, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _client(self, socket: ServerConnection) -> None:
        client = ClientId(len(self._sockets))
        self._sockets[client] = socket
        await self._feed(ClientConnected(client, "", 0.0))
        with contextlib.suppress(ConnectionClosed):
            async for data in socket:
                assert isinstance(data, bytes)
                await self._feed(MessageReceived(client, data))
        await self._feed(ClientLeft(client))

    async def _feed(self, event: ClientConnected | MessageReceived | ClientLeft) -> None:
        for output in self._rules.handle(event, now=asyncio.get_running_loop().time()):
            if isinstance(output, Send):
                message = parse_from_server(output.data)
                if isinstance(message, Relayed):
                    message = self._tamper(message)
                await self._sockets[output.client].send(encode(message))


def opened(envelope: Signal) -> Offer | Answer:
    return decode(envelope.body, Offer) if envelope.kind == "offer" else decode(envelope.body, Answer)


def mallorys_fingerprint(relayed: Relayed) -> Relayed:
    """Replace the certificate in the SDP and in the body: the signature is all that is left to notice it."""
    envelope = parse_signal(relayed.signal)
    body = opened(envelope)
    genuine, forged = body.fingerprint.hex(":").upper(), bytes(32).hex(":").upper()
    changed = msgspec.structs.replace(body, fingerprint=bytes(32), sdp=body.sdp.replace(genuine, forged))
    return Relayed(relayed.sender, encode(msgspec.structs.replace(envelope, body=encode(changed))))


def mallorys_signature(relayed: Relayed) -> Relayed:
    """Sign the same body as somebody else."""
    envelope = parse_signal(relayed.signal)
    body = opened(envelope)
    return Relayed(relayed.sender, encode(sign_signal(MALLORY, body)))


def mallorys_peer_id(relayed: Relayed) -> Relayed:
    """Sign as Mallory, a body that says it is Mallory's: a genuine signal, of the wrong peer."""
    envelope = parse_signal(relayed.signal)
    if envelope.kind == "offer":
        return relayed
    body = decode(envelope.body, Answer)
    changed = msgspec.structs.replace(body, answerer=MALLORY.public_key)
    return Relayed(MALLORY.public_key, encode(sign_signal(MALLORY, changed)))


def answer_to_another_offer(relayed: Relayed) -> Relayed:
    """What Alice herself would have to sign: her answer to an earlier offer, used for this one."""
    envelope = parse_signal(relayed.signal)
    if envelope.kind == "offer":
        return relayed
    changed = msgspec.structs.replace(decode(envelope.body, Answer), offer=bytes(32))
    return Relayed(relayed.sender, encode(sign_signal(ALICE, changed)))


def bit_flipped(relayed: Relayed) -> Relayed:
    signal = bytearray(relayed.signal)
    signal[len(signal) // 2] ^= 1
    return Relayed(relayed.sender, bytes(signal))


@pytest.mark.parametrize(
    "tamper",
    [mallorys_fingerprint, mallorys_signature, mallorys_peer_id, answer_to_another_offer, bit_flipped],
)
async def test_a_lying_signaling_server_gets_nobody_connected(
    tamper: Callable[[Relayed], Relayed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crowdcompute.node.transports.connector.CONNECT_WITHIN_S", 0.5)
    async with LyingServer(tamper) as server, nodes(server.url, ALICE, BOB) as (alice, bob):
        bob.connector.dial(ALICE.peer_id)
        await bob.until(lambda: bob.failed)
        assert bob.failed == [(ALICE.peer_id, "no connection within 0.5 s")]
        assert not alice.links + bob.links


async def test_an_honest_relay_of_the_same_kind_does_connect(mixed: Stacks) -> None:
    async with (
        LyingServer(lambda relayed: relayed) as server,
        nodes(server.url, ALICE, BOB, stacks=mixed) as (alice, bob),
    ):
        await connected(alice, bob)


async def test_a_certificate_that_is_not_the_signed_one_is_no_link(
    server: str, monkeypatch: pytest.MonkeyPatch, stacks: Stacks
) -> None:
    # What a flaw in an engine's own check would look like to us.
    monkeypatch.setattr(link_class(stacks[0]), "_certificate_in_use", lambda _: b"another certificate")
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        bob.connector.dial(ALICE.peer_id)
        await bob.until(lambda: bob.failed)
        assert bob.failed == [(ALICE.peer_id, "the DTLS certificate in use is not the signed one")]
        assert not alice.links + bob.links


async def test_a_replayed_offer_costs_nothing() -> None:
    recorded: list[Relayed] = []

    def record(relayed: Relayed) -> Relayed:
        recorded.append(relayed)
        return relayed

    async with LyingServer(record) as server, nodes(server.url, ALICE, BOB) as (alice, bob):
        await connected(alice, bob)
        alice.connector._signal_received(recorded[0].signal, None)
        assert not alice.connector._attempts
        bob.link.send(Channel.CONTROL, b"still there")
        await alice.until(lambda: alice.frames[Channel.CONTROL])


async def test_an_unreachable_stun_server_delays_a_dial_by_two_seconds_at_most(
    server: str, monkeypatch: pytest.MonkeyPatch, stacks: Stacks
) -> None:
    # Both ends gather for a second; unpatched it would be five, and the dial would time out.
    monkeypatch.setattr("crowdcompute.node.transports.connector.CONNECT_WITHIN_S", 8)
    silent, _ = await asyncio.get_running_loop().create_datagram_endpoint(
        asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
    )
    port = silent.get_extra_info("sockname")[1]
    stun = (IceServer(f"stun:127.0.0.1:{port}", "", ""),)
    async with nodes(server, ALICE, BOB, ice_servers=stun, stacks=stacks) as (alice, bob):
        await connected(alice, bob)
    silent.close()


async def test_two_peers_that_have_only_ipv6_connect(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, hosts=("::1",), stacks=stacks) as (alice, bob):
        await connected(alice, bob)
        bob.link.send(Channel.CONTROL, b"over IPv6")
        await alice.until(lambda: alice.frames[Channel.CONTROL])


class Asked(asyncio.DatagramProtocol):
    """A STUN server that is down, and knows that it was asked."""

    def __init__(self) -> None:
        self.requests = 0

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.requests += 1


async def test_a_stun_server_that_is_down_does_not_keep_the_others_from_being_asked(server: str) -> None:
    # aiortc asks the first server of a kind only, so each connection begins at another.
    loop = asyncio.get_running_loop()
    made = [await loop.create_datagram_endpoint(Asked, local_addr=("127.0.0.1", 0)) for _ in range(2)]
    ports = [transport.get_extra_info("sockname")[1] for transport, _ in made]
    stun = tuple(IceServer(f"stun:127.0.0.1:{port}", "", "") for port in ports)
    async with nodes(server, ALICE, BOB, ice_servers=stun) as (alice, bob):
        await connected(alice, bob)
        assert [asked.requests > 0 for _, asked in made] == [True, False]
        bob.link.close("again")
        await alice.until(lambda: alice.closed)
        await bob.link.wait_closed()
        bob.links.clear()
        await connected(alice, bob)
        assert made[1][1].requests > 0
    for transport, _ in made:
        transport.close()


async def test_addresses_that_are_found_after_the_description_still_make_a_link(
    server: str, mixed: Stacks, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What a slow STUN server does. aiortc waits for all of them and takes what others find later.
    monkeypatch.setattr("crowdcompute.node.transports.wrtc_link.DESCRIBE_WITHIN_S", 0)
    async with nodes(server, ALICE, BOB, stacks=mixed) as (alice, bob):
        await connected(alice, bob)


async def test_names_that_browsers_give_instead_of_addresses_are_not_waited_for(mixed: Stacks) -> None:
    # mDNS names of another network never resolve; a browser connects to our address anyway.
    browser, other = (link_class(stack)(ALICE.peer_id, hosts=LOOPBACK) for stack in mixed)
    offer = await browser.make_offer()
    answer = await other.accept_offer(offer.replace(" 127.0.0.1 ", " f00.local "))
    await browser.accept_answer(answer)
    async with asyncio.timeout(20):
        await asyncio.gather(browser.opened(fingerprint_of(answer)), other.opened(fingerprint_of(offer)))
    assert not getattr(aioice.ice._mdns, "protocol", None), "nobody asked for the name"
    for link in (browser, other):
        link.close("done")
        await link.wait_closed()


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_connecting_and_closing_many_times_leaks_no_connection(server: str, stacks: Stacks) -> None:
    async with nodes(server, ALICE, BOB, stacks=stacks) as (alice, bob):
        files = 0
        for cycle in range(12):
            if cycle == 2:  # By now an engine has its threads and their pipes.
                files = open_files()
            await connected(alice, bob)
            bob.link.close("again")
            await alice.until(lambda: alice.closed)
            await alice.link.wait_closed()
            await bob.link.wait_closed()
            for node in (alice, bob):
                node.links.clear()
                node.closed.clear()
            await asyncio.sleep(0)
        gc.collect()
        async with asyncio.timeout(5):  # An engine's own threads close its sockets, a moment later.
            while open_files() > files:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert sum(type(each).__name__ == "RTCPeerConnection" for each in gc.get_objects()) <= 2


def test_the_patches_are_in_place_and_the_versions_are_those_patched() -> None:
    aiortc_patches.apply()
    assert aioice.ice.CONSENT_INTERVAL * aioice.ice.CONSENT_FAILURES <= 6
    assert RTCSctpTransport._receive_data_chunk.__qualname__.startswith("apply.")


def test_importing_the_connector_does_not_import_aiortc() -> None:
    code = "import sys, crowdcompute.node.transports.connector; sys.exit('aiortc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture
def unused_url() -> str:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"ws://127.0.0.1:{listener.getsockname()[1]}/ws"

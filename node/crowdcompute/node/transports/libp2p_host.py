"""A node among native peers: libp2p over TCP, Noise, yamux, and the Kad-DHT (spec/libp2p.md).

    asyncio: the node                                    trio, a thread of its own: libp2p
    Libp2pHost.dial, close ---------run_sync_soon--------> connect, serve, Kad-DHT
    on_link, on_found, ... <-----call_soon_threadsafe-----

A stream becomes a link (libp2p_link) once both sides have read each other's opening.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import ifaddr
import trio
from libp2p import new_host
from libp2p.crypto.ed25519 import create_new_key_pair
from libp2p.custom_types import TProtocol
from libp2p.kad_dht.kad_dht import DHTMode, KadDHT
from libp2p.network.config import ConnectionConfig
from libp2p.network.stream.exceptions import StreamEOF
from libp2p.peer.id import ID
from libp2p.peer.peerinfo import PeerInfo
from libp2p.tools.anyio_service import background_trio_service
from multiaddr import Multiaddr

from crowdcompute.protocol.identity import PeerId, public_key_of
from crowdcompute.protocol.streams import ADDRESSES_MAX, STREAM_PROTOCOL, FrameReader, opening

from .libp2p_dht import look_for_others
from .libp2p_link import LINGER_S, READ_BYTES, Libp2pLink, Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from libp2p.abc import IHost, INetStream

    from crowdcompute.protocol.events import Channel

log = logging.getLogger(__name__)
# It warns of every stream that another peer closes, on the standard error of whoever has set up no logging.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)

CONNECT_WITHIN_S = 10.0
RESTART_AFTER_S = 1.0


class Libp2pHost:
    """One libp2p host for one identity in one network: dials, accepts, and looks for others in the Kad-DHT.

    Callbacks run on the event loop, never from within a call of ours. `on_link(link, dialled)`: attach to it at once.
    `on_dial_failed(peer_id, reason)`: answers a `dial` that made no link. `on_found(peer_id, addresses)`: somebody of
    our network, as the DHT says; it may lie, a dial will tell. `port` 0 is any free one, if possible `port_before`,
    where others may remember us.
    """

    def __init__(
        self,
        seed: bytes,
        network: str,
        *,
        port: int,
        port_before: int = 0,
        hosts: Sequence[str],
        bootstrap: Sequence[str],
        on_link: Callable[[Libp2pLink, bool], None],
        on_dial_failed: Callable[[PeerId, str], None],
        on_found: Callable[[PeerId, tuple[str, ...]], None],
    ) -> None:
        self.addresses: tuple[str, ...] = ()
        """Where we can be dialled, once `start` has returned."""
        self._listening: list[str] = []
        """Where it listens; the same again when libp2p has to be started again."""
        self._seed = seed
        self._network = network
        self._port = port
        self._port_before = port_before
        self._hosts = tuple(hosts)
        self._bootstrap = tuple(bootstrap)
        self._on_link = on_link
        self._on_dial_failed = on_dial_failed
        self._on_found = on_found
        self._threads = Threads()
        self._thread = threading.Thread(target=self._run, name="libp2p", daemon=True)
        self._started: asyncio.Future[None] = self._threads.loop.create_future()
        self._ended = asyncio.Event()
        self._stopping = False
        self._nursery: trio.Nursery | None = None
        self._stop: trio.Event | None = None
        self._host: IHost | None = None
        self._links: set[Libp2pLink] = set()

    # ---- on the node's thread

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: It cannot listen there.
        """
        self._thread.start()
        await self._started

    def dial(self, peer_id: PeerId, addresses: Sequence[str]) -> None:
        """Connect to a peer at one of its addresses. Answered by `on_link` or `on_dial_failed`, within about 10 s."""
        if not self._threads.run_there(partial(self._begin_dial, peer_id, tuple(addresses))):
            self._threads.loop.call_soon(self._on_dial_failed, peer_id, "libp2p is not running")

    async def close(self) -> None:
        """Close every link and stop listening. Returns when the thread has ended."""
        self._stopping = True
        if not self._thread.is_alive():
            return
        links = list(self._links)
        for link in links:
            link.close("we are stopping")
        await asyncio.gather(*(link.wait_closed() for link in links))
        self._threads.run_there(self._begin_stop)
        await self._ended.wait()

    # ---- on libp2p's thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                trio.run(self._main)
            except BaseException as error:
                log.warning("libp2p stopped: %r", error)
                self._threads.run_here(partial(self._failed_to_start, error))
                if not self.addresses:
                    break
                threading.Event().wait(RESTART_AFTER_S)
        self._threads.run_here(self._ended.set)

    def _failed_to_start(self, error: BaseException) -> None:
        if not self._started.done():
            self._started.set_exception(OSError(f"libp2p cannot listen: {error}"))

    def _has_started(self) -> None:
        if not self._started.done():
            self._started.set_result(None)

    async def _main(self) -> None:
        host = self._host = new_host(
            key_pair=create_new_key_pair(self._seed),
            muxer_preference="YAMUX",
            # Otherwise each dial waits a quarter of a second for further connections (research/libp2p.md).
            connection_config=ConnectionConfig(max_connections_per_peer=1),
            disable_identify_address_discovery=True,
        )
        host.set_stream_handler(TProtocol(STREAM_PROTOCOL), self._accepted)
        dht = KadDHT(host, DHTMode.SERVER, protocol_prefix=TProtocol("/crowdcompute"), enable_values=False)
        async with host.run(listen_addrs=[Multiaddr(address) for address in self._listen_at()]):
            self._listening = [str(address) for address in host.get_transport_addrs()]
            self.addresses = _dialable(self._listening, str(host.get_id()))
            async with background_trio_service(dht), trio.open_nursery() as nursery:
                self._nursery, self._stop = nursery, trio.Event()
                self._threads.trio = trio.lowlevel.current_trio_token()
                self._threads.run_here(self._has_started)
                nursery.start_soon(look_for_others, host, dht, self._network, self._bootstrap, self._heard_of)
                await self._stop.wait()
                # Left to itself it drops some of its connections without closing their sockets.
                with trio.move_on_after(LINGER_S):
                    for peer in host.get_connected_peers():
                        await host.disconnect(peer)
                nursery.cancel_scope.cancel()

    def _listen_at(self) -> list[str]:
        """The addresses to listen on, each known to be free: libp2p listens twice on one port without a word."""
        if self._listening:
            return self._listening
        hosts = self._hosts or ("0.0.0.0",)
        wanted = self._port or self._port_before
        if any(not _is_free(host, wanted) for host in hosts):
            if self._port:
                raise OSError(f"port {wanted} is taken")
            wanted = 0
        return [f"/ip{6 if ':' in host else 4}/{host}/tcp/{wanted}" for host in hosts]

    def _begin_stop(self) -> None:
        if self._stop is not None:
            self._stop.set()

    def _begin_dial(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        assert self._nursery is not None
        self._nursery.start_soon(self._dial, peer_id, addresses)

    async def _dial(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        reason = f"no connection within {CONNECT_WITHIN_S:g} s"
        stream = None
        with trio.move_on_after(CONNECT_WITHIN_S):
            try:
                stream = await self._stream_to(peer_id, addresses)
            except Exception as error:  # libp2p's errors have no common class.
                reason = str(error) or type(error).__name__
        if stream is None or not await self._serve(stream, dialled=True):
            self._threads.run_here(partial(self._on_dial_failed, peer_id, reason))

    async def _stream_to(self, peer_id: PeerId, addresses: tuple[str, ...]) -> INetStream:
        assert self._host is not None
        their_id = ID.from_string(peer_id)
        reached = [Multiaddr(address.rpartition("/p2p/")[0]) for address in addresses]
        await self._host.connect(PeerInfo(their_id, reached))
        return await self._host.new_stream(their_id, [TProtocol(STREAM_PROTOCOL)])

    async def _accepted(self, stream: INetStream) -> None:
        await self._serve(stream, dialled=False)

    async def _serve(self, stream: INetStream, *, dialled: bool) -> bool:
        """Exchange openings and carry a link to its end; False when there never was one."""
        peer_id = PeerId(str(stream.muxed_conn.peer_id))
        link = None
        try:
            public_key_of(peer_id)
            reader = FrameReader(self._network, peer_id)
            first: list[tuple[Channel, bytes]] = []
            with trio.fail_after(CONNECT_WITHIN_S):
                await stream.write(opening(self._network, self.addresses))
                while reader.addresses is None:
                    data = await stream.read(READ_BYTES)
                    if not data:
                        raise StreamEOF
                    first += reader.feed(data)
            link = Libp2pLink(self._threads, peer_id, dialled=dialled, addresses=reader.addresses)
            self._threads.run_here(partial(self._linked, link))
            finished = await link.carry(stream, reader, first)
            with trio.move_on_after(LINGER_S):
                await (stream.close() if finished else stream.reset())
        except Exception as error:
            log.info("a stream with %s ends: %r", peer_id, error)
            with trio.CancelScope(deadline=trio.current_time() + 1, shield=True), suppress(Exception):
                await stream.reset()
        finally:
            if link is not None:
                self._threads.run_here(partial(self._unlinked, link))
        return link is not None

    def _linked(self, link: Libp2pLink) -> None:
        self._links.add(link)
        self._on_link(link, link.dialled)

    def _unlinked(self, link: Libp2pLink) -> None:
        self._links.discard(link)
        link.vanished()

    def _heard_of(self, peer_id: PeerId, addresses: tuple[str, ...]) -> None:
        self._threads.run_here(partial(self._on_found, peer_id, addresses))


def _dialable(listening: list[str], peer_id: str) -> tuple[str, ...]:
    """What to tell others: the addresses of this machine's interfaces, its loopback only if there is nothing else."""
    found: list[str] = []
    for address in listening:
        if not address.startswith("/ip4/0.0.0.0/"):
            found.append(address)
            continue
        own = [str(ip.ip) for adapter in ifaddr.get_adapters() for ip in adapter.ips if ip.is_IPv4]
        reachable = [ip for ip in own if not ip.startswith("127.")] or ["127.0.0.1"]
        found += [address.replace("0.0.0.0", ip, 1) for ip in reachable]
    return tuple(f"{address}/p2p/{peer_id}" for address in found[:ADDRESSES_MAX])


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True

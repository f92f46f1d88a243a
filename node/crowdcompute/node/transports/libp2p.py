"""Links over libp2p streams between native peers: TCP, Noise, yamux (spec/libp2p.md).

    asyncio: the node                                    trio, a thread of its own: libp2p
    Libp2pLink.send --> queues (a lock) --------wake-----> writer --> stream
    Libp2pLink's receiver <-----call_soon_threadsafe------ reader <-- stream
    Libp2pHost.dial, close ---------run_sync_soon--------> connect, serve, Kad-DHT

    DIALLING --opening both ways--> OPEN --close, end of stream, bad frame--> CLOSED

libp2p is trio only, and a trio of its own costs the node nothing while libp2p is busy (research/libp2p.md). The two
sides share a link's queues and nothing else. One stream carries both channels; a control frame overtakes bulk that
still waits in the queue.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections import deque
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

from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import PeerId, public_key_of
from crowdcompute.protocol.streams import ADDRESSES_MAX, HEADER_BYTES, STREAM_PROTOCOL, FrameReader, framed, opening

from .link import BUFFERED_LOW_BYTES, BUFFERED_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from libp2p.abc import IHost, INetStream

log = logging.getLogger(__name__)
# It warns of every stream that another peer closes, on the standard error of whoever has set up no logging.
logging.getLogger("libp2p").setLevel(logging.CRITICAL)

CONNECT_WITHIN_S = 10.0
LINGER_S = 2.5
"""How long a link we close may take to send what is queued, as over WebRTC."""

WRITE_BYTES = 128 * 1024
"""What the writer takes from the queues at a time: a control frame waits behind that and yamux's window at most."""

READ_BYTES = 256 * 1024
UNDELIVERED_MAX_BYTES = 1024 * 1024
"""Frames on their way to the node's thread. Beyond it the reader waits, and the sender's window closes."""

DHT_EVERY_S = (2.0, 60.0)
"""How often we look for others of our network: soon while we know nobody, then seldom."""

RESTART_AFTER_S = 1.0


class Libp2pLink:
    """One stream. Implements `Link`; whoever has one knows that the other side holds the key of `peer_id` (Noise)."""

    over = "libp2p"

    def __init__(self, host: Libp2pHost, peer_id: PeerId, *, dialled: bool, addresses: tuple[str, ...]) -> None:
        self.peer_id = peer_id
        self.dialled = dialled
        self.addresses = addresses
        """Where the peer says it can be dialled."""
        self._host = host
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
            self._host.run_there(self._wake_writer)
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
        self._host.run_there(self.begin_closing)

    def _received(self, frames: list[tuple[Channel, bytes]], size: int) -> None:
        with self._lock:
            self._undelivered -= size
            wakes = self._readable is not None and self._undelivered <= UNDELIVERED_MAX_BYTES
        if wakes:
            self._host.run_there(self._wake_reader)
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
        self._host.run_here(partial(self._end, self._ended_by, linger=False))
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
            self._host.run_here(self._look_drained)

    async def _deliver(self, frames: list[tuple[Channel, bytes]]) -> None:
        if not frames:
            return
        size = sum(len(frame) for _, frame in frames)
        with self._lock:
            self._undelivered += size
            if self._undelivered > UNDELIVERED_MAX_BYTES:
                self._readable = trio.Event()
        self._host.run_here(partial(self._received, frames, size))
        if self._readable is not None:
            await self._readable.wait()
            self._readable = None

    def _wake_writer(self) -> None:
        if self._wake is not None:
            self._wake.set()

    def _wake_reader(self) -> None:
        if self._readable is not None:
            self._readable.set()


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
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="libp2p", daemon=True)
        self._started: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._stopping = False
        self._token: trio.lowlevel.TrioToken | None = None
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
        if not self.run_there(partial(self._begin_dial, peer_id, tuple(addresses))):
            self._loop.call_soon(self._on_dial_failed, peer_id, "libp2p is not running")

    async def close(self) -> None:
        """Close every link and stop listening. Returns when the thread has ended."""
        self._stopping = True
        if not self._thread.is_alive():
            return
        links = list(self._links)
        for link in links:
            link.close("we are stopping")
        await asyncio.gather(*(link.wait_closed() for link in links))
        self.run_there(self._begin_stop)
        await self._ended.wait()

    def run_here(self, action: Callable[[], object]) -> None:
        """From libp2p's thread: do something on the node's, soon."""
        with suppress(RuntimeError):  # The loop is closed: nobody is left to be told.
            self._loop.call_soon_threadsafe(action)

    def run_there(self, action: Callable[[], object]) -> bool:
        """From the node's thread: do something on libp2p's, soon; False when that is not running."""
        if self._token is None:
            return False
        try:
            self._token.run_sync_soon(action)
        except trio.RunFinishedError:
            return False
        return True

    # ---- on libp2p's thread

    def _run(self) -> None:
        while not self._stopping:
            try:
                trio.run(self._main)
            except BaseException as error:
                log.warning("libp2p stopped: %r", error)
                self.run_here(partial(self._failed_to_start, error))
                if not self.addresses:
                    break
                threading.Event().wait(RESTART_AFTER_S)
        self.run_here(self._ended.set)

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
                self._token = trio.lowlevel.current_trio_token()
                self.run_here(self._has_started)
                nursery.start_soon(self._look_for_others, host, dht)
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
            self.run_here(partial(self._on_dial_failed, peer_id, reason))

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
            link = Libp2pLink(self, peer_id, dialled=dialled, addresses=reader.addresses)
            self.run_here(partial(self._linked, link))
            finished = await link.carry(stream, reader, first)
            with trio.move_on_after(LINGER_S):
                await (stream.close() if finished else stream.reset())
        except Exception as error:
            log.info("a stream with %s ends: %r", peer_id, error)
            with trio.CancelScope(deadline=trio.current_time() + 1, shield=True), suppress(Exception):
                await stream.reset()
        finally:
            if link is not None:
                self.run_here(partial(self._unlinked, link))
        return link is not None

    def _linked(self, link: Libp2pLink) -> None:
        self._links.add(link)
        self._on_link(link, link.dialled)

    def _unlinked(self, link: Libp2pLink) -> None:
        self._links.discard(link)
        link.vanished()

    async def _look_for_others(self, host: IHost, dht: KadDHT) -> None:
        """Say in the DHT that we are of our network, and ask who else is."""
        pause_s, longest_s = DHT_EVERY_S
        key = f"/crowdcompute/{self._network}"
        own = str(host.get_id())
        while True:
            try:
                for address in self._bootstrap:
                    await self._introduce_to(host, dht, address)
                for peer in host.get_connected_peers():
                    await dht.add_peer(peer)
                with trio.move_on_after(CONNECT_WITHIN_S):
                    await dht.provide(key)
                    for info in await dht.find_providers(key):
                        peer_id = str(info.peer_id)
                        if peer_id != own and info.addrs:
                            addresses = tuple(f"{_bare(address)}/p2p/{peer_id}" for address in map(str, info.addrs))
                            self.run_here(partial(self._on_found, PeerId(peer_id), addresses))
            except Exception as error:
                log.info("the DHT cannot be asked: %r", error)
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, longest_s)

    async def _introduce_to(self, host: IHost, dht: KadDHT, address: str) -> None:
        bare, _, peer_id = address.rpartition("/p2p/")
        their_id = ID.from_string(peer_id)
        if their_id in host.get_connected_peers() or their_id == host.get_id():
            return
        try:
            with trio.move_on_after(CONNECT_WITHIN_S):
                await host.connect(PeerInfo(their_id, [Multiaddr(bare)]))
                await dht.add_peer(their_id)
        except Exception as error:
            log.info("the bootstrap peer %s cannot be reached: %r", address, error)


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


def _bare(address: str) -> str:
    """An address without its peer id."""
    return address.partition("/p2p/")[0]

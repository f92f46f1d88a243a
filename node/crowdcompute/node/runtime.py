"""The driver of one peer: feeds it what happens, performs what it asks, keeps its one timer. It decides nothing.

links, pool, timer --input--> Peer.handle --outputs--> store, links, pool, whoever watches
"""

from __future__ import annotations

import asyncio
import secrets
import struct
import time
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol, assert_never

from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.events import (
    CallsFed,
    CancelJob,
    Channel,
    CloseLink,
    DialFailed,
    DialPeer,
    Execute,
    Executed,
    FinishRequested,
    FramesReceived,
    Input,
    LinkClosed,
    LinkDrained,
    LinkOpened,
    Notice,
    PeersDiscovered,
    RecordsRestored,
    SaveRecords,
    SeekPeers,
    SendFrame,
    SignalArrived,
    SignalMade,
    SignalUndelivered,
    StateKept,
    StewardNamed,
    StewardRevoked,
    TaskGivenUp,
    TaskPublished,
    Woke,
    WorkBegun,
)
from crowdcompute.protocol.identity import verify
from crowdcompute.protocol.peer import Peer

from .executors.pool import PoolClosed
from .signaling_client import SignalingState
from .signaling_servers import SignalingServers
from .transports.connector import Connector
from .transports.link import outlives

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from crowdcompute.protocol.events import ChunkInput, ChunkOutcome
    from crowdcompute.protocol.identity import Identity, PeerId
    from crowdcompute.protocol.join_link import JoinLink
    from crowdcompute.protocol.manifest import Limits
    from crowdcompute.protocol.manifest import Runtime as RuntimeName
    from crowdcompute.protocol.records import Signed

    from .executors.slot import Savepoints
    from .store.blobs import DiskBlobStore
    from .store.records import RecordStore
    from .store.savepoints import SavepointStore
    from .transports.link import Link, StackName
    from .transports.native import Native, NativeOptions


class Executor(Protocol):
    """What executes chunks: the worker pool, or something that stands before it."""

    async def execute(
        self,
        code: bytes,
        module: bytes,
        limits: Limits,
        numbers: bool,
        chunks: Sequence[ChunkInput],
        runtime: RuntimeName = "wasm",
        savepoints: Savepoints | None = None,
        began: Callable[[], None] = lambda: None,
    ) -> tuple[ChunkOutcome, ...]:
        """Outcomes in the order of `chunks`; `began` is called when they wait for nothing more."""


@dataclass(slots=True)
class Totals:
    """Counters since the runtime started (status.py)."""

    started_s: float = field(default_factory=time.time)
    chunks: int = 0
    busy_s: float = 0.0
    frames_in: int = 0
    frames_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


class Runtime:
    """One peer on the network.

    Args:
        config: The peer's numbers; network, slots and clock offset are set here.
        identity: The peer's keys.
        link: Which network to join, and through which signaling server.
        records: Where records survive; what it holds is restored before anything else happens.
        blobs: Where blobs are kept.
        executor: Executes chunks; None for a peer that never does.
        hosts: Local addresses to offer (`("127.0.0.1",)` for peers of one machine); empty for all.
        native: How to be dialled and to find others without a signaling server; None for not at all.
        savepoints: Where states of running chunks survive; None for a peer that computes each from scratch.
        stack: The engine that makes links.
        on_notice: Told everything notable.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        identity: Identity,
        link: JoinLink,
        records: RecordStore,
        blobs: DiskBlobStore,
        executor: Executor | None,
        *,
        hosts: Sequence[str] = (),
        native: NativeOptions | None = None,
        savepoints: SavepointStore | None = None,
        stack: StackName = "auto",
        on_notice: Callable[[Notice], None] = lambda notice: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._records = records
        self._blobs = blobs
        self._executor = executor
        self._savepoints = savepoints
        self._on_notice = on_notice
        self._links: dict[PeerId, Link] = {}
        self._opened: dict[PeerId, tuple[bool, float]] = {}
        """Of each link: whether we dialled it, and since when it is open."""
        self._jobs: dict[int, asyncio.Task[None]] = {}
        self._draining: dict[Link, asyncio.Task[None]] = {}
        self._arrived: list[tuple[PeerId, bytes]] = []
        """Frames that the peer has not seen yet. Those that come together are one event."""
        self._timer: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()
        self._failure: BaseException | None = None
        self._closed = False
        self.totals = Totals()
        self.link = link
        self.signaling = SignalingServers(link.websocket_urls, identity, link.network, SystemRandom(), link.invite)
        self.signaling_detail = ""
        self.peer = Peer(config, identity, verify, _Entropy(), blobs, self._loop.time())
        self._connector = Connector(
            identity,
            link.network,
            self.signaling,
            on_link=self._link_opened,
            on_dial_failed=lambda peer_id, reason: self.feed(DialFailed(peer_id, reason)),
            on_signal=lambda to, through, signal: self.feed(SignalMade(to, through, signal)),
            on_peers=lambda peer_ids: self.feed(PeersDiscovered(peer_ids)),
            on_signaling=self._signaling_changed,
            hosts=hosts,
            stack=stack,
            addresses=lambda: self.native.addresses if self.native is not None else (),
        )
        self.native: Native | None = None
        if native is not None:
            from .transports.native import Native

            self.native = Native(
                identity,
                link.network,
                native,
                hosts=hosts,
                remembered=records.remembered_peers(link.network),
                on_link=self._link_opened,
                on_dial_failed=self._native_dial_failed,
                on_peers=lambda peer_ids: self.feed(PeersDiscovered(peer_ids)),
            )

    @property
    def carriers(self) -> dict[PeerId, str]:
        """What carries each link."""
        return {peer_id: link.over for peer_id, link in self._links.items()}

    # ---- for whoever runs it

    def start(self) -> None:
        """Take up what the store remembers, then join the network."""
        if self._savepoints is not None:
            for task, chunks in self._savepoints.begun().items():
                after = tuple(self._savepoints.after(task, chunk) for chunk in chunks)
                self.feed(WorkBegun(task, chunks, after))
        restored = self._records.load()
        if restored:
            self.feed(RecordsRestored(tuple(restored)))
        if self._savepoints is not None:
            # What has ended meanwhile is over.
            self._savepoints.keep_only([task for task, role in self.peer.workers.items() if not role.done])
        self._connector.start()

    async def listen(self) -> None:
        """Be there for native peers, where that is wanted.

        Raises:
            OSError: The port cannot be had.
        """
        if self.native is not None:
            await self.native.start()
            self._records.remember_peer(self.link.network, self.peer.peer_id, self.native.addresses)

    def publish(self, manifest: Signed) -> None:
        """Become the creator of a task on this network; its blobs are in the store already.

        Raises:
            LocalProtocolError: The manifest is not ours to publish, or has expired.
        """
        self.feed(TaskPublished(manifest))

    def feed_calls(self, task: bytes, inputs: tuple[bytes, ...], *, ends: bool = False) -> None:
        """Have the next chunks of a stream of ours computed; with `ends` there are no more.

        Raises:
            LocalProtocolError: It takes no more; the sentence says why.
        """
        self.feed(CallsFed(task, inputs, ends))

    def give_up(self, task: bytes, *, decisive: int | None = None) -> None:
        """Want no more results of a task of ours: what has none by now fails, and the rest is checked and certified.

        With `decisive`, once our own execution of that chunk has confirmed its result.
        """
        self.feed(TaskGivenUp(task, decisive))

    def delegate(self, task: bytes, steward: PeerId, until_s: int, *, trusted: bool) -> None:
        """Let a peer act for us in a task of ours while we are away.

        Raises:
            LocalProtocolError: It cannot be; the sentence says why.
        """
        self.feed(StewardNamed(task, steward, until_s, trusted))

    def revoke(self, task: bytes, steward: PeerId) -> None:
        """Take that back, and all that came of it.

        Raises:
            LocalProtocolError: It is no steward of that task.
        """
        self.feed(StewardRevoked(task, steward))

    async def changed(self) -> None:
        """Return when something happened since the last call.

        Raises:
            Exception: What made the runtime stop, such as a store that can no longer be written.
        """
        await self._changed.wait()
        self._changed.clear()
        if self._failure is not None:
            raise self._failure

    async def finish(self, grace_s: float) -> None:
        """Take no new work and wait until what runs is committed, for at most `grace_s`."""
        self.feed(FinishRequested())
        deadline = self._loop.time() + grace_s
        while not self.peer.idle:
            remaining_s = deadline - self._loop.time()
            if remaining_s <= 0:
                return
            try:
                await asyncio.wait_for(self.changed(), remaining_s)
            except TimeoutError:
                return

    async def close(self, reason: str) -> None:
        """Say goodbye and let go of every link, job and timer."""
        if self._closed:
            return
        self._take_frames()
        for output in self.peer.farewell(reason):
            if isinstance(output, SaveRecords):
                self._records.save(output.records)
            elif isinstance(output, SendFrame) and output.peer_id in self._links:
                self._links[output.peer_id].send(output.channel, output.frame)
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        tasks = [*self._jobs.values(), *self._draining.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._connector.close()
        if self.native is not None:
            await self.native.close()

    # ---- feeding and performing

    def feed(self, event: Input) -> None:
        """Give the peer one input and perform what it answers."""
        if self._closed:
            return
        if self._arrived:
            self._take_frames()  # They came before.
        self._feed(event)

    def _take_frames(self) -> None:
        """Give the peer all the frames of this turn of the event loop."""
        frames, self._arrived = tuple(self._arrived), []
        if frames and not self._closed:
            self._feed(FramesReceived(frames))

    def _feed(self, event: Input) -> None:
        try:
            outputs = self.peer.handle(event, now=self._loop.time())
            for output in outputs:
                match output:
                    case SendFrame(peer_id=peer_id, channel=channel, frame=frame):
                        self._send(peer_id, channel, frame)
                    case SaveRecords(records=records):
                        self._records.save(records)
                    case Execute():
                        self._jobs[output.job] = self._loop.create_task(self._execute(output))
                    case CancelJob(job=job):
                        if job in self._jobs:
                            self._jobs[job].cancel()
                    case DialPeer(peer_id=peer_id, through=through):
                        if self.native is not None and self.native.knows(peer_id):
                            self.native.dial(peer_id, through)
                        else:
                            self._connector.dial(peer_id, through)
                    case SignalArrived(through=neighbour, signal=signal):
                        self._connector.signal_arrived(neighbour, signal)
                    case SignalUndelivered(to=to, through=neighbour):
                        self._connector.signal_undelivered(to, neighbour)
                    case SeekPeers():
                        self._connector.ask_peers()
                    case CloseLink(peer_id=peer_id, reason=reason):
                        closing = self._links.pop(peer_id, None)
                        if closing is not None:
                            closing.close(reason)
                    case Notice():
                        self._on_notice(output)
                    case _:
                        assert_never(output)
        except Exception as failure:
            if isinstance(event, TaskPublished | CallsFed | StewardNamed | StewardRevoked):
                raise
            self._failure = failure
        self._changed.set()
        self._set_timer()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self.peer.wake_at, self.feed, Woke())

    def _send(self, peer_id: PeerId, channel: Channel, frame: bytes) -> None:
        link = self._links.get(peer_id)
        if link is not None:
            self.totals.frames_out += 1
            self.totals.bytes_out += len(frame)
            link.send(channel, frame)
            if channel is Channel.BULK and link not in self._draining:
                self._draining[link] = self._loop.create_task(self._drained(link))

    async def _drained(self, link: Link) -> None:
        try:
            await link.drained()
        finally:
            del self._draining[link]
        if self._links.get(link.peer_id) is link:
            self.feed(LinkDrained(link.peer_id))

    async def _execute(self, order: Execute) -> None:
        started = self._loop.time()

        def began() -> None:
            # What waits behind another batch does not take longer for it: the next one would be made too small.
            nonlocal started
            started = self._loop.time()

        try:
            assert self._executor is not None
            size = self._blobs.size(order.code)
            assert size is not None, "the peer executes only what is in its blob store"
            module = self._blobs.read(order.code, 0, size)
            savepoints = self._savepoints_of(order)
            outcomes = await self._executor.execute(
                order.code, module, order.limits, order.numbers, order.chunks, order.runtime, savepoints, began
            )
        except (asyncio.CancelledError, PoolClosed):
            return
        except Exception as failure:
            self._failure = failure
            self._changed.set()
            return
        finally:
            self._jobs.pop(order.job, None)
        seconds = self._loop.time() - started
        self.totals.chunks += len(outcomes)
        self.totals.busy_s += seconds
        self.feed(Executed(order.job, outcomes, seconds))
        if self._savepoints is not None:
            for outcome in outcomes:
                self._savepoints.drop(order.task_id, outcome.chunk)

    def _savepoints_of(self, order: Execute) -> Savepoints | None:
        if self._savepoints is None:
            return None
        after = {chunk.chunk: chunk.after for chunk in order.chunks if chunk.state}
        return self._savepoints.of(order.task_id, after, lambda *kept: self.feed(StateKept(order.task_id, *kept)))

    # ---- links and signaling

    def _link_opened(self, link: Link, dialled: bool) -> None:
        peer_id, now = link.peer_id, self._loop.time()
        if link.addresses:
            try:
                self._records.remember_peer(self.link.network, peer_id, link.addresses)
            except Exception as failure:
                self._failure = failure
        older = self._links.get(peer_id)
        if older is not None:
            older_dialled, since = self._opened[peer_id]
            if outlives(
                older,
                link,
                older_dialled=older_dialled,
                newer_dialled=dialled,
                age_s=now - since,
                smaller=self.peer.peer_id < peer_id,
            ):
                link.close("there is another connection")
                return
            older.close("replaced by another connection")
        self._links[peer_id] = link
        self._opened[peer_id] = (dialled, now)
        self.feed(LinkOpened(peer_id, dialled))

        def on_frame(channel: Channel, frame: bytes) -> None:
            self.totals.frames_in += 1
            self.totals.bytes_in += len(frame)
            if self._links.get(peer_id) is link:
                if not self._arrived:
                    self._loop.call_soon(self._take_frames)
                self._arrived.append((peer_id, frame))

        def on_closed(reason: str) -> None:
            if self._links.get(peer_id) is link:
                del self._links[peer_id]
                self.feed(LinkClosed(peer_id, reason))

        link.attach(on_frame, on_closed)

    def _native_dial_failed(self, peer_id: PeerId, through: PeerId | None, reason: str) -> None:
        if through is None and self.signaling.state is not SignalingState.ENTERED:
            self.feed(DialFailed(peer_id, reason))
        else:
            self._connector.dial(peer_id, through)

    def _signaling_changed(self, _state: SignalingState, detail: str) -> None:
        self.signaling_detail = detail
        self._changed.set()


def protocol_config(*, network: str, slots: int, work: bool = True, **others: Any) -> ProtocolConfig:
    """The numbers of a real peer on this machine; the clock offset is read once, here."""
    offset_s = time.time() - asyncio.get_running_loop().time()
    return ProtocolConfig(network=network, slots=slots, work=work, epoch_offset_s=offset_s, **others)


class _Entropy(SystemRandom):
    """The operating system's generator, with `randbytes` served in one call, and many `random` in one."""

    def __init__(self) -> None:
        super().__init__()
        self._words: list[int] = []

    def random(self) -> float:
        if not self._words:
            self._words = list(struct.unpack("512Q", secrets.token_bytes(512 * 8)))
        return (self._words.pop() >> 11) * 2.0**-53

    def randbytes(self, n: int) -> bytes:
        return secrets.token_bytes(n)

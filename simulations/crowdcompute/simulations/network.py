"""The world: one heap of events in virtual time, and real peers at its nodes.

    (time, seq, node, event) --> Peer.handle --> outputs --> links, dials, executions --> events

It is a driver like the node's runtime, and decides nothing. Everything that happens is a function of the scenario and
the seed: events at the same time come in the order in which they were made, all chance comes from generators named
after the seed and the node, and the hash over all events (`World.trace`) shows it.

Links are reliable and ordered, as data channels are: loss shows as delay, a partition as frames that come when it is
over or never. A crashed or silent machine tells nobody; its neighbours find out by its silence.
"""

from __future__ import annotations

import math
import struct
from collections import OrderedDict
from dataclasses import dataclass, field
from hashlib import sha256
from heapq import heappop, heappush
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, TypeAlias, assert_never

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import ProtocolConfig
from crowdcompute.protocol.epochs import make_epochs
from crowdcompute.protocol.events import (
    CancelJob,
    Channel,
    ChunkOutcome,
    CloseLink,
    DialFailed,
    DialPeer,
    Execute,
    Executed,
    FrameReceived,
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
    Status,
    TaskPublished,
    Woke,
    WorkBegun,
)
from crowdcompute.protocol.frames import Frame, decode_frame
from crowdcompute.protocol.gpu import MODULE, Golden, Package, read_comparison
from crowdcompute.protocol.gpu.compare import Tolerance, Within
from crowdcompute.protocol.gpu.package import Output as OutputArray
from crowdcompute.protocol.identity import Identity, peer_id_of, public_key_of, verify
from crowdcompute.protocol.manifest import Limits, Manifest, Policy, sign_manifest, with_task_key
from crowdcompute.protocol.peer import Peer
from crowdcompute.protocol.signals import Offer, parse_signal, sign_signal
from crowdcompute.protocol.split import Range
from crowdcompute.protocol.storage import MemoryBlobStore

from .identities import HashedIdentity, verify_hashed
from .liars.behaviour import Band, Behaviour, wrong
from .liars.registry import KINDS
from .scenario import EPOCH_S
from .states import State, following, read_state, right

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crowdcompute.protocol.creator import CreatorRole
    from crowdcompute.protocol.events import ChunkInput, Input, Output
    from crowdcompute.protocol.identity import PeerId
    from crowdcompute.protocol.records import Signed

    from .scenario import Scenario

_TRACED = struct.Struct("<dIB")
_WAKE_AGAIN_S = 1e-3
"""A peer that wants to be woken at once again and again is woken this much later, so that a bug cannot stop time."""


_DIAL_FAILS_AFTER_S = 15.0
"""As the node's connector."""

_FRAMES_SHARED = 1_024
"""Frames whose meaning is kept for the others that are sent the same: what is on its way at a time, about."""

_MANY = 1_000
"""Nodes from which on the rendezvous does not look at all of them to name some."""

_SDP = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=fingerprint:sha-256 " + ":".join(["00"] * 32)
"""What an offer must at least say; these certificates are nobody's."""


def truth(task_id: bytes, chunk: int, size: int) -> bytes:
    """The one right result of a chunk."""
    digest = sha256(b"truth" + task_id + chunk.to_bytes(4)).digest()
    return (digest * (size // len(digest) + 1))[:size]


def measuring(tolerance: float, *, classes: bool) -> bytes:
    """The package of a task whose results are compared as numbers. Nobody executes it here, so it holds little."""
    if not tolerance:
        return b""
    near = (Within if classes else Tolerance)(absolute=tolerance, relative=0.0, outliers=0.0)
    golden = Golden(input=b"", sha256=bytes(32), result=b"")
    return encode(
        Package(
            schema=1,
            source=b"",
            uniform=(),
            invocations="1",
            outputs=(OutputArray(name="out", elements=1, compare=near),),
            fuel=1,
            golden=(golden,),
            fallback=b"",
        )
    )


def measured(result: bytes, off: float) -> bytes:
    """A result as floats, of which the last is `off` by so much."""
    whole = list(result)
    return struct.pack(f"<{len(whole)}f", *whole[:-1], whole[-1] + off)


@dataclass(slots=True, eq=False)
class Wire:
    """One link between two nodes. Each end may have noticed its end, or not yet."""

    ends: tuple[int, int]
    lives: tuple[int, int]
    latency_s: float
    open: list[bool] = field(default_factory=lambda: [True, True])
    clear_at: list[float] = field(default_factory=lambda: [0.0] * 4)
    """When the last frame arrives, per sending end and channel: ordered channels never overtake themselves."""

    def end_of(self, node: int) -> int:
        return 0 if self.ends[0] == node else 1


@dataclass(slots=True)
class Job:
    job: Execute
    started_at: float
    states: dict[int, State] = field(default_factory=dict)
    """Where the execution of each chunk is."""


@dataclass(slots=True)
class Life:
    """One machine from its start until it stops or is stopped, and the batches that it finished."""

    started_at: float
    ended_at: float = math.inf
    batches: list[tuple[float, float, int]] = field(default_factory=list)
    """When each began and ended, and how many chunks it had."""


@dataclass(slots=True, eq=False)
class Node:
    """One machine: what survives a crash, and the peer that runs on it."""

    index: int
    signer: Identity | HashedIdentity
    config: ProtocolConfig
    speed: float
    behaviour: Behaviour
    blobs: MemoryBlobStore
    peer: Peer
    life: int = 0
    alive: bool = False
    silent: bool = False
    frozen: bool = False
    """Its process is stopped (SIGSTOP): it is silent, and computes nothing either."""
    saved: list[Signed] = field(default_factory=list)
    states: dict[int, tuple[State, bytes]] = field(default_factory=dict)
    """Chunk -> the state to go on from, and the savepoint of another that it rests on."""
    wires: dict[PeerId, Wire] = field(default_factory=dict)
    dialling: set[PeerId] = field(default_factory=set)
    lives: list[Life] = field(default_factory=list)
    wake_at: float = math.inf
    woken_again: bool = False
    """Whether, when it was last woken, it wanted that again at once."""
    upload_clear_at: list[float] = field(default_factory=lambda: [0.0, 0.0])
    waiting: list[Execute] = field(default_factory=list)
    running: dict[int, Job] = field(default_factory=dict)
    bytes_sent: list[int] = field(default_factory=lambda: [0, 0])
    frames_sent: int = 0
    executions: int = 0
    arrives_s: float = 0.0

    @property
    def name(self) -> str:
        return "creator" if self.index == 0 else f"peer-{self.index}"

    @property
    def is_honest(self) -> bool:
        return type(self.behaviour) is Behaviour


@dataclass(slots=True)
class _Delivery:
    wire: Wire
    sender: int
    frame: bytes


@dataclass(slots=True)
class _Drained:
    wire: Wire


@dataclass(slots=True)
class _Ended:
    wire: Wire
    reason: str


@dataclass(slots=True)
class _Finished:
    job: int


@dataclass(slots=True)
class _Saved:
    job: int
    chunk: int


_WAKE = object()
_Event: TypeAlias = object
Observer: TypeAlias = "Callable[[float, Node, Input | Output], None]"


class World:
    """One simulated network with one task.

    `run` until the creator has closed the task and everything has settled, or `step_until` a moment. Node 0 is the
    creator. `observers` hear of every frame delivered and every output, in order.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self.scenario = scenario
        self.seed = seed
        self.now = 0.0
        self.events = 0
        self.executions = 0
        self.work_s = 0.0
        """What machines were busy for, in the time of one of speed 1: the work that was lost included."""
        self.spins = 0
        """How often a peer that had just been woken twice wanted it again at once: none should."""
        self.closed_at: float | None = None
        self.observers: list[Observer] = []
        self.rng = self._generator("world")
        self.cut: tuple[float, dict[int, int]] | None = None
        """(when it heals, node -> side) of a partition."""
        self._heap: list[tuple[float, int, int, int, _Event]] = []
        self._seq = 0
        self._trace = sha256()
        self._verifier = verify if scenario.network.real_keys else verify_hashed
        creator = self._signer(0)
        self.code = measuring(scenario.task.tolerance, classes=scenario.task.classes > 0) or self._generator(
            "code"
        ).randbytes(scenario.task.code_bytes)
        self.comparison = read_comparison(self.code) if scenario.task.tolerance else None
        self.manifest = self._manifest(creator)
        self.signed_manifest = sign_manifest(creator, self.manifest)
        self.task = self.signed_manifest.record_id
        self._read: OrderedDict[bytes, Frame] = OrderedDict()
        self.nodes = [self._node(index) for index in range(scenario.network.peers + 1)]
        self.index_of = {node.signer.peer_id: node.index for node in self.nodes}
        self.names = {node.signer.public_key: node.name for node in self.nodes}
        """Of every key that anybody ever had."""
        self.convictable: set[bytes] = set()
        self.eclipsed: set[int] = set()
        """Nodes to which the rendezvous names only liars."""
        self._draw_liars()
        self.nodes[0].blobs.put(self.manifest.code.sha256, self.code)
        for node in self.nodes:
            delay_s = 0.0 if node.index == 0 else self.rng.uniform(0, scenario.network.join_within_s)
            self.at(node.arrives_s + delay_s, self._starter(node))
        for node in self.nodes:
            node.behaviour.begin(self, node)

    def _decode(self, data: bytes) -> Frame:
        """What a frame says. All that are sent the same one share what was read: records, their ids and bodies."""
        frame = self._read.get(data)
        if frame is None:
            frame = self._read[data] = decode_frame(data)
            if len(self._read) > _FRAMES_SHARED:
                self._read.popitem(last=False)
        return frame

    # ---- for whoever looks on

    @property
    def creator(self) -> Node:
        return self.nodes[0]

    @property
    def role(self) -> CreatorRole:
        """The creator's part in the task, in its present life."""
        return self.nodes[0].peer.creators[self.task]

    @property
    def trace(self) -> str:
        """Hash over every event so far."""
        return self._trace.hexdigest()

    def live(self) -> Iterator[Node]:
        """Nodes that run and are not cut off by silence."""
        return (node for node in self.nodes if node.alive and not node.silent)

    def right_result(self, chunk: int) -> bytes:
        return truth(self.task, chunk, self.scenario.task.result_bytes)

    def is_right(self, chunk: int, result: bytes) -> bool:
        """Whether a result is as near to the right one as the task wants."""
        if self.comparison is None:
            return result == self.right_result(chunk)
        arrays = self.comparison.arrays_of(result)
        return self.comparison.are_near(arrays, measured(self.right_result(chunk), 0.0))

    def result_of(self, node: Node, chunk: int) -> bytes:
        """What an honest node computes: floats that are a little different on each."""
        right, tolerance = self.right_result(chunk), self.scenario.task.tolerance
        if not tolerance:
            return right
        classes = self.scenario.task.classes
        if not classes:
            off = self._generator(f"device/{node.index}/{chunk}").uniform(-0.5, 0.5)
            return measured(right, off * tolerance)
        number = node.index % classes
        its_class = sha256(b"class %d" % number).digest() if number else MODULE
        off = self._generator(f"class/{number}/{chunk}").uniform(-0.5, 0.5)
        return measured(right, off * tolerance) + its_class

    def chunk_work_s(self, chunk: int) -> float:
        """Time of a chunk on a machine of speed 1."""
        task = self.scenario.task
        normal = self._normal(f"chunk/{chunk}")
        return task.chunk_s * math.exp(task.chunk_sigma * normal - task.chunk_sigma**2 / 2)

    # ---- time

    def at(self, when: float, action: Callable[[], None]) -> None:
        """Do something to the world at a time."""
        self._push(when, -1, 0, action)

    def step_until(self, stop_s: float) -> None:
        """Handle everything that happens up to a moment."""
        heap = self._heap
        while heap and heap[0][0] <= stop_s:
            when, _, index, life, event = heappop(heap)
            self.now = when
            if index < 0:
                assert callable(event)
                event()
                continue
            node = self.nodes[index]
            if node.life == life and node.alive and not node.frozen:
                self._happens(node, event)
        self.now = max(self.now, stop_s)

    def run(self) -> None:
        """Until the task is closed and `settle_s` more, or `stop_s`."""
        checks = self.scenario.checks
        while self.closed_at is None and self.now < checks.stop_s:
            self.step_until(min(self.now + 1.0, checks.stop_s))
        if self.closed_at is not None:
            self.step_until(self.closed_at + checks.settle_s)

    # ---- machines

    def stop(self, node: Node) -> None:
        """A machine stops at once. Nobody is told."""
        if node.alive:
            self.ended(node)
        node.alive = False
        node.life += 1
        node.wires.clear()
        node.dialling.clear()
        node.waiting.clear()
        for job in node.running.values():
            self._worked(node, job)
        node.running.clear()
        node.wake_at = math.inf

    def ended(self, node: Node) -> None:
        """A machine does nothing of use from now on."""
        life = node.lives[-1]
        life.ended_at = min(life.ended_at, self.now)

    def freeze(self, node: Node) -> None:
        """A machine's process is stopped (SIGSTOP): its links stay, and nothing comes from it."""
        node.silent = node.frozen = True
        self.ended(node)

    def start(self, node: Node, *, keep_state: bool) -> None:
        """A machine starts (again), with the same keys and what it had saved, or with nothing but its keys."""
        node.life += 1
        node.alive, node.silent, node.frozen = True, False, False
        node.lives.append(Life(self.now))
        if not keep_state:
            node.saved.clear()
            node.states.clear()
            node.blobs = MemoryBlobStore()
        node.peer = self._peer(node)
        node.upload_clear_at = [self.now, self.now]
        if node.states:
            afters = tuple(after for _, after in node.states.values())
            self.tell(node, WorkBegun(self.task, tuple(node.states), afters))
        if node.saved:
            self.tell(node, RecordsRestored(tuple(node.saved)))
        elif node.index == 0:
            self.tell(node, TaskPublished(self.signed_manifest))
        self._introduce(node)
        self._schedule_wake(node)

    def rename(self, node: Node) -> None:
        """A machine that was stopped starts under a new key, with nothing of its old state."""
        node.signer = self._signer(node.index, node.life)
        self.index_of[node.signer.peer_id] = node.index
        self.names[node.signer.public_key] = node.name
        if node.behaviour.convictable:
            self.convictable.add(node.signer.public_key)
        self.start(node, keep_state=False)

    def tell(self, node: Node, event: Input) -> None:
        """Give one input to a node's peer and perform what it asks for."""
        self.events += 1
        self._observe(node, event)
        node.behaviour.hears(event)
        outputs = node.behaviour.outputs(node.peer.handle(event, now=self.now))
        for output in outputs:
            self._perform(node, output)
        self._schedule_wake(node, woken=type(event) is Woke)

    def hang_up(self, node: Node, peer_id: PeerId, reason: str) -> None:
        """A node closes a link; the other end hears it behind whatever is on its way, but of a silent one nothing."""
        wire = node.wires.pop(peer_id, None)
        if wire is None:
            return
        end = wire.end_of(node.index)
        wire.open[end] = False
        if node.silent:
            return
        other = wire.ends[1 - end]
        arrival = max(self._after_cut(node.index, other) + wire.latency_s, *wire.clear_at[2 * end : 2 * end + 2])
        self._push(arrival, other, wire.lives[1 - end], _Ended(wire, f"closed by the other side: {reason}"))

    # ---- inside: events

    def _push(self, when: float, node: int, life: int, event: _Event) -> None:
        self._seq += 1
        heappush(self._heap, (when, self._seq, node, life, event))

    def _happens(self, node: Node, event: _Event) -> None:
        if type(event) is _Delivery:
            wire = event.wire
            if node.silent or not wire.open[wire.end_of(node.index)]:
                return
            self._traced(node, 1, event.frame)
            self.tell(node, FrameReceived(self.nodes[event.sender].signer.peer_id, event.frame))
        elif event is _WAKE:
            if node.wake_at != self.now:
                return  # An earlier one took its place.
            node.wake_at = math.inf
            if node.peer.wake_at > self.now:
                self._schedule_wake(node)
                return
            self._traced(node, 2, b"")
            self.tell(node, Woke())
        elif type(event) is _Finished:
            self._finished(node, event.job)
        elif type(event) is _Saved:
            self._saved(node, event.job, event.chunk)
        elif type(event) is _Drained:
            end = event.wire.end_of(node.index)
            if event.wire.open[end]:
                self.tell(node, LinkDrained(self.nodes[event.wire.ends[1 - end]].signer.peer_id))
        elif type(event) is _Ended:
            wire = event.wire
            end = wire.end_of(node.index)
            if wire.open[end] and not node.silent:
                wire.open[end] = False
                peer_id = self.nodes[wire.ends[1 - end]].signer.peer_id
                node.wires.pop(peer_id, None)
                self._traced(node, 3, b"")
                self.tell(node, LinkClosed(peer_id, event.reason))
        else:
            raise AssertionError(event)

    def _traced(self, node: Node, kind: int, data: bytes) -> None:
        self._trace.update(_TRACED.pack(self.now, node.index, kind))
        self._trace.update(data)

    def _observe(self, node: Node, event: Input | Output) -> None:
        for observer in self.observers:
            observer(self.now, node, event)

    def _schedule_wake(self, node: Node, *, woken: bool = False) -> None:
        # What is due has not been missed: frames that come at that very moment may be handled before the wake.
        due = max(node.peer.wake_at, self.now)
        again = woken and due <= self.now
        if again and node.woken_again:
            self.spins += 1
            due = self.now + _WAKE_AGAIN_S
        if woken:
            # Once is nothing: it may have begun something, such as a fetch, for which it now wants more links.
            node.woken_again = again
        if due < node.wake_at:
            node.wake_at = due
            self._push(due, node.index, node.life, _WAKE)

    # ---- inside: outputs

    def _perform(self, node: Node, output: Output) -> None:
        match output:
            case SendFrame(peer_id=peer_id, channel=channel, frame=frame):
                if not node.silent:
                    self._send(node, peer_id, channel, frame)
                return
            case CloseLink(peer_id=peer_id, reason=reason):
                self.hang_up(node, peer_id, reason)
            case DialPeer(peer_id=peer_id, through=through):
                self._dial(node, peer_id, through)
            case SignalArrived(signal=signal):
                self._signalled(node, signal)
            case SignalUndelivered(to=to):
                self._later(node, 0.0, lambda: self._dial_failed(node, to))
            case SeekPeers():
                self._introduce(node)
            case Execute():
                node.waiting.append(output)
                self._start_jobs(node)
            case CancelJob(job=job):
                node.waiting = [waiting for waiting in node.waiting if waiting.job != job]
                running = node.running.pop(job, None)
                if running is not None:
                    self._worked(node, running)
                    self._start_jobs(node)
            case SaveRecords(records=records):
                node.saved.extend(records)
            case Notice():
                if output.what.value == "task closed":
                    self.closed_at = self.now
            case _:
                assert_never(output)
        self._observe(node, output)

    def _send(self, node: Node, peer_id: PeerId, channel: Channel, frame: bytes) -> None:
        wire = node.wires.get(peer_id)
        node.frames_sent += 1
        node.bytes_sent[channel] += len(frame)
        if wire is None:
            return
        network = self.scenario.network
        end = wire.end_of(node.index)
        other = wire.ends[1 - end]
        # One queue for what leaves the machine; control frames wait for control frames only.
        clear_at = node.upload_clear_at
        sent_at = max(self.now, clear_at[channel]) + len(frame) / network.upload_bytes_per_s
        clear_at[channel] = sent_at
        if channel is Channel.CONTROL:
            clear_at[Channel.BULK] = max(clear_at[Channel.BULK], sent_at)
        arrival = max(sent_at, self._after_cut(node.index, other)) + wire.latency_s
        while network.loss and self.rng.random() < network.loss:
            arrival += network.retransmit_s
        lane = 2 * end + channel
        arrival = wire.clear_at[lane] = max(arrival, wire.clear_at[lane])
        self._push(arrival, other, wire.lives[1 - end], _Delivery(wire, node.index, frame))
        if channel is Channel.BULK:
            self._push(sent_at, node.index, node.life, _Drained(wire))

    def _after_cut(self, node: int, other: int) -> float:
        """Now, or when the partition between these two heals."""
        if self.cut is not None and self.cut[0] > self.now and self.cut[1][node] != self.cut[1][other]:
            return self.cut[0]
        return self.now

    # ---- inside: execution

    def _start_jobs(self, node: Node) -> None:
        while node.waiting and len(node.running) < node.config.slots:
            job = node.waiting.pop(0)
            running = node.running[job.job] = Job(job, self.now)
            work_s = sum(self._begin(node, running, chunk) for chunk in job.chunks)
            if node.behaviour.finishes():
                self._push(self.now + work_s / node.speed, node.index, node.life, _Finished(job.job))

    def _begin(self, node: Node, running: Job, chunk: ChunkInput) -> float:
        """Begin a chunk where it is, and return how much of it is left."""
        own, _ = node.states.get(chunk.chunk, (None, b""))
        begun = read_state(chunk.state) if chunk.state else own
        if begun is None or chunk.watched:
            begun = right(self.task, chunk.chunk, 0)
        running.states[chunk.chunk] = begun
        work_s, every_s = self.chunk_work_s(chunk.chunk), self.scenario.task.savepoint_s
        # In a batch of several chunks nobody waits for one alone: those are short.
        if every_s and len(running.job.chunks) == 1 and not chunk.watched:
            for number in range(1, int(work_s / every_s) - begun.number + 1):
                due = self.now + number * every_s / node.speed
                self._push(due, node.index, node.life, _Saved(running.job.job, chunk.chunk))
        return work_s - begun.number * every_s

    def _saved(self, node: Node, number: int, chunk: int) -> None:
        running = node.running.get(number)
        if running is None:
            return
        state = running.states[chunk] = following(self.task, chunk, running.states[chunk])
        (order,) = running.job.chunks
        after = order.after if order.state else node.states.get(chunk, (state, b""))[1]
        node.states[chunk] = (state, after)
        self._traced(node, 5, state.digest)
        self.tell(node, StateKept(self.task, chunk, state.number, node.behaviour.state(state).written()))

    def _worked(self, node: Node, job: Job) -> None:
        self.work_s += (self.now - job.started_at) * node.speed

    def _finished(self, node: Node, number: int) -> None:
        running = node.running.pop(number, None)
        if running is None:
            return  # It was cancelled.
        self._traced(node, 4, number.to_bytes(8))
        self._worked(node, running)
        outcomes = tuple(
            node.behaviour.outcome(self._honest_outcome(node, chunk, running.states[chunk.chunk]))
            for chunk in running.job.chunks
        )
        self.executions += len(outcomes)
        node.executions += len(outcomes)
        node.lives[-1].batches.append((running.started_at, self.now, len(outcomes)))
        self._start_jobs(node)
        self.tell(node, Executed(number, outcomes, self.now - running.started_at))
        for chunk in running.job.chunks:
            node.states.pop(chunk.chunk, None)

    def _honest_outcome(self, node: Node, asked: ChunkInput, state: State) -> ChunkOutcome:
        chunk = asked.chunk
        if chunk in self.scenario.task.failing:
            return ChunkOutcome(chunk, Status.NO_RESULT, b"", "trap: unreachable")
        result = ChunkOutcome(chunk, Status.OK, self.result_of(node, chunk))
        if state != right(self.task, chunk, state.number):
            return wrong(result, b"from a false state")
        last = int(self.chunk_work_s(chunk) / self.scenario.task.savepoint_s) if asked.watched else 0
        seen = (right(self.task, chunk, number) if number <= last else None for number in asked.watched)
        states = tuple(sha256(each.written()).digest() if each is not None else b"" for each in seen)
        return result._replace(states=states)

    # ---- inside: who knows whom

    def _dial(self, node: Node, peer_id: PeerId, through: PeerId | None) -> None:
        if peer_id in node.dialling:
            return
        node.dialling.add(peer_id)
        if through is not None:
            connection = self.rng.randbytes(16)
            offer = Offer(
                node.config.network, connection, node.signer.public_key, public_key_of(peer_id), bytes(32), _SDP
            )
            signal = encode(sign_signal(node.signer, offer))
            self._later(node, 0.0, lambda: self.tell(node, SignalMade(peer_id, through, signal)))
            self._later(node, _DIAL_FAILS_AFTER_S, lambda: self._dial_failed(node, peer_id))
        elif self._signaling_is_up:
            self._later(node, self.scenario.network.dial_s, lambda: self._meet(node, peer_id))
        else:
            self._later(node, 0.0, lambda: self._dial_failed(node, peer_id))

    def _signalled(self, node: Node, data: bytes) -> None:
        """An offer came by way of a neighbour: the two meet, unless its maker has given up."""
        caller = self.nodes[self.index_of[peer_id_of(parse_signal(data).author)]]
        peer_id = node.signer.peer_id
        if peer_id in caller.dialling:
            self._later(caller, self.scenario.network.dial_s, lambda: self._meet(caller, peer_id))

    def _dial_failed(self, node: Node, peer_id: PeerId) -> None:
        if peer_id in node.dialling:
            node.dialling.discard(peer_id)
            self.tell(node, DialFailed(peer_id, "unreachable"))

    def _later(self, node: Node, delay_s: float, action: Callable[[], None]) -> None:
        """Do something for a node, unless it has stopped by then."""
        life = node.life
        self.at(self.now + delay_s, lambda: action() if node.life == life and node.alive and not node.frozen else None)

    @property
    def _signaling_is_up(self) -> bool:
        return self.now < self.scenario.network.signaling_until_s

    def _meet(self, node: Node, peer_id: PeerId) -> None:
        if peer_id not in node.dialling:
            return
        node.dialling.discard(peer_id)
        other = self.nodes[self.index_of[peer_id]]
        # A key that its machine has no more is nobody's.
        reachable = other.alive and not other.silent and not node.silent and other.signer.peer_id == peer_id
        if not reachable or self._after_cut(node.index, other.index) > self.now:
            self.tell(node, DialFailed(peer_id, "unreachable"))
            return
        old = node.wires.get(other.signer.peer_id)
        if old is not None and all(old.open) and other.wires.get(node.signer.peer_id) is old:
            return  # Both dialled at once, and the other's dial was faster: it has answered this one too.
        for end, far in ((node, other), (other, node)):
            stale = end.wires.pop(far.signer.peer_id, None)
            if stale is not None:
                stale.open[stale.end_of(end.index)] = False
        other.dialling.discard(node.signer.peer_id)
        latency_s = self.rng.uniform(*self.scenario.network.latency_s)
        wire = Wire((node.index, other.index), (node.life, other.life), latency_s)
        node.wires[other.signer.peer_id] = other.wires[node.signer.peer_id] = wire
        self.tell(node, LinkOpened(other.signer.peer_id, dialled=True))
        self.tell(other, LinkOpened(node.signer.peer_id, dialled=False))

    def _introduce(self, node: Node) -> None:
        """The rendezvous names some of those that are there."""
        if not self._signaling_is_up:
            return
        named = self._some_of_many(node) if len(self.nodes) > _MANY else self._some(node)
        if named:
            named_ids = tuple(other.signer.peer_id for other in named)
            self._later(node, 0.0, lambda: self.tell(node, PeersDiscovered(named_ids)))

    def _some(self, node: Node) -> list[Node]:
        there = [other for other in self.live() if other is not node and self._may_name(node, other)]
        return self.rng.sample(there, min(len(there), self.scenario.network.introductions))

    def _some_of_many(self, node: Node) -> list[Node]:
        """The same without looking at everybody; now and then one fewer."""
        drawn = {self.rng.randrange(len(self.nodes)) for _ in range(2 * self.scenario.network.introductions)}
        others = (self.nodes[index] for index in drawn)
        there = (
            other
            for other in others
            if other.alive and not other.silent and other is not node and self._may_name(node, other)
        )
        return list(islice(there, self.scenario.network.introductions))

    def _may_name(self, node: Node, other: Node) -> bool:
        if self._after_cut(node.index, other.index) > self.now:
            return False
        # Whom it eclipses only liars may meet.
        return not (
            (node.index in self.eclipsed and other.is_honest) or (other.index in self.eclipsed and node.is_honest)
        )

    # ---- inside: making the world

    def _generator(self, name: str) -> Random:
        return Random(f"{self.seed}/{name}")

    def _normal(self, name: str) -> float:
        """One standard normal number by name, by the Box-Muller transform: cheaper than a generator for each."""
        digest = sha256(f"{self.seed}/{name}".encode()).digest()
        first = (int.from_bytes(digest[:6]) + 1) / 2**48
        second = int.from_bytes(digest[6:12]) / 2**48
        return math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)

    def _signer(self, index: int, life: int = 0) -> Identity | HashedIdentity:
        name = f"{self.seed}/keys/{index}" + (f"/{life}" if life else "")
        seed = sha256(name.encode()).digest()
        return Identity(seed) if self.scenario.network.real_keys else HashedIdentity(seed)

    def _manifest(self, creator: Identity | HashedIdentity) -> Manifest:
        task = self.scenario.task
        code, created_s = describe(self.code), int(EPOCH_S)
        # A chain of hashes for each worker over a year's epochs would take longer than a run.
        expires_s = created_s + (86_400 if task.epoch_s else 365 * 86_400)
        epochs = make_epochs(creator, code.sha256, created_s, expires_s, task.epoch_s) if task.epoch_s else None
        manifest = Manifest(
            schema=1,
            name=self.scenario.name,
            description="",
            link="",
            creator=creator.public_key,
            seal_key=creator.seal_key,
            runtime="gpu" if task.tolerance else "wasm",
            code=code,
            split=Range(start=0, stop=task.chunks, step=1),
            chunks=task.chunks,
            inputs=None,
            limits=Limits(memory_bytes=1 << 20, output_bytes=max(64, task.result_bytes), seconds=task.limit_s),
            policy=Policy(replication=task.replication, eps=task.eps, liars=task.liars, pow_bits=0),
            reward=1,
            epochs=epochs,
            onward=False,
            permissions=(),
            vouches=(),
            created_s=created_s,
            expires_s=expires_s,
        )
        return with_task_key(creator, manifest)

    def _node(self, index: int) -> Node:
        signer = self._signer(index)
        config = self.scenario.config(creator=index == 0)
        speed = math.exp(self.scenario.network.speed_sigma * self._normal(f"speed/{index}"))
        blobs = MemoryBlobStore()
        rng = self._generator(f"peer/{index}/0")
        peer = Peer(config, signer, self._verifier, rng, blobs, self.now, decode=self._decode)
        return Node(index, signer, config, speed, Behaviour(), blobs, peer)

    def _peer(self, node: Node) -> Peer:
        rng = self._generator(f"peer/{node.index}/{node.life}")
        return Peer(node.config, node.signer, self._verifier, rng, node.blobs, self.now, decode=self._decode)

    def _starter(self, node: Node) -> Callable[[], None]:
        return lambda: self.start(node, keep_state=True)

    def _draw_liars(self) -> None:
        honest = list(self.nodes[1:])
        for group in self.scenario.liars:
            band = Band()
            count = group.count or round(group.share * (len(self.nodes) - 1))
            for node in self.rng.sample(honest, min(count, len(honest))):
                honest.remove(node)
                node.behaviour = KINDS[group.kind](group, node.signer, band)
                node.arrives_s = group.arrive_s
                node.speed *= group.speed
                if node.behaviour.convictable:
                    self.convictable.add(node.signer.public_key)

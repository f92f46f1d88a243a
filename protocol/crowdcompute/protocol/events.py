"""What the world tells a peer, and what a peer asks of the world.

A driver (the node's runtime, a simulation) feeds inputs to `Peer.handle(event, now=…)`, performs the outputs in the
order given, and wakes the peer at `Peer.wake_at`. It decides nothing.

Times are seconds on the driver's own monotonic clock. The one wall-clock reading a peer needs (is this task expired?)
is `ProtocolConfig.epoch_offset_s`, fixed when the peer is made.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from .identity import PeerId
    from .manifest import Limits, Runtime
    from .records import Signed


class Channel(IntEnum):
    """The two ordered reliable channels of a link. Control frames overtake bulk ones."""

    CONTROL = 0
    BULK = 1


class Status(IntEnum):
    """How one chunk's execution ended. Only OK and TASK_ERROR are votes (spec/ledger.md, "Votes")."""

    OK = 0
    TASK_ERROR = 1
    NO_RESULT = 2


STATUSES = tuple(Status)
"""By their numbers: looked up once a chunk, where a call of the enumeration takes ten times as long."""


CANCELLED = "cancelled by its creator"
"""The detail of chunks that were given up."""


class ChunkInput(NamedTuple):
    """One chunk to execute: its index, its input bytes, and the seed of its deterministic randomness."""

    chunk: int
    data: bytes
    seed: int
    state: bytes = b""
    """A state of another to go on from (handover.py); empty for where the driver was itself, or from scratch."""
    after: bytes = b""
    """The savepoint that `state` is of, as it was signed: the driver keeps it with its own states of the chunk."""
    watched: tuple[int, ...] = ()
    """The numbers of savepoints whose states are asked for. Such a chunk is executed from scratch."""


class ChunkOutcome(NamedTuple):
    """One executed chunk. `data` is the result or the task's own error text; `detail` says why there is no result."""

    chunk: int
    status: Status
    data: bytes
    detail: str = ""
    states: tuple[bytes, ...] = ()
    """SHA-256 of the state at each savepoint that was `watched`; nothing where the program wrote fewer."""


# ---- inputs


@dataclass(frozen=True, slots=True)
class LinkOpened:
    """An authenticated connection to `peer_id` is up; `dialled` when we made the offer."""

    peer_id: PeerId
    dialled: bool


@dataclass(frozen=True, slots=True)
class LinkClosed:
    peer_id: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class DialFailed:
    peer_id: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class PeersDiscovered:
    """Peers of our network that the signaling server can introduce us to."""

    peer_ids: tuple[PeerId, ...]


@dataclass(frozen=True, slots=True)
class SignalMade:
    """The driver has a signal (signals.py) of ours to `to`, for the neighbour `through` to pass on."""

    to: PeerId
    through: PeerId
    signal: bytes


@dataclass(frozen=True, slots=True)
class FrameReceived:
    peer_id: PeerId
    frame: bytes


@dataclass(frozen=True, slots=True)
class FramesReceived:
    """Several frames, with who sent each, in the order they came.

    The same as one `FrameReceived` after another at the same time, for less: what follows from them is looked at once.
    """

    frames: tuple[tuple[PeerId, bytes], ...]


@dataclass(frozen=True, slots=True)
class LinkDrained:
    """What was given to this link's bulk channel has left, nearly all of it (64 KiB may wait still): more may follow.

    A driver says so once after it was given bulk frames; pieces wait for it.
    """

    peer_id: PeerId


@dataclass(frozen=True, slots=True)
class Executed:
    """The answer to one `Execute`: outcomes in the order asked for, and how long they took together."""

    job: int
    outcomes: tuple[ChunkOutcome, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Woke:
    """`Peer.wake_at` has come."""


@dataclass(frozen=True, slots=True)
class TaskPublished:
    """We are the creator of this signed manifest; its blobs are in the blob store already."""

    manifest: Signed


@dataclass(frozen=True, slots=True)
class StewardNamed:
    """The creator lets a worker act for it in a task of ours while we are away.

    Raises `LocalProtocolError` where that cannot be.
    """

    task_id: bytes
    steward: PeerId
    until_s: int
    trusted: bool = False
    """Whether its audits count as ours."""


@dataclass(frozen=True, slots=True)
class StewardRevoked:
    """The creator takes that back. Raises `LocalProtocolError` where there is nothing to take back."""

    task_id: bytes
    steward: PeerId


@dataclass(frozen=True, slots=True)
class VouchMade:
    """We answer for somebody (vouching.py), for longer than before or no more: others are to hear of it."""

    vouch: Signed


@dataclass(frozen=True, slots=True)
class TaskGivenUp:
    """We, its creator, want no more chunks of this task computed (spec/ledger.md, "Giving up").

    With `decisive`, only once our own execution of that chunk has confirmed what was accepted of it.
    """

    task_id: bytes
    decisive: int | None = None


@dataclass(frozen=True, slots=True)
class RecordsRestored:
    """What `SaveRecords` saved in an earlier life of this peer, in the order saved. Feed it before anything else."""

    records: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class WorkBegun:
    """An earlier life of this peer was on these chunks, and the driver can go on with them where it was.

    Feed it before `RecordsRestored`, or something else is begun first.
    """

    task_id: bytes
    chunks: tuple[int, ...]
    after: tuple[bytes, ...] = ()
    """Of each chunk the `ChunkInput.after` that came with it; nothing at all where none has one."""


@dataclass(frozen=True, slots=True)
class StateKept:
    """The driver has kept a state of a chunk that it executes for us, at the savepoint of this number."""

    task_id: bytes
    chunk: int
    number: int
    state: bytes


@dataclass(frozen=True, slots=True)
class CallsFed:
    """Have the next chunks of a stream of ours computed, on these inputs; with `ends` they are its last ones."""

    task_id: bytes
    inputs: tuple[bytes, ...]
    ends: bool = False


@dataclass(frozen=True, slots=True)
class FinishRequested:
    """Take no new work; commit what is running. `Peer.idle` turns true when nothing runs any more."""


@dataclass(frozen=True, slots=True)
class TasksChosen:
    """Work on these tasks only, whichever of them are known by now or later; None: on every acceptable one.

    A task that is not chosen (any more) is still passed on, and results made for it are still served.
    """

    tasks: frozenset[bytes] | None


@dataclass(frozen=True, slots=True)
class SlotsChanged:
    """Execute this many jobs at a time; with 0, stop now: what runs is cancelled and its leases are released."""

    slots: int


@dataclass(frozen=True, slots=True)
class UploadCapped:
    """Give others no more than so many bytes of blobs a second; None: as much as links take."""

    bytes_per_s: float | None


Input: TypeAlias = (
    LinkOpened
    | LinkClosed
    | DialFailed
    | PeersDiscovered
    | SignalMade
    | FrameReceived
    | FramesReceived
    | LinkDrained
    | Executed
    | Woke
    | TaskPublished
    | TaskGivenUp
    | CallsFed
    | VouchMade
    | StewardNamed
    | StewardRevoked
    | RecordsRestored
    | WorkBegun
    | StateKept
    | FinishRequested
    | TasksChosen
    | SlotsChanged
    | UploadCapped
)

# ---- outputs


@dataclass(frozen=True, slots=True)
class SendFrame:
    peer_id: PeerId
    channel: Channel
    frame: bytes


@dataclass(frozen=True, slots=True)
class CloseLink:
    peer_id: PeerId
    reason: str


@dataclass(frozen=True, slots=True)
class DialPeer:
    """Ask for a connection. Answered by `LinkOpened` or `DialFailed`.

    Signals go by way of the neighbour `through`, as `SignalMade`; where it is None, by the signaling server.
    """

    peer_id: PeerId
    through: PeerId | None = None


@dataclass(frozen=True, slots=True)
class SignalArrived:
    """A neighbour passed a signal to us. Its signature is good; answer it through the same neighbour."""

    through: PeerId
    signal: bytes


@dataclass(frozen=True, slots=True)
class SignalUndelivered:
    """This neighbour cannot pass signals on to `to` (now): a dial through it has failed."""

    to: PeerId
    through: PeerId


@dataclass(frozen=True, slots=True)
class SeekPeers:
    """Ask the signaling server for peers: no neighbour knows more of them. Answered by `PeersDiscovered`, or never."""


@dataclass(frozen=True, slots=True)
class Execute:
    """Run these chunks of one task, each in a fresh instance. Answered by one `Executed` with the same `job`."""

    job: int
    task_id: bytes
    runtime: Runtime
    code: bytes
    limits: Limits
    numbers: bool
    """The inputs are i64s, which a command module gets as arguments (split.is_numbers)."""
    chunks: tuple[ChunkInput, ...]


@dataclass(frozen=True, slots=True)
class CancelJob:
    """Nobody needs this job's outcomes any more. `Executed` for it may or may not still come."""

    job: int


@dataclass(frozen=True, slots=True)
class SaveRecords:
    """Keep these signed records (a manifest included) across a crash, before any later `SendFrame` leaves.

    The order is what makes kill -9 harmless: nothing of ours is told to anybody that we could forget. What others have
    signed is kept with the next of ours, or within a second.
    """

    records: tuple[Signed, ...]


class Notable(Enum):
    """What a person watching would want to hear about."""

    TASK_SEEN = "task seen"
    WORKER_ADMITTED = "worker admitted"
    CHUNK_ACCEPTED = "chunk accepted"
    CHUNK_REOPENED = "chunk reopened"
    CHUNK_FAILED = "chunk failed"
    DISPUTE = "dispute"
    WORKER_CONVICTED = "worker convicted"
    CREATOR_VOUCHED = "creator vouched for"
    """Somebody we trust answers for a creator, as the detail says who, for longer than before or no more."""
    STEWARD_NAMED = "steward named"
    TASK_SETTLED = "task settled"
    """A steward has done all it can: the creator closes the task when it is back."""
    TASK_CLOSED = "task closed"
    CREATOR_FORKED = "creator forked"
    """It has given a chunk of a stream two inputs: we compute nothing more of that."""
    PEER_SUSPECTED = "peer suspected"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something notable happened: for the log, the status command and the progress bar. Never for decisions."""

    what: Notable
    task_id: bytes | None = None
    chunk: int | None = None
    peer_id: PeerId | None = None
    detail: str = ""


Output: TypeAlias = (
    SendFrame
    | CloseLink
    | DialPeer
    | SignalArrived
    | SignalUndelivered
    | SeekPeers
    | Execute
    | CancelJob
    | SaveRecords
    | Notice
)

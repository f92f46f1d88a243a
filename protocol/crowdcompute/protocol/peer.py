"""The whole peer: links, gossip, blobs, ledgers and roles composed into one sans-I/O object.

A driver feeds it inputs (events.py) and performs its outputs in order. Per neighbour:

    a frame --session--> gossip | exchange | records --ledger--> roles --desk--> records, jobs, notices

Whatever a neighbour sends, the worst that happens here is `RemoteProtocolError`: its score falls, and at the floor
the link is closed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Protocol

from .accepting import Accepting
from .conduct import Conduct
from .creator import CreatorRole
from .custody import Custody
from .errors import LocalProtocolError, RemoteProtocolError
from .events import (
    CallsFed,
    Channel,
    CloseLink,
    DialFailed,
    DialPeer,
    Executed,
    FinishRequested,
    FrameReceived,
    FramesReceived,
    Input,
    LinkClosed,
    LinkDrained,
    LinkOpened,
    Notable,
    Notice,
    Output,
    PeersDiscovered,
    RecordsRestored,
    SaveRecords,
    SendFrame,
    SignalMade,
    SlotsChanged,
    StateKept,
    StewardNamed,
    StewardRevoked,
    TaskGivenUp,
    TaskPublished,
    TasksChosen,
    UploadCapped,
    VouchMade,
    Woke,
    WorkBegun,
)
from .exchange import Exchange
from .frames import (
    BlobCancel,
    BlobGot,
    BlobHave,
    BlobMissing,
    BlobPieceFrame,
    BlobSeek,
    BlobWant,
    Bye,
    Frame,
    Graft,
    IHave,
    IWant,
    Part,
    Prune,
    Publish,
    Topics,
    decode_frame,
    encode_frame,
)
from .gossip import Gossip
from .identity import PeerId, peer_id_of, public_key_of
from .introductions import Introductions
from .ledger import Ledger, task_topic
from .manifest import open_manifest, time_refusal
from .neighbours import Neighbours
from .office import CreatorsOffice, StewardsOffice
from .permissions import is_fetched
from .pieces import pieces_of
from .reconcile import Reconcile, ReconcileCells, ReconcileIds
from .records import (
    Admit,
    Assign,
    Commit,
    Delegate,
    Feed,
    Join,
    Lease,
    Record,
    Reveal,
    Revoke,
    Savepoint,
    Signed,
    parse,
    sign,
    verify_signature,
)
from .serving import Serving
from .session import Session, SessionState
from .signaling import Ask, Peers, Relay, Relayed, Undeliverable
from .slots import Slots
from .stewarding import creators_signer, stewards_signer
from .vouching import Vouches
from .waiting import Waiting, awaited_by
from .worker import WorkerRole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from random import Random

    from .config import ProtocolConfig
    from .identity import Signer, Verifier
    from .manifest import BlobRef, Manifest
    from .sizing import Pace
    from .storage import BlobStore

NETWORK_TOPIC = b""
TASKS_MAX = 1_000
EXPIRE_EVERY_S = 5.0
# Made once: it is asked for every record.
_OF_CHUNKS = (Commit, Reveal, Assign)


class _News(IntEnum):
    """What a frame may have changed."""

    NONE = 0
    PIECES = 1
    """Pieces are on their way, or here; the roles wait for all they want of a blob."""
    MUCH = 2


@dataclass(slots=True)
class _Link:
    session: Session
    conduct: Conduct
    suspected: bool = False


class _Waking(Protocol):
    def wake_at(self) -> float | None: ...


class Peer:
    """One peer of one network. Not thread-safe; one `handle` at a time.

    Args:
        config: Fixed for the peer's life.
        signer: The peer's keys.
        verifier: Checks other people's signatures.
        rng: Where all chance comes from. Salts, nonces, picks and audits are drawn from it, so a real node passes a
            cryptographic generator.
        blobs: Where blobs are kept.
        decode: Reads frames. Who runs many peers in one process can let them share what they read.
    """

    def __init__(
        self,
        config: ProtocolConfig,
        signer: Signer,
        verifier: Verifier,
        rng: Random,
        blobs: BlobStore,
        now: float,
        *,
        decode: Callable[[bytes], Frame] = decode_frame,
    ) -> None:
        self.config = config
        self.signer = signer
        self.peer_id: PeerId = signer.peer_id
        self.ledgers: dict[bytes, Ledger] = {}
        self.workers: dict[bytes, WorkerRole] = {}
        self.creators: dict[bytes, CreatorRole] = {}
        self._working: dict[bytes, WorkerRole] = {}
        self._creating: dict[bytes, CreatorRole] = {}
        """Those of them whose tasks are not over: of thousands of tasks most are."""
        self.stewards: dict[bytes, CreatorRole] = {}
        """Tasks of others that we are steward of."""
        self.vouches = Vouches(verifier, config.vouchers | {signer.public_key})
        self._verifier = verifier
        self._rng = rng
        self._blobs = blobs
        self._decode = decode
        self._gossip = Gossip(config, signer.peer_id, rng, self)
        self._serving = Serving(config)
        self._exchange = Exchange(config, blobs, rng, self._serving)
        self.custody = Custody(config, self, self._exchange.neighbours, rng, self._serving)
        self._neighbours = Neighbours(config, rng, now)
        self._introductions = Introductions(config, signer.public_key, verifier, rng, self._neighbours, now)
        self._waking: tuple[_Waking, ...] = (
            self._gossip,
            self._exchange,
            self.custody,
            self._neighbours,
            self._introductions,
        )
        self._links: dict[PeerId, _Link] = {}
        self._waiting = Waiting()
        self._begun: dict[bytes, WorkBegun] = {}
        """Chunks of tasks that we do not work for yet, with which the driver could go on."""
        self._accepting = Accepting(config, signer.public_key, self.vouches, self.workers, self.stewards)
        self._slots = Slots(config, lambda output: self._outputs.append(output), now)
        self._expire_at = now + EXPIRE_EVERY_S
        self._sessions_at = math.inf
        """No session has anything to do before; what a neighbour says only moves that further away."""
        self._now = now
        self._outputs: list[Output] = []
        self._saved: list[Signed] = []
        """What is to be saved, in this order."""
        self._saving = False
        """Whether that must be done before anything more is told: some of it is ours. Others can say theirs again."""
        self._fetches: list[tuple[bytes, int, bytes | None, tuple[bytes, ...]]] = []
        self._gossip.follow(NETWORK_TOPIC)

    # ---- the driver's side

    def handle(self, event: Input, *, now: float) -> list[Output]:
        """Apply one input and return what to do about it, in the order to do it."""
        self._now = now
        match event:
            case FrameReceived(peer_id=peer_id, frame=frame):
                news = self._frame_received(peer_id, frame)
                if news < _News.MUCH:
                    return self._little_follows(news)
            case FramesReceived(frames=frames):
                news = max([self._frame_received(peer_id, frame) for peer_id, frame in frames], default=_News.NONE)
                if news < _News.MUCH:
                    return self._little_follows(news)
            case Woke():
                self._woke()
            case Executed(job=job, outcomes=outcomes, seconds=seconds):
                role = self._slots.finished(job)
                if role is not None:
                    role.executed(job, outcomes, seconds, now)
            case LinkDrained(peer_id=peer_id):
                self._serving.drained(peer_id)
                return self._drain()
            case LinkOpened(peer_id=peer_id, dialled=dialled):
                self._link_opened(peer_id, dialled=dialled)
            case LinkClosed(peer_id=peer_id, reason=reason):
                self._link_closed(peer_id, reason)
            case DialFailed(peer_id=peer_id):
                self._neighbours.closed(peer_id, now)
            case PeersDiscovered(peer_ids=peer_ids):
                self._neighbours.discovered([peer for peer in peer_ids if peer != self.peer_id], now)
            case SignalMade(to=to, through=through, signal=signal):
                self._introductions.relay(to, through, signal, now)
            case TaskPublished(manifest=manifest):
                self._publish_task(manifest)
            case TaskGivenUp(task_id=task_id, decisive=decisive):
                if task_id in self.creators:
                    self.creators[task_id].give_up(now, decisive=decisive)
            case CallsFed(task_id=task_id, inputs=inputs, ends=ends):
                self._own_task(task_id).feed(inputs, now, ends=ends)
            case VouchMade(vouch=vouch):
                self._vouch_made(vouch)
            case StewardNamed(task_id=task_id, steward=steward, until_s=until_s, trusted=trusted):
                self._own_task(task_id).delegate(public_key_of(steward), until_s, now, trusted=trusted)
            case StewardRevoked(task_id=task_id, steward=steward):
                self._own_task(task_id).revoke(public_key_of(steward), now)
            case RecordsRestored(records=records):
                self._restore(records)
            case WorkBegun(task_id=task_id):
                if task_id in self.workers:
                    self.workers[task_id].begun(event.chunks, event.after)
                else:
                    self._begun[task_id] = event
            case StateKept(task_id=task_id, chunk=chunk, number=number, state=state):
                if task_id in self.workers:
                    self.workers[task_id].state_kept(chunk, number, state, now)
            case FinishRequested():
                self._accepting.finishing = True
                for worker in self.workers.values():
                    worker.finish()
            case TasksChosen(tasks=tasks):
                self._accepting.chosen = tasks
                self._choose_workers(self.ledgers.values())
            case SlotsChanged(slots=slots):
                self._slots.count = slots
                self._choose_workers(self.ledgers.values())
            case UploadCapped(bytes_per_s=bytes_per_s):
                self._serving.cap(bytes_per_s, now)
        self._advance_roles()
        return self._drain()

    @property
    def wake_at(self) -> float:
        """When to send `Woke`, if nothing happens before. Changes with every `handle`."""
        # Asked after every event: two loops, and no list made of what both go over.
        first = min(self._expire_at, self._sessions_at)
        for part in self._waking:
            at = part.wake_at()
            if at is not None and at < first:
                first = at
        for roles in (self._working, self._creating):
            for role in roles.values():
                at = role.wake_at()
                if at is not None and at < first:
                    first = at
        return first

    @property
    def idle(self) -> bool:
        """Whether nothing is being executed."""
        return self._slots.idle

    @property
    def neighbours(self) -> dict[PeerId, SessionState]:
        """Linked peers and the state of each session."""
        return {peer_id: link.session.state for peer_id, link in self._links.items()}

    @property
    def given_bytes(self) -> int:
        """Bytes of blobs (code, inputs, results) that we have sent to others."""
        return self._serving.given_bytes

    def follows(self, topic: bytes) -> bool:
        """Whether we take part in a topic."""
        return self._gossip.follows(topic)

    def needs(self, digest: bytes) -> bool:
        """Whether a blob may not go from the store: an open task uses it, or somebody is to fetch it from us."""
        return bool(self.creators or self.stewards) or any(role.needs(digest) for role in self.workers.values())

    def farewell(self, reason: str) -> list[Output]:
        """Tell all neighbours what they have not heard from us yet, then that we leave; close the links after that."""
        self._saving = True
        self._gossip.last_words()
        outputs = self._drain()
        for peer_id in self._links:
            self._send(peer_id, Bye(reason))
        return outputs + self._drain()

    # ---- the shelf gossip asks

    def record_ids(self, topic: bytes) -> Iterator[bytes]:
        if topic == NETWORK_TOPIC:
            # Tasks first: what is said of a creator whose task a newcomer does not hold is nothing to it.
            return iter([*self.ledgers, *self.vouches.ids()])
        ledger = self.ledgers.get(topic[:32])
        return ledger.record_ids(topic) if ledger is not None else iter(())

    def record(self, record_id: bytes) -> Signed | None:
        for ledger in self.ledgers.values():
            signed = ledger.record(record_id)
            if signed is not None:
                return signed
        return self.vouches.record(record_id)

    # ---- the desk roles work at

    def publish(self, ledger: Ledger, record: Record) -> None:
        signed = sign(self.signer, record)
        if not ledger.add(signed, record, self._now):
            return
        if self._worth_saving(ledger, signed, record):
            self._saved.append(signed)
            # A join that is forgotten is made again.
            self._saving |= not isinstance(record, Join)
        self._spread(ledger, signed, record, None)
        for worker in self._roles_of(ledger.task, besides_creator=True):
            # A peer may work for its own task's other half only through the ledger, as everybody does.
            worker.record_added(signed, record, self._now)

    def follow(self, topic: bytes) -> None:
        self._gossip.follow(topic)

    def leave(self, topic: bytes) -> None:
        self._gossip.leave(topic)

    def synced(self, topic: bytes) -> bool:
        return self._gossip.synced(topic)

    def cancel(self, job: int) -> None:
        self._slots.cancel(job)

    def fetch(self, digest: bytes, size: int, root: bytes | None, providers: Sequence[bytes]) -> None:
        self._fetches.append((digest, size, root, tuple(providers)))

    def fetch_pieces(self, blob: BlobRef, pieces: int) -> None:
        self._exchange.fetch_pieces(blob.sha256, blob.size, blob.root, pieces, self._now)

    def lacking(self, blob: BlobRef, start: int, length: int) -> int:
        if self._blobs.size(blob.sha256) is not None:
            return 0
        return pieces_of(start, min(length, blob.size - start)) & ~self._exchange.here(blob.sha256)

    def forget(self, digest: bytes) -> None:
        others = (role for role in self.workers.values() if not role.done)
        if not any(role.uses(digest) for role in others):
            self._exchange.forget(digest)

    def followers(self, topic: bytes) -> list[PeerId]:
        return self._gossip.followers(topic)

    def tell(self, peer_id: PeerId, frame: Frame) -> None:
        self._send(peer_id, frame)

    def want(self, peer_id: PeerId) -> None:
        self._neighbours.want(peer_id, self._now)

    def pace(self, ledger: Ledger) -> Pace:
        return self._slots.paces.of(ledger.manifest.code.sha256)

    def notice(self, what: Notable, ledger: Ledger, *, chunk: int | None, peer: bytes | None, detail: str) -> None:
        self._outputs.append(Notice(what, ledger.task, chunk, peer_id_of(peer) if peer else None, detail))

    # ---- links

    def _link_opened(self, peer_id: PeerId, *, dialled: bool) -> None:
        if peer_id in self._links:
            self._link_closed(peer_id, "replaced by a new link", parted=True)
        left = self._neighbours.opened(peer_id, self._now, dialled=dialled)
        if left is None:
            self._outputs.append(CloseLink(peer_id, "too many neighbours"))
            return
        link = _Link(Session(self.config, self._now), Conduct(self.config, self._now))
        self._links[peer_id] = link
        self._sessions_at = min(self._sessions_at, link.session.wake_at())
        self._send(peer_id, link.session.greeting())
        for other in left:
            self._send(other, Part())
            self._drop_link(other, "other neighbours", parted=True)

    def _link_closed(self, peer_id: PeerId, reason: str, *, parted: bool = False) -> None:
        self._neighbours.closed(peer_id, self._now)
        if self._links.pop(peer_id, None) is None:
            return
        self._gossip.link_closed(peer_id)
        self._exchange.link_closed(peer_id, self._now)
        self._introductions.link_closed(peer_id)
        if not parted:
            self._silent(peer_id, reason)

    def _drop_link(self, peer_id: PeerId, reason: str, *, parted: bool = False) -> None:
        self._outputs.append(CloseLink(peer_id, reason))
        self._link_closed(peer_id, reason, parted=parted)

    def _silent(self, peer_id: PeerId, reason: str) -> None:
        """A neighbour is gone or suspected: its leases may be re-run. Only we think so; others see for themselves."""
        key = public_key_of(peer_id)
        left = {task: ledger.leases.release(key) for task, ledger in self.ledgers.items()}
        for worker in self.workers.values():
            worker.look_again(self._now)
        for task, creator in [*self.creators.items(), *self.stewards.items()]:
            creator.worker_silent(key, left[task], self._now)
        self._outputs.append(Notice(Notable.PEER_SUSPECTED, None, None, peer_id, reason))

    def _little_follows(self, news: _News) -> list[Output]:
        """What to do after frames that the roles need not look at."""
        if news is _News.NONE and not self._outputs:
            return []  # Most frames of a mesh are copies of what we know.
        return self._drain()  # It tells the roles when all they want of a blob is here.

    def _frame_received(self, peer_id: PeerId, data: bytes) -> _News:
        """Apply one frame."""
        link = self._links.get(peer_id)
        if link is None:
            return _News.NONE  # We closed this link; its last frames were on their way.
        try:
            frame = self._decode(data)
            greeting = link.session.state is SessionState.GREETING
            if not (isinstance(frame, BlobPieceFrame) and self._is_expected(peer_id, frame)):
                link.conduct.charge(len(data), self._now)
            for answer in link.session.received(frame, self._now):
                self._send(peer_id, answer)
            link.suspected = False
            if greeting:
                self._sessions_at = min(self._sessions_at, link.session.wake_at())
                self._gossip.link_opened(peer_id)
                self._exchange.link_opened(peer_id, self._now)
                self._introductions.link_opened(peer_id, self._now)
            elif link.session.state is SessionState.GONE:
                self._drop_link(peer_id, link.session.reason, parted=link.session.parted)
            elif isinstance(frame, Publish):
                return _News.MUCH if self._records_received(peer_id, frame.records) else _News.NONE
            else:
                return self._dispatch(peer_id, frame)
        except RemoteProtocolError as error:
            self._penalise(peer_id, str(error))
        return _News.MUCH

    def _is_expected(self, peer_id: PeerId, piece: BlobPieceFrame) -> bool:
        return self._exchange.expects(peer_id, piece) or self.custody.expects(peer_id, piece)

    def _penalise(self, peer_id: PeerId, reason: str) -> None:
        link = self._links.get(peer_id)
        if link is not None and (link.conduct.breach() or link.session.state is SessionState.GREETING):
            self._drop_link(peer_id, reason)

    def _dispatch(self, peer_id: PeerId, frame: Frame) -> _News:
        if self.custody.takes(peer_id, frame, self._now):
            return _News.MUCH
        match frame:
            case Topics() | Graft() | Prune() | IHave() | IWant() | Reconcile() | ReconcileCells() | ReconcileIds():
                self._gossip.received(peer_id, frame, self._now)
            case BlobWant() | BlobPieceFrame() | BlobMissing() | BlobSeek() | BlobHave() | BlobGot() | BlobCancel():
                self._exchange.received(peer_id, frame, self._now)
                return _News.PIECES
            case Ask() | Peers() | Relay() | Relayed() | Undeliverable():
                self._introductions.received(peer_id, frame, self._now)
            case _:
                pass
        return _News.MUCH

    # ---- records

    def _records_received(self, source: PeerId, records: Sequence[Signed]) -> bool:
        """Take what is new; False when nothing is. One bad record does not keep the others from being heard."""
        new = False
        for signed in records:
            record_id = signed.record_id
            if self._gossip.seen(record_id):
                self._gossip.has(source, record_id)
                continue
            new = True
            try:
                self._record_received(source, signed, record_id)
            except RemoteProtocolError as error:
                self._penalise(source, str(error))
        return new

    def _record_received(self, source: PeerId, signed: Signed, record_id: bytes) -> None:
        if signed.kind == "manifest":
            self._manifest_received(source, signed, record_id)
            return
        if signed.kind == "vouch":
            self._vouch_received(source, signed)
            return
        record = parse(signed)
        ledger = self.ledgers.get(record.task)
        if ledger is None or ledger.is_void(signed.author):
            return
        awaited = awaited_by(ledger, signed, record)
        if awaited is not None:
            self._waiting.hold(source, ledger.task, awaited, signed)
            return
        ledger.check(signed, record)
        verify_signature(self._verifier, signed)
        if ledger.add(signed, record, self._now):
            self._added(ledger, signed, record, source)
        else:
            self._gossip.mark_seen(record_id)

    def _spread(self, ledger: Ledger, signed: Signed, record: Record, source: PeerId | None) -> None:
        """Send a record on; of a stream to others than who needs it first when more has come together."""
        gathers, concerned = ledger.fed is not None, ledger.manifest.creator
        if isinstance(record, Admit | Assign) and (source is None or gathers):
            concerned = record.worker
        # A feed goes with the assignments that come right after it.
        towards = None if isinstance(record, Feed) else peer_id_of(concerned)
        self._gossip.publish(
            ledger.topic_of(record), signed.record_id, signed, self._now, source, towards, gathers=gathers
        )

    def _added(self, ledger: Ledger, signed: Signed, record: Record, source: PeerId | None) -> None:
        if self._worth_saving(ledger, signed, record):
            self._saved.append(signed)
        self._spread(ledger, signed, record, source)
        for role in self._roles_of(ledger.task):
            role.record_added(signed, record, self._now)
        if isinstance(record, Delegate | Revoke):
            self._mind_stewardship(ledger)
        for held_source, held in self._waiting.came(ledger.task, signed, record):
            self._records_received(held_source, (held,))

    def _manifest_received(self, source: PeerId, signed: Signed, record_id: bytes) -> None:
        if record_id in self.ledgers:
            self._gossip.mark_seen(record_id)  # It fell out of the seen cache; what we hold of the task stays.
            return
        manifest = open_manifest(signed, self._verifier)
        self._gossip.mark_seen(record_id)
        if time_refusal(manifest, self._now + self.config.epoch_offset_s) is not None or not self._has_room_for_task():
            return
        ledger = self.ledgers[record_id] = self._ledger(signed, manifest)
        self._gossip.publish(NETWORK_TOPIC, record_id, signed, self._now, source)
        self._outputs.append(Notice(Notable.TASK_SEEN, record_id, None, peer_id_of(manifest.creator), manifest.name))
        if self._acceptable(ledger):
            self._start_worker(ledger)

    def _vouch_received(self, source: PeerId | None, signed: Signed) -> None:
        if not self.vouches.add(signed, (ledger.manifest for ledger in self.ledgers.values())):
            return  # Not marked as seen: the task that makes it matter may come yet.
        self._gossip.mark_seen(signed.record_id)
        self._saved.append(signed)
        self._gossip.publish(NETWORK_TOPIC, signed.record_id, signed, self._now, source)
        if signed.author in self.config.vouchers:
            detail = self.vouches.words(signed, self._now + self.config.epoch_offset_s)
            self._outputs.append(Notice(Notable.CREATOR_VOUCHED, None, None, peer_id_of(signed.author), detail))
        self._mind_vouches()

    def _vouch_made(self, signed: Signed) -> None:
        if signed.author != self.signer.public_key:
            raise LocalProtocolError("only who signed a vouch can make it known: use that key")
        self._vouch_received(None, signed)
        if self.vouches.record(signed.record_id) is None:
            raise LocalProtocolError("we have said something newer of this creator: look whether the clock is right")

    def _mind_vouches(self) -> None:
        """Begin to fetch, or stop, where what is said of a creator has changed or has run out."""
        if self._accepting.fetches:
            self._choose_workers([ledger for ledger in self.ledgers.values() if is_fetched(ledger.manifest)])

    def _has_room_for_task(self) -> bool:
        """Whether one more task can be held; of those that are over the oldest is forgotten for it."""
        if len(self.ledgers) < TASKS_MAX:
            return True
        held = (task for task in self.ledgers if task not in self.creators and task not in self._working)
        over = next((task for task in held if self.ledgers[task].certificate is not None), None)
        if over is None:
            return False
        del self.ledgers[over]
        self.workers.pop(over, None)
        self.stewards.pop(over, None)
        self.custody.leave(over)
        self._gossip.leave_all(over)
        return True

    def _ledger(self, signed: Signed, manifest: Manifest) -> Ledger:
        mine = manifest.creator == self.signer.public_key
        return Ledger(signed, manifest, keep_commits=mine, clock_offset_s=self.config.epoch_offset_s)

    def _worth_saving(self, ledger: Ledger, signed: Signed, record: Record) -> bool:
        """A creator keeps everything its tally rests on; a worker what it must not forget, and the task's state."""
        if isinstance(record, Lease | Savepoint):
            return False
        if ledger.task in self.creators or ledger.task in self.stewards:
            return True
        if isinstance(record, Feed):
            return False  # A worker hears it again.
        if isinstance(record, _OF_CHUNKS):
            return signed.author == self.signer.public_key
        return ledger.task in self.workers

    # ---- tasks and roles

    def _acceptable(self, ledger: Ledger) -> bool:
        return self._accepting.accepts(ledger, self._slots.count, self._now)

    def _start_worker(self, ledger: Ledger) -> WorkerRole:
        self._saved.append(ledger.signed)
        role = WorkerRole(self.config, self.signer, self._rng, ledger, self, self._blobs, self._now)
        begun = self._begun.pop(ledger.task, None)
        if begun is not None:
            role.begun(begun.chunks, begun.after)
        self.workers[ledger.task] = self._working[ledger.task] = role
        return role

    def _choose_workers(self, ledgers: Iterable[Ledger]) -> None:
        """After a change of what or how much to work: begin, go on or rest, task by task."""
        for ledger in ledgers:
            role, wanted = self.workers.get(ledger.task), self._acceptable(ledger)
            if role is None and wanted and ledger.certificate is None:
                own = [signed for signed in ledger.records() if signed.author == self.signer.public_key]
                self._start_worker(ledger).restored([(signed, parse(signed)) for signed in own], self._now)
            elif role is not None and wanted:
                role.resume(self._now)
            elif role is not None:
                role.rest()

    def _publish_task(self, signed: Signed) -> None:
        manifest = open_manifest(signed, self._verifier)
        if manifest.creator != self.signer.public_key:
            raise LocalProtocolError("only the creator who signed a task can publish it: use that creator's key")
        refusal = time_refusal(manifest, self._now + self.config.epoch_offset_s)
        if refusal is not None:
            raise LocalProtocolError(refusal)
        if signed.record_id in self.creators:
            return
        ledger = self.ledgers[signed.record_id] = self._ledger(signed, manifest)
        self.creators[ledger.task] = self._creating[ledger.task] = self._creator_role(ledger)
        self._gossip.follow(task_topic(ledger.task))
        self._saved.append(signed)
        self._saving = True
        self._gossip.publish(NETWORK_TOPIC, ledger.task, signed, self._now)
        self.creators[ledger.task].invite(self._is_here, self._now)

    def _is_here(self, worker: bytes) -> bool:
        """Whether a worker is a neighbour of whom we have heard lately."""
        link = self._links.get(peer_id_of(worker))
        return link is not None and link.session.state is SessionState.OPEN

    def _restore(self, records: tuple[Signed, ...]) -> None:
        by_task: dict[bytes, list[tuple[Signed, Record]]] = {}
        for signed in records:
            if signed.kind == "manifest":
                manifest = open_manifest(signed, self._verifier)
                self.ledgers[signed.record_id] = self._ledger(signed, manifest)
                self._gossip.mark_seen(signed.record_id)
        for signed in records:
            if signed.kind == "vouch":
                self.vouches.add(signed, (ledger.manifest for ledger in self.ledgers.values()))
        for signed in records:
            if signed.kind in ("manifest", "vouch"):
                continue
            record = parse(signed)
            ledger = self.ledgers.get(record.task)
            if ledger is not None and ledger.add(signed, record, self._now):
                self._gossip.mark_seen(signed.record_id)
                by_task.setdefault(ledger.task, []).append((signed, record))
        for task, ledger in self.ledgers.items():
            own = by_task.get(task, [])
            if ledger.manifest.creator == self.signer.public_key:
                role = self.creators[task] = self._creating[task] = self._creator_role(ledger)
                self._gossip.follow(task_topic(task))
                role.restored(own, self._now)
            elif ledger.certificate is None and self._acceptable(ledger):
                self._start_worker(ledger).restored(own, self._now)
            self._mind_stewardship(ledger)

    def _own_task(self, task: bytes) -> CreatorRole:
        if task not in self.creators:
            raise LocalProtocolError("only the creator of a task feeds it and chooses its stewards")
        return self.creators[task]

    def _creator_role(self, ledger: Ledger) -> CreatorRole:
        signer = creators_signer(self.signer, ledger.manifest)
        office = CreatorsOffice(self.config, signer, ledger, self)
        return CreatorRole(self.config, signer, self._rng, ledger, self, self._blobs, office, self._now)

    def _mind_stewardship(self, ledger: Ledger) -> None:
        """Take up the part of a steward that a creator gave us, or lay it down when it takes it back."""
        task, delegation = ledger.task, ledger.delegations.get(self.signer.public_key)
        if delegation is None:
            if self.stewards.pop(task, None) is not None:
                del self._creating[task]
            return
        if not self.config.steward or task in self.stewards or ledger.certificate is not None:
            return
        try:
            signer = stewards_signer(self.signer, ledger.manifest, delegation)
        except RemoteProtocolError:
            return  # The creator sealed nonsense to us. Its task is its own loss.
        office = StewardsOffice(self.config, self.signer, ledger, self, self._blobs)
        role = self.stewards[task] = self._creating[task] = CreatorRole(
            self.config, signer, self._rng, ledger, self, self._blobs, office, self._now
        )
        self.notice(Notable.STEWARD_NAMED, ledger, chunk=None, peer=None, detail=ledger.manifest.name)
        if task in self.workers:
            self.workers[task].rest()  # Whoever judges votes casts none for itself.
        records = [signed for signed in ledger.records() if signed.kind != "manifest"]
        self._saved += [signed for signed in records if signed.kind not in ("lease", "savepoint")]
        self._saving = True
        role.restored([(signed, parse(signed)) for signed in records], self._now)

    def _roles_of(self, task: bytes, *, besides_creator: bool = False) -> list[WorkerRole | CreatorRole]:
        roles: list[WorkerRole | CreatorRole] = []
        if task in self.workers:
            roles.append(self.workers[task])
        for mine in (self.creators, self.stewards):
            if task in mine and not besides_creator:
                roles.append(mine[task])
        return roles

    def _all_roles(self) -> list[WorkerRole | CreatorRole]:
        return [*self.workers.values(), *self.creators.values(), *self.stewards.values()]

    def _advance_roles(self) -> None:
        now = self._now
        self.custody.advance(now)
        for creator in self._creating.values():
            creator.advance(now)
        self._slots.fill(self._creating.values(), self._working.values(), now)
        for worker in self._working.values():
            worker.advance(now)
        over = [task for task in (*self._working, *self._creating) if self.ledgers[task].certificate is not None]
        for task in over:
            if task not in self._working or self._working[task].wake_at() == math.inf:
                self._working.pop(task, None)
                self._creating.pop(task, None)
        while self._fetches:
            digest, size, root, makers = self._fetches.pop()
            providers = [peer_id_of(maker) for maker in makers if maker != self.signer.public_key]
            if root is None:  # Nobody else has it.
                for provider in providers:
                    self._neighbours.want(provider, now)
            self._exchange.fetch(digest, size, root, providers or list(self._links), now)

    # ---- time

    def _woke(self) -> None:
        now = self._now
        if now >= self._sessions_at:
            self._advance_sessions(now)
        if self._gossip.heartbeat_due(now):
            self._gossip.heartbeat(now)
            self._saving = True
        self._exchange.advance(now)
        for peer_id, through in self._neighbours.dials(now):
            self._outputs.append(DialPeer(peer_id, through))
        self._introductions.seek(now)
        if now >= self._expire_at:
            self._expire_at = now + EXPIRE_EVERY_S
            self._saving = True
            for ledger in self.ledgers.values():
                ledger.expire(now)
            self._mind_vouches()

    def _advance_sessions(self, now: float) -> None:
        for peer_id, link in list(self._links.items()):
            for frame in link.session.advance(now):
                self._send(peer_id, frame)
            if link.session.state is SessionState.GONE:
                self._drop_link(peer_id, link.session.reason)
            elif link.session.state is SessionState.SUSPECTED and not link.suspected:
                link.suspected = True
                self._silent(peer_id, "silent")
        self._sessions_at = min((link.session.wake_at() for link in self._links.values()), default=math.inf)

    # ---- outputs

    def _send(self, peer_id: PeerId, frame: Frame) -> None:
        channel = Channel.BULK if isinstance(frame, BlobPieceFrame) else Channel.CONTROL
        self._outputs.append(SendFrame(peer_id, channel, encode_frame(frame)))

    def _drain(self) -> list[Output]:
        while True:
            self._neighbours.moving = self._exchange.moving
            frames, finished = self._exchange.drain(self._now)
            for digest, here in finished:
                for role in self._all_roles():
                    role.blob_arrived(digest, here, self._now)
            for peer_id, frame in frames:
                self._send(peer_id, frame)
            if not finished:
                break
            self._advance_roles()
        introducing, asked = self._introductions.drain()
        for peer_id, introduction in introducing:
            self._send(peer_id, introduction)
        self._outputs += asked
        encoded: dict[tuple[int, ...], bytes] = {}
        for peer_id, frame in self._gossip.drain(self._now):
            if isinstance(frame, Publish):
                # Most neighbours get the very same records: encode them once.
                key = tuple(map(id, frame.records))
                data = encoded.get(key)
                if data is None:
                    data = encoded[key] = encode_frame(frame)
                self._outputs.append(SendFrame(peer_id, Channel.CONTROL, data))
            else:
                self._send(peer_id, frame)
        outputs, self._outputs = self._outputs, []
        if self._saved and self._saving:
            # First of all: nothing is told to anybody that a crash could make us forget.
            outputs.insert(0, SaveRecords(tuple(self._saved)))
            self._saved = []
        self._saving = False
        return outputs

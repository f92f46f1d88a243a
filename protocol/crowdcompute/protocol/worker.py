"""A volunteer's part in one task (spec/ledger.md).

    FETCHING --code and inputs here--> JOINING --admit--> WORKING <--nothing open / something open--> IDLE
                                          |                  |
                                          '---- ban ---------+---- certificate ----> DONE

A worker that nobody admits works as a guest: the creator is away, and opens what it finds when it comes back.
Large inputs are fetched chunk by chunk, while other chunks run. A worker commits its votes batch by batch, says by
leases what it is on, and prefers what the creator asks of it to what it picks itself. It follows one shard at a time
and moves on when that shard has nothing left for it.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING

from .assigning import open_assignment
from .batch import open_commit
from .earning import Earning
from .errors import ProtocolError, RemoteProtocolError
from .events import ChunkInput, ChunkOutcome, Notable, Status
from .following import BATCHES_LEFT, Following
from .frames import Keep, Kept
from .giving import Giving
from .handover import Handover, StateLacking
from .keeping import Keeping
from .leasing import Leasing
from .ledger import find_work, task_topic
from .onward import Gathering, ResultsLacking
from .picking import pick_open
from .records import (
    Admit,
    Assign,
    CertificateBody,
    Checkpoint,
    Commit,
    Feed,
    Join,
    Lease,
    Record,
    Revoke,
    Savepoint,
    Signed,
    Verdict,
    chunks_of,
    shard_of,
)
from .split import ChunkReader, are_read_in_pieces, seed
from .standing_in import StandingIn
from .voting import commits_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import PeerId, Signer
    from .ledger import Ledger
    from .manifest import BlobRef
    from .onward import ResultRef
    from .provisional import Provisional
    from .standing_in import Draw
    from .storage import BlobStore


ALONE_AFTER_S = 5.0
"""A worker that hears nothing of the creator for so long picks elsewhere than those who do. A creator that is there
signs a checkpoint every two seconds where chunks are short."""

SHRUNK_MAX = 8
"""The smallest batch a worker picks is this part of a usual one. A guess; simulations/scenarios/liars.toml."""


class _InputsLacking(Exception):  # No error: they come.
    """A chunk's input is not here yet, for want of these pieces."""

    def __init__(self, pieces: int) -> None:
        super().__init__(pieces)
        self.pieces = pieces


class WorkerState(Enum):
    FETCHING = "fetching"
    JOINING = "joining"
    WORKING = "working"
    IDLE = "idle"
    DONE = "done"


class WorkerRole:
    """One task we work for."""

    def __init__(
        self,
        config: ProtocolConfig,
        signer: Signer,
        rng: Random,
        ledger: Ledger,
        desk: Desk,
        blobs: BlobStore,
        now: float,
    ) -> None:
        self.ledger = ledger
        self.state = WorkerState.FETCHING
        self.votes = 0
        self._keeping = Keeping(config, ledger, desk)
        self._config = config
        self._signer = signer
        self._rng = rng
        self._desk = desk
        self._blobs = blobs
        self._gathering = Gathering(desk, blobs)
        self._reader = ChunkReader(ledger.manifest, self._read_inputs, self._gathering.read, ledger.inputs_fed())
        self._sizer = desk.pace(ledger).sizer
        self._following = Following(config, rng, ledger, desk, now)
        self._assigned: dict[int, None] = {}
        self._urgent: set[int] = set()
        """Assigned or running chunks for which others have waited already."""
        self._jobs: dict[int, tuple[int, ...]] = {}
        self._waiting: dict[int, None] = {}
        """Chunks we are on whose inputs are on their way."""
        self._inputs_came = False
        self._begun: dict[int, None] = {}
        """Chunks that we were on, and go on with if nobody else has taken them."""
        self._voted: set[int] = set()
        self._giving = Giving(config, rng, ledger, desk, blobs, now)
        self._earning = Earning(config, ledger, desk, blobs)
        self._handover = Handover(config, signer, rng, ledger, desk, self._next_seq)
        self._from_scratch: set[int] = set()
        """Chunks that we were asked for in order to hear nobody's word but ours."""
        self._standing_in = StandingIn(config, signer, rng, ledger, desk)
        self._drawn: Draw | None = None
        """What lots chose for the job that is about to start."""
        self._draws: dict[int, Draw] = {}  # job -> what lots chose for it
        self._seq = 0
        self._lease_changed = True
        self._leasing = Leasing(config, ledger, desk, self._next_seq)
        self._renew_at = math.inf
        self._few_since: float | None = None
        """Since when too few chunks are open for everybody to pick; None while there are enough."""
        self._look_again_at: float | None = None
        self._guest_at: float | None = None
        """When we stop waiting for admission."""
        self._nothing_until = now
        """A pick looks at a whole shard; having found nothing, we do not look again at every record that comes."""
        self._led_at = now
        """When we heard last of the creator, or of whoever acts for it."""
        self._finishing = False
        self._resting = False
        self._expires_at = ledger.manifest.expires_s - config.epoch_offset_s
        desk.custody.take_part(ledger.task, self)
        desk.follow(task_topic(ledger.task))
        self._fetch_missing(now)

    # ---- what happens

    def restored(self, own: list[tuple[Signed, Record]], now: float) -> None:
        """Remember what we voted in an earlier life: never a second vote on a chunk, never a seq used twice.

        The results of it that are still here, and not accepted, are kept and given to others to keep as new ones are.
        """
        for signed, record in own:
            if signed.author == self._signer.public_key and isinstance(record, Commit | Lease):
                self._seq = max(self._seq, record.seq)
                if isinstance(record, Commit):
                    self._voted.update(chunks_of(record.shard, record.runs))
                    self._remember_made(record, now)

    def begun(self, chunks: Sequence[int], after: Sequence[bytes] | None = None) -> None:
        """We were on these chunks before we paused, or in an earlier life: then `after` is what it went on from."""
        self._begun.update((chunk, None) for chunk in chunks if chunk < self.ledger.manifest.chunks)
        if after is not None:
            for number, chunk in enumerate(chunks):
                self._handover.begun(chunk, after[number] if after else b"")

    def state_kept(self, chunk: int, number: int, state: bytes, now: float) -> None:
        """The driver has kept a state of a chunk that it executes for us."""
        custodians = self._giving.custodians(now) if chunk in self._running() else ()
        self._handover.saved(chunk, number, state, custodians, now)

    def record_added(self, signed: Signed, record: Record, now: float) -> None:
        """The ledger has taken somebody's record."""
        if self.ledger.may_act(signed.author, now):
            self._led_at = now
        if signed.author == self.ledger.manifest.creator:
            self._giving.creator_heard(now)
        match record:
            case Admit(worker=worker) if worker == self._signer.public_key:
                if self.state is WorkerState.JOINING:
                    self.state = WorkerState.WORKING
            case Assign(worker=worker) if worker == self._signer.public_key and self.ledger.may_act(signed.author, now):
                self._take_assignment(record, now)
            case Verdict(worker=worker) if worker == self._signer.public_key:
                # A strike is no end: the next results may be right.
                if record.is_ban:
                    self.state = WorkerState.DONE
                detail = record.reason if record.is_ban else "a strike"
                self._desk.notice(Notable.WORKER_CONVICTED, self.ledger, chunk=record.chunk, peer=worker, detail=detail)
            case Savepoint():
                self._keeping.superseded(signed.author, record)
            case Verdict() | Revoke():
                self.look_again(now)
            case Feed() if not self.ledger.is_forked:
                self.look_again(now)
            case Feed():
                self._end()
                self._desk.notice(Notable.CREATOR_FORKED, self.ledger, chunk=None, peer=signed.author, detail="")
            case Checkpoint() if self.ledger.creator_equivocated:
                self._end()  # It signs one thing here and another there: nobody works for such a creator.
            case Checkpoint() if signed.author != self.ledger.manifest.creator:
                self.look_again(now)  # A steward's: the creator may think otherwise, and we keep what we made.
            case Checkpoint():
                self._release(now)
                self._earning.checkpoint(now)
                self.look_again(now)
            case CertificateBody():
                self._end()
                self._earning.closed(now)
            case _:
                pass

    def blob_arrived(self, digest: bytes, here: bool, now: float) -> None:
        """Code or inputs came, or nobody has them now."""
        self._earning.blob_arrived(digest, here, now)
        input_here = here if self.uses(digest) else self._gathering.arrived(digest, here=here)
        if self.state is WorkerState.FETCHING and not self._missing():
            self._join(now)
        elif not here and self.state is WorkerState.FETCHING:
            self._look_again_at = now + self._config.blob_timeout_s
        elif self._waiting and input_here is not None:
            self._inputs_came = input_here
            if not input_here:
                # Nobody we reach has them: others may, and are welcome to these chunks.
                self._waiting.clear()
                self._lease_changed = True
                self._look_again_at = self._nothing_until = now + self._config.blob_timeout_s

    def custody_frame(self, peer_id: PeerId, frame: Keep | Kept, now: float) -> None:
        """A neighbour asks us to keep a result, or answers that it does.

        Raises:
            RemoteProtocolError: What it asks for cannot be a result of this task.
        """
        if isinstance(frame, Kept):
            if not self._handover.answered(peer_id, frame, now):
                self._giving.answered(peer_id, frame, now)
        else:
            willing = not (self.done or self._resting or self._finishing) and now < self._expires_at
            self._keeping.asked(peer_id, frame, now, willing=willing)

    def kept_arrived(self, sealed: bytes, here: bool, now: float) -> None:
        """What we promised to keep is here or cannot be had, or a state that we are to go on from."""
        if self._handover.arrived(sealed, here=here, keep=self._keeping.keeps):
            self._inputs_came = True
        self._keeping.arrived(sealed, here=here)

    def executed(self, job: int, outcomes: tuple[ChunkOutcome, ...], seconds: float, now: float) -> None:
        """Our own node executed a batch: commit it."""
        draw = self._draws.pop(job, None)
        if self._jobs.pop(job, None) is None or self.state is WorkerState.DONE:
            return
        self._lease_changed = True
        self._nothing_until = now
        self._urgent.difference_update(outcome.chunk for outcome in outcomes)
        self._sizer.finished(len(outcomes), seconds)
        useless = [it.chunk for it in outcomes if it.status is Status.NO_RESULT and self._handover.failed(it.chunk)]
        self._assigned.update(dict.fromkeys(useless))
        self._vote([outcome for outcome in outcomes if outcome.chunk not in useless], now, draw)

    def look_again(self, now: float) -> None:
        """Leases were released or chunks reopened: there may be something to pick."""
        self._nothing_until = now

    def finish(self) -> None:
        """Take nothing new; what runs is still committed."""
        self._finishing = True
        self._assigned.clear()
        self._urgent.clear()
        self._waiting.clear()

    def rest(self) -> None:
        """Stop at once: nobody waits for what we had begun. Results made before are still served."""
        self._resting = True
        for job, chunks in self._jobs.items():
            self.begun(chunks)
            self._desk.cancel(job)
        self._jobs.clear()
        self._draws.clear()
        self._assigned.clear()
        self._urgent.clear()
        self._waiting.clear()
        self._lease_changed = True

    def resume(self, now: float) -> None:
        """Go on after a rest."""
        if self._resting:
            self._resting = False
            self._lease_changed = True
            self.look_again(now)

    def advance(self, now: float) -> None:
        """Let time pass: fetch again, renew leases, say that we are idle, have results kept."""
        self._giving.advance(now)
        if now >= self._earning.wake_at():
            self._earning.advance({shard_of(chunk) for chunk in self._voted})
        if self.state in (WorkerState.WORKING, WorkerState.IDLE):
            self._standing_in.advance(now)
        if now >= self._expires_at:
            self._giving.expire()
            self._keeping.release_all()
        looked = self._look_again_at is not None and now >= self._look_again_at
        if looked:
            self._look_again_at = None
        self._wait_for_admission(now)
        if self.state is WorkerState.FETCHING and looked:
            self._fetch_missing(now)
        elif self.state in (WorkerState.WORKING, WorkerState.IDLE) and self._are_leases_due(now):
            self._say_leases(now)

    def take_job(self, now: float) -> list[ChunkInput] | None:
        """The next batch, or None when there is nothing for us now. `job_started` must follow."""
        self._wait_for_admission(now)
        if self._finishing or self._resting or self.state not in (WorkerState.WORKING, WorkerState.IDLE):
            return None
        if self._waiting and not self._inputs_came:
            return None
        chunks = list(self._waiting)
        self._waiting.clear()
        self._inputs_came = False
        if not chunks:
            chunks = self._next_assigned(now)
            self._drawn = self._next_drawn(now) if not chunks else None
            if self._drawn is not None:
                chunks = self._drawn.chunks
            elif len(chunks) < self._sizer.size(now) and self._urgent.isdisjoint(chunks):
                # One commit for both: cheaper, and nobody sees which of its chunks were asked for.
                chunks = sorted(chunks + self._next_picked(now, self._sizer.size(now) - len(chunks), chunks))
        if not chunks:
            self.state = WorkerState.IDLE
            return None
        self.state = WorkerState.WORKING
        batch: list[ChunkInput] = []
        unreadable: list[ChunkOutcome] = []
        pieces = 0
        results: list[ResultRef] = []
        for chunk in chunks:
            try:
                data = self._reader.read(chunk)
                resumed = self._handover.take(chunk, now) if self._may_go_on(chunk, now) else None
                state, after = (resumed.state, resumed.after) if resumed is not None else (b"", b"")
                batch.append(ChunkInput(chunk, data, seed(self.ledger.task, chunk), state, after))
            except StateLacking:
                self._waiting[chunk] = None
            except _InputsLacking as lacking:
                self._waiting[chunk] = None
                pieces |= lacking.pieces
            except ResultsLacking as lacking:
                self._waiting[chunk] = None
                results += lacking.refs
            except ProtocolError as error:
                # The creator's inputs do not hold what its manifest says: that is 'no result', and everybody's.
                unreadable.append(ChunkOutcome(chunk, Status.NO_RESULT, b"", f"inputs: {error}"))
        self._vote(unreadable, now, self._drawn)
        self._gathering.let_go({ref.sha256 for ref in results}, self._giving.holds)
        if self._waiting:
            self._lease_changed = True
            self._gathering.fetch(results)
            if pieces:
                assert self.ledger.manifest.inputs is not None
                self._desk.fetch_pieces(self.ledger.manifest.inputs, pieces)
        return batch or None

    def job_started(self, job: int, batch: list[ChunkInput]) -> None:
        if self._drawn is not None:
            self._draws[job] = self._drawn
        self._jobs[job] = tuple(chunk.chunk for chunk in batch)
        self._lease_changed = True

    @property
    def is_urgent(self) -> bool:
        """Whether something waits here that others have waited for already."""
        working = self.state in (WorkerState.WORKING, WorkerState.IDLE) and not self._waiting
        return working and not self._urgent.isdisjoint(self._assigned)

    def recall(self, job: int) -> bool:
        """Put a job that has not begun back for later, for the sake of an urgent one; False when it is as urgent."""
        if job in self._draws or not self._urgent.isdisjoint(self._jobs[job]):
            return False
        self._assigned = {**dict.fromkeys(self._jobs.pop(job)), **self._assigned}
        return True

    def provisional(self, now: float) -> Provisional | None:
        """What the task's records say while its creator is away; None while it is there."""
        return self._standing_in.provisional(now)

    @property
    def jobs_running(self) -> int:
        return len(self._jobs)

    @property
    def done(self) -> bool:
        return self.state is WorkerState.DONE

    def uses(self, digest: bytes) -> bool:
        """Whether a blob is the task's code or inputs."""
        manifest = self.ledger.manifest
        return digest == manifest.code.sha256 or (manifest.inputs is not None and digest == manifest.inputs.sha256)

    def needs(self, digest: bytes) -> bool:
        """Whether a blob may not go from the store."""
        parts = (self._giving, self._earning, self._gathering)
        return (not self.done and self.uses(digest)) or any(part.needs(digest) for part in parts)

    def wake_at(self) -> float | None:
        """When to look again: for leases to renew or to run out, and for new work."""
        if self.done:
            return min(self._giving.wake_at(), self._earning.wake_at())
        guest_at = self._guest_at if self.state is WorkerState.JOINING else None
        due = (at for at in (self._look_again_at, guest_at) if at is not None)
        working = self.state in (WorkerState.WORKING, WorkerState.IDLE)
        epoch_at = self._standing_in.wake_at() if working else math.inf
        return min(self._renew_at, self._giving.wake_at(), self._earning.wake_at(), epoch_at, *due)

    # ---- inside

    def _missing(self) -> list[BlobRef]:
        manifest = self.ledger.manifest
        refs = [manifest.code]
        if manifest.inputs is not None and not are_read_in_pieces(manifest, self._config.blob_whole_bytes):
            refs.append(manifest.inputs)
        return [ref for ref in refs if self._blobs.size(ref.sha256) is None]

    def _fetch_missing(self, now: float) -> None:
        missing = self._missing()
        for ref in missing:
            self._desk.fetch(ref.sha256, ref.size, ref.root, (self.ledger.manifest.creator,))
        if not missing:
            self._join(now)

    def _join(self, now: float) -> None:
        self.state = WorkerState.JOINING
        if self.ledger.shards == 1 and self._following.home is None:
            self._choose_shard(now)  # There is no choice: what we are asked with our admission finds us listening.
        me = self._signer.public_key
        if me in self.ledger.admits:
            self.state = WorkerState.WORKING
        if me not in self.ledger.joins:
            # Also when we were invited: our votes count once others know whose they are.
            epoch, beacon = self.ledger.newest_beacon()
            anchor = self._standing_in.anchor
            join = Join(self.ledger.task, self._signer.seal_key, anchor, epoch, beacon, 0)
            self._desk.publish(self.ledger, find_work(join, me, self.ledger.manifest.policy.pow_bits))

    def _wait_for_admission(self, now: float) -> None:
        if self.state is not WorkerState.JOINING:
            return
        if self._guest_at is None:
            self._guest_at = now + self._config.guest_after_s
        elif now >= self._guest_at:
            self.state = WorkerState.WORKING
            self._lease_changed = True

    def _take_assignment(self, assign: Assign, now: float) -> None:
        try:
            request = open_assignment(self._signer, self.ledger.manifest.seal_key, assign)
        except RemoteProtocolError:
            return  # The creator sealed nonsense to us. Its task is its own loss.
        if self._resting:
            return  # It goes to somebody else when no lease of ours names it.
        running = self._running()
        for chunk in request.chunks:
            if chunk < self.ledger.manifest.chunks and chunk not in running:
                # If we have voted on it and are asked all the same, our commit was lost on the way. A second one says
                # the same, and costs less than a task that waits for the first one for ever.
                self._voted.discard(chunk)
                self._assigned[chunk] = None
                if request.urgent:
                    self._urgent.add(chunk)
                    self._from_scratch.discard(chunk)
                else:
                    self._from_scratch.add(chunk)
        self._few_since = None
        # Started at once it is leased at once; behind running work it can wait for company.
        self._renew_at = min(self._renew_at, now + self._config.say_backlog_within_s)

    def _next_drawn(self, now: float) -> Draw | None:
        """What lots choose for us while the creator is away, in the shards that we follow."""
        if not self._standing_in.may_draw(now):
            return None
        mine = self._running().union(self._voted)
        for shard in self._following.shards:
            draw = self._standing_in.draw(shard, self._sizer.size(now), mine, now)
            if draw is not None:
                return draw
        return None

    def _vote(self, outcomes: Sequence[ChunkOutcome], now: float, draw: Draw | None = None) -> None:
        commits = commits_of(
            self._signer,
            self.ledger.manifest.seal_key,
            self.ledger.task,
            lambda: self._next_seq(now),
            [outcome for outcome in outcomes if outcome.chunk not in self._voted],
            self._blobs,
            self._rng,
            inline_bytes=self._config.inline_result_bytes,
            custodians=self._giving.custodians(now),
            epoch=draw.epoch if draw is not None else self._standing_in.epoch(now),
            link=draw.link if draw is not None else b"",
            onward=self.ledger.manifest.onward,
            after=self._handover.after,
        )
        for commit, leaves in commits:
            self._desk.publish(self.ledger, commit)
            for leaf in leaves:
                self._handover.ended(leaf.chunk)
                self._from_scratch.discard(leaf.chunk)
                self._voted.add(leaf.chunk)
                self.votes += leaf.status is not Status.NO_RESULT
                self._giving.made(leaf, now)

    def _may_go_on(self, chunk: int, now: float) -> bool:
        """Whether somebody else's savepoint may do for a chunk: not where our own word alone is wanted."""
        is_ours_alone = self._drawn is not None or chunk in self._from_scratch
        return not is_ours_alone and self.ledger.absence(self._standing_in.epoch(now)) is None

    def _running(self) -> set[int]:
        return {chunk for chunks in self._jobs.values() for chunk in chunks}.union(self._waiting)

    def _next_assigned(self, now: float) -> list[int]:
        size = self._sizer.size(now)
        here = [chunk for chunk in self._assigned if chunk not in self._voted and self.ledger.exists(chunk)]
        urgent = [chunk for chunk in here if chunk in self._urgent]
        chunks = urgent or here
        # Of one shard, whose turn it is: each shard of a batch has a commit of its own.
        chunks = [chunk for chunk in chunks if shard_of(chunk) == shard_of(chunks[0])][:size]
        for chunk in chunks:
            del self._assigned[chunk]
        return sorted(chunks)

    def _next_picked(self, now: float, size_max: int, besides: list[int]) -> list[int]:
        if now < self._nothing_until:
            return []
        mine = self._running().union(self._assigned, besides)
        begun = self._next_begun(now, size_max, mine)
        if begun is None:
            self._look_again_at = self._following.settled_at
            return []
        if begun:
            return begun
        while self._following.home is not None or self._choose_shard(now):
            shard, settled_at = self._following.home, self._following.settled_at
            assert shard is not None
            if now < settled_at and not self._desk.synced(self.ledger.shard_topic(shard)):
                self._look_again_at = settled_at
                return []
            sharing = BATCHES_LEFT * max(1, self.ledger.leases.workers_at_home(shard))
            chunks, left = pick_open(
                self.ledger, shard, size_max, mine, self._rng, now, sharing=sharing, alone=self._is_alone(now)
            )
            # Of a stream the creator deals all out, as long as it is there.
            if self.ledger.fed is None and left >= sharing * self._worthwhile(now):
                self._few_since = None
                self._look_again_at = None
                return chunks
            if chunks:
                few_since = self._few_since = now if self._few_since is None else self._few_since
                if now >= few_since + self._config.creator_first_s:
                    return chunks  # Nobody deals them out: the creator is offline.
            # Others are on what is left, or it waits for second votes: come back when leases may have run out.
            self._following.found_empty(now)
            if not self._choose_shard(now):
                break
        wait_s = self._config.endgame_after_s if self._few_since is None else self._config.creator_first_s
        self._look_again_at = self._nothing_until = now + wait_s
        return []

    def _next_begun(self, now: float, size_max: int, mine: set[int]) -> list[int] | None:
        """Chunks that we were on and that are still ours to do; None: wait until neighbours could have told."""
        me = self._signer.public_key
        for chunk in list(self._begun):
            if chunk in self._voted or self.ledger.is_closed(chunk) or self.ledger.has_voter(chunk):
                del self._begun[chunk]
        if not self._begun:
            return []
        shard = shard_of(next(iter(self._begun)))
        if shard not in self._following.shards:
            self._following.follow(shard, now)
            self._lease_changed = True
        topic = self.ledger.shard_topic(shard)
        if now < self._following.settled_at and not (self._desk.followers(topic) and self._desk.synced(topic)):
            return None
        chunks = [
            chunk
            for chunk in self._begun
            if chunk not in mine
            and shard_of(chunk) == shard
            and all(lease.worker == me for lease in self.ledger.leases.on(chunk, now))
        ][:size_max]
        for chunk in chunks:
            del self._begun[chunk]
        return sorted(chunks)

    def _is_alone(self, now: float) -> bool:
        """Whether nobody who assigns and accepts has let hear of itself lately, or has admitted us."""
        return not self.ledger.is_admitted(self._signer.public_key) or now - self._led_at >= ALONE_AFTER_S

    def _worthwhile(self, now: float) -> int:
        """Chunks of the smallest batch for which a worker still comes by itself."""
        return max(1, self._sizer.size(now) // SHRUNK_MAX)

    def _choose_shard(self, now: float) -> bool:
        if not self._following.choose(now, self._worthwhile(now)):
            return False
        self._lease_changed = True
        return True

    def _are_leases_due(self, now: float) -> bool:
        """Whether to say what we are on: at once, or within a second in a stream, where nobody picks."""
        if self._lease_changed and self.ledger.fed is not None and not (self._resting or self._finishing):
            self._lease_changed = False
            self._renew_at = min(self._renew_at, now + self._config.say_backlog_within_s)
        return self._lease_changed or now >= self._renew_at

    def _say_leases(self, now: float) -> None:
        self._lease_changed = False
        self._renew_at = math.inf
        home = self._following.home
        if home is None:
            return
        if self._resting or (self._finishing and not self._jobs):
            self._leasing.leave(home, now)
            return
        self._renew_at = self._leasing.say(home, [*self._running(), *self._assigned], now)

    def _release(self, now: float) -> None:
        """A checkpoint says the creator has these results: ours need not be kept any longer."""
        self._giving.release(now)
        self._keeping.release()
        self._handover.release()
        for chunk in [chunk for chunk in self._assigned if self.ledger.is_closed(chunk)]:
            # An accepted chunk may still be wanted as an audit; only failed ones are not.
            if not self.ledger.is_accepted(chunk):
                del self._assigned[chunk]

    def _end(self) -> None:
        self.state = WorkerState.DONE
        for job in self._jobs:
            self._desk.cancel(job)
        self._jobs.clear()
        self._assigned.clear()
        self._urgent.clear()
        self._waiting.clear()
        for ref in (self.ledger.manifest.code, self.ledger.manifest.inputs):
            if ref is not None:
                self._desk.forget(ref.sha256)
        self._gathering.let_go((), self._giving.holds)
        self._giving.release_all()
        self._keeping.release_all()
        self._handover.release_all()

    def _remember_made(self, commit: Commit, now: float) -> None:
        try:
            leaves = open_commit(self._signer, self.ledger.manifest.seal_key, self._signer.public_key, commit)
        except RemoteProtocolError:
            return  # Not as we seal: another program's, that had our keys before.
        for leaf in leaves:
            self._giving.made_before(leaf, now)

    def _next_seq(self, now: float) -> int:
        # Milliseconds since 1970: a worker that lost its store does not sign an old seq again.
        self._seq = max(self._seq + 1, int((now + self._config.epoch_offset_s) * 1_000))
        return self._seq

    def _read_inputs(self, start: int, length: int) -> bytes:
        inputs = self.ledger.manifest.inputs
        assert inputs is not None
        lacking = self._desk.lacking(inputs, start, length)
        if lacking:
            raise _InputsLacking(lacking)
        return self._blobs.read(inputs.sha256, start, length)

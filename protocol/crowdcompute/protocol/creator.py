"""The creator's part in one of its tasks, chunk by chunk: admit, open, assign, settle, accept (spec/ledger.md).

A steward plays the same part while the creator is away, with less to say (office.py).

    a chunk:  OPEN --votes--> SEALED --enough--> AGREED --result here--> accepted
                                 '--two values--> DISPUTED --our own execution--'   (tally.py)

Workers choose what to execute first; the creator chooses who confirms it (dispatching.py), opens the sealed votes, and
executes chunks itself where votes differ, where nobody else is left to ask, or where its own word is needed for the
certificate (executing.py, closing.py, certifying.py). Its own executions are commits like any other, signed by the
creator and sealed to itself: what it has accepted can be rebuilt from the records after a crash at any moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .admitting import Admitting
from .agenda import Agenda
from .asking import Asking
from .certifying import Certifying
from .closing import Certify, Closing, Confirm, ExecuteOurselves, TaskState
from .collecting import Collecting
from .convicting import Convicting
from .counting import Counting
from .dispatching import Dispatch
from .entrusting import Entrusted
from .errors import LocalProtocolError, ModuleRefused, RemoteProtocolError
from .events import CANCELLED, ChunkInput, ChunkOutcome, Notable, Status
from .executing import Executing
from .feeding import FED_BYTES_MAX, parts_of
from .frames import Keep, Kept
from .gpu import read_comparison
from .identity import peer_id_of
from .named import Held, Named
from .onward import Gathering
from .opening import Shown, is_named, shown_records
from .permissions import is_fetched
from .records import (
    EVERYTHING,
    LEAVING_TTL_S,
    SHARD_CHUNKS,
    Admit,
    Assign,
    Beacon,
    CertificateBody,
    Checkpoint,
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
    Verdict,
    chunks_of,
    shard_of,
)
from .referee import Referee
from .results import ChunkResult, Progress, Results
from .settling import Settling
from .stewarding import delegate
from .tally import ChunkState
from .voting import commits_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import PeerId, Signer
    from .ledger import Ledger
    from .lineage import Rest
    from .manifest import Manifest
    from .office import Office
    from .storage import BlobStore


class CreatorRole:
    """One task of ours, or, in a steward's office, one of somebody else's. `signer` opens with the task's keys."""

    def __init__(
        self,
        config: ProtocolConfig,
        signer: Signer,
        rng: Random,
        ledger: Ledger,
        desk: Desk,
        blobs: BlobStore,
        office: Office,
        now: float,
    ) -> None:
        self.ledger = ledger
        manifest = ledger.manifest
        self._config = config
        self._signer = signer
        self._rng = rng
        self._agenda = Agenda()
        self._state = TaskState.RUNNING
        self._desk = desk
        self._blobs = blobs
        self._package = _package_that_compares(manifest, blobs)
        self._named = Named(signer.public_key, ledger, desk, blobs)
        self._office = office
        self._entrusted = Entrusted(ledger, office.stewards)
        self.referee = Referee(
            manifest.creator,
            manifest.policy.replication,
            self._entrusted.drawn,
            read_comparison(self._package) if self._package else None,
            asked=self._entrusted.asked_for_us,
            steward=signer.public_key,
            read=self._named.read,
            observed=is_fetched(manifest),
        )
        """The opened votes, also for whoever checks us."""
        self._results = Results(ledger, self.referee, blobs)
        self._convicting = Convicting(ledger, desk, office, self.referee)
        self._admitting = Admitting(config, signer, rng, ledger, desk)
        self._certifying = Certifying(config, ledger, desk, blobs, self.referee, self._results, office)
        self._closing = Closing(ledger, self.referee, self._results.needless, rng)
        self._gathering = Gathering(desk, blobs)
        self._executing = Executing(config, ledger, desk, self._read_inputs, self._gathering, self.referee.rests)
        self._asking = Asking(
            signer,
            rng,
            ledger,
            desk,
            office,
            self.referee,
            self._admitting,
            self._entrusted,
            office.first_seq(now),
        )
        capacity = desk.pace(ledger).capacity
        self._dispatch = Dispatch(
            config,
            rng,
            ledger,
            self.referee,
            self._closing,
            self._executing,
            self._asking.ask,
            capacity,
            self._named.voters,
            picked=office.is_final,
        )
        self._collecting = Collecting(signer, ledger, desk, blobs, self.referee, self._named)
        self._counting = Counting(signer, ledger, self._named, self._collecting, compared=bool(self._package))
        self._settling = Settling(
            self.referee,
            self._results,
            self._closing,
            self._dispatch,
            self._executing,
            self._collecting,
            self._certifying,
            self._notice,
        )
        self._decisive: int | None = None
        """The chunk that ends the task once our own execution has confirmed it."""
        office.take_up(self)
        for shard in range(ledger.shards):
            desk.follow(ledger.shard_topic(shard))

    @property
    def state(self) -> TaskState:
        return TaskState.CLOSED if self._agenda.is_closed else self._state

    @property
    def acts(self) -> bool:
        """Whether what we decide is said."""
        return self._office.acts

    # ---- what happens

    def invite(self, is_here: Callable[[bytes], bool], now: float) -> None:
        """Admit whoever of those that are here has just worked with the same code: it can be asked with the task."""
        for worker in self._admitting.invite(is_here, now):
            self._dispatch.heard(worker, now)
            self._admitted(worker, now)

    def restored(self, records: Iterable[tuple[Signed, Record]], now: float) -> None:
        """Take up a task again from the records of an earlier life."""
        agenda = self._agenda
        agenda.is_restoring = True
        if self._office.was_away(now):
            agenda.hear_out(now)
        for signed, record in records:
            if isinstance(record, CertificateBody):
                # It certifies what was settled by then: votes that came later change nothing, as they did not before.
                agenda.is_restoring = False
                self._review(list(self.referee.touched_chunks()), now)
                agenda.is_restoring = True
            self.record_added(signed, record, now)
        agenda.is_restoring = False
        for worker in self._admitting.not_admitted():
            self._admitting.joined(worker)
        if self._office.is_final and not self.ledger.is_whole and not self.ledger.is_forked:
            self.feed((), now, ends=True)  # Whoever fed it is gone.
        self._review(list(self.referee.touched_chunks()), now)
        if not agenda.is_closed:
            self._named.fetch()

    def record_added(self, signed: Signed, record: Record, now: float) -> None:
        """The ledger has taken a record, our own included when they are restored."""
        author = signed.author
        match record:
            case Join():
                self._dispatch.heard(author, now)
                if not self._agenda.is_restoring:
                    self._admitting.joined(author)
                    self._admit(now)
            case Admit(worker=worker) if worker in self.ledger.admits:
                self._admitted(worker, now)
            case Lease(runs=(), ttl_s=ttl_s) if ttl_s == LEAVING_TTL_S:
                self.worker_silent(author, [], now)
            case Lease():
                self._dispatch.leased(author, record, now)
                if not record.runs:
                    self._agenda.review_soon(now)
            case Commit():
                self._count(signed, record, now)
            case Reveal(commit=commit_id):
                shown = self.ledger.commits[commit_id][1]
                self._review(self.referee.look_again(chunks_of(shown.shard, shown.runs)), now)
            case Assign():
                chunks = self._asking.asked(author, record)
                if chunks is not None:
                    self._review(chunks, now)
            case Feed(first=first, inputs=inputs):
                self._fed(range(first, first + len(inputs)), now)
            case Verdict():
                self._void(record, now)
            case Checkpoint() if not self._office.is_final and author == self.ledger.manifest.creator:
                self._closed_elsewhere(record)
            case Checkpoint() | Beacon() | Savepoint():
                pass
            case CertificateBody():
                self._agenda.is_closed = True
            case Delegate(steward=steward):
                self._delegated(steward, now)
            case Revoke(steward=steward):
                self._revoked(steward, now)
        if author in self.ledger.equivocators and not self._agenda.is_restoring:
            commit = signed.record_id if isinstance(record, Commit) else bytes(32)
            self._convict(author, "equivocated", 0, commit, now)

    def worker_silent(self, worker: bytes, left: Iterable[int], now: float) -> None:
        """A neighbour is suspected: what it was asked for, and had picked (`left`), goes to others before all else."""
        self._dispatch.silent(worker, left, now)
        self._admitting.forget(worker)
        self._agenda.stir()

    def blob_arrived(self, digest: bytes, here: bool, now: float) -> None:
        """A result we fetched is here, or nobody who voted for it delivers it: then others may have kept it."""
        self._gathering.arrived(digest, here=here)
        if here or not self._office.is_final or not self._collecting.reclaim(digest, now):
            self._result_settled(digest, here, now)

    def custody_frame(self, peer_id: PeerId, frame: Keep | Kept, now: float) -> None:
        """Whoever has a result for us needs nobody to keep it: we fetch it as soon as it counts."""
        if isinstance(frame, Keep):
            self._desk.tell(peer_id, Kept(frame.task, frame.sha256, kept=False))

    def kept_arrived(self, sealed: bytes, here: bool, now: float) -> None:
        """A sealed result that we looked for is here, or nobody we reach has it."""
        for digest, found in self._collecting.kept_arrived(sealed, now, here=here):
            self._result_settled(digest, found, now)

    def feed(self, inputs: tuple[bytes, ...], now: float, *, ends: bool = False) -> None:
        """Have further chunks of a stream computed; with `ends` there will be no more.

        Raises:
            LocalProtocolError: It is none, has ended, or has no room for them.
        """
        fed = self.ledger.fed
        if fed is None or fed.is_forked or fed.end is not None or fed.count + len(inputs) > self.ledger.manifest.chunks:
            raise LocalProtocolError("this task takes no further chunks: publish another one")
        if any(len(data) > FED_BYTES_MAX for data in inputs):
            raise LocalProtocolError(
                f"an input of a stream has at most {FED_BYTES_MAX} bytes: make it a task of its own"
            )
        end = fed.count + len(inputs) if ends else None
        for part in parts_of(inputs) or [()]:
            first = fed.count
            after = first + len(part)
            self._desk.publish(self.ledger, Feed(self.ledger.task, first, part, after == end))
            self._fed(range(first, after), now)

    def delegate(self, steward: bytes, until_s: int, now: float, *, trusted: bool) -> None:
        """Let a worker act for us while we are away; if `trusted`, its audits count as ours.

        Raises:
            LocalProtocolError: It cannot be; the sentence says why.
        """
        if self._agenda.is_closed:
            raise LocalProtocolError("this task is closed: there is nothing left to do for a steward")
        if until_s <= now + self._config.epoch_offset_s:
            raise LocalProtocolError("a delegation ends in the future: choose a longer time")
        record = delegate(self._signer, self.ledger, steward, until_s, self._rng, trusted=trusted)
        self._desk.want(peer_id_of(steward))
        self._desk.publish(self.ledger, record)
        self._delegated(steward, now)

    def revoke(self, steward: bytes, now: float) -> None:
        """Take back a delegation and all that came of it.

        Raises:
            LocalProtocolError: There is none.
        """
        if steward not in self.ledger.delegations:
            raise LocalProtocolError("this peer is not a steward of this task")
        self._desk.publish(self.ledger, Revoke(self.ledger.task, steward))
        self._revoked(steward, now)

    def _result_settled(self, digest: bytes, here: bool, now: float) -> None:
        if self._named.needs(digest):
            self._counted(self._named.settled(digest, here=here), now)
            return
        chunks = self._collecting.over(digest)
        if not here:
            # A vote without its result is worth nothing to the creator; its own execution replaces it.
            self._executing.want(chunks)
        self._review(chunks, now)

    def executed(self, job: int, outcomes: tuple[ChunkOutcome, ...], seconds: float, now: float) -> None:
        """Our own node executed chunks for us: they become votes that settle them."""
        if not self._executing.finished(job, seconds):
            return
        accepted = self._results.accepted
        before = None if self._decisive is None else accepted.get(self._decisive)
        for outcome in outcomes:
            for rest, true in self._executing.judged(outcome):
                self.referee.judge(rest.savepoint, outcome.chunk, true=true)
        # What was executed again to judge savepoints has our vote already.
        self._vote(tuple(it for it in outcomes if not self.referee.has_own_result(it.chunk)), now)
        self._review([outcome.chunk for outcome in outcomes], now)
        if self._decisive in [outcome.chunk for outcome in outcomes]:
            decisive, self._decisive = self._decisive, None
            if before is not None and accepted.get(decisive) == before:
                self.give_up(now)

    def give_up(self, now: float, *, decisive: int | None = None) -> None:
        """Want no more results: whatever has none by now fails by our own word, and the rest is checked as before.

        With `decisive`, an accepted chunk, it is executed here first. Should the result be another one, nothing is
        given up: the chunk is accepted anew, or not, as after any dispute.
        """
        if self._agenda.is_closed:
            return
        if not self.ledger.is_whole and not self.ledger.is_forked:
            self.feed((), now, ends=True)
        if decisive is not None and self._config.slots and self._creator_missing(decisive):
            self._decisive = decisive
            self._executing.want([decisive])
            return
        left = self._results.left()
        self._dispatch.forget(left)
        self._executing.forget(left)
        self._vote(tuple(ChunkOutcome(chunk, Status.NO_RESULT, b"", CANCELLED) for chunk in left), now)
        self._agenda.stir()

    def _creator_missing(self, chunk: int) -> bool:
        return self._signer.public_key not in self.referee.voters(chunk)

    def _vote(self, outcomes: tuple[ChunkOutcome, ...], now: float) -> None:
        commits = commits_of(
            self._office.voter,
            self.ledger.manifest.seal_key,
            self.ledger.task,
            self._asking.next_seq,
            outcomes,
            self._blobs,
            self._rng,
            inline_bytes=self._config.inline_result_bytes,
        )
        for commit, leaves in commits:
            self._desk.publish(self.ledger, commit)
            self._counting.votes += len(leaves)
            self._review(self.referee.cast(self._signer.public_key, leaves, commit.seq), now)
            for leaf in leaves if self._package else ():
                if is_named(leaf):
                    self._counted(self._named.settled(leaf.digest, here=True), now)

    def advance(self, now: float) -> None:
        """Let time pass: overdue assignments, hungry chunks, checkpoints, the end."""
        agenda = self._agenda
        if agenda.is_closed:
            return
        acted = self.acts
        self._office.look(now)
        if self.acts and not acted:
            self._review(list(self.referee.touched_chunks()), now)
        reviewing = agenda.is_review_due(now)
        if not self.acts:
            if reviewing:
                agenda.reviewed(now)
            return
        if reviewing:
            agenda.stir()
            self._office.be_there(now, self._dispatch.members)
            self._admit(now)
            agenda.reviewed(now)
            self._dispatch.review(now)
            for chunk in self._named.overdue(now):
                self._settling.settle(chunk, now)
                if self.referee.chunk(chunk).state is ChunkState.OPEN:
                    self._dispatch.deal(chunk, now)  # A commit names it, so nobody picks it.
        if agenda.is_stirred:
            auditing = self._state is TaskState.AUDITING
            if agenda.takes_turn(now, now if auditing or reviewing else self._dispatch.due_at(now)):
                self._dispatch.dispatch(now, auditing=auditing, employing=reviewing)
                self._finish(now)
        checkpoint_at = self._certifying.checkpoint_at
        if checkpoint_at is not None and now >= checkpoint_at:
            self._certifying.checkpoint(now)

    def take_job(self) -> list[ChunkInput] | None:
        """The next batch for our own node, or None. `job_started` must follow."""
        if self._agenda.is_closed or not self.acts or not self._office.has_inputs():
            return None
        return self._executing.take_job()

    def job_started(self, job: int, batch: list[ChunkInput]) -> None:
        self._executing.job_started(job, batch)

    @property
    def jobs_running(self) -> int:
        return self._executing.jobs_running

    def wake_at(self) -> float | None:
        if self._agenda.is_closed:
            return None
        checkpoint_at = self._certifying.checkpoint_at if self.acts else None
        due = (checkpoint_at, self._agenda.review_at, self._agenda.turn_at if self.acts else None)
        return min((at for at in due if at is not None), default=None)

    # ---- what a person asks

    def progress(self) -> Progress:
        convicted, complete = bool(self._office.verdicts), self._results.are_complete()
        assurance = self._closing.assurance(convicted=convicted, all_closed=complete)
        return Progress(
            self.state,
            self.ledger.chunks,
            len(self._results.accepted),
            len(self._results.failed),
            self._counting.votes,
            self._admitting.count(),
            len(self._office.verdicts),
            assurance.worker_audits,
            assurance.creator_audits,
            assurance.bound,
            self.ledger.lots.count(),
        )

    @property
    def is_held(self) -> bool:
        """Whether a worker holds what it takes to go on without us."""
        return self._admitting.count() > 0

    def result(self, chunk: int) -> ChunkResult:
        return self._results.of(chunk)

    def result_bytes(self, chunk: int) -> bytes | None:
        return self._results.data(chunk)

    def settled_chunks(self) -> list[int]:
        return self._results.settled()

    def cancelled_chunks(self) -> int:
        return self._results.cancelled()

    def wrong_votes(self) -> dict[bytes, int]:
        return self._results.wrong_votes()

    def evidence(self) -> Iterator[Shown]:
        """What strangers need to check the certificate: every record up to it, the sealed ones opened (recount.py)."""
        return shown_records(self._signer, self.ledger, self._package, self._named.read)

    def inputs(self) -> bytes:
        """The task's inputs blob, as it was signed; empty where it has none."""
        inputs = self.ledger.manifest.inputs
        return b"" if inputs is None else self._read_inputs(0, inputs.size)

    # ---- admission and counting

    def _admit(self, now: float) -> None:
        for worker in self._admitting.admit(now) if self.acts else ():
            self._admitted(worker, now)

    def _admitted(self, worker: bytes, now: float) -> None:
        if not self.ledger.is_void(worker):
            self._dispatch.admitted(worker)
            self._agenda.review_soon(now)
        self._recredit(worker, now)
        self._review(self.referee.admit(worker), now)

    def _recredit(self, worker: bytes, now: float) -> None:
        """Who shares the reward of a worker's chunks has changed."""
        for shard in {shard_of(chunk) for chunk in self.referee.voted_chunks(worker)}:
            self._certifying.changed(shard * SHARD_CHUNKS, now)

    def _count(self, signed: Signed, commit: Commit, now: float) -> None:
        author = signed.author
        chunks = chunks_of(commit.shard, commit.runs)
        self._dispatch.committed(author, commit, chunks, now)
        self._asking.used(author, commit.seq)
        seal_key = self._counting.seal_key(author)
        if seal_key is None:
            return
        restoring = self._agenda.is_restoring
        try:
            ready = self._counting.open(signed, commit, seal_key, now, fetch=not restoring)
        except RemoteProtocolError:
            if not restoring:
                self._convict(author, "malformed", chunks[0], signed.record_id, now)
            self._review(chunks, now)  # It may have been what we asked for: then others are asked.
            return
        if not restoring:
            self._admitting.heard(author, now)
        self._counted(ready, now)
        if commit.link and not self.ledger.lots.is_linked(author):
            self._review(self.referee.look_again(self.referee.voted_chunks(author)), now)

    def _counted(self, commits: list[Held], now: float) -> None:
        self._executing.want(self._named.lost())
        for commit in commits:
            if commit.leaves:
                self._cast(commit, now)

    def _cast(self, held: Held, now: float) -> None:
        """Count a commit of which everything is here that counting takes."""
        author, first = held.author, held.leaves[0].chunk
        touched = self.referee.cast(author, held.leaves, held.seq, held.rests)
        self._certifying.changed(first, now)
        if author in self.referee.contradictors and not self._agenda.is_restoring and not self.ledger.is_void(author):
            self._convict(author, "equivocated", first, held.commit, now)
        self._review(touched, now)

    def _convict(
        self, worker: bytes, reason: str, chunk: int, commit: bytes, now: float, rest: Rest | None = None
    ) -> None:
        if not self.acts or self._convicting.is_banned(worker) or self.ledger.is_forked:
            return
        if worker in self._office.stewards:
            self.revoke(worker, now)
            self._convicting.notice(worker, chunk, "steward revoked")
            return
        self._void(self._convicting.convict(worker, reason, chunk, commit, rest), now)

    def _void(self, verdict: Verdict, now: float) -> None:
        if verdict.is_ban:
            self._dispatch.dismiss(verdict.worker, now)
        self._closing.struck(verdict.worker)
        self._admitting.forget(verdict.worker)
        self._recredit(verdict.worker, now)
        self._review(self.referee.make_void(verdict.worker, verdict.void_to), now)

    # ---- stewards

    def _delegated(self, steward: bytes, now: float) -> None:
        asked = self._entrusted.chunks(steward)
        self._review([*self.referee.admit(steward), *self.referee.look_again(asked)], now)

    def _revoked(self, steward: bytes, now: float) -> None:
        """Nothing that a steward said counts any more; whom it had admitted waits for us."""
        chunks = [*self._entrusted.chunks(steward), *self.referee.make_void(steward, EVERYTHING)]
        self._entrusted.revoked(steward)
        for worker in self._admitting.not_admitted():
            self._dispatch.dismiss(worker, now)
            chunks += self.referee.unadmit(worker)
            if worker != steward:
                self._admitting.waits_again(worker)
        if not self._agenda.is_restoring:
            self._admit(now)
        self._recredit(steward, now)
        self._review(list(dict.fromkeys(self.referee.look_again(chunks))), now)

    def _closed_elsewhere(self, checkpoint: Checkpoint) -> None:
        """The creator has closed chunks: they are none of its steward's business any more."""
        first = checkpoint.shard * SHARD_CHUNKS
        for index in range(self.ledger.shard_size(checkpoint.shard)):
            if self.ledger.is_closed(first + index):
                self._results.closed_elsewhere(first + index)
                self._dispatch.satisfied(first + index)

    # ---- chunk by chunk

    def _fed(self, chunks: Iterable[int], now: float) -> None:
        self._agenda.stir()
        self._dispatch.fed(chunks, now)
        if self.ledger.is_whole:
            self._certifying.changed(0, now)  # Its last checkpoint says so, and be it of no chunk at all.

    def _review(self, chunks: Iterable[int], now: float) -> None:
        if self._agenda.is_at_rest:
            return
        self._agenda.stir()
        for chunk in chunks:
            if chunk in self._results.elsewhere:
                continue
            for worker in self.referee.chunk(chunk).offenders:
                # A conviction reviews this chunk as well, and may have convicted the next of them.
                if worker in self.referee.chunk(chunk).offenders:
                    rest = self.referee.spoilt_by(chunk, worker)
                    self._convict(worker, "wrong", chunk, bytes(32) if rest is None else rest.savepoint, now, rest)
            if self.referee.is_in_doubt(chunk) and self._config.slots:
                self._executing.want([chunk])
            self._settling.settle(chunk, now)

    def _notice(self, what: Notable, chunk: int, detail: str) -> None:
        self._desk.notice(what, self.ledger, chunk=chunk, peer=None, detail=detail)

    # ---- the end

    def _finish(self, now: float) -> None:
        is_complete = self._results.are_complete()
        if not is_complete or self._executing or self._dispatch.is_waiting or self._named.is_waiting:
            self._state = TaskState.RUNNING if not is_complete else TaskState.AUDITING
            return
        was_settled = self._state is TaskState.SETTLED
        self._state = TaskState.AUDITING
        by_workers = self._dispatch.members > self.ledger.manifest.policy.replication
        match self._closing.next_step(convicted=bool(self._office.verdicts), by_workers=by_workers):
            case Certify() if not self._office.is_final:
                self._state = TaskState.SETTLED
                if not was_settled:
                    self._certifying.checkpoint(now)
                    self._desk.notice(Notable.TASK_SETTLED, self.ledger, chunk=None, peer=None, detail="")
            case Certify():
                self._close(now)
            case Confirm(chunks):
                for chunk in chunks:
                    self._dispatch.want(chunk, now)
            case ExecuteOurselves(chunks):
                self._executing.want(chunks)

    def _close(self, now: float) -> None:
        self._certifying.checkpoint(now)
        assurance = self._closing.assurance(convicted=bool(self._office.verdicts), all_closed=True)
        mismatches = self._settling.mismatches
        certificate = self._certifying.certificate(assurance, executions=self._counting.votes, mismatches=mismatches)
        self._agenda.is_closed = True
        self._desk.publish(self.ledger, certificate)
        self._desk.notice(Notable.TASK_CLOSED, self.ledger, chunk=None, peer=None, detail="")

    def _read_inputs(self, start: int, length: int) -> bytes:
        inputs = self.ledger.manifest.inputs
        assert inputs is not None
        return self._blobs.read(inputs.sha256, start, length)


def _package_that_compares(manifest: Manifest, blobs: BlobStore) -> bytes:
    """Our task's code, if that has results compared as numbers; else nothing. It was checked when it was signed."""
    if manifest.runtime != "gpu" or blobs.size(manifest.code.sha256) is None:
        return b""
    code = blobs.read(manifest.code.sha256, 0, manifest.code.size)
    try:
        return code if read_comparison(code) is not None else b""
    except ModuleRefused:
        return b""  # Then nobody computes it.

"""The creator's part in one of its tasks, chunk by chunk: admit, open, assign, settle, accept (spec/ledger.md).

A steward plays the same part while the creator is away, with less to say (spec/stewards.md): it convicts nobody, pays
nobody and closes no task, and what it settled the creator settles anew.

    a chunk:  OPEN --votes--> SEALED --enough--> AGREED --result here--> accepted
                                 '--two values--> DISPUTED --our own execution--'   (tally.py)

Workers choose what to execute first; the creator chooses who confirms it (dispatching.py), opens the sealed votes, and
executes chunks itself where votes differ, where nobody else is left to ask, or where its own word is needed for the
certificate (executing.py, closing.py). Its own executions are commits like any other, signed by the creator and sealed
to itself: what it has accepted can be rebuilt from the records after a crash at any moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import merkle
from .assigning import ASSIGN_CONTEXT, open_assignment, seal_assignment
from .batch import CUSTODIANS_MAX, custodians_of, open_commit
from .closing import Certify, Closing, Confirm, ExecuteOurselves, TaskState
from .credit import INLINE_BYTES_MAX, fields_of, split, table_of
from .dispatching import Dispatch
from .errors import LocalProtocolError, ModuleRefused, RemoteProtocolError
from .events import CANCELLED, ChunkInput, ChunkOutcome, Notable, Status
from .executing import Executing
from .frames import Keep, Kept
from .gpu import read_comparison
from .identity import NONCE_BYTES, peer_id_of
from .onward import Gathering
from .opening import Shown, check_inline, shown_records
from .presence import Presence
from .reclaiming import Copy, Reclaiming
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
    Join,
    Lease,
    Record,
    Reveal,
    Revoke,
    Signed,
    Verdict,
    chunks_of,
    shard_of,
)
from .referee import Referee
from .stewarding import delegate
from .tally import ChunkState, ChunkTally
from .voting import commits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import PeerId, Signer
    from .ledger import Ledger
    from .manifest import Manifest
    from .stewarding import Mandate
    from .storage import BlobStore


REVIEW_S = 0.5
"""How often overdue assignments are looked for: a tenth of the 5 s in which a silent worker's work must be re-run."""


HEAR_OUT_S = 5.0
"""A creator that was away asks nobody for anything for this long: what it would ask for may have been done meanwhile,
and is on its way to it. A guess; simulations/scenarios/unattended.toml."""


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What the creator holds of one chunk."""

    chunk: int
    state: str
    """"ok", "task error", "failed" (nobody gets a result) or "open"."""
    digest: bytes | None
    size: int
    votes: int
    agreed: tuple[bytes, ...]
    disagreed: tuple[bytes, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """A task in numbers, for whoever watches."""

    state: TaskState
    chunks: int
    accepted: int
    failed: int
    votes: int
    workers: int
    convicted: int
    worker_audits: int
    creator_audits: int
    bound: float
    drawn: int = 0
    """Votes that lots chose while we were away, and that count towards a quorum."""


class CreatorRole:
    """One task of ours, or, with a mandate, one that we are steward of. `signer` opens with the task's keys."""

    def __init__(
        self,
        config: ProtocolConfig,
        signer: Signer,
        rng: Random,
        ledger: Ledger,
        desk: Desk,
        blobs: BlobStore,
        *,
        mandate: Mandate | None = None,
        now: float = 0.0,
    ) -> None:
        self.ledger = ledger
        self.state = TaskState.RUNNING
        manifest = ledger.manifest
        self._config = config
        self._signer = signer
        self._rng = rng
        self._desk = desk
        self._blobs = blobs
        self._package = _package_that_compares(manifest, blobs)
        self._mandate = mandate
        self.acts = mandate is None
        """Whether what we decide is said: a steward only looks on while its creator is there."""
        self._referee = Referee(
            manifest.creator,
            manifest.policy.replication,
            self._drawn,
            read_comparison(self._package) if self._package else None,
            asked=self._asked_for_us,
            steward=None if mandate is None else signer.public_key,
        )
        self._admitted_at: list[float] = []
        self._waiting_joins: list[bytes] = []
        self._accepted: dict[int, bytes] = {}
        self._failed: set[int] = set()
        self._needless: set[int] = set()
        """What has failed and, for a steward, what the creator has closed itself: no audit of it is wanted."""
        self._closed_by_creator: set[int] = set()
        self._entrusted: dict[bytes, dict[int, set[bytes]]] = {}
        """Whom each steward asked for a chunk: for us such a vote counts as drawn, or as if we had asked for it."""
        # Of whom it finds to lie a steward says nothing: nobody is silenced but by the creator.
        self._verdicts = ledger.verdicts if mandate is None else {}
        self._strikes = ledger.strikes if mandate is None else {}
        self._closing = Closing(manifest, self._referee, self._needless, rng)
        self._gathering = Gathering(desk, blobs)
        self._executing = Executing(config, ledger, self._read_inputs, self._gathering)
        capacity = desk.pace(ledger).capacity
        self._dispatch = Dispatch(
            config, rng, ledger, self._referee, self._closing, self._executing, self._assign, capacity
        )
        self._votes = 0
        self._mismatches = 0
        self._disputed: set[int] = set()
        """Chunks that we execute for no other reason than that their votes differ."""
        self._retracted: dict[int, bytes] = {}
        """What was accepted of chunks that reopened: should something else be accepted now, it was wrong."""
        self._seq = 0
        self._decisive: int | None = None
        """The chunk that ends the task once our own execution has confirmed it."""
        self._fetching: dict[bytes, set[int]] = {}  # result -> chunks that have it
        self._custodians: dict[bytes, tuple[bytes, ...]] = {}  # worker -> who keeps its results, the latest first
        self._reclaiming = Reclaiming(signer, ledger, desk, blobs)
        self._presence = Presence(config, signer, ledger, desk) if mandate is None else None
        self._dirty: set[int] = set()
        self._checkpoint_at: float | None = None
        self._review_at: float | None = None
        self._restoring = False
        self._asking_from = -math.inf
        """When we have heard what was done in our absence."""
        self._stirred = True
        if mandate is None:
            desk.custody.take_part(ledger.task, self)
        else:
            self._seq = int((config.epoch_offset_s + now) * 1_000)  # A steward that lost its store uses no seq again.
            self._fetch_whole()
        for shard in range(ledger.shards):
            desk.follow(ledger.task + shard.to_bytes(4))

    # ---- what happens

    def restored(self, records: Iterable[tuple[Signed, Record]], now: float) -> None:
        """Take up a task again from the records of an earlier life."""
        self._restoring = True
        if self._presence is not None and self._presence.was_away(now):
            self._asking_from = now + HEAR_OUT_S
        for signed, record in records:
            if isinstance(record, CertificateBody):
                # It certifies what was settled by then: votes that came later change nothing, as they did not before.
                self._restoring = False
                self._review(list(self._referee.touched_chunks()), now)
                self._restoring = True
            self.record_added(signed, record, now)
        self._restoring = False
        for worker in [worker for worker in self.ledger.joins if worker not in self.ledger.admits]:
            self._waiting_joins.append(worker)
        for checkpoint in self.ledger.checkpoints.values() if self._mandate is not None else ():
            self._closed_elsewhere(checkpoint)
        self._review(list(self._referee.touched_chunks()), now)

    def record_added(self, signed: Signed, record: Record, now: float) -> None:
        """The ledger has taken a record, our own included when they are restored."""
        author = signed.author
        match record:
            case Join():
                self._dispatch.heard(author, now)
                if not self._restoring:
                    self._waiting_joins.append(author)
                    self._admit(now)
            case Admit(worker=worker) if worker in self.ledger.admits:
                self._admitted(worker, now)
            case Lease(runs=(), ttl_s=ttl_s) if ttl_s == LEAVING_TTL_S:
                self.worker_silent(author, [], now)
            case Lease():
                self._dispatch.leased(author, record, now)
                if not record.runs:
                    self._review_at = now  # See at once what there is for it.
            case Commit():
                self._count(signed, record, now)
            case Reveal(commit=commit_id):
                shown = self.ledger.commits[commit_id][1]
                self._review(self._referee.look_again(chunks_of(shown.shard, shown.runs)), now)
            case Assign():
                self._asked(author, record, now)
            case Verdict():
                self._void(record, now)
            case Checkpoint() if self._mandate is not None and author == self.ledger.manifest.creator:
                self._closed_elsewhere(record)
            case Checkpoint() | Beacon():
                pass
            case CertificateBody():
                self.state = TaskState.CLOSED
            case Delegate(steward=steward):
                self._delegated(steward, now)
            case Revoke(steward=steward):
                self._revoked(steward, now)
        if not self._restoring and author in self.ledger.equivocators and not self._is_banned(author):
            commit = signed.record_id if isinstance(record, Commit) else bytes(32)
            self._convict(author, "equivocated", 0, commit, now)

    def worker_silent(self, worker: bytes, left: Iterable[int], now: float) -> None:
        """A neighbour is suspected: what it was asked for, and had picked (`left`), goes to others before all else."""
        self._dispatch.silent(worker, left, now)
        self._stirred = True

    def blob_arrived(self, digest: bytes, here: bool, now: float) -> None:
        """A result we fetched is here, or nobody who voted for it delivers it: then others may have kept it."""
        self._gathering.arrived(digest, here=here)
        if here or self._mandate is not None or not self._reclaiming.begin(digest, self._copies(digest), now):
            self._result_settled(digest, here, now)

    def custody_frame(self, peer_id: PeerId, frame: Keep | Kept, now: float) -> None:
        """Whoever has a result for us needs nobody to keep it: we fetch it as soon as it counts."""
        if isinstance(frame, Keep):
            self._desk.tell(peer_id, Kept(frame.task, frame.sha256, kept=False))

    def kept_arrived(self, sealed: bytes, here: bool, now: float) -> None:
        """A sealed result that we looked for is here, or nobody we reach has it."""
        for digest, found in self._reclaiming.arrived(sealed, now, here=here):
            self._result_settled(digest, found, now)

    def delegate(self, steward: bytes, until_s: int, now: float, *, trusted: bool) -> None:
        """Let a worker act for us while we are away; if `trusted`, its audits count as ours.

        Raises:
            LocalProtocolError: It cannot be; the sentence says why.
        """
        if self.state is TaskState.CLOSED:
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
        chunks = sorted(self._fetching.pop(digest, ()))
        if not here:
            # A vote without its result is worth nothing to the creator; its own execution replaces it.
            self._executing.want(chunks)
        self._review(chunks, now)

    def executed(self, job: int, outcomes: tuple[ChunkOutcome, ...], seconds: float, now: float) -> None:
        """Our own node executed chunks for us: they become votes that settle them."""
        if not self._executing.finished(job, seconds):
            return
        before = None if self._decisive is None else self._accepted.get(self._decisive)
        self._vote(outcomes, now)
        if self._decisive in [outcome.chunk for outcome in outcomes]:
            decisive, self._decisive = self._decisive, None
            if before is not None and self._accepted.get(decisive) == before:
                self.give_up(now)

    def give_up(self, now: float, *, decisive: int | None = None) -> None:
        """Want no more results: whatever has none by now fails by our own word, and the rest is checked as before.

        With `decisive`, an accepted chunk, it is executed here first. Should the result be another one, nothing is
        given up: the chunk is accepted anew, or not, as after any dispute.
        """
        if self.state is TaskState.CLOSED:
            return
        if decisive is not None and self._config.slots and self._creator_missing(decisive):
            self._decisive = decisive
            self._executing.want([decisive])
            return
        count = self.ledger.manifest.chunks
        left = [chunk for chunk in range(count) if chunk not in self._accepted and chunk not in self._failed]
        self._dispatch.forget(left)
        for job in self._executing.forget(left):
            self._desk.cancel(job)
        self._vote(tuple(ChunkOutcome(chunk, Status.NO_RESULT, b"", CANCELLED) for chunk in left), now)
        self._stirred = True

    def _creator_missing(self, chunk: int) -> bool:
        return self._signer.public_key not in self._referee.voters(chunk)

    def _vote(self, outcomes: tuple[ChunkOutcome, ...], now: float) -> None:
        commits = commits_of(
            self._signer if self._mandate is None else self._mandate.signer,
            self.ledger.manifest.seal_key,
            self.ledger.task,
            self._next_seq,
            outcomes,
            self._blobs,
            self._rng,
            inline_bytes=self._config.inline_result_bytes,
        )
        for commit, leaves in commits:
            self._desk.publish(self.ledger, commit)
            self._votes += len(leaves)
            self._review(self._referee.cast(self._signer.public_key, leaves, commit.seq), now)

    def advance(self, now: float) -> None:
        """Let time pass: overdue assignments, hungry chunks, checkpoints, the end."""
        if self.state is TaskState.CLOSED:
            return
        if self._mandate is not None:
            self._look_whether_to_act(self._mandate, now)
            if not self.acts:
                return
        reviewing = self._review_at is None or now >= self._review_at
        if reviewing:
            self._stirred = True
            if self._presence is not None:
                self._presence.advance(now, self._dispatch.members)
            self._admit(now)
            self._review_at = now + REVIEW_S
            self._dispatch.review(now)
        if self._stirred and now >= self._asking_from:
            self._stirred = False
            self._dispatch.dispatch(now, auditing=self.state is TaskState.AUDITING, employing=reviewing)
            self._finish(now)
        if self._checkpoint_at is not None and now >= self._checkpoint_at:
            self._checkpoint(now)

    def take_job(self) -> list[ChunkInput] | None:
        """The next batch for our own node, or None. `job_started` must follow."""
        if self.state is TaskState.CLOSED or not self.acts or not self._has_inputs():
            return None
        return self._executing.take_job()

    def job_started(self, job: int, batch: list[ChunkInput]) -> None:
        self._executing.job_started(job, batch)

    @property
    def jobs_running(self) -> int:
        return self._executing.jobs_running

    def wake_at(self) -> float | None:
        if self.state is TaskState.CLOSED:
            return None
        due = [at for at in (self._checkpoint_at if self.acts else None, self._review_at) if at is not None]
        return min(due, default=None)

    # ---- what a person asks

    def progress(self) -> Progress:
        assurance = self._closing.assurance(convicted=self._is_anyone_convicted, all_closed=self._all_closed())
        return Progress(
            self.state,
            self.ledger.manifest.chunks,
            len(self._accepted),
            len(self._failed),
            self._votes,
            len(self.ledger.admits),
            len(self._verdicts),
            assurance.worker_audits,
            assurance.creator_audits,
            assurance.bound,
            self.ledger.lots.count(),
        )

    def result(self, chunk: int) -> ChunkResult:
        """What is known of one chunk, for results.ndjson."""
        voters = self._referee.voters(chunk)
        reasons = tuple(sorted(set(self._referee.reports(chunk).values())))
        value = self._accepted.get(chunk)
        if value is None:
            state = "failed" if chunk in self._failed else "open"
            return ChunkResult(chunk, state, None, 0, len(voters), (), (), reasons)
        leaf = self._referee.leaf(chunk, value)
        same = {
            worker: self._referee.is_same(chunk, vote.value, value) for worker, vote in voters.items() if vote.value
        }
        # Within a tolerance not all of them have the bytes that stand for theirs: those that do come first.
        agreed = sorted(
            (worker for worker, agrees in same.items() if agrees), key=lambda each: (voters[each].value != value, each)
        )
        disagreed = sorted(worker for worker, agrees in same.items() if not agrees)
        state = "ok" if leaf.status is Status.OK else "task error"
        return ChunkResult(chunk, state, leaf.digest, leaf.size, len(voters), tuple(agreed), tuple(disagreed), reasons)

    def settled_chunks(self) -> list[int]:
        """The chunks that have a result, or will get none."""
        return sorted(self._accepted.keys() | self._failed)

    def cancelled_chunks(self) -> int:
        """How many chunks were given up."""
        us = self._signer.public_key
        return sum(self._referee.reports(chunk).get(us) == CANCELLED for chunk in self._failed)

    def result_bytes(self, chunk: int) -> bytes | None:
        """The accepted result of a chunk, or None while there is none."""
        value = self._accepted.get(chunk)
        if value is None:
            return None
        leaf = self._referee.leaf(chunk, value)
        return leaf.data if leaf.inline else self._blobs.read(leaf.digest, 0, leaf.size)

    def evidence(self) -> Iterator[Shown]:
        """What strangers need to check the certificate: every record up to it, the sealed ones opened (recount.py)."""
        return shown_records(self._signer, self.ledger, self._package)

    @property
    def referee(self) -> Referee:
        """The opened votes, for whoever checks us."""
        return self._referee

    def wrong_votes(self) -> dict[bytes, int]:
        """Votes that differ from the accepted result, by worker."""
        wrong: dict[bytes, int] = {}
        for chunk, value in self._accepted.items():
            for worker, vote in self._referee.voters(chunk).items():
                if vote.value and not self._referee.is_same(chunk, vote.value, value):
                    wrong[worker] = wrong.get(worker, 0) + 1
        return wrong

    # ---- admission and counting

    def _admit(self, now: float) -> None:
        self._admitted_at = [at for at in self._admitted_at if now - at < 60]
        while self.acts and self._waiting_joins and len(self._admitted_at) < self._config.admit_per_minute:
            worker = self._waiting_joins.pop(0)
            if worker in self.ledger.admits or self.ledger.is_void(worker) or self.ledger.is_steward(worker):
                continue
            if not self._can_seal_to(worker):
                continue
            self._admitted_at.append(now)
            anchor = self.ledger.joins[worker].anchor
            self._desk.publish(self.ledger, Admit(self.ledger.task, worker, anchor, self._rng.randbytes(16)))
            self._desk.notice(Notable.WORKER_ADMITTED, self.ledger, chunk=None, peer=worker, detail="")
            self._admitted(worker, now)

    def _can_seal_to(self, worker: bytes) -> bool:
        """Whether a worker's seal key is a usable one: with a point of small order nothing could ever be assigned."""
        join, context = self.ledger.joins[worker], ASSIGN_CONTEXT + self.ledger.task
        try:
            self._signer.seal(join.seal_key, context, b"", self._rng.randbytes(NONCE_BYTES))
        except RemoteProtocolError:
            return False
        return True

    def _admitted(self, worker: bytes, now: float) -> None:
        if not self.ledger.is_void(worker):
            self._dispatch.admitted(worker)
            self._review_at = now  # There may be something for it at once.
        self._recredit(worker, now)
        self._review(self._referee.admit(worker), now)

    def _recredit(self, worker: bytes, now: float) -> None:
        """Who shares the reward of a worker's chunks has changed."""
        for shard in {shard_of(chunk) for chunk in self._referee.voted_chunks(worker)}:
            self._mark_dirty(shard * SHARD_CHUNKS, now)

    def _count(self, signed: Signed, commit: Commit, now: float) -> None:
        author = signed.author
        chunks = chunks_of(commit.shard, commit.runs)
        self._dispatch.committed(author, commit, chunks, now)
        if author == self._signer.public_key:
            self._seq = max(self._seq, commit.seq)
        if author == self.ledger.manifest.creator:
            seal_key = self.ledger.manifest.seal_key
        else:
            join = self.ledger.joins.get(author)
            if join is None:
                return
            seal_key = join.seal_key
        try:
            leaves = open_commit(self._signer, seal_key, author, commit)
            if self._package:
                check_inline(leaves)
        except RemoteProtocolError:
            if not self._restoring:
                self._convict(author, "malformed", chunks[0], signed.record_id, now)
            self._review(chunks, now)  # It may have been what we asked for: then others are asked.
            return
        self._votes += len(leaves)
        if any(leaf.sealed for leaf in leaves):
            named = (*custodians_of(self._signer, seal_key, commit), *self._custodians.get(author, ()))
            self._custodians[author] = tuple(dict.fromkeys(named))[:CUSTODIANS_MAX]
        touched = self._referee.cast(author, leaves, commit.seq)
        self._mark_dirty(chunks[0], now)
        if author in self._referee.contradictors and not self._restoring and not self.ledger.is_void(author):
            self._convict(author, "equivocated", chunks[0], signed.record_id, now)
        self._review(touched, now)
        if commit.link and not self.ledger.lots.is_linked(author):
            self._review(self._referee.look_again(self._referee.voted_chunks(author)), now)

    def _convict(self, worker: bytes, reason: str, chunk: int, commit: bytes, now: float) -> None:
        if not self.acts or self._is_banned(worker):
            return
        if worker in self.ledger.delegations and self._mandate is None:
            self.revoke(worker, now)
            self._desk.notice(Notable.WORKER_CONVICTED, self.ledger, chunk=chunk, peer=worker, detail="steward revoked")
            return
        assert reason in ("wrong", "malformed", "equivocated")
        # Honest machines err, too: the first wrong result costs what was done until then, the second one everything.
        is_strike = reason == "wrong" and worker not in self._strikes
        void_to = self._referee.last_seq(worker) if is_strike else EVERYTHING
        verdict = Verdict(self.ledger.task, worker, reason, chunk, commit, void_to)  # type: ignore[arg-type]
        if self._mandate is None:
            self._desk.publish(self.ledger, verdict)
        else:
            (self._strikes if is_strike else self._verdicts)[worker] = verdict
            self._verdicts.setdefault(worker, verdict)
        detail = "a strike" if is_strike else reason
        self._desk.notice(Notable.WORKER_CONVICTED, self.ledger, chunk=chunk, peer=worker, detail=detail)
        self._void(verdict, now)

    def _drawn(self, chunk: int) -> frozenset[bytes]:
        drawn = self.ledger.lots.workers(chunk, blind=True)
        for steward in self.ledger.delegations if self._mandate is None else ():
            drawn = drawn.union((steward,), self._entrusted.get(steward, {}).get(chunk, ()))
        return drawn

    def _asked_for_us(self, chunk: int) -> frozenset[bytes]:
        asked: frozenset[bytes] = frozenset()
        for steward, delegation in self.ledger.delegations.items():
            if delegation.trusted:
                asked = asked.union(self._entrusted.get(steward, {}).get(chunk, ()))
        return asked.difference(self.ledger.delegations)  # A steward's own vote is no audit, whoever asked it.

    def _is_banned(self, worker: bytes) -> bool:
        verdict = self._verdicts.get(worker)
        return verdict is not None and verdict.is_ban

    def _void(self, verdict: Verdict, now: float) -> None:
        if verdict.is_ban:
            self._dispatch.dismiss(verdict.worker, now)
        self._closing.struck(verdict.worker)
        self._recredit(verdict.worker, now)
        self._review(self._referee.make_void(verdict.worker, verdict.void_to), now)

    # ---- stewards

    def _asked(self, author: bytes, assign: Assign, now: float) -> None:
        """Somebody who may has asked a worker for chunks: we in an earlier life, a steward, or its creator."""
        if author == self._signer.public_key:
            self._seq = max(self._seq, assign.seq)
        join = self.ledger.joins.get(assign.worker)
        if join is None:
            return
        try:
            chunks = open_assignment(self._signer, join.seal_key, assign).chunks
        except RemoteProtocolError:
            return  # A steward sealed nonsense.
        if self._mandate is not None or author == self._signer.public_key:
            self._referee.assign(assign.worker, chunks)
            return
        entrusted = self._entrusted.setdefault(author, {})
        for chunk in chunks:
            entrusted.setdefault(chunk, set()).add(assign.worker)
        self._review(self._referee.look_again(chunks), now)

    def _delegated(self, steward: bytes, now: float) -> None:
        asked = self._entrusted.get(steward, {})
        self._review([*self._referee.admit(steward), *self._referee.look_again(asked)], now)

    def _revoked(self, steward: bytes, now: float) -> None:
        """Nothing that a steward said counts any more; whom it had admitted waits for us."""
        chunks = [*self._entrusted.pop(steward, ()), *self._referee.make_void(steward, EVERYTHING)]
        for worker in [worker for worker in self.ledger.joins if worker not in self.ledger.admits]:
            self._dispatch.dismiss(worker, now)
            chunks += self._referee.unadmit(worker)
            if worker not in self._waiting_joins and worker != steward:
                self._waiting_joins.append(worker)
        if not self._restoring:
            self._admit(now)
        self._recredit(steward, now)
        self._review(list(dict.fromkeys(self._referee.look_again(chunks))), now)

    def _look_whether_to_act(self, mandate: Mandate, now: float) -> None:
        acted, self.acts = self.acts, mandate.holds(now)
        if self.acts and not acted:
            self._review(list(self._referee.touched_chunks()), now)
        elif not self.acts and (self._review_at is None or now >= self._review_at):
            self._review_at = now + REVIEW_S

    def _closed_elsewhere(self, checkpoint: Checkpoint) -> None:
        """The creator has closed chunks: they are none of its steward's business any more."""
        first = checkpoint.shard * SHARD_CHUNKS
        for index in range(self.ledger.shard_size(checkpoint.shard)):
            if self.ledger.is_closed(first + index):
                self._closed_by_creator.add(first + index)
                self._needless.add(first + index)
                self._dispatch.satisfied(first + index)

    def _fetch_whole(self) -> None:
        """Get what executing any chunk takes; a worker may have parts of it only."""
        inputs = self.ledger.manifest.inputs
        if inputs is not None and not self._has_inputs():
            self._desk.fetch(inputs.sha256, inputs.size, inputs.root, ())

    def _has_inputs(self) -> bool:
        inputs = self.ledger.manifest.inputs
        return inputs is None or self._mandate is None or self._blobs.size(inputs.sha256) is not None

    # ---- chunk by chunk

    def _review(self, chunks: Iterable[int], now: float) -> None:
        if self._restoring or self.state is TaskState.CLOSED:
            return
        self._stirred = True
        for chunk in chunks:
            if chunk in self._closed_by_creator:
                continue
            for worker in self._referee.chunk(chunk).offenders:
                # A conviction reviews this chunk as well, and may have convicted the next of them.
                if worker in self._referee.chunk(chunk).offenders:
                    self._convict(worker, "wrong", chunk, bytes(32), now)
            self._closing.account(chunk)
            self._settle(chunk, self._referee.chunk(chunk), now)

    def _settle(self, chunk: int, tally: ChunkTally, now: float) -> None:
        value = self._accepted.get(chunk)
        if value is not None and tally.value is not None and self._referee.is_same(chunk, value, tally.value):
            if value != tally.value:
                # Another of the votes that agree stands for them now: its result, inside of it, replaces the other.
                del self._accepted[chunk]
        elif value is not None:
            del self._accepted[chunk]
            self._retracted[chunk] = value
            self._mark_dirty(chunk, now)
            self._desk.notice(Notable.CHUNK_REOPENED, self.ledger, chunk=chunk, peer=None, detail="")
        if chunk in self._failed and tally.state is not ChunkState.FAILED:
            self._failed.discard(chunk)
            self._needless.discard(chunk)
            self._mark_dirty(chunk, now)
        if tally.state is not ChunkState.DISPUTED and chunk in self._disputed:
            # A conviction on another chunk has settled this one.
            self._disputed.discard(chunk)
            for job in self._executing.forget([chunk]):
                self._desk.cancel(job)
        match tally.state:
            case ChunkState.OPEN if self._mandate is not None:
                # Only we know that no vote on it counts: nobody would pick it.
                self._dispatch.deal(chunk, now)
            case ChunkState.OPEN:
                self._dispatch.reopened(chunk)
            case ChunkState.SEALED:
                self._dispatch.want(chunk, now)
            case ChunkState.DISPUTED:
                self._dispatch.satisfied(chunk)
                if chunk not in self._executing:
                    self._disputed.add(chunk)
                    self._executing.want([chunk])
                    self._desk.notice(Notable.DISPUTE, self.ledger, chunk=chunk, peer=None, detail="")
            case ChunkState.FAILED:
                self._dispatch.satisfied(chunk)
                if chunk not in self._failed:
                    self._failed.add(chunk)
                    self._needless.add(chunk)
                    self._mark_dirty(chunk, now)
                    reasons = "; ".join(sorted(set(self._referee.reports(chunk).values())))
                    self._desk.notice(Notable.CHUNK_FAILED, self.ledger, chunk=chunk, peer=None, detail=reasons)
            case ChunkState.AGREED:
                assert tally.value is not None
                self._agreed(chunk, tally, now)

    def _agreed(self, chunk: int, tally: ChunkTally, now: float) -> None:
        assert tally.value is not None
        voters = self._referee.voters(chunk)
        if not self._referee.is_same(chunk, self._retracted.pop(chunk, tally.value), tally.value):
            self._mismatches += 1
            self._closing.mistaken()
        self._closing.agreed(chunk)
        if self._closing.due(chunk):
            self._dispatch.want(chunk, now)
        else:
            self._dispatch.satisfied(chunk)
        if chunk in self._accepted:
            return
        leaf = self._referee.leaf(chunk, tally.value)
        if not leaf.inline and self._blobs.size(leaf.digest) is None:
            waiting = self._fetching.setdefault(leaf.digest, set())
            if chunk not in waiting:
                waiting.add(chunk)
                makers = [worker for worker, vote in sorted(voters.items()) if vote.value == tally.value]
                makers += [steward for steward in self.ledger.delegations if steward not in makers]
                self._desk.fetch(leaf.digest, leaf.size, None, makers)
            return
        self._accepted[chunk] = tally.value
        self._mark_dirty(chunk, now)
        self._desk.notice(Notable.CHUNK_ACCEPTED, self.ledger, chunk=chunk, peer=None, detail=leaf.status.name.lower())

    def _copies(self, digest: bytes) -> list[Copy]:
        """The sealed copies that votes for a result name."""
        return [
            Copy(worker, leaf, self._custodians[worker])
            for chunk in sorted(self._fetching.get(digest, ()))
            for worker, leaf in sorted(self._referee.copies(chunk).items())
            if leaf.digest == digest
        ]

    def _assign(self, worker: bytes, home: int, chunks: list[int], urgent: bool) -> None:
        join = self.ledger.joins[worker]
        sealed = seal_assignment(self._signer, join.seal_key, self.ledger.task, chunks, self._rng, urgent=urgent)
        self._referee.assign(worker, chunks)
        self._desk.publish(self.ledger, Assign(self.ledger.task, home, self._next_seq(), worker, sealed))

    # ---- the end

    def _all_closed(self) -> bool:
        settled = len(self._accepted) + len(self._failed)
        if self._closed_by_creator:
            settled += len(self._closed_by_creator - self._accepted.keys() - self._failed)
        return settled == self.ledger.manifest.chunks

    @property
    def _is_anyone_convicted(self) -> bool:
        return bool(self._verdicts)

    def _finish(self, now: float) -> None:
        if not self._all_closed() or self._executing or self._dispatch.is_waiting:
            self.state = TaskState.RUNNING if not self._all_closed() else TaskState.AUDITING
            return
        was_settled = self.state is TaskState.SETTLED
        self.state = TaskState.AUDITING
        by_workers = self._dispatch.members > self.ledger.manifest.policy.replication
        match self._closing.next_step(convicted=self._is_anyone_convicted, by_workers=by_workers):
            case Certify() if self._mandate is not None:
                self.state = TaskState.SETTLED
                if not was_settled:
                    self._checkpoint(now)
                    self._desk.notice(Notable.TASK_SETTLED, self.ledger, chunk=None, peer=None, detail="")
            case Certify():
                self._close(now)
            case Confirm(chunks):
                for chunk in chunks:
                    self._dispatch.want(chunk, now)
            case ExecuteOurselves(chunks):
                self._executing.want(chunks)

    def _close(self, now: float) -> None:
        self._checkpoint(now)
        progress = self.progress()
        assurance = self._closing.assurance(convicted=self._is_anyone_convicted, all_closed=True)
        manifest = self.ledger.manifest
        from_roots = b"".join(
            self.ledger.checkpoints[shard].root
            for shard in range(self.ledger.shards)
            if shard in self.ledger.checkpoints
        )
        certificate = CertificateBody(
            self.ledger.task,
            manifest.chunks,
            progress.accepted,
            progress.failed,
            merkle.leaf_hash(from_roots),
            progress.votes,
            progress.worker_audits,
            progress.creator_audits,
            self._mismatches,
            progress.convicted,
            manifest.policy.eps,
            assurance.bound,
            assurance.confidence,
        )
        self.state = TaskState.CLOSED
        self._desk.publish(self.ledger, certificate)
        self._desk.notice(Notable.TASK_CLOSED, self.ledger, chunk=None, peer=None, detail="")

    def _mark_dirty(self, chunk: int, now: float) -> None:
        self._dirty.add(shard_of(chunk))
        if self._checkpoint_at is None:
            self._checkpoint_at = now + self._config.checkpoint_s

    def _checkpoint(self, now: float) -> None:
        self._checkpoint_at = None
        for shard in sorted(self._dirty):
            first, size = shard * SHARD_CHUNKS, self.ledger.shard_size(shard)
            accepted, failed = bytearray((size + 7) // 8), bytearray((size + 7) // 8)
            hashes = []
            begun = set(self.ledger.leased_chunks(shard, now))
            for index in range(size):
                if self._referee.chunk(first + index).state is not ChunkState.OPEN:
                    begun.add(first + index)
                value = self._accepted.get(first + index)
                if value is not None:
                    accepted[index // 8] |= 1 << index % 8
                    hashes.append(merkle.leaf_hash((first + index).to_bytes(4) + value))
                elif first + index in self._failed:
                    failed[index // 8] |= 1 << index % 8
            previous = self._said_of(shard)
            seq = previous.seq + 1 if previous is not None else 0
            checkpoint = Checkpoint(
                self.ledger.task,
                shard,
                seq,
                len(begun),
                bytes(accepted),
                bytes(failed),
                merkle.root(hashes),
                *self._credits(shard, previous),
            )
            self._desk.publish(self.ledger, checkpoint)
        self._dirty.clear()

    def _said_of(self, shard: int) -> Checkpoint | None:
        """Our last checkpoint of a shard."""
        if self._mandate is None:
            return self.ledger.checkpoints.get(shard)
        return self.ledger.interim.get((self._signer.public_key, shard))

    def _credits(self, shard: int, previous: Checkpoint | None) -> tuple[bytes, int, bytes]:
        """What a shard's checkpoint says of who earned what; a large table is a blob that workers fetch."""
        if self._mandate is not None:
            return fields_of(b"")  # A steward cannot pay.
        chunks = range(shard * SHARD_CHUNKS, shard * SHARD_CHUNKS + self.ledger.shard_size(shard))
        accepted = ((chunk, self._accepted[chunk]) for chunk in chunks if chunk in self._accepted)
        stewards = self.ledger.delegations
        confirmers = (
            [worker for worker in self._referee.confirmers(chunk, value) if worker not in stewards]
            for chunk, value in accepted
        )
        table = table_of(split(self.ledger.manifest.reward, confirmers))
        said = fields_of(table)
        if len(table) > INLINE_BYTES_MAX:
            self._blobs.put(said[2], table)
        if previous is not None and previous.credits_size > INLINE_BYTES_MAX and previous.credits != said[2]:
            self._blobs.discard(previous.credits)
        return said

    def _next_seq(self) -> int:
        self._seq += 1
        return self._seq

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

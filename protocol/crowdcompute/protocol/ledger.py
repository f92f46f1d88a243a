"""One task's records as every peer holds them: a grow-only set and what it says in public (spec/ledger.md).

    a worker:  UNKNOWN --join--> GUEST --admit--> ADMITTED --strike--> ADMITTED, its votes until then void
                                                     '--ban or equivocation--> VOID

Adding a record twice changes nothing, and the order of adding changes nothing about what the set says. Records that
cannot matter any more are let go: expired leases, old assignments, checkpoints that a newer one replaces, and commits
whose chunks a checkpoint has closed. The creator's tally rests on assignments and commits still: it keeps them, and
offers them to nobody.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from .credit import check_credits
from .drawing import Absence, Lots
from .epochs import NO_VALUE, ChainView, last_epoch
from .errors import RemoteProtocolError
from .feeding import Fed
from .leases import Leases
from .lineage import rests_of
from .opening import shown_votes
from .records import (
    EVERYTHING,
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
    Resumed,
    Reveal,
    Revoke,
    Savepoint,
    Signed,
    Verdict,
    chunks_of,
    mask,
)
from .split import Stream
from .stewards import BY_STEWARD, Stewards

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .manifest import Manifest

WORKERS_MAX = 100_000
SAVEPOINTS_PER_WORKER_MAX = 16
"""Chunks of which one worker's savepoints are held: an honest one is on as many as it has cores, mostly."""

GUESTS_MAX = 1_000
GUEST_BYTES_MAX = 4 * 1024 * 1024
GUESTS_BYTES_MAX = 64 * 1024 * 1024
"""Workers not admitted yet whose commits are taken, and bytes of commits of each and of all: what a flood of identities
may cost everybody while the creator is away. Beyond them a guest's votes wait at the guest itself."""

ASSIGN_KEPT_S = 60.0
"""An assignment that its worker has not answered with a lease by then was given to somebody else long ago."""

STEWARD_GRACE_S = 60.0
"""What a steward signed in its last moments may come a little later, and clocks differ."""

# Tuples made once: they are asked for every record.
_BY_CREATOR = (*BY_STEWARD, Beacon, Verdict, CertificateBody, Delegate, Revoke, Feed)
_UNCOUNTED = (Lease, Assign, Savepoint, Feed)
_CHOOSING = (Verdict, Beacon)
"""What changes who may have been drawn by lots."""


def joining_work(join: Join, worker: bytes) -> int:
    """Leading zero bits of a join's proof of work: SHA-256 over the domain and all that the join fixes."""
    digest = sha256(_worked_on(join, worker) + join.work.to_bytes(8)).digest()
    return 256 - int.from_bytes(digest).bit_length()


def find_work(join: Join, worker: bytes, bits: int) -> Join:
    """A join with the smallest number, from its own on, whose proof of work has `bits` leading zero bits."""
    # Tens of thousands of tries, and a newcomer does nothing else meanwhile: what does not change is hashed once.
    begun, work, below = sha256(_worked_on(join, worker)), join.work, 1 << (256 - bits)
    while True:
        tried = begun.copy()
        tried.update(work.to_bytes(8))
        if int.from_bytes(tried.digest()) < below:
            return msgspec.structs.replace(join, work=work)
        work += 1


def _worked_on(join: Join, worker: bytes) -> bytes:
    return b"cc/work/1\0" + join.task + worker + join.anchor + join.beacon


def task_topic(task: bytes) -> bytes:
    """Topic of what concerns a whole task: joins, admissions, verdicts, checkpoints, the certificate."""
    return task


def bit(bitmap: bytes, index: int) -> bool:
    """Whether bit `index` is set, counting from the least significant bit of the first byte."""
    return index // 8 < len(bitmap) and bool(bitmap[index // 8] >> (index % 8) & 1)


class Ledger:
    """The public set of one task's records, and the answers a worker needs from it."""

    def __init__(
        self, signed: Signed, manifest: Manifest, *, keep_commits: bool = False, clock_offset_s: float = 0.0
    ) -> None:
        self.signed = signed
        self.manifest = manifest
        self.task = signed.record_id
        self.shards = -(-manifest.chunks // SHARD_CHUNKS)
        self.joins: dict[bytes, Join] = {}
        self.admits: dict[bytes, Admit] = {}
        self.verdicts: dict[bytes, Verdict] = {}
        """Of each convicted worker the verdict that voids most."""
        self.strikes: dict[bytes, Verdict] = {}
        """Of each worker that has one the strike that counts, whether it was banned later or not."""
        self.equivocators: set[bytes] = set()
        self.checkpoints: dict[int, Checkpoint] = {}
        self.certificate: CertificateBody | None = None
        self.commits: dict[bytes, tuple[bytes, Commit]] = {}
        self.reveals: dict[bytes, tuple[bytes, Reveal]] = {}
        """By the commit that is shown: the reveal's id and what it says."""
        self.beacons: dict[int, Beacon] = {}
        """The last one of each of the creator's presences, by its epoch."""
        self.version = 0
        """Changes with every record that may change what votes say."""
        self.leases = Leases(self.remove)
        self.savepoints: dict[int, dict[bytes, Signed]] = {}
        """Chunk -> worker -> how far it says it was: of each worker the newest, of chunks that are not closed."""
        self.creator_equivocated = False
        self.fed = Fed() if isinstance(manifest.split, Stream) else None
        """Of a stream what its creator has fed."""
        self._stewards = Stewards(self, is_final=keep_commits)
        self.delegations = self._stewards.delegations
        self.revoked = self._stewards.revoked
        self.interim = self._stewards.interim
        self._clock_offset_s = clock_offset_s
        self._keep_commits = keep_commits
        self._records: dict[bytes, tuple[bytes, Signed]] = {}  # id -> (topic, record)
        self._by_topic: dict[bytes, dict[bytes, None]] = {}
        self._checkpoint_ids: dict[int, bytes] = {}
        self._assigned_at: dict[bytes, float] = {}  # id of an assignment -> when it came, oldest first
        self._savepoints_of: dict[bytes, dict[int, int]] = {}  # worker -> chunk -> seq
        self._seqs: dict[tuple[bytes, int], bytes] = {}
        self._voters: dict[int, tuple[tuple[tuple[bytes, int], ...], ...]] = {}
        """Chunk -> of each commit whose work it is, its author first, and the seqs of what they signed."""
        self._voted_bits: dict[int, int] = {}
        """Shard -> a bit for each of its chunks, set where `has_voter`; as far as it was asked for since a verdict."""
        self._void_to: dict[bytes, int] = {}
        self._strike_ids: dict[bytes, bytes] = {}
        self._guest_bytes: dict[bytes, int] = {}
        self._guests_bytes = 0
        self._beacon_ids: dict[int, bytes] = {}
        self._beacon_chain = ChainView(manifest.epochs.anchor if manifest.epochs else NO_VALUE, last_epoch(manifest))
        self.lots = Lots(self)
        self._records[self.task] = (task_topic(self.task), signed)

    # ---- adding

    def shard_topic(self, shard: int) -> bytes:
        """Topic of one shard's leases, commits and assignments. An only shard has none of its own."""
        return task_topic(self.task) if self.shards == 1 else self.task + shard.to_bytes(4)

    def topic_of(self, record: Record) -> bytes:
        """Where a record is gossiped."""
        match record:
            case (
                Lease(shard=shard)
                | Commit(shard=shard)
                | Reveal(shard=shard)
                | Assign(shard=shard)
                | Savepoint(shard=shard)
            ):
                return self.shard_topic(shard)
            case _:
                return task_topic(self.task)

    def check(self, signed: Signed, record: Record) -> None:
        """Whether a record may enter at all; its signature was checked before.

        Raises:
            RemoteProtocolError: It is for another task, by the wrong author, or names what does not exist.
        """
        if record.task != self.task:
            raise RemoteProtocolError("a record of another task")
        if isinstance(record, Savepoint | Resumed) and self.manifest.runtime != "wasm":
            raise RemoteProtocolError(f"a {signed.kind} in a task whose chunks are executed whole")
        if isinstance(record, _BY_CREATOR) and not self._speaks_for_creator(signed.author, record):
            raise RemoteProtocolError(f"a {signed.kind} that the creator did not sign")
        match record:
            case Join():
                if joining_work(record, signed.author) < self.manifest.policy.pow_bits:
                    raise RemoteProtocolError("a join without its proof of work")
                if not self._beacon_chain.holds(record.epoch, record.beacon):
                    raise RemoteProtocolError("a join names a beacon that is none of the task's")
                if len(self.joins) >= WORKERS_MAX:
                    raise RemoteProtocolError("too many workers join this task")
            case Lease(shard=shard, runs=runs) | Commit(shard=shard, runs=runs):
                if shard >= self.shards or (runs and runs[-1][0] + runs[-1][1] > self.manifest.chunks):
                    raise RemoteProtocolError("a record names chunks the task does not have")
                if isinstance(record, Lease) and record.home >= self.shards:
                    raise RemoteProtocolError("a lease names a home shard the task does not have")
                if isinstance(record, Resumed) and any(rest.maker not in self.joins for rest in rests_of(record)):
                    raise RemoteProtocolError("a commit rests on a savepoint of who has not joined")
                if isinstance(record, Commit) and record.seq == EVERYTHING:
                    raise RemoteProtocolError("a commit with the last seq there is: no strike could end before it")
            case Savepoint(chunk=chunk, seq=seq):
                if chunk >= self.manifest.chunks:
                    raise RemoteProtocolError("a savepoint of a chunk that the task does not have")
                if seq == EVERYTHING:
                    raise RemoteProtocolError("a savepoint with the last seq there is: no strike could end before it")
            case Feed(first=first, inputs=inputs):
                if self.fed is None:
                    raise RemoteProtocolError("a feed of a task whose chunks were there from the beginning")
                if first + len(inputs) > self.manifest.chunks:
                    raise RemoteProtocolError("a feed of more chunks than the stream may have")
            case Beacon(epoch=epoch, since=since, value=value):
                if since > epoch or not epoch or not self._beacon_chain.holds(epoch, value):
                    raise RemoteProtocolError("a beacon that is none of the task's")
            case Reveal(commit=commit_id):
                author, commit = self.commits.get(commit_id, (None, None))
                if commit is None or author != signed.author or commit.shard != record.shard:
                    raise RemoteProtocolError("a reveal of a commit that its author did not sign")
                shown_votes(signed.author, commit, record)
            case Assign(shard=shard):
                if shard >= self.shards:
                    raise RemoteProtocolError("an assignment names a shard the task does not have")
            case Checkpoint(shard=shard, accepted=accepted, failed=failed):
                if shard >= self.shards or not len(accepted) == len(failed) == (self.shard_size(shard) + 7) // 8:
                    raise RemoteProtocolError("a checkpoint does not fit its shard")
                # Bits beyond the shard, or set in both, would make counts of open chunks negative.
                is_in, is_out = int.from_bytes(accepted, "little"), int.from_bytes(failed, "little")
                if is_in & is_out or (is_in | is_out) >> self.shard_size(shard):
                    raise RemoteProtocolError("a checkpoint names a chunk twice or one its shard does not have")
                check_credits(record)
            case Verdict(reason=reason) if reason != "wrong" and not record.is_ban:
                raise RemoteProtocolError("a strike for what no hardware error can cause")
            case _:
                pass
        self._stewards.check(signed, record)

    def add(self, signed: Signed, record: Record, now: float) -> bool:
        """Add a checked record. False when it says nothing new (known, superseded, or of a worker that is void)."""
        record_id = signed.record_id
        if record_id in self._records:
            return False
        match record:
            case Join():
                if signed.author in self.joins:
                    return False
                self.joins[signed.author] = record
                self.lots.anchored(signed.author)
            case Delegate() | Revoke() | Admit():
                if not self._stewards.add(record_id, signed.author, record, now):
                    return False
            case Assign() | Checkpoint() if signed.author != self.manifest.creator:
                if not self._stewards.add(record_id, signed.author, record, now):
                    return False
            case Verdict():
                if not self._add_verdict(record_id, record):
                    return False
            case Checkpoint():
                if not self._add_checkpoint(record_id, record):
                    return False
            case CertificateBody():
                if self.certificate is not None:
                    return False
                self.certificate = record
                self._let_go_of_feeds()
            case Feed():
                if self.certificate is not None or not self._add_feed(record):
                    return False
            case Beacon():
                if not self._add_beacon(record_id, record):
                    return False
            case Commit():
                self._add_commit(record_id, signed.author, record)
                self._charge_guest(signed)
            case Reveal(commit=commit_id):
                if commit_id in self.reveals:
                    return False
                self.reveals[commit_id] = (record_id, record)
                self.lots.revealed(signed.author, self.commits[commit_id][1], record)
                self._charge_guest(signed)
            case Lease():
                if self.is_void(signed.author) or not self.leases.add(record_id, signed.author, record, now):
                    return False
            case Savepoint():
                if not self._add_savepoint(signed, record):
                    return False
            case Assign():
                self._assigned_at[record_id] = now
        self.version += not isinstance(record, _UNCOUNTED)
        if isinstance(record, _CHOOSING):
            self.lots.look_again()
        topic = self.topic_of(record)
        self._records[record_id] = (topic, signed)
        self._by_topic.setdefault(topic, {})[record_id] = None
        return True

    # ---- asking

    def is_admitted(self, author: bytes) -> bool:
        """Whether an author's votes count, as far as it is not void."""
        # A steward's word may come before the join that it is about.
        has_joined = author in self.joins
        return author == self.manifest.creator or (has_joined and (author in self.admits or author in self.delegations))

    def is_steward(self, author: bytes) -> bool:
        """Whether the creator lets somebody act for it, or did until its time ran out; no more once it is revoked."""
        return author in self.delegations

    def may_act(self, author: bytes, now: float) -> bool:
        """Whether what somebody asks for is to be done now: the creator, or a steward whose time is not over."""
        return author == self.manifest.creator or self._acts(author, now, STEWARD_GRACE_S)

    def may_begin(self, steward: bytes, now: float) -> bool:
        """Whether a steward's time is not over, on its own clock."""
        return self._acts(steward, now, 0.0)

    def has_room_for_guest(self, author: bytes, size: int) -> bool:
        """Whether a record of a worker that has joined and was not admitted yet may enter: its creator may be away."""
        used = self._guest_bytes.get(author)
        if author not in self.joins or (used is None and len(self._guest_bytes) >= GUESTS_MAX):
            return False
        return (used or 0) + size <= GUEST_BYTES_MAX and self._guests_bytes + size <= GUESTS_BYTES_MAX

    def absence(self, epoch: int) -> Absence | None:
        """What lots of an epoch are drawn from; None when the creator was there, or not away for an epoch yet.

        It says that it is there by beacons, which nobody else can make. A task begins with one, its anchor.
        """
        last = 0
        for seen, beacon in self.beacons.items():
            if beacon.since <= epoch <= seen + 1:
                return None
            if last < seen < epoch:
                last = seen
        if self.manifest.epochs is None or epoch < last + 2:
            return None
        if last:
            return Absence(self.beacons[last].value, self.beacons[last].workers)
        return Absence(self.manifest.epochs.anchor, 0)

    def newest_beacon(self) -> tuple[int, bytes]:
        """Epoch and value of the last beacon: what a join made now is bound to."""
        epoch = max(self.beacons, default=0)
        if epoch:
            return epoch, self.beacons[epoch].value
        return 0, self.manifest.epochs.anchor if self.manifest.epochs is not None else NO_VALUE

    def is_void(self, worker: bytes) -> bool:
        """Whether a worker's votes count for nothing, whenever they were or will be cast."""
        return self._void_to.get(worker, -1) == EVERYTHING

    def void_to(self, worker: bytes) -> int:
        """The seq up to which a worker's commits are void; below every seq where none is."""
        return self._void_to.get(worker, -1)

    def shard_size(self, shard: int) -> int:
        """Chunks that a shard has, or may come to have."""
        return min(SHARD_CHUNKS, self.manifest.chunks - shard * SHARD_CHUNKS)

    @property
    def chunks(self) -> int:
        """How many chunks there are: of a stream those that have been fed."""
        return self.manifest.chunks if self.fed is None else self.fed.count

    @property
    def is_whole(self) -> bool:
        """Whether there will be no further chunks."""
        return self.fed is None or self.fed.is_ended

    @property
    def is_forked(self) -> bool:
        """Whether its creator has given a chunk of a stream two inputs, or the stream two ends: nobody works for it."""
        return self.fed is not None and self.fed.is_forked

    def existing(self, shard: int) -> int:
        """Chunks of a shard that there are."""
        return max(0, min(self.shard_size(shard), self.chunks - shard * SHARD_CHUNKS))

    def exists(self, chunk: int) -> bool:
        """Whether a chunk is there to be computed."""
        return chunk < self.manifest.chunks if self.fed is None else chunk in self.fed.inputs

    def inputs_fed(self) -> Mapping[int, bytes]:
        """The inputs of a stream's chunks, also of those that are yet to come; none of another task."""
        return {} if self.fed is None else self.fed.inputs

    def voters(self, chunk: int) -> list[bytes]:
        """Workers with a commit on this chunk that is not void."""
        return list(dict.fromkeys(parties[0][0] for parties in self._voters.get(chunk, ()) if self._count(parties)))

    def parties(self, chunk: int) -> set[bytes]:
        """Whose work the commits on this chunk are that are not void: their authors and who made their savepoints."""
        return {worker for parties in self._voters.get(chunk, ()) if self._count(parties) for worker, _ in parties}

    def savepoints_on(self, chunk: int) -> list[Signed]:
        """How far those were with a chunk who say so, who may vote and are not void."""
        if chunk not in self.savepoints:
            return []
        return [
            signed
            for worker, signed in sorted(self.savepoints[chunk].items())
            if self.is_admitted(worker) and self._savepoints_of[worker][chunk] > self.void_to(worker)
        ]

    def has_voter(self, chunk: int) -> bool:
        """Whether `voters` names anybody."""
        voters = self._voters.get(chunk)
        if voters is None or not self._void_to:
            return voters is not None
        # Loops here and below, no `any`: asked of every chunk of a shard, and mostly answered by the first voter.
        for parties in voters:  # noqa: SIM110
            if self._count(parties):
                return True
        return False

    def _count(self, parties: Iterable[tuple[bytes, int]]) -> bool:
        for worker, seq in parties:  # noqa: SIM110
            if seq <= self._void_to.get(worker, -1):
                return False
        return True

    def is_accepted(self, chunk: int) -> bool:
        checkpoint = self.checkpoints.get(chunk // SHARD_CHUNKS)
        return checkpoint is not None and bit(checkpoint.accepted, chunk % SHARD_CHUNKS)

    def is_closed(self, chunk: int) -> bool:
        """Accepted or failed: nobody needs to compute this chunk any more."""
        checkpoint = self.checkpoints.get(chunk // SHARD_CHUNKS)
        index = chunk % SHARD_CHUNKS
        return checkpoint is not None and (bit(checkpoint.accepted, index) or bit(checkpoint.failed, index))

    def is_settled(self, chunk: int) -> bool:
        """Closed, or a steward says so: nobody need begin it."""
        if self.is_closed(chunk):
            return True
        shard, index = divmod(chunk, SHARD_CHUNKS)
        said = (self.interim.get((steward, shard)) for steward in self.delegations) if self.interim else ()
        return any(it is not None and (bit(it.accepted, index) or bit(it.failed, index)) for it in said)

    def settled_bitmap(self, shard: int) -> bytes:
        """A bit for each chunk of a shard, set where `is_settled`; empty where nothing is."""
        said = [self.checkpoints.get(shard), *(self.interim.get((steward, shard)) for steward in self.delegations)]
        settled = [it for it in said if it is not None]
        if not settled:
            return b""
        bits = 0
        for it in settled:
            bits |= int.from_bytes(it.accepted) | int.from_bytes(it.failed)
        return bits.to_bytes(len(settled[0].accepted))

    def taken_bits(self, shard: int, now: float) -> int:
        """A bit for each chunk of a shard, set where nobody need begin it: settled, voted on, or under a live lease."""
        settled = int.from_bytes(self.settled_bitmap(shard), "little")
        return settled | self._voted(shard) | self.leases.bits(shard, now)

    def unbegun_count(self, shard: int) -> int:
        """Chunks of a shard that, at its last checkpoint, nobody had voted on or leased."""
        checkpoint = self.checkpoints.get(shard)
        existing = self.existing(shard)
        return existing - (min(checkpoint.begun, existing) if checkpoint is not None else 0)

    def open_count(self, shard: int) -> int:
        """Chunks of a shard that the last checkpoint did not close."""
        checkpoint, existing = self.checkpoints.get(shard), self.existing(shard)
        if checkpoint is None:
            return existing
        closed = int.from_bytes(checkpoint.accepted) | int.from_bytes(checkpoint.failed)
        return max(0, existing - closed.bit_count())

    def record_ids(self, topic: bytes) -> Iterator[bytes]:
        """Ids of what is held in a topic."""
        return iter(self._by_topic.get(topic, ()))

    def record(self, record_id: bytes) -> Signed | None:
        entry = self._records.get(record_id)
        return entry[1] if entry else None

    def records(self) -> Iterator[Signed]:
        """Everything held, in order of arrival."""
        return (signed for _, signed in self._records.values())

    def expire(self, now: float) -> None:
        """Let go of leases that have run out and of assignments that nobody waits for any more."""
        self.leases.expire(now)
        while self._assigned_at:
            record_id, came_at = next(iter(self._assigned_at.items()))
            if now - came_at < ASSIGN_KEPT_S:
                break
            del self._assigned_at[record_id]
            self.let_go(record_id)

    # ---- what stewards change

    def set_admission(self, worker: bytes, admit: Admit | None) -> None:
        """The admission of a worker that counts, if any does."""
        if admit is not None:
            self.admits[worker] = admit
            self._guests_bytes -= self._guest_bytes.pop(worker, 0)
        else:
            self.admits.pop(worker, None)
        self.lots.anchored(worker)

    def make_void(self, worker: bytes) -> None:
        """Nothing that a worker voted or will vote counts."""
        self._void_to[worker] = EVERYTHING
        self._voted_bits.clear()
        self.leases.release(worker)
        self.lots.look_again()

    def let_go(self, record_id: bytes) -> None:
        """A record that nobody needs to hear of any more. The creator's tally rests on it still."""
        if self._keep_commits:
            self._by_topic[self._records[record_id][0]].pop(record_id, None)
        else:
            self.remove(record_id)

    def remove(self, record_id: bytes) -> None:
        entry = self._records.pop(record_id, None)
        if entry is not None:
            self._by_topic[entry[0]].pop(record_id, None)

    # ---- inside

    def _voted(self, shard: int) -> int:
        bits = self._voted_bits.get(shard)
        if bits is None:
            first, size = shard * SHARD_CHUNKS, self.shard_size(shard)
            bits = self._voted_bits[shard] = sum(1 << index for index in range(size) if self.has_voter(first + index))
        return bits

    def _speaks_for_creator(self, author: bytes, record: Record) -> bool:
        return author == self.manifest.creator or (isinstance(record, BY_STEWARD) and self.is_steward(author))

    def _acts(self, steward: bytes, now: float, grace_s: float) -> bool:
        delegation = self.delegations.get(steward)
        return delegation is not None and now + self._clock_offset_s < delegation.until_s + grace_s

    def _charge_guest(self, signed: Signed) -> None:
        if not self.is_admitted(signed.author):
            self._guest_bytes[signed.author] = self._guest_bytes.get(signed.author, 0) + len(signed.body)
            self._guests_bytes += len(signed.body)

    def _add_beacon(self, record_id: bytes, beacon: Beacon) -> bool:
        """Keep the last beacon of each presence: those before it say nothing more."""
        if any(kept.since <= beacon.epoch <= epoch for epoch, kept in self.beacons.items()):
            return False
        for epoch in [epoch for epoch in self.beacons if beacon.since <= epoch < beacon.epoch]:
            del self.beacons[epoch]
            self.remove(self._beacon_ids.pop(epoch))
        self.beacons[beacon.epoch] = beacon
        self._beacon_ids[beacon.epoch] = record_id
        return True

    def _add_commit(self, commit_id: bytes, author: bytes, commit: Commit) -> None:
        self.commits[commit_id] = (author, commit)
        self.lots.committed(commit_id, author, commit)
        if self._seqs.setdefault((author, commit.seq), commit_id) != commit_id:
            # The two signed commits are the proof: everybody who holds both comes to this line.
            self.equivocators.add(author)
            self.make_void(author)
        parties = ((author, commit.seq), *((rest.maker, rest.seq) for rest in rests_of(commit)))
        if commit.shard in self._voted_bits and self._count(parties):
            self._voted_bits[commit.shard] |= mask(commit.shard, commit.runs)
        for chunk in chunks_of(commit.shard, commit.runs):
            self._voters[chunk] = (*self._voters.get(chunk, ()), parties)

    def _add_feed(self, feed: Feed) -> bool:
        assert self.fed is not None
        was_forked = self.fed.is_forked
        if not self.fed.add(feed):
            return False
        if self.fed.is_forked and not was_forked:
            # Whom it has convicted may have computed the other input. Whoever signed two commits with one seq did so.
            self._void_to = {
                worker: to for worker, to in self._void_to.items() if to == EVERYTHING and worker in self.equivocators
            }
            self._voted_bits.clear()
        return True

    def _let_go_of_feeds(self) -> None:
        """Nobody computes a chunk of this stream any more."""
        if self.fed is not None and not self._keep_commits and not self.fed.is_forked:
            for record_id, (_, signed) in list(self._records.items()):
                if signed.kind == "feed":
                    self.remove(record_id)

    def _add_savepoint(self, signed: Signed, savepoint: Savepoint) -> bool:
        """The newest of a worker replaces those before it."""
        author, chunk = signed.author, savepoint.chunk
        held = self._savepoints_of.setdefault(author, {})
        is_full = chunk not in held and len(held) >= SAVEPOINTS_PER_WORKER_MAX
        if not self.is_admitted(author) or self.is_closed(chunk) or savepoint.seq <= self.void_to(author) or is_full:
            return False
        if chunk in held:
            if held[chunk] >= savepoint.seq:
                return False
            self._drop_savepoint(chunk, author)
        held[chunk] = savepoint.seq
        self.savepoints.setdefault(chunk, {})[author] = signed
        return True

    def _drop_savepoint(self, chunk: int, author: bytes) -> None:
        of_chunk = self.savepoints[chunk]
        self.remove(of_chunk.pop(author).record_id)
        del self._savepoints_of[author][chunk]
        if not of_chunk:
            del self.savepoints[chunk]

    def _add_verdict(self, record_id: bytes, verdict: Verdict) -> bool:
        """One ban and one strike of a worker are held: of two strikes the one that voids more."""
        worker = verdict.worker
        if verdict.is_ban:
            current = self.verdicts.get(worker)
            if current is not None and current.is_ban:
                return False
            self.verdicts[worker] = verdict
            self.leases.release(worker)
        else:
            strike = self.strikes.get(worker)
            if strike is not None:
                if strike.void_to >= verdict.void_to:
                    return False
                self.remove(self._strike_ids[worker])
            self.strikes[worker] = verdict
            self._strike_ids[worker] = record_id
            if worker not in self.verdicts or not self.verdicts[worker].is_ban:
                self.verdicts[worker] = verdict
        if not self.is_forked:
            self._void_to[worker] = max(self.void_to(worker), verdict.void_to)
        self._voted_bits.clear()
        return True

    def _add_checkpoint(self, record_id: bytes, checkpoint: Checkpoint) -> bool:
        shard = checkpoint.shard
        current = self.checkpoints.get(shard)
        if current is not None:
            if current.seq > checkpoint.seq:
                return False
            if current.seq == checkpoint.seq:
                # Two signed states of one moment are the proof that the creator plays double: both are kept and passed
                # on. The larger id counts, so that even then all peers come to the same state.
                self.creator_equivocated = True
                if self._checkpoint_ids[shard] > record_id:
                    return True
            else:
                self.remove(self._checkpoint_ids[shard])
        self.checkpoints[shard] = checkpoint
        self._checkpoint_ids[shard] = record_id
        closed = int.from_bytes(checkpoint.accepted, "little") | int.from_bytes(checkpoint.failed, "little")
        open_ = ~closed
        for chunk in [chunk for chunk in self.savepoints if chunk // SHARD_CHUNKS == shard and self.is_closed(chunk)]:
            for author in list(self.savepoints[chunk]):
                self._drop_savepoint(chunk, author)
        for commit_id in list(self._by_topic.get(self.shard_topic(shard), ())):
            entry = self.commits.get(commit_id)
            if entry is not None and not open_ & mask(shard, entry[1].runs):
                self.let_go(commit_id)
                if commit_id in self.reveals:
                    self.let_go(self.reveals[commit_id][0])
                if not self._keep_commits:
                    del self.commits[commit_id]
                    self.reveals.pop(commit_id, None)
                    self.lots.forget(commit_id, entry[1])
        return True

"""A certificate checked from the records alone, by anybody (spec/verification.md, "Evidence").

The records are taken up as a peer takes them up, signatures and all; the votes shown are held against the roots their
authors signed; then everything is counted again by the definition (tally.py) and compared with what the creator
certified. What no record can show is in `CANNOT_CHECK`.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from . import merkle
from .credit import fields_of, split, table_of
from .errors import ModuleRefused, ProtocolError, RemoteProtocolError
from .events import CANCELLED, Status
from .gpu import read_comparison
from .ledger import Ledger, bit
from .lineage import is_void, rests_of
from .manifest import Manifest, open_manifest
from .opening import counted_value, opened_chunks, opened_votes
from .permissions import is_fetched
from .policy import CONFIDENCE, CONFIDENCE_AFTER_CONVICTION, audit_strength, error_bound
from .records import EVERYTHING, SHARD_CHUNKS, Assign, CertificateBody, Commit, Verdict, parse, verify_signature
from .tally import Ballot, ChunkState, ChunkTally, Tally, differ, equivocators, tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .batch import Leaf
    from .gpu import Comparison
    from .identity import Verifier
    from .opening import Shown
    from .records import Record, Signed

CANNOT_CHECK = (
    "that audits were drawn at random and blindly: the creator threw the dice",
    "which votes the creator asked for, as it says: assignments are sealed to their workers, who can tell",
    "that no record was left out: whoever holds one that is missing here can tell",
    "that the workers are different people",
)
CANNOT_CHECK_STEWARDS = "that audits a steward drew were drawn at random and blindly: its creator answers for it"
CANNOT_CHECK_SAVEPOINTS = (
    "that the savepoints are false for which workers were convicted: whoever executes the chunk can tell"
)
CANNOT_CHECK_MALFORMED = "that the commits of workers convicted as malformed do not open: only the creator could try"
CANNOT_CHECK_WITHHELD = "that nobody delivered the results of votes that are shown without: whoever has one can tell"
CANNOT_CHECK_SAMPLE = (
    "which chunks were in the fresh sample after the conviction: the bound is as good as these audits allow at best"
)
CANNOT_CHECK_MISMATCHES = (
    "how many of the wrong votes had been accepted for a while: the certificate's number is possible"
)

_GIVEN_UP = sha256(CANCELLED.encode()).digest()
_NOTHING = sha256(b"").digest()
_TOLERANCE = 1e-9
"""Of a bound that another language computed (spec/verification.md: nine significant digits)."""


class DoesNotHold(ProtocolError):
    """The first thing found that is not as certified, in one sentence; where there is one, the chunk and the worker."""

    def __init__(self, what: str, *, chunk: int | None = None, worker: bytes | None = None) -> None:
        super().__init__(what)
        self.chunk = chunk
        self.worker = worker


@dataclass(frozen=True, slots=True)
class Recount:
    """What the records say, all of it as certified."""

    signed: Signed
    """The manifest's record."""
    manifest: Manifest
    certificate_signed: Signed
    certificate: CertificateBody
    verdicts: Mapping[bytes, Verdict]
    values: Mapping[int, bytes]
    """The value of each accepted chunk."""
    credit: Mapping[bytes, int]
    """Millicredits by worker, all shards together."""
    records: Mapping[str, int]
    """How many there are of each kind."""
    peers: int
    """Authors of records."""
    by_steward: Mapping[bytes, Mapping[str, int]]
    """How many records of each kind every steward signed that its creator did not revoke."""
    trusted: frozenset[bytes]
    """Those of them whose audits count as the creator's own."""
    revoked: frozenset[bytes]
    """Stewards whose word counts for nothing any more."""
    wrong_votes: Mapping[bytes, int]
    """Votes that differ from the accepted result, by worker."""
    cancelled: int
    """Chunks that the creator gave up."""
    cannot_check: tuple[str, ...]
    comparison: Comparison | None
    """How results were compared; None: by their bytes."""

    def digest(self, chunk: int) -> bytes | None:
        """SHA-256 of a chunk's result; None where it has none: it failed, or the task itself reported an error."""
        value = self.values.get(chunk)
        return value[1:] if value is not None and value[0] == Status.OK else None


def recount(shown: Iterable[Shown], verifier: Verifier) -> Recount:
    """Count again what a certificate certifies.

    Raises:
        DoesNotHold: Something is not as certified.
        RemoteProtocolError: The records are damaged.
    """
    evidence = _Evidence(shown, verifier)
    evidence.check_closed()
    evidence.check_void()
    evidence.check_verdicts()
    evidence.check_chunks()
    evidence.check_checkpoints()
    evidence.check_certificate()
    return evidence.result()


class _Evidence:
    """The records taken up, and the checks on them in the order in which they rest on each other."""

    def __init__(self, shown: Iterable[Shown], verifier: Verifier) -> None:
        entries = iter(shown)
        first = next(entries, None)
        if first is None:
            raise RemoteProtocolError("the file holds no records")
        self.manifest = open_manifest(first.signed, verifier)
        self.creator = self.manifest.creator
        self.comparison = _comparison(self.manifest, first.opened) if first.opened else None
        self.results: dict[bytes, bytes] | None = None if self.comparison is None else {_NOTHING: b""}
        """By their SHA-256, where results are compared as numbers."""
        self.withheld = False
        self.close: dict[tuple[bytes, bytes], bool] = {}
        self.same = differ if self.comparison is None else self._are_close
        self.observed = is_fetched(self.manifest)
        self.ledger = Ledger(first.signed, self.manifest, keep_commits=True)
        self.certificate: CertificateBody | None = None
        self.certificate_signed = first.signed
        self.kinds = Counter({"manifest": 1})
        self.authors = {self.creator}
        self.ballots: list[Ballot] = []
        self.unopened: dict[bytes, bytes] = {}  # commit that is not shown -> its author
        self.assigned: set[tuple[bytes, int]] = set()
        self.entrusted: dict[bytes, set[tuple[bytes, int]]] = {}  # steward -> whom it asked for what
        self.by_steward: Counter[tuple[bytes, str]] = Counter()
        self.cancelled: set[int] = set()
        for number, entry in enumerate(entries, start=1):
            self._take(number, entry, verifier)
        for steward, delegation in self.ledger.delegations.items():
            asked = self.entrusted.get(steward, set()) if delegation.trusted else ()
            # A steward's own vote is no audit, whoever asked it.
            self.assigned.update((worker, chunk) for worker, chunk in asked if worker not in self.ledger.delegations)
        self.tally: Tally = tally(
            self.ballots,
            replication=self.manifest.policy.replication,
            creator=self.creator,
            admitted=self.ledger.admits.keys() | self.ledger.delegations.keys(),
            convicted={worker: verdict.void_to for worker, verdict in self.ledger.verdicts.items()}
            | dict.fromkeys(self.ledger.revoked, EVERYTHING),
            assigned=self.assigned,
            drawn=self._drawn(),
            same=self.same,
            kin=self._class_of if self.comparison is not None and self.comparison.has_classes else None,
            observed=self.observed,
        )
        self.votes: dict[int, dict[bytes, set[bytes]]] = {}
        """Chunk -> worker -> the results it voted for, void or not: one, none, or of an equivocator several."""
        for ballot in self.ballots:
            for chunk, value in ballot.values.items():
                results = self.votes.setdefault(chunk, {}).setdefault(ballot.worker, set())
                if value:
                    results.add(value)
        self.disowned = {chunk for ballot in self.ballots if self._is_void(ballot) for chunk in ballot.values}
        """Chunks on which a vote is void."""
        self.confirmers: dict[int, set[bytes]] = {chunk: set() for chunk in self.tally.chunks}
        """Workers whose votes for the value of an accepted chunk count."""
        for ballot in self.ballots:
            if ballot.worker in self.ledger.delegations:
                continue  # A steward earns nothing: it chose itself.
            if ballot.worker not in self.ledger.admits or self._is_void(ballot):
                continue
            for chunk, value in ballot.values.items():
                accepted = self.tally.chunks[chunk].value
                if value and accepted is not None and self._is_same(chunk, value, accepted):
                    self.confirmers[chunk].add(ballot.worker)
        self.values = {
            chunk: counted.value for chunk, counted in self.tally.chunks.items() if counted.value is not None
        }

    def _drawn(self) -> set[tuple[bytes, int]]:
        """Votes that count towards a quorum and are no audits: chosen by lots, asked for by a steward, or its own."""
        stewards = self.ledger.delegations
        drawn = {
            (worker, chunk)
            for chunk in {chunk for ballot in self.ballots for chunk in ballot.values}
            for worker in self.ledger.lots.workers(chunk, blind=True)
        }
        drawn.update(*(self.entrusted.get(steward, ()) for steward in stewards))
        drawn.update(
            (ballot.worker, chunk) for ballot in self.ballots if ballot.worker in stewards for chunk in ballot.values
        )
        return drawn

    def _take(self, number: int, entry: Shown, verifier: Verifier) -> None:
        signed = entry.signed
        author = signed.author
        if self.certificate is not None:
            raise DoesNotHold(f"record {number} comes after the certificate, which cannot rest on it")
        record: Record | None = None
        try:
            record = parse(signed)
            self.ledger.check(signed, record)
            verify_signature(verifier, signed)
            if signed.kind in ("lease", "savepoint") or not self.ledger.add(signed, record, 0.0):
                raise RemoteProtocolError(f"a {signed.kind} that no certificate rests on")
            if isinstance(record, Commit) and author != self.creator and author not in self.ledger.joins:
                raise RemoteProtocolError("a commit of a worker that has not joined")
            self._open(signed, record, entry.opened)
        except RemoteProtocolError as error:
            chunk = record.runs[0][0] if isinstance(record, Commit) else None
            raise DoesNotHold(f"record {number}: {error}", chunk=chunk, worker=author) from None
        self.kinds[signed.kind] += 1
        if author in self.ledger.delegations:
            self.by_steward[author, signed.kind] += 1
        self.authors.add(author)
        if isinstance(record, CertificateBody):
            self.certificate, self.certificate_signed = record, signed

    def _open(self, signed: Signed, record: Record, opened: bytes) -> None:
        match record:
            case Commit() if opened:
                leaves = opened_votes(signed.author, record, opened, self.results)
                values = {leaf.chunk: self._counted_value(leaf) for leaf in leaves}
                if self.results is not None:
                    self.withheld |= any(leaf.status is Status.OK and leaf.data not in self.results for leaf in leaves)
                if signed.author == self.creator:
                    self.cancelled.update(leaf.chunk for leaf in leaves if not leaf.value and leaf.data == _GIVEN_UP)
                self.ballots.append(Ballot(signed.author, record.seq, signed.record_id, values, rests_of(record)))
            case Commit():
                self.unopened[signed.record_id] = signed.author
            case Assign(worker=worker) if signed.author != self.creator:
                asked = opened_chunks(opened) if opened else ()  # A steward may have sealed nonsense.
                self.entrusted.setdefault(signed.author, set()).update((worker, chunk) for chunk in asked)
            case Assign(worker=worker):
                self.assigned.update((worker, chunk) for chunk in opened_chunks(opened))
            case _ if opened:
                raise RemoteProtocolError(f"a {signed.kind} seals nothing that could be shown")
            case _:
                pass

    def check_closed(self) -> None:
        """There is a certificate at all."""
        if self.certificate is None:
            raise DoesNotHold("the records hold no certificate: the task is not closed")
        if self.ledger.is_forked:
            raise DoesNotHold("the creator gave a chunk two inputs, or the stream two ends", worker=self.creator)
        if not self.ledger.is_whole:
            raise DoesNotHold("the stream is certified, and not all of what was fed is shown", worker=self.creator)
        if any(chunk >= self.ledger.chunks for chunk in self.tally.chunks):
            raise DoesNotHold("somebody voted on a chunk that was not fed")

    def check_void(self) -> None:
        """Whoever contradicted itself or kept its votes from being counted was convicted."""
        for worker in sorted(self.ledger.equivocators | equivocators(self.ballots, self.same, observed=self.observed)):
            if not self._is_out(worker):
                raise DoesNotHold(
                    "a worker signed two things that exclude each other, and was not convicted", worker=worker
                )
        for author in sorted(set(self.unopened.values())):
            if not self._is_out(author):
                raise DoesNotHold("a commit is not opened, and its author was not convicted", worker=author)

    def check_verdicts(self) -> None:
        """The records show what every convicted worker did, as far as others can see it."""
        caught = equivocators(self.ballots, self.same, observed=self.observed) | self.ledger.equivocators
        for worker, strike in sorted(self.ledger.strikes.items()):
            if not any((worker, strike.void_to) in _signed_by(ballot) for ballot in self.ballots):
                raise DoesNotHold("a strike voids commits up to one that its worker did not sign", worker=worker)
            if not self._was_wrong(strike, range(strike.void_to + 1)):
                raise DoesNotHold(
                    "a worker has a strike, and the records do not show what for", chunk=strike.chunk, worker=worker
                )
        for worker, verdict in sorted(self.ledger.verdicts.items()):
            if not verdict.is_ban:
                continue
            match verdict.reason:
                case "wrong":
                    strike_to = self.ledger.strikes[worker].void_to if worker in self.ledger.strikes else None
                    if strike_to is None:
                        raise DoesNotHold(
                            "a worker was banned for its first wrong result, which is a strike", worker=worker
                        )
                    shows = self._was_wrong(verdict, range(strike_to + 1, EVERYTHING + 1))
                case "equivocated":
                    shows = worker in caught
                case "malformed":
                    shows = self.unopened.get(verdict.commit) == worker
            if not shows:
                raise DoesNotHold(
                    f"a worker was convicted as {verdict.reason}, and the records do not show it",
                    chunk=verdict.chunk if verdict.reason == "wrong" else None,
                    worker=worker,
                )

    def check_chunks(self) -> None:
        """Every chunk is settled by its votes."""
        for chunk in range(self.ledger.chunks):
            counted = self._counted(chunk)
            for worker in counted.offenders:
                raise DoesNotHold(
                    "a worker voted otherwise than the creator itself computed, and was not convicted",
                    chunk=chunk,
                    worker=worker,
                )
            if counted.state not in (ChunkState.AGREED, ChunkState.FAILED):
                raise DoesNotHold(f"the votes leave a chunk {counted.state.value}", chunk=chunk)

    def check_checkpoints(self) -> None:
        """The last checkpoint of every shard says what its votes say."""
        if self.ledger.creator_equivocated:
            raise DoesNotHold("the creator signed two different checkpoints with one number", worker=self.creator)
        for shard in range(self.ledger.shards):
            checkpoint = self.ledger.checkpoints.get(shard)
            if checkpoint is None:
                raise DoesNotHold("a shard has no checkpoint", chunk=shard * SHARD_CHUNKS)
            hashes = []
            for index in range(self.ledger.shard_size(shard)):
                chunk = shard * SHARD_CHUNKS + index
                value, exists = self.values.get(chunk), index < self.ledger.existing(shard)
                is_said = bit(checkpoint.accepted, index), bit(checkpoint.failed, index)
                if is_said != (value is not None, exists and value is None):
                    raise DoesNotHold("a checkpoint says another outcome of a chunk than its votes", chunk=chunk)
                if value is not None:
                    hashes.append(merkle.leaf_hash(chunk.to_bytes(4) + value))
            if merkle.root(hashes) != checkpoint.root:
                raise DoesNotHold(
                    "a checkpoint's root is not that of the results voted for", chunk=shard * SHARD_CHUNKS
                )
            table = table_of(self._earned(shard))
            if (checkpoint.credits_root, checkpoint.credits_size) != fields_of(table)[:2]:
                raise DoesNotHold(
                    "a checkpoint credits workers with something else than their votes earned",
                    chunk=shard * SHARD_CHUNKS,
                )

    def check_certificate(self) -> None:
        """Every number of the certificate follows from the votes."""
        said = self.certificate
        assert said is not None
        roots = b"".join(self.ledger.checkpoints[shard].root for shard in range(self.ledger.shards))
        is_anyone_convicted = bool(self.ledger.verdicts)
        counted: dict[str, object] = {
            "chunks": self.ledger.chunks,
            "accepted": len(self.values),
            "failed": self.ledger.chunks - len(self.values),
            "root": merkle.leaf_hash(roots),
            "executions": sum(len(ballot.values) for ballot in self.ballots),
            "worker_audits": sum(counted.extra for counted in self.tally.chunks.values()),
            "creator_audits": sum(self._is_audited_by_creator(chunk) for chunk in self.votes),
            "convicted": len(self.ledger.verdicts),
            "eps": self.manifest.policy.eps,
            "confidence": CONFIDENCE_AFTER_CONVICTION if is_anyone_convicted else CONFIDENCE,
        }
        for field, value in counted.items():
            certified = getattr(said, field)
            if certified != value:
                raise DoesNotHold(f"the certificate says {field} {_plain(certified)}, the records {_plain(value)}")
        # A chunk's accepted result may have changed more than once, but each time by another vote.
        most = sum(len(self.votes[chunk]) - 1 for chunk in self._wrongly_voted())
        if said.mismatches > most:
            raise DoesNotHold(f"the certificate says mismatches {said.mismatches:,}, the votes allow {most:,} at most")
        self._check_bound(said.bound, convicted=is_anyone_convicted)

    def _check_bound(self, bound: float, *, convicted: bool) -> None:
        best = self._best_bound(convicted=convicted)
        at_best = "at best " if convicted else ""
        is_right = bound >= best * (1 - _TOLERANCE) if convicted else math.isclose(bound, best, rel_tol=_TOLERANCE)
        if not is_right or (best == 0) != (bound == 0):
            raise DoesNotHold(f"the certificate says bound {bound:.9g}, the audits give {at_best}{best:.9g}")
        if bound > self.manifest.policy.eps * (1 + _TOLERANCE):
            raise DoesNotHold(
                f"the bound {bound:.9g} is more than the {self.manifest.policy.eps:.9g} that was asked for"
            )

    def _best_bound(self, *, convicted: bool) -> float:
        """The bound. After a conviction only a sample counts that nobody else knows: then the best that is possible."""
        executed = {chunk for chunk, voted in self.votes.items() if voted.get(self.creator)}
        if self.values.keys() <= executed:
            return 0.0
        chunks = self.tally.chunks.items()
        if convicted:
            by_creator = len(executed)
            by_workers = sum(min(1, counted.extra) for chunk, counted in chunks if chunk not in executed)
        else:
            by_creator = sum(map(self._is_audited_by_creator, self.votes))
            by_workers = sum(counted.extra for _, counted in chunks)
        strength = audit_strength(self.manifest.policy, by_workers, by_creator)
        return error_bound(strength, 0, convicted=convicted)

    def result(self) -> Recount:
        assert self.certificate is not None
        open_points = list(CANNOT_CHECK)
        if self.ledger.verdicts:
            open_points.append(CANNOT_CHECK_SAMPLE)
        if any(delegation.trusted for delegation in self.ledger.delegations.values()):
            open_points.append(CANNOT_CHECK_STEWARDS)
        if any(verdict.reason == "wrong" and any(verdict.commit) for verdict in self.ledger.verdicts.values()):
            open_points.append(CANNOT_CHECK_SAVEPOINTS)
        if self.withheld:
            open_points.append(CANNOT_CHECK_WITHHELD)
        if self.unopened:
            open_points.append(CANNOT_CHECK_MALFORMED)
        if self._wrongly_voted():
            open_points.append(CANNOT_CHECK_MISMATCHES)
        wrong = Counter(
            worker
            for chunk, accepted in self.values.items()
            for worker, results in self.votes[chunk].items()
            for result in results
            if not self._is_same(chunk, result, accepted)
        )
        return Recount(
            self.ledger.signed,
            self.manifest,
            self.certificate_signed,
            self.certificate,
            self.ledger.verdicts,
            self.values,
            sum((Counter(self._earned(shard)) for shard in range(self.ledger.shards)), Counter()),
            self.kinds,
            len(self.authors),
            {
                steward: {kind: count for (author, kind), count in sorted(self.by_steward.items()) if author == steward}
                for steward in self.ledger.delegations
            },
            frozenset(steward for steward, it in self.ledger.delegations.items() if it.trusted),
            frozenset(self.ledger.revoked),
            wrong,
            len(self.cancelled - self.values.keys()),
            tuple(open_points),
            self.comparison,
        )

    def _earned(self, shard: int) -> dict[bytes, int]:
        """Millicredits by worker in a shard: each accepted chunk's reward is split among its confirmed executors."""
        first = shard * SHARD_CHUNKS
        chunks = range(first, first + self.ledger.existing(shard))
        return split(
            self.manifest.reward, (self.confirmers[chunk] for chunk in chunks if self.values.get(chunk) is not None)
        )

    def _is_out(self, worker: bytes) -> bool:
        """Whether nothing that somebody signs counts: a worker that was banned, a steward that was revoked."""
        verdict = self.ledger.verdicts.get(worker)
        return (verdict is not None and verdict.is_ban) or worker in self.ledger.revoked

    def _was_wrong(self, verdict: Verdict, seqs: range) -> bool:
        """Whether a commit with one of these seqs says otherwise of the verdict's chunk than the creator computed.

        Or, where the verdict names a savepoint, one that rests on it.
        """
        own = self.votes.get(verdict.chunk, {}).get(self.creator, set())
        cast = (
            ballot.values.get(verdict.chunk)
            for ballot in self.ballots
            if any(
                rest.maker == verdict.worker and rest.savepoint == verdict.commit and rest.seq in seqs
                for rest in ballot.rests
            )
            or (not any(verdict.commit) and ballot.worker == verdict.worker and ballot.seq in seqs)
        )
        return any(
            value and all(not self._is_same(verdict.chunk, value, result) for result in own) for value in cast if own
        )

    def _is_void(self, ballot: Ballot) -> bool:
        return is_void(ballot.worker, ballot.seq, ballot.rests, self.tally.void)

    def _counted(self, chunk: int) -> ChunkTally:
        return self.tally.chunks.get(chunk, ChunkTally(ChunkState.OPEN, None, 0, (), 0))

    def _is_audited_by_creator(self, chunk: int) -> bool:
        """Whether the creator executed what others had voted on, and not because one of them was found lying."""
        voted = self.votes[chunk]
        return bool(voted.get(self.creator)) and len(voted) > 1 and chunk not in self.disowned

    def _wrongly_voted(self) -> list[int]:
        """Accepted chunks somebody voted otherwise on."""
        return [
            chunk
            for chunk, accepted in self.values.items()
            if any(
                not self._is_same(chunk, result, accepted)
                for results in self.votes[chunk].values()
                for result in results
            )
        ]

    def _class_of(self, chunk: int, value: bytes) -> bytes:
        assert self.comparison is not None
        assert self.results is not None
        return b"" if value[0] != Status.OK else self.comparison.class_of(self.results[value[1:]])

    def _counted_value(self, leaf: Leaf) -> bytes:
        return counted_value(leaf, self.comparison, None if self.results is None else self.results.get(leaf.data))

    def _is_same(self, chunk: int, one: bytes, other: bytes) -> bool:
        """Whether two values are one result."""
        return one == other or self.same(chunk, one, other)

    def _are_close(self, chunk: int, one: bytes, other: bytes) -> bool:
        assert self.comparison is not None
        assert self.results is not None
        pair = (one, other) if one < other else (other, one)
        if pair not in self.close:
            left, right = (self.results.get(value[1:], b"") for value in pair)
            self.close[pair] = self.comparison.is_same(pair[0], left, pair[1], right)
        return self.close[pair]


def _comparison(manifest: Manifest, code: bytes) -> Comparison:
    """How the task's results are compared, by the code that is shown beside its manifest.

    Raises:
        DoesNotHold: It is not the task's, or says nothing of the kind.
    """
    try:
        comparison = read_comparison(code) if manifest.runtime == "gpu" else None
    except ModuleRefused:
        comparison = None
    if comparison is None or sha256(code).digest() != manifest.code.sha256:
        raise DoesNotHold("what is shown beside the manifest is not the package that says how results are compared")
    return comparison


def _signed_by(ballot: Ballot) -> set[tuple[bytes, int]]:
    """Whose records a ballot shows, and their seqs: its author's commit, and the savepoints that it rests on."""
    return {(ballot.worker, ballot.seq), *((rest.maker, rest.seq) for rest in ballot.rests)}


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else f"{value:,}" if isinstance(value, int) else str(value)

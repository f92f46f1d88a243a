"""The tally: what a set of records says, whatever order it came in (spec/ledger.md, "Tally").

    per chunk:  OPEN --votes--> SEALED --enough equal votes--> AGREED
                  ^                '------- two values ------> DISPUTED --referee--> AGREED
                  '--- a voter is convicted: its votes are void (taint) ---'

A pure function of the set, evaluated in strata so that nothing depends on arrival:

1. validity (the ledger admits no invalid record);
2. equivocators: two different commits of one worker with one seq, or two values for one chunk: all its votes are void;
3. the creator's verdicts: the commits of a convicted worker are void up to the greatest seq that one of them names,
   which is all of them when it was banned;
4. the votes that count, one per worker and chunk, by admitted workers in the commits that 2 and 3 left over;
5. each chunk's state from the votes on that chunk alone.

Only the creator can open sealed batches. For everybody else a vote has no value, and a chunk is OPEN or SEALED.

Votes that rest on each other's savepoints are one vote (lineage.py), and void as soon as one of those is.

Values are equal or not, but for tasks whose results are compared with a tolerance (spec/gpu.md, "Comparators"). There
`same` says which values of a chunk are one result; that is symmetric and not transitive, so one value stands for all
(`_pivot`) or none does. Of some of them `kin` says in which class of devices a value was computed (spec/gpu.md,
"Classes"): within a class values are equal or in dispute, and only votes of one class make a quorum.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from .lineage import as_counted, blamed, is_void, lineages
from .records import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from .lineage import Rest

Same: TypeAlias = Callable[[int, bytes, bytes], bool]
"""Whether two different values of a chunk are one result."""


Kin: TypeAlias = Callable[[int, bytes], bytes]
"""The class of devices that a value of a chunk was computed in."""


class ChunkState(Enum):
    OPEN = "open"
    SEALED = "sealed"
    DISPUTED = "disputed"
    AGREED = "agreed"
    FAILED = "failed"


class Vote(NamedTuple):
    """One worker's word on one chunk.

    `value` is the status byte and SHA-256 of the result, None while sealed, and b"" when the worker reports that it
    got no result. `assigned` says that the creator chose this worker for this chunk; a worker that chose the chunk
    itself may have a friend on it, so only one such vote counts towards a quorum. `drawn` says that lots chose it,
    while the creator was away (drawing.py): that counts towards a quorum, but is no audit.
    """

    worker: bytes
    value: bytes | None
    assigned: bool = False
    trusted: bool = False
    """The creator's own execution: it settles the chunk."""
    seq: int = 0
    """Of the commit it was cast in."""
    drawn: bool = False
    rests: tuple[Rest, ...] = ()
    """The savepoints of others that its execution went on from."""


NO_RESULT = b""
NO_RESULTS_TO_FAIL = 3
"""Distinct workers without a result that mark a chunk failed (DESIGN section 5)."""


class ChunkTally(NamedTuple):
    """Stratum 5 for one chunk."""

    state: ChunkState
    value: bytes | None
    """The agreed value."""
    missing: int
    """Votes still needed."""
    offenders: tuple[bytes, ...]
    """Workers whose counted vote, or savepoint that one rests on, differs from the creator's own execution."""
    extra: int
    """Assigned votes that agree beyond what the quorum needed: audits."""


def votes_needed(replication: int, *, tainted: bool) -> int:
    """A chunk a convicted worker voted on needs two votes at least: whoever co-signed its lie may be its friend."""
    return max(replication, 2) if tainted else replication


def differ(chunk: int, one: bytes, other: bytes) -> bool:
    """`Same` where results are compared by their bytes."""
    return False


def _is_true(savepoint: bytes) -> bool | None:
    """Of records alone nobody can tell whether a savepoint is true: then a wrong vote is its author's."""
    return True


def tally_chunk(
    votes: Iterable[Vote],
    replication: int,
    *,
    tainted: bool,
    chunk: int = 0,
    same: Same = differ,
    kin: Kin | None = None,
    truth: Callable[[bytes], bool | None] = _is_true,
    observed: bool = False,
) -> ChunkTally:
    """The state of one chunk from the votes that count on it. The order of `votes` does not matter.

    `truth` says whether a savepoint is true, or None while nobody has seen.

    Of what was `observed` instead of computed two honest workers may say two things: then nobody is an offender.
    """
    needed = votes_needed(replication, tainted=tainted)
    by_value: dict[bytes, list[Vote]] = {}
    sealed = no_results = 0
    trusted: bytes | None = None
    for vote in votes:
        if vote.trusted:
            trusted = vote.value
        elif vote.value is None:
            sealed += 1
        elif vote.value == NO_RESULT:
            no_results += 1
        else:
            by_value.setdefault(vote.value, []).append(vote)
    if trusted is not None:
        if trusted == NO_RESULT:
            return ChunkTally(ChunkState.FAILED, None, 0, (), 0)
        if observed:
            return ChunkTally(ChunkState.AGREED, trusted, 0, (), 0)
        others = (value for value in by_value if value != trusted and not same(chunk, value, trusted))
        blame = (blamed(vote, truth) for value in others for vote in by_value[value])
        offenders = sorted({found[0] for found in blame if found is not None})
        return ChunkTally(ChunkState.AGREED, trusted, 0, tuple(offenders), 0)
    if by_value:
        if kin is not None:
            return _tally_classes(chunk, by_value, needed, same, kin)
        value = _pivot(chunk, by_value, same)
        if value is None:
            return ChunkTally(ChunkState.DISPUTED, None, 0, (), 0)
        cast = [vote for votes in by_value.values() for vote in votes]
        weight = _weight(cast)
        if weight > needed:
            return ChunkTally(ChunkState.AGREED, value, 0, (), min(weight - needed, _asked(cast)))
        if weight == needed:
            return ChunkTally(ChunkState.AGREED, value, 0, (), 0)
        return ChunkTally(ChunkState.SEALED, None, needed - weight, (), 0)
    if no_results >= NO_RESULTS_TO_FAIL:
        return ChunkTally(ChunkState.FAILED, None, 0, (), 0)
    if sealed or no_results:
        return ChunkTally(ChunkState.SEALED, None, max(0, needed - sealed), (), 0)
    return ChunkTally(ChunkState.OPEN, None, needed, (), 0)


def _tally_classes(
    chunk: int, by_value: Mapping[bytes, Sequence[Vote]], needed: int, same: Same, kin: Kin
) -> ChunkTally:
    """Votes of one class count together. Those of others confirm nothing, and dispute it if they are not near.

    All that were asked for beyond the quorum are audits, of whatever class: who audits is nobody's choice.
    """
    values = sorted(by_value)
    classes = {kin(chunk, value): value for value in values}
    if len(classes) < len(values) or not all(
        same(chunk, one, other) for place, one in enumerate(values) for other in values[place + 1 :]
    ):
        return ChunkTally(ChunkState.DISPUTED, None, 0, (), 0)
    weights = {value: _weight(by_value[value]) for value in values}
    agreed = next((value for value in values if weights[value] >= needed), None)
    if agreed is None:
        return ChunkTally(ChunkState.SEALED, None, needed - max(weights.values()), (), 0)
    asked = {value: _asked(by_value[value]) for value in values}
    extra = min(weights[agreed] - needed, asked[agreed])
    return ChunkTally(ChunkState.AGREED, agreed, 0, (), extra + sum(asked.values()) - asked[agreed])


def _weight(votes: Sequence[Vote]) -> int:
    """A lineage is one vote, and of those that workers chose themselves only one counts."""
    if len(votes) == 1:
        return 1
    apart = lineages(votes)
    chosen = sum(any(vote.assigned or vote.drawn for vote in lineage) for lineage in apart)
    return min(len(apart), chosen + 1)


def _asked(votes: Sequence[Vote]) -> int:
    """Lineages with a vote that was asked for and rests on nobody's savepoint."""
    return sum(any(vote.assigned for vote in lineage) for lineage in lineages(votes))


def _pivot(chunk: int, values: Collection[bytes], same: Same) -> bytes | None:
    """The value that all others are one result with, of several the first; None where there is none."""
    if len(values) == 1:
        return next(iter(values))
    if same is differ:
        return None
    for pivot in sorted(values):
        if all(value == pivot or same(chunk, pivot, value) for value in values):
            return pivot
    return None


class Ballot(NamedTuple):
    """One commit as the tally sees it: whose, which batch, and its votes by chunk (values None while sealed)."""

    worker: bytes
    seq: int
    commit: bytes
    values: Mapping[int, bytes | None]
    rests: tuple[Rest, ...] = ()


class Tally(NamedTuple):
    """What the whole set says."""

    void: Mapping[bytes, int]
    """Worker -> the seq up to which its commits are void."""
    chunks: Mapping[int, ChunkTally]


def equivocators(ballots: Iterable[Ballot], same: Same = differ, *, observed: bool = False) -> frozenset[bytes]:
    """Stratum 2: workers that signed two commits with one seq, or two different results of one chunk.

    Who looked twice (`observed`) may have seen two things.
    """
    commits: dict[tuple[bytes, int], bytes] = {}
    values: dict[tuple[bytes, int], set[bytes]] = {}
    found = set()
    for ballot in ballots:
        if commits.setdefault((ballot.worker, ballot.seq), ballot.commit) != ballot.commit:
            found.add(ballot.worker)
        for chunk, value in ballot.values.items():
            if not value or observed:
                continue
            said = values.setdefault((ballot.worker, chunk), {value})
            if value not in said:
                if not all(same(chunk, value, other) for other in said):
                    found.add(ballot.worker)
                said.add(value)
    return frozenset(found)


def tally(
    ballots: Collection[Ballot],
    *,
    replication: int,
    creator: bytes,
    admitted: Collection[bytes],
    convicted: Mapping[bytes, int],
    assigned: Collection[tuple[bytes, int]],
    drawn: Collection[tuple[bytes, int]] = (),
    same: Same = differ,
    kin: Kin | None = None,
    observed: bool = False,
) -> Tally:
    """All strata at once, from nothing but the set: the definition that every incremental ledger must agree with.

    `convicted` says of each worker with a verdict up to which seq its commits are void.
    """
    admitted = frozenset(admitted)
    void = dict(convicted) | dict.fromkeys(equivocators(ballots, same, observed=observed), EVERYTHING)
    votes: dict[int, dict[bytes, Vote]] = {}
    tainted: set[int] = set()
    for ballot in ballots:
        trusted = ballot.worker == creator
        if not trusted and not {ballot.worker, *(rest.maker for rest in ballot.rests)} <= admitted:
            continue
        if is_void(ballot.worker, ballot.seq, ballot.rests, void):
            tainted.update(ballot.values)
            continue
        for chunk, value in ballot.values.items():
            cast = votes.setdefault(chunk, {})
            previous = cast.get(ballot.worker)
            asked = (ballot.worker, chunk)
            vote = Vote(ballot.worker, value, asked in assigned, trusted, ballot.seq, asked in drawn, ballot.rests)
            # Of several commits on one chunk the one that says most counts: a result before 'no result' before sealed.
            if previous is None or counts_before(vote, previous):
                cast[ballot.worker] = vote
    touched = votes.keys() | tainted

    def counted(chunk: int) -> list[Vote]:
        def is_chosen(worker: bytes) -> bool:
            return (worker, chunk) in assigned or (worker, chunk) in drawn

        return [as_counted(vote, is_chosen) for vote in votes.get(chunk, {}).values()]

    return Tally(
        void,
        {
            chunk: tally_chunk(
                counted(chunk),
                replication,
                tainted=chunk in tainted,
                chunk=chunk,
                same=same,
                observed=observed,
                kin=kin,
            )
            for chunk in sorted(touched)
        },
    )


def counts_before(vote: Vote, other: Vote) -> bool:
    """Whether of two votes of one worker on one chunk this one counts.

    Of two that say the same it is the one that rests on more: nobody's vote becomes independent by being cast again.
    """
    if says_more(vote.value, other.value):
        return True
    return not says_more(other.value, vote.value) and vote.rests > other.rests


def says_more(value: bytes | None, than: bytes | None) -> bool:
    """Of one worker's votes on one chunk: a result says more than 'no result', and that more than a sealed vote.

    Of two results, which only a tolerance allows, the first in order counts: so that no order of arrival does.
    """
    if value and than:
        return value < than
    return (value is not None, bool(value)) > (than is not None, bool(than))

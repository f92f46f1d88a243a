"""Whose work a vote is: its author's, and theirs from whose savepoints the execution went on (spec/handover.md).

    A computes --savepoint--> falls silent ... B goes on from it --savepoint--> ... C goes on, and votes
                                               the vote is C's, and rests on B's and A's

Votes that share anybody are one **lineage**, and count as one: what one savepoint has spoilt, all of them have. A
savepoint is what the program writes, so an execution from scratch shows whether it is true: at its number the state has
its hash, or its maker lied. So whoever goes on honestly is never to blame for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .records import Savepoint, before, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from .records import Record, Signed
    from .tally import Vote


class Rest(NamedTuple):
    """A savepoint that a vote rests on."""

    maker: bytes
    seq: int
    savepoint: bytes
    """Its record id."""
    number: int
    sha256: bytes


def rests_of(record: Record) -> tuple[Rest, ...]:
    """The savepoints of others that a record rests on, the first one made first."""
    return rests_from(before(record))


def rests_from(signed: Signed | None) -> tuple[Rest, ...]:
    """A savepoint and those that it rests on, the first one made first."""
    rests = []
    while signed is not None:
        savepoint = parse(signed)
        assert isinstance(savepoint, Savepoint)
        rests.append(Rest(signed.author, savepoint.seq, signed.record_id, savepoint.number, savepoint.sha256))
        signed = before(savepoint)
    return tuple(reversed(rests))


def lineages(votes: Iterable[Vote]) -> list[list[Vote]]:
    """The votes, those together that share a maker or an author with each other, directly or by way of others."""
    votes = list(votes)
    if not any(vote.rests for vote in votes):
        return [[vote] for vote in votes]
    found: list[tuple[set[bytes], list[Vote]]] = []
    for vote in votes:
        parties, together = {vote.worker, *(rest.maker for rest in vote.rests)}, [vote]
        apart = []
        for others in found:
            if parties.isdisjoint(others[0]):
                apart.append(others)
            else:
                parties |= others[0]
                together += others[1]
        found = [*apart, (parties, together)]
    return [together for _, together in found]


def is_void(worker: bytes, seq: int, rests: Sequence[Rest], void: Mapping[bytes, int]) -> bool:
    """Whether a vote counts for nothing, given up to which seq everybody's records are void."""
    return seq <= void.get(worker, -1) or any(rest.seq <= void.get(rest.maker, -1) for rest in rests)


def blamed(vote: Vote, truth: Callable[[bytes], bool | None]) -> tuple[bytes, Rest | None] | None:
    """Who lied, if a vote is wrong: the maker of its first false savepoint, or else its author.

    None as long as nobody has seen whether a savepoint is true.
    """
    for rest in vote.rests:
        true = truth(rest.savepoint)
        if not true:
            return None if true is None else (rest.maker, rest)
    return vote.worker, None


def as_counted(vote: Vote, chosen: Callable[[bytes], bool]) -> Vote:
    """A vote that rests on others' savepoints is no audit, and counts towards a quorum as a chosen one only where
    everybody was chosen whose work it is."""
    if not vote.rests:
        return vote
    everybody = chosen(vote.worker) and all(chosen(rest.maker) for rest in vote.rests)
    return vote._replace(assigned=False, drawn=everybody)

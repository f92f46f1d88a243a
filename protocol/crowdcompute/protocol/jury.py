"""Disputes while the creator is away: settled for the time being by whom lots send (spec/away.md, "Juries").

    DISPUTED --margin of votes--> settled: who voted otherwise counts for nothing, until the creator says otherwise

By the time votes are shown, a chunk is so old that lots choose many: the very votes that they bring are the jury.
Whoever is drawn may have seen both values, but not which is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Set

    from .manifest import Policy

MARGIN = 7
MARGIN_AMONG_MANY_LIARS = 10
MANY_LIARS = 0.2
"""Votes by which one value must lead, and the share of liars above which it must lead by more (research: verification
section 3.2: of 700 honest workers 0.1 are convicted wrongly by a margin of 7 among 30% liars)."""


class Settled(NamedTuple):
    """A dispute decided provisionally: for which value, and by how many votes."""

    value: bytes
    margin: int


def margin_needed(policy: Policy, workers: int) -> int:
    """By how many votes one value must lead. Few workers cannot give many votes: then by half of the others."""
    margin = MARGIN_AMONG_MANY_LIARS if policy.liars > MANY_LIARS else MARGIN
    return max(1, min(margin, (workers - 1) // 2))


def settle(votes: Mapping[bytes, bytes], drawn: Set[bytes], margin: int) -> Settled | None:
    """The value that leads by the margin, of votes as worker -> value; None while none does.

    As ever, of votes that workers chose themselves one counts for each value.
    """
    support: dict[bytes, int] = {}
    for value in set(votes.values()):
        cast = [worker for worker, its in votes.items() if its == value]
        support[value] = min(len(cast), 1 + sum(worker in drawn for worker in cast))
    ranked = sorted(support, key=lambda value: (-support[value], value))
    lead = support[ranked[0]] - (support[ranked[1]] if len(ranked) > 1 else 0)
    return Settled(ranked[0], lead) if lead >= margin else None


def on_trial(disputes: Mapping[int, Set[bytes]]) -> frozenset[int]:
    """Which of these disputes (chunk -> its voters) want a jury now: to find one liar settles most of what it disputes.

    In the order of their chunks, those of whose voters at most one has a trial already.
    """
    trials: set[int] = set()
    tried: set[bytes] = set()
    for chunk in sorted(disputes):
        if len(tried & disputes[chunk]) < 2:
            trials.add(chunk)
            tried |= disputes[chunk]
    return frozenset(trials)


def chance_of_error(policy: Policy, margin: int) -> float:
    """How likely such a jury is wrong, if each of its members lies in the share that the policy assumes."""
    if policy.liars <= 0:
        return 0.0
    return 1 / (1 + ((1 - policy.liars) / policy.liars) ** margin)

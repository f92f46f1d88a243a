"""What the records say while the creator is away: results that count until it is back (spec/away.md).

    per chunk:  OPEN --votes--> SEALED --shown, enough equal ones--> PROVISIONAL --checkpoint--> FINAL
                                   '--two values--> DISPUTED --jury--> PROVISIONAL

A pure function of the records and of the number of the epoch, equal on every peer that holds the same, in strata:

1. who is void: equivocators and whom the creator convicted, as everywhere (tally.py), and who showed two values;
2. the votes of all others that have joined, one per worker and chunk. Sealed ones are votes without a value, until it
   is too late to show them: then they are none;
3. juries on disputes, each from the votes of 2, and whom they find to lie: void as well, provisionally;
4. the state of each chunk from the votes that are left. One somebody void voted on needs two (taint).

The creator opens the commits themselves and comes to its own conclusions; nothing here binds it.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from .events import Status
from .jury import Settled, chance_of_error, margin_needed, on_trial, settle
from .records import Resumed, chunks_of
from .tally import NO_RESULT, says_more, votes_needed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .ledger import Ledger
    from .manifest import Policy
    from .records import Commit

REVEAL_AFTER = 2
"""Epochs after which a vote that its worker chose itself may be shown: who was drawn in the next one has voted."""

DRAWN_REVEAL_AFTER = 3
"""Epochs after which a vote may be shown that lots chose: after those that it confirms."""

REVEAL_PATIENCE = 4
"""Epochs that it waits besides, for the votes that must come before it: by then lots have chosen fifteen workers for a
chunk, if all of them are there."""

LATE_AFTER = 2
"""Epochs after that in which a vote can still come to be shown: its worker may be out of reach for one."""


class ProvisionalState(Enum):
    OPEN = "open"
    SEALED = "sealed"
    DISPUTED = "disputed"
    PROVISIONAL = "provisional"
    STEWARD = "steward"
    """Settled, as a steward says: its creator has the last word."""
    FINAL = "final"


class _Lots(NamedTuple):
    """Whose votes on a chunk were drawn, and which of them were cast blindly."""

    drawn: frozenset[bytes] = frozenset()
    blind: frozenset[bytes] = frozenset()


_NONE = _Lots()


class _Cast(NamedTuple):
    """Strata 1 and 2."""

    votes: dict[int, dict[bytes, bytes | None]]
    voters: dict[int, set[bytes]]
    void: set[bytes]
    tainted: set[int]


class Standing(NamedTuple):
    """One chunk's state. `value` is a vote's (tally.py); `credibility` the probability that it is right."""

    state: ProvisionalState
    value: bytes | None = None
    credibility: float = 0.0
    missing: int = 0
    """Votes it still needs."""
    voters: int = 0
    """Workers that voted on it, in whatever way."""


class Provisional(NamedTuple):
    """What the records say at one epoch. Chunks that are not named are open."""

    void: frozenset[bytes]
    """Everybody whose votes count for nothing."""
    found: frozenset[bytes]
    """Of these, whom juries found to lie."""
    chunks: Mapping[int, Standing]
    trials: frozenset[int]
    """Disputed chunks that juries are on: the others wait for what these find."""

    def count(self, state: ProvisionalState) -> int:
        return sum(standing.state is state for standing in self.chunks.values())

    def credibility(self) -> float | None:
        """The least credible of the provisional results, or None where there is none."""
        credible = (it.credibility for it in self.chunks.values() if it.state is ProvisionalState.PROVISIONAL)
        return min(credible, default=None)


def reveal_due(commit: Commit) -> int:
    """The epoch from which on a commit may be shown, if the creator is away then."""
    return commit.epoch + (DRAWN_REVEAL_AFTER if commit.link else REVEAL_AFTER)


def provisional_tally(ledger: Ledger, epoch: int) -> Provisional:
    """Count what has been shown by an epoch."""
    policy = ledger.manifest.policy
    votes, voters, void, tainted = _cast(ledger, epoch)
    margin = margin_needed(policy, sum(worker not in void for worker in ledger.joins))
    settled: dict[int, Settled] = {}
    found: set[bytes] = set()
    for chunk, by_worker in votes.items():
        shown = {worker: value for worker, value in by_worker.items() if value}
        if len(set(shown.values())) < 2:
            continue
        verdict = settle(shown, ledger.lots.workers(chunk, blind=False, until=epoch + 1), margin)
        if verdict is not None:
            settled[chunk] = verdict
            found.update(worker for worker, value in shown.items() if value != verdict.value)
    left = {
        chunk: {worker: value for worker, value in by_worker.items() if worker not in found}
        for chunk, by_worker in votes.items()
    }
    lots = {
        chunk: _Lots(*(ledger.lots.workers(chunk, blind=blind, until=epoch + 1) for blind in (False, True)))
        for chunk in left
    }
    confirmed = _confirmed(left, lots)
    chunks = {}
    for chunk in sorted(voters):
        if ledger.is_closed(chunk):
            chunks[chunk] = Standing(ProvisionalState.FINAL)
            continue
        if ledger.is_settled(chunk):
            chunks[chunk] = Standing(ProvisionalState.STEWARD, voters=len(voters[chunk]))
            continue
        is_tainted = chunk in tainted or len(left.get(chunk, {})) < len(votes.get(chunk, {}))
        needed = votes_needed(policy.replication, tainted=is_tainted)
        standing = _standing(policy, left.get(chunk, {}), lots.get(chunk, _NONE), settled.get(chunk), needed, confirmed)
        chunks[chunk] = standing._replace(voters=len(voters[chunk]))
    disputes = {chunk: left[chunk].keys() for chunk, it in chunks.items() if it.state is ProvisionalState.DISPUTED}
    return Provisional(frozenset(void | found), frozenset(found), chunks, on_trial(disputes))


def credibility(policy: Policy, weight: int, confirmed: list[int]) -> float:
    """One minus the chance that a value is wrong: the smaller of what its votes and its voters' records leave.

    The smaller, not the product: friends may know of each other (research: verification section 1.3).
    """
    liars = policy.liars
    least = min(confirmed, default=0)
    by_record = liars / ((1 - liars) ** 2 * math.e * least) if least else 1.0
    return 1 - min(by_record, liars**weight)


# ---- inside


def _cast(ledger: Ledger, epoch: int) -> _Cast:
    cast: dict[int, dict[bytes, bytes | None]] = {}
    void = {worker for worker in ledger.joins if ledger.is_void(worker)}
    voters: dict[int, set[bytes]] = {}
    tainted: set[int] = set()
    for commit_id, (author, commit) in ledger.commits.items():
        if author == ledger.manifest.creator:
            continue
        chunks = chunks_of(commit.shard, commit.runs)
        for chunk in chunks:
            voters.setdefault(chunk, set()).add(author)
        if isinstance(commit, Resumed):
            continue  # Only the creator can tell who is to blame for it, if it is wrong.
        if commit.seq <= ledger.void_to(author):
            tainted.update(chunks)  # Of a strike as well, which leaves what was committed later alone.
            continue
        shown = ledger.reveals.get(commit_id)
        values: list[bytes | None] = []
        if shown is not None:
            # The ledger has held them against the commit's root.
            values.extend(_value(status, digest) for status, digest in shown[1].votes)
        elif epoch <= reveal_due(commit) + REVEAL_PATIENCE + LATE_AFTER:
            values.extend([None] * len(chunks))
        for chunk, value in zip(chunks, values, strict=False):
            by_worker = cast.setdefault(chunk, {})
            before = by_worker.get(author)
            if before and value and before != value:
                void.add(author)
            if author not in by_worker or says_more(value, before):
                by_worker[author] = value
    votes = {}
    for chunk, by_worker in cast.items():
        votes[chunk] = {worker: value for worker, value in by_worker.items() if worker not in void}
        if len(votes[chunk]) < len(by_worker):
            tainted.add(chunk)
    return _Cast(votes, voters, void, tainted)


def _value(status: int, digest: bytes) -> bytes:
    return NO_RESULT if status == Status.NO_RESULT else bytes((status,)) + digest


def _confirmed(votes: Mapping[int, Mapping[bytes, bytes | None]], lots: Mapping[int, _Lots]) -> dict[bytes, int]:
    """How many votes of each worker others have confirmed blindly."""
    confirmed: dict[bytes, int] = {}
    for chunk, by_worker in votes.items():
        blind = [other for other in by_worker if other in lots[chunk].blind]
        for worker, value in by_worker.items():
            if value and any(other != worker and by_worker[other] == value for other in blind):
                confirmed[worker] = confirmed.get(worker, 0) + 1
    return confirmed


def _standing(
    policy: Policy,
    votes: Mapping[bytes, bytes | None],
    lots: _Lots,
    settled: Settled | None,
    needed: int,
    confirmed: Mapping[bytes, int],
) -> Standing:
    """Stratum 4 for one chunk."""
    shown = {worker: value for worker, value in votes.items() if value}
    if settled is not None:
        return Standing(ProvisionalState.PROVISIONAL, settled.value, 1 - chance_of_error(policy, settled.margin))
    values = set(shown.values())
    if len(values) > 1:
        return Standing(ProvisionalState.DISPUTED)
    if values and min(len(shown), 1 + len(lots.drawn & shown.keys())) >= needed:
        # Votes that may have been copied fill a quorum for the time being, and say nothing for its value.
        weight = min(len(shown), 1 + len(lots.blind & shown.keys()))
        records = [confirmed.get(worker, 0) for worker in shown]
        return Standing(ProvisionalState.PROVISIONAL, values.pop(), credibility(policy, weight, records))
    waiting = {worker for worker, value in votes.items() if value is None or value != NO_RESULT}
    missing = max(0, needed - min(len(waiting), 1 + len(lots.drawn & waiting)))
    return Standing(ProvisionalState.SEALED if votes else ProvisionalState.OPEN, None, 0.0, missing)

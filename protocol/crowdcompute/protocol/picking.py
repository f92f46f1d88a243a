"""Which chunks are worth executing next (spec/ledger.md, "Picking").

    open:      no vote, no live lease, not closed          -> a worker takes a run of them from a random point on
    end game:  only chunks under somebody's lease are left -> the creator asks idle workers for second copies

There is no scheduler: a random starting point and leases, which are hints, keep collisions at about N*D/T chunks
(N workers, D gossip delay, T seconds a batch; research: verification section 3.5). The point must be unpredictable,
so that nobody can arrange to meet a friend: it comes from the worker's own generator. In the end game it is the
creator who asks, because a copy that a worker chose itself could not count towards a quorum (assigning.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import SHARD_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from .ledger import Ledger

COPIES_MAX = 2
"""Workers on one outstanding chunk in the end game, the first included."""


def pick_open(ledger: Ledger, shard: int, size: int, mine: Collection[int], rng: Random, now: float) -> list[int]:
    """Up to `size` open chunks of a shard, ascending; empty when there is none."""
    first, count = shard * SHARD_CHUNKS, ledger.shard_size(shard)
    start = rng.randrange(count)
    picked: list[int] = []
    for step in range(count):
        chunk = first + (start + step) % count
        if chunk not in mine and is_open(ledger, chunk, now):
            picked.append(chunk)
            if len(picked) == size:
                break
    return sorted(picked)


def is_open(ledger: Ledger, chunk: int, now: float) -> bool:
    """Whether nobody has computed this chunk and nobody says to be on it."""
    return not ledger.is_closed(chunk) and not ledger.has_voter(chunk) and not ledger.live_leases(chunk, now)


def pick_endgame(
    ledger: Ledger, shard: int, mine: Collection[int], rng: Random, now: float, *, leased_for_s: float
) -> int | None:
    """An outstanding chunk worth a second copy: on the fewest workers, then leased longest ago. Or None."""
    best: tuple[int, float, float] | None = None
    choice = None
    for chunk in ledger.leased_chunks(shard, now):
        if chunk in mine or ledger.has_voter(chunk) or ledger.is_closed(chunk):
            continue
        leases = ledger.live_leases(chunk, now)
        since = min(lease.since[chunk] for lease in leases)
        if len(leases) >= COPIES_MAX or now - since < leased_for_s:
            continue
        # Chance breaks ties, or everybody idle would take the same chunk.
        rank = (len(leases), since, rng.random())
        if best is None or rank < best:
            best, choice = rank, chunk
    return choice

"""Which chunks are worth executing next (spec/ledger.md, "Picking").

    open:      no vote, no live lease, not closed  -> a worker takes a run of them from a random point on
    few left:  less than a batch for everybody     -> workers say they are idle, and the creator deals them out
    end game:  all are under somebody's lease      -> the creator asks idle workers for second copies

There is no scheduler: a random starting point and leases, which are hints, keep collisions at about N*D/T chunks
(N workers, D gossip delay, T seconds a batch; research: verification section 3.5). The point must be unpredictable,
so that nobody can arrange to meet a friend: it comes from the worker's own generator. When few are left everybody would
take the same ones before hearing of it (simulations/scenarios/liars.toml: one and a half executions a chunk), so the
creator, who is one, gives them out. In the end game it is the creator who asks as well, because a copy that a worker
chose itself could not count towards a quorum (assigning.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .records import SHARD_CHUNKS

if TYPE_CHECKING:
    from collections.abc import Collection
    from random import Random

    from .ledger import Ledger

ROOMY = 16
"""Where so many times the chunks are left that all who pick there take soon, each half has room for everybody. In
denser halves more would begin the same before they hear of each other. A guess; simulations/scenarios/liars.toml."""

COPIES_MAX = 2
"""Workers on one outstanding chunk in the end game, the first included."""


def pick_open(
    ledger: Ledger,
    shard: int,
    size: int,
    mine: Collection[int],
    rng: Random,
    now: float,
    *,
    sharing: int = 1,
    alone: bool = False,
) -> tuple[list[int], int]:
    """Up to `size` open chunks of a shard, ascending, and how many are open in it besides `mine`.

    Where few are left, no more than a fair share when `sharing` batches are to be made of them. Where there is room,
    who works `alone`, so that it hears nothing of what the creator has begun, begins in the other half of what is not
    closed.
    """
    first, count = shard * SHARD_CHUNKS, ledger.existing(shard)
    if not count:
        return [], 0
    taken = ledger.taken_bits(shard, now)
    for chunk in range(first, first + count):
        if chunk in mine:
            taken |= 1 << (chunk - first)
    taken &= (1 << count) - 1  # Of a stream somebody may be on a chunk of which we have not heard.
    left = count - taken.bit_count()
    roomy = left >= ROOMY * sharing * size
    middle = _middle(int.from_bytes(ledger.settled_bitmap(shard), "little"), count) if roomy else count
    start = rng.randrange(middle, count) if alone and middle < count else rng.randrange(middle)
    # A character a chunk, the lowest first: `find` leaps over what is not open, which is most of a task in the end.
    states = f"{taken:0{count}b}"[::-1]
    states = states[start:] + states[:start]
    picked: list[int] = []
    index = states.find("0")
    while index >= 0 and len(picked) < min(size, -(-left // sharing)):
        picked.append(first + (start + index) % count)
        index = states.find("0", index + 1)
    return sorted(picked), left


def _middle(closed: int, count: int) -> int:
    """The place in a shard that has as many chunks that are not closed before it as behind it, or one more."""
    half = (count - closed.bit_count() + 1) // 2
    low, high = 1, max(1, count - 1)
    while low < high:
        place = (low + high) // 2
        if place - (closed & ((1 << place) - 1)).bit_count() < half:
            low = place + 1
        else:
            high = place
    return low


def is_open(ledger: Ledger, chunk: int, now: float) -> bool:
    """Whether nobody has computed this chunk and nobody says to be on it."""
    return not ledger.has_voter(chunk) and not ledger.is_settled(chunk) and not ledger.leases.on(chunk, now)


def pick_endgame(
    ledger: Ledger, shard: int, mine: Collection[int], rng: Random, now: float, *, leased_for_s: float
) -> int | None:
    """An outstanding chunk worth a second copy: on the fewest workers, then leased longest ago. Or None."""
    best: tuple[int, float, float] | None = None
    choice = None
    for chunk in ledger.leases.chunks(shard, now):
        if chunk in mine or ledger.has_voter(chunk) or ledger.is_settled(chunk):
            continue
        leases = ledger.leases.on(chunk, now)
        since = min(lease.since[chunk] for lease in leases)
        if len(leases) >= COPIES_MAX or now - since < leased_for_s:
            continue
        # Chance breaks ties, or everybody idle would take the same chunk.
        rank = (len(leases), since, rng.random())
        if best is None or rank < best:
            best, choice = rank, chunk
    return choice

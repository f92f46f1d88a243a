"""Ways to lie, as plug-ins of the policy engine. A value is a number: 0 is right, 1 is what friends agree to say.

An adversary speaks for all its workers, who know each other and everything the others said. It is asked for values
before anybody else's can be seen (votes are sealed), and told what each worker's standing is: whatever the scheme keeps
as trust, which is more than a real one learns.

`adversary("rate:0.01")` makes one by its name; `NAMES` lists what there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

FRIENDS_SAY = 1
"""The one wrong value that friends agree on. Values from 2 on are nobody's but their owner's."""


@dataclass(frozen=True, slots=True)
class Ballots:
    """Votes that liars are about to cast, one a row."""

    workers: NDArray[np.int32]
    chunks: NDArray[np.int64]
    asked: bool
    """Whether the scheme chose these workers, so that somebody else is on the chunk already. A worker can tell."""
    friend_lied: NDArray[np.bool_]
    """Whether a friend's lie is all that is there of the chunk."""
    standing: NDArray[np.int64]


class Adversary:
    """Honest. Subclasses override what they lie about."""

    sybils_per_machine = 1
    """Identities that share one machine, and its speed."""
    returns_after: int | None = None
    """Rounds after which a convicted one is back under a new key: what a proof of work costs it, in chunks."""
    foresees = False
    """Whether its first voter knows that a friend will be asked for the second vote: more than sealed votes allow."""

    def begin(self, chunks: int, rng: np.random.Generator) -> None:
        """A new task begins."""
        self._rng = rng

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        return np.zeros(len(ballots.workers), np.int32)


class Alone(Adversary):
    """Always wrong, no two alike."""

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        return ballots.workers + 2


class Colluding(Adversary):
    """Always wrong, all alike: also when asked to confirm somebody honest."""

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        return np.full(len(ballots.workers), FRIENDS_SAY, np.int32)


class Whitewasher(Colluding):
    """Always wrong, and back under a new key soon after each conviction."""

    returns_after = 10


class SybilFlood(Colluding):
    """Always wrong, ten identities on each machine: each gets a tenth of the chunks, but a first one of its own."""

    sybils_per_machine = 10


class Rate(Adversary):
    """Wrong on a share of the chunks, all on the same ones and alike; covers a friend's lie, accuses nobody."""

    def __init__(self, share: float) -> None:
        self._share = share

    def begin(self, chunks: int, rng: np.random.Generator) -> None:
        super().begin(chunks, rng)
        self._lies = rng.random(chunks) < self._share

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        lies = ballots.friend_lied if ballots.asked else self._lies[ballots.chunks] | ballots.friend_lied
        return lies.astype(np.int32)


class BluntRate(Rate):
    """`Rate` without its caution: wrong on its chunks also where it is asked to confirm somebody honest."""

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        return self._lies[ballots.chunks].astype(np.int32)


class WhitewashingRate(Rate):
    """`Rate`, and back under a new key after each conviction."""

    returns_after = 10


class Sleeper(Adversary):
    """Honest until its standing reaches `trusted_at`; then always wrong, unless asked to confirm somebody honest."""

    def __init__(self, trusted_at: float) -> None:
        self._trusted_at = trusted_at

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        awake = ballots.standing >= self._trusted_at
        return (awake & ballots.friend_lied if ballots.asked else awake).astype(np.int32)


class FewLies(Adversary):
    """Honest until its standing is 3, then wrong a few times where it chose the chunk, and never again."""

    def __init__(self, lies: float) -> None:
        self._lies = int(lies)

    def begin(self, chunks: int, rng: np.random.Generator) -> None:
        super().begin(chunks, rng)
        self._told = np.zeros(0, np.int64)

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        if ballots.asked:
            return ballots.friend_lied.astype(np.int32)
        newcomers = max(0, int(ballots.workers.max(initial=-1)) + 1 - len(self._told))
        self._told = np.append(self._told, np.zeros(newcomers, np.int64))
        lies = (ballots.standing >= 3) & (self._told[ballots.workers] < self._lies)
        np.add.at(self._told, ballots.workers[lies], 1)
        return lies.astype(np.int32)


class Pair(Adversary):
    """Wrong only where all who vote are friends, and it knows so in advance."""

    foresees = True

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        return ballots.friend_lied.astype(np.int32)


class Accuser(Adversary):
    """Honest about what it chose itself, always wrong about what others are to be checked with."""

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        return np.full(len(ballots.workers), FRIENDS_SAY if ballots.asked else 0, np.int32)


class LazyAuditor(Adversary):
    """When asked it does not compute but says what results usually are, wrong for a share of the chunks."""

    def __init__(self, share: float) -> None:
        self._share = share

    def begin(self, chunks: int, rng: np.random.Generator) -> None:
        super().begin(chunks, rng)
        self._unusual = rng.random(chunks) < self._share

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        if not ballots.asked:
            return np.zeros(len(ballots.workers), np.int32)
        return self._unusual[ballots.chunks].astype(np.int32)


class Flaky(Adversary):
    """No liar but bad memory: any execution may be wrong, with a small probability and never twice alike."""

    def __init__(self, share: float) -> None:
        self._share = share

    def values(self, ballots: Ballots) -> NDArray[np.int32]:
        count = len(ballots.workers)
        errors = self._rng.integers(2, np.iinfo(np.int32).max, count, dtype=np.int32)
        return np.where(self._rng.random(count) < self._share, errors, np.int32(0))


_PLAIN: dict[str, Callable[[], Adversary]] = {
    "honest": Adversary,
    "alone": Alone,
    "colluding": Colluding,
    "pair": Pair,
    "accuser": Accuser,
    "whitewasher": Whitewasher,
    "sybils": SybilFlood,
}
_WITH_NUMBER: dict[str, Callable[[float], Adversary]] = {
    "rate": Rate,
    "blunt": BluntRate,
    "sleeper": Sleeper,
    "few": FewLies,
    "lazy": LazyAuditor,
    "flaky": Flaky,
    "whitewasher": WhitewashingRate,
}
NAMES = (*_PLAIN, *(f"{name}:NUMBER" for name in _WITH_NUMBER))


def adversary(name: str) -> Adversary:
    """A new adversary by its name, such as `pair` or `rate:0.01`.

    Raises:
        ValueError: There is none of that name. The message lists what there is.
    """
    kind, colon, number = name.partition(":")
    try:
        return _WITH_NUMBER[kind](float(number)) if colon else _PLAIN[kind]()
    except (KeyError, ValueError):
        raise ValueError(f"there is no adversary {name!r}: choose from {', '.join(NAMES)}") from None

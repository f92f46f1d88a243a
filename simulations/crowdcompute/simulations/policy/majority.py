"""Plain voting, as most systems do it: nobody is ever convicted, and nothing is looked at twice.

- `first_two`: copies are issued until two agree (BOINC's quorum of two; m-first voting with m = 2). Colluders that
  always lie win with probability f^2 (3 - 2f) at a cost of 2 + 2f(1 - f); clever ones with f^2 at a cost of 2.
- `two_of_three`: three copies at once, the majority's value.

Formulas: the binomial distribution; research: verification section 1.1, where Watanabe, Fukushi et al. (2011) are
recomputed from them. Copies are given at random and never two to one worker; votes are sealed, as ours are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .crew import Crew
from .sizes import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .adversaries import Adversary
    from .sizes import Size

QUORUM = 2
_COPIES_MAX = 16
_TRUSTED_ALREADY = 1_000_000
"""Standing where no scheme keeps any: sleepers need not sleep."""


def first_two(size: Size, adversary: Adversary, liars: float, seed: int) -> Result:
    """Copies until two agree."""
    return _vote(size, adversary, liars, seed, at_once=QUORUM)


def two_of_three(size: Size, adversary: Adversary, liars: float, seed: int) -> Result:
    """Three copies at once; further ones only where all three differ."""
    return _vote(size, adversary, liars, seed, at_once=3)


def two_alike(values: NDArray[np.int32], cast: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
    """Per row: whether a value has two votes among those cast, and the first such value."""
    found = np.zeros(len(values), np.bool_)
    winner = np.zeros(len(values), np.int32)
    for column in range(values.shape[1]):
        alike = ((values == values[:, column, None]) & cast).sum(axis=1)
        wins = ~found & cast[:, column] & (alike >= QUORUM)
        winner[wins] = values[wins, column]
        found |= wins
    return found, winner


def _vote(size: Size, adversary: Adversary, liars: float, seed: int, *, at_once: int) -> Result:
    rng = np.random.default_rng(seed)
    crew = Crew(size.workers, liars, adversary, size.chunks, rng)
    crew.standing[:] = _TRUSTED_ALREADY
    identities = len(crew.liar)
    open_ = np.arange(size.chunks)
    voters = np.full((size.chunks, _COPIES_MAX), -1, np.int32)
    values = np.zeros((size.chunks, _COPIES_MAX), np.int32)
    executions = wrong = copies = 0
    while len(open_) and copies < _COPIES_MAX:
        for _ in range(at_once if copies == 0 else 1):
            workers = rng.integers(0, identities, len(open_), dtype=np.int32)
            while (again := (voters[open_, :copies] == workers[:, None]).any(axis=1)).any():
                workers[again] = rng.integers(0, identities, int(again.sum()), dtype=np.int32)
            voters[open_, copies] = workers
            values[open_, copies] = crew.values(workers, open_, np.zeros(len(open_), np.bool_), asked=False)
            executions += len(open_)
            copies += 1
        if crew.foresees:
            friends = crew.liar[voters[open_, :copies]]
            values[open_, :copies] = np.where(friends & (friends.sum(axis=1) >= QUORUM)[:, None], 1, 0)
        decided, winner = two_alike(values[open_, :copies], np.ones((len(open_), copies), np.bool_))
        wrong += int((decided & (winner != 0)).sum())
        open_ = open_[~decided]
    result = Result(wrong=wrong, undecided=len(open_), executions=executions, identities=int(crew.liar.sum()))
    result.check_invariants(size)
    return result

"""The workers of a simulated task: honest ones first, then the adversary's, and how fast each is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .adversaries import Ballots

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .adversaries import Adversary


class Crew:
    """Who there is, and what they say. `standing` is kept by the scheme."""

    def __init__(
        self, machines: int, liars: float, adversary: Adversary, chunks: int, rng: np.random.Generator
    ) -> None:
        lying_machines = round(liars * machines)
        sybils = adversary.sybils_per_machine
        identities = lying_machines * sybils
        self._adversary = adversary
        self._rng = rng
        self._speed = 1.0 / sybils
        self._back: dict[int, int] = {}  # round -> identities that return in it
        self.liar = np.repeat([False, True], [machines - lying_machines, identities])
        self.alive = np.ones(len(self.liar), np.bool_)
        self.struck = np.zeros(len(self.liar), np.bool_)
        self.standing = np.zeros(len(self.liar), np.int64)
        self.foresees = adversary.foresees and lying_machines > 0
        adversary.begin(chunks, rng)

    def at_work(self, round_: int) -> NDArray[np.int32]:
        """Who executes a chunk in this round, in random order. Convicted identities return here, as new ones."""
        returning = self._back.pop(round_, 0)
        if returning:
            self.liar = np.append(self.liar, np.ones(returning, np.bool_))
            self.alive = np.append(self.alive, np.ones(returning, np.bool_))
            self.struck = np.append(self.struck, np.zeros(returning, np.bool_))
            self.standing = np.append(self.standing, np.zeros(returning, np.int64))
        working = self.alive
        if self._speed < 1:
            working = working & (~self.liar | (self._rng.random(len(self.liar)) < self._speed))
        return self._rng.permutation(np.flatnonzero(working)).astype(np.int32)

    def values(
        self, workers: NDArray[np.int32], chunks: NDArray[np.int64], friend_lied: NDArray[np.bool_], *, asked: bool
    ) -> NDArray[np.int32]:
        """What each worker says about its chunk."""
        values = np.zeros(len(workers), np.int32)
        lying = self.liar[workers]
        if lying.any():
            values[lying] = self._adversary.values(
                Ballots(workers[lying], chunks[lying], asked, friend_lied[lying], self.standing[workers[lying]])
            )
        return values

    def strike(self, workers: NDArray[np.int32]) -> NDArray[np.int32]:
        """Those of these that were never convicted have a strike now, and are trusted as little as newcomers."""
        workers = np.unique(workers)
        workers = workers[~self.struck[workers]]
        self.struck[workers] = True
        self.standing[workers] = 0
        return workers

    def convict(self, workers: NDArray[np.int32], round_: int) -> NDArray[np.int32]:
        """These are void from now on; returns those that were not before."""
        workers = np.unique(workers)
        workers = workers[self.alive[workers]]
        self.alive[workers] = False
        after = self._adversary.returns_after
        if after is not None:
            liars = int(self.liar[workers].sum())
            self._back[round_ + after] = self._back.get(round_ + after, 0) + liars
        return workers

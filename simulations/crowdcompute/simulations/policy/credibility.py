"""Credibility-based fault tolerance: votes weigh as much as their voters have been checked.

L. F. G. Sarmenta, "Sabotage-tolerance mechanisms for volunteer computing systems", Future Generation Computer Systems
18 (2002); research: verification section 1.3. A share q of all jobs are spotters, whose result is known and which look
like any other. Who fails one is blacklisted, and everything it did is taken back. After k passed ones a worker is wrong
with probability at most

    bad(k) = f / ((1 - f) e k),     bad(0) = f         with f the share of liars that is assumed

and a group of votes for one value is right with probability (section 4 there, all groups of a job against each other)

    P(a) = G_a prod_{j != a} B_j / (prod_j B_j + sum_j G_j prod_{i != j} B_i),   G = prod (1 - bad), B = prod bad

A job is accepted when its best group has P >= 1 - eps; else it gets one more vote in the next pass.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .crew import Crew
from .sizes import ASSUMED_LIARS, Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .adversaries import Adversary
    from .sizes import Size

SPOTTER_SHARE = 0.1
"""q: Sarmenta's own figure in most of his examples."""
_PASSES_MAX = 24
_JUDGED_AT_ONCE = 100_000


def credibility_voting(size: Size, adversary: Adversary, liars: float, seed: int) -> Result:
    """One batch of jobs on workers that nobody knows yet."""
    return _Jobs(size, adversary, liars, np.random.default_rng(seed)).run()


class _Jobs:
    def __init__(self, size: Size, adversary: Adversary, liars: float, rng: np.random.Generator) -> None:
        self._size = size
        self._rng = rng
        self._crew = Crew(size.workers, liars, adversary, size.chunks, rng)
        self._voters = np.full((size.chunks, _PASSES_MAX), -1, np.int32)
        self._values = np.zeros((size.chunks, _PASSES_MAX), np.int32)
        self._votes = np.zeros(size.chunks, np.int64)
        self._executions = 0
        self._convicted = 0
        self._honest_convicted = 0
        self._round = 0

    def run(self) -> Result:
        open_ = np.arange(self._size.chunks)
        winners = np.zeros(self._size.chunks, np.int32)
        for _ in range(_PASSES_MAX):
            self._one_more_vote(self._rng.permutation(open_))
            accepted, winners = self._judge()
            open_ = np.flatnonzero(~accepted)
            if not len(open_):
                break
        result = Result(
            wrong=int((winners != 0).sum() - (winners[open_] != 0).sum()),
            undecided=len(open_),
            executions=self._executions,
            convicted=self._convicted,
            honest_convicted=self._honest_convicted,
            identities=int(self._crew.liar.sum()),
            certified=not len(open_),
        )
        result.check_invariants(self._size)
        return result

    def _one_more_vote(self, jobs: NDArray[np.int64]) -> None:
        crew, at = self._crew, 0
        while at < len(jobs):
            self._round += 1
            workers = crew.at_work(self._round)
            spotted = self._rng.random(len(workers)) < SPOTTER_SHARE
            self._spot(workers[spotted])
            workers = workers[~spotted]
            chunks = jobs[at : at + len(workers)]
            at += len(workers)
            workers = workers[: len(chunks)]
            first = self._voters[chunks, 0]
            again = (self._voters[chunks] == workers[:, None]).any(axis=1)
            chunks, workers, first = chunks[~again], workers[~again], first[~again]
            lonely = (first >= 0) & (self._votes[chunks] == 1) & crew.liar[first]
            if crew.foresees:
                self._values[chunks[lonely & crew.liar[workers]], 0] = 1
            friend_lied = lonely & (self._values[chunks, 0] == 1)
            self._voters[chunks, self._votes[chunks]] = workers
            self._values[chunks, self._votes[chunks]] = crew.values(workers, chunks, friend_lied, asked=False)
            self._votes[chunks] += 1
            self._executions += len(chunks)

    def _spot(self, workers: NDArray[np.int32]) -> None:
        """Jobs of known result, any of the task's: nobody else is on them."""
        chunks = self._rng.integers(0, self._size.chunks, len(workers))
        values = self._crew.values(workers, chunks, np.zeros(len(workers), np.bool_), asked=False)
        self._executions += len(workers)
        self._crew.standing[workers[values == 0]] += 1
        failed = self._crew.convict(workers[values != 0], self._round)
        self._convicted += len(failed)
        self._honest_convicted += int((~self._crew.liar[failed]).sum())

    def _judge(self) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        """Which jobs are accepted now, and with what value; blacklisted workers' votes are gone."""
        f, passed = ASSUMED_LIARS, self._crew.standing
        bad = np.where(passed > 0, np.minimum(f, f / ((1 - f) * math.e * np.maximum(passed, 1))), f)
        log_bad, log_good = np.log(bad), np.log1p(-bad)
        accepted = np.zeros(self._size.chunks, np.bool_)
        winners = np.zeros(self._size.chunks, np.int32)
        width = int(self._votes.max())
        for start in range(0, self._size.chunks, _JUDGED_AT_ONCE):
            rows = slice(start, min(start + _JUDGED_AT_ONCE, self._size.chunks))
            voters, values = self._voters[rows, :width], self._values[rows, :width]
            counts = (voters >= 0) & self._crew.alive[voters]
            lies = np.where(counts, log_bad[voters], 0.0)
            truths = np.where(counts, log_good[voters], 0.0)
            all_bad = lies.sum(axis=1)
            best = np.full(len(voters), -np.inf)
            winner = np.zeros(len(voters), np.int32)
            total = np.exp(all_bad)
            for column in range(width):
                group = counts & (values == values[:, column, None])
                leads = counts[:, column] & ~group[:, :column].any(axis=1)
                weight = all_bad + np.where(group, truths - lies, 0.0).sum(axis=1)
                weight[~leads] = -np.inf
                total += np.exp(weight)
                better = weight > best
                best[better], winner[better] = weight[better], values[better, column]
            accepted[rows] = counts.any(axis=1) & (np.exp(best) >= (1 - self._size.eps) * total)
            winners[rows] = winner
        return accepted, winners

"""Ours: sealed votes, blind audits, convictions with taint, and a certificate (protocol/spec/verification.md).

    a chunk:  open --first vote--> sealed --enough--> agreed --audits--> agreed
                ^                     '--- another value ---> trusted: the creator executed it
                '--- its voters are convicted: needs two votes now (taint)

Every number comes from protocol/policy.py and protocol/tally.py: shares of audits, votes needed, strength, limits. What
is written again here, chunk arrays in the place of records, is what auditing.py, closing.py and the creator's part do
one chunk at a time; tests/simulations/test_policy_validation.py holds the two against each other.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from crowdcompute.protocol.manifest import Policy
from crowdcompute.protocol.policy import (
    CONFIDENCE,
    CONFIDENCE_AFTER_CONVICTION,
    SEARCH_ABOVE,
    audit_share,
    audit_strength,
    poisson_upper_limit,
    probation_share,
)
from crowdcompute.protocol.tally import votes_needed

from .crew import Crew
from .sizes import ASSUMED_LIARS, Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .adversaries import Adversary
    from .sizes import Size

    Chunks = NDArray[np.int64]
    Workers = NDArray[np.int32]

_VOTERS_KEPT = 6
"""Latest voters of a chunk that are remembered, so that none is asked twice and offenders are found."""
_PROBED_AT_MOST = 64
"""Audits drawn on a worker from which probation is over at any size: (1 + k)^-2 is below q_min long before."""
_ROUNDS_PER_CHUNK_MAX = 12
"""Times the rounds that the first votes take, after which a run is given up as one that does not close."""
_STRENGTH_TOLERANCE = 1e-9


def blind_audits(
    size: Size,
    adversary: Adversary,
    liars: float,
    seed: int,
    *,
    replication: int,
    assumed: float = ASSUMED_LIARS,
) -> Result:
    """One task with the creator online, from its first vote to its certificate."""
    policy = Policy(replication=replication, eps=size.eps, liars=assumed, pow_bits=0)
    task = _Task(size, policy, adversary, liars, np.random.default_rng(seed))
    task.run()
    task.check_invariants()
    result = task.result()
    result.check_invariants(size)
    return result


class _Task:
    def __init__(
        self, size: Size, policy: Policy, adversary: Adversary, liars: float, rng: np.random.Generator
    ) -> None:
        chunks = size.chunks
        self._size = size
        self._policy = policy
        self._rng = rng
        self._crew = Crew(size.workers, liars, adversary, chunks, rng)
        self._audit_share = audit_share(policy, chunks)
        self._probation = np.array([probation_share(policy, chunks, probed) for probed in range(_PROBED_AT_MOST + 1)])
        self._needed = np.array([votes_needed(policy.replication, tainted=tainted) for tainted in (False, True)])
        # What the votes that count say of each chunk.
        self._votes = np.zeros(chunks, np.int16)
        self._asked = np.zeros(chunks, np.int16)
        self._honest = np.zeros(chunks, np.int16)
        self._value = np.zeros(chunks, np.int32)
        self._tainted = np.zeros(chunks, np.bool_)
        self._trusted = np.zeros(chunks, np.bool_)
        self._drawn = np.full(chunks, -1, np.int16)
        self._voters = np.full((chunks, _VOTERS_KEPT), -1, np.int32)
        self._voted = np.zeros(chunks, np.int16)
        # All votes in order, to find a convict's.
        self._log_worker = np.empty(2 * chunks, np.int32)
        self._log_chunk = np.empty(2 * chunks, np.int64)
        self._log_asked = np.empty(2 * chunks, np.bool_)
        self._log_void = np.zeros(2 * chunks, np.bool_)
        self._logged = 0
        # What is to be done.
        self._next = 0
        self._reopened: Chunks = np.empty(0, np.int64)
        self._queue: Chunks = np.empty(0, np.int64)
        self._queued = np.zeros(chunks, np.bool_)
        # What is known of the whole.
        self._round = 0
        self._creator_executions = 0
        self._creator_audits = 0
        self._convicted = 0
        self._honest_convicted = 0
        self._sample: Chunks | None = None
        self._before: NDArray[np.int16] = np.empty(0, np.int16)
        self._unsampled: Chunks = np.empty(0, np.int64)
        self._sampled_before = False
        self._mistakes = 0
        self._certified = False

    def run(self) -> None:
        limit = _ROUNDS_PER_CHUNK_MAX * (self._size.chunks // self._size.workers + 20)
        while self._round < limit and not self._certified:
            self._round += 1
            workers = self._crew.at_work(self._round)
            if len(workers) < 2:
                return  # Nobody is left to confirm anything.
            if len(self._queue):
                asked = self._ask(workers)
                workers = workers[asked:]
                workers = workers[self._crew.alive[workers]]
            left = len(self._reopened) + self._size.chunks - self._next
            if len(workers) and left:
                self._pick(workers)
            elif not left and not len(self._queue):
                self._close()

    def check_invariants(self) -> None:
        """What a convict voted on was confirmed by two others at least, or by the creator; counts match the votes."""
        workers, chunks = self._log_worker[: self._logged], self._log_chunk[: self._logged]
        counts = ~self._log_void[: self._logged]
        assert counts[~self._crew.alive[workers]].sum() == 0
        votes = np.bincount(chunks[counts], minlength=self._size.chunks)
        assert (votes == self._votes).all()
        tainted = chunks[~counts]
        assert not self._certified or (self._trusted[tainted] | (self._weight(tainted) >= 2)).all()

    def result(self) -> Result:
        accepted = self._trusted | (self._weight(slice(None)) >= self._needed[self._tainted.astype(np.intp)])
        return Result(
            wrong=int((accepted & (self._value != 0)).sum()),
            undecided=int((~accepted).sum()),
            executions=self._logged + self._creator_executions,
            creator_executions=self._creator_executions,
            convicted=self._convicted,
            honest_convicted=self._honest_convicted,
            identities=int(self._crew.liar.sum()),
            certified=self._certified,
        )

    # ---- the tally of chunks

    def _weight(self, chunks: Chunks | slice) -> NDArray[np.int16]:
        """Of votes that workers chose themselves only one counts (tally.tally_chunk)."""
        weight: NDArray[np.int16] = np.minimum(self._votes[chunks], self._asked[chunks] + np.int16(1))
        return weight

    def _surplus(self, chunks: Chunks | slice) -> NDArray[np.int64]:
        """Votes beyond what is needed, the audits; below zero, votes that are missing."""
        surplus: NDArray[np.int64] = self._weight(chunks) - self._needed[self._tainted[chunks].astype(np.intp)]
        return surplus

    def _wanted(self, chunks: Chunks) -> NDArray[np.bool_]:
        """Whether somebody must be asked for a vote: one is missing, or an audit is due."""
        surplus = self._surplus(chunks)
        short = (surplus < 0) | (surplus < self._drawn[chunks])
        return short & ~self._trusted[chunks] & (self._votes[chunks] > 0)

    # ---- votes

    def _pick(self, workers: Workers) -> None:
        """Workers take open chunks: those that were reopened first."""
        again, self._reopened = self._reopened[: len(workers)], self._reopened[len(workers) :]
        fresh = np.arange(self._next, min(self._size.chunks, self._next + len(workers) - len(again)))
        self._next += len(fresh)
        chunks = np.concatenate((again, fresh))
        workers = workers[: len(chunks)]
        values = self._crew.values(workers, chunks, np.zeros(len(chunks), np.bool_), asked=False)
        self._log(workers, chunks, asked=False)
        self._votes[chunks] = 1
        self._asked[chunks] = 0
        self._honest[chunks] = ~self._crew.liar[workers]
        self._value[chunks] = values
        self._agreed(chunks, workers)
        self._want(chunks)

    def _ask(self, workers: Workers) -> int:
        """Ask for second votes, audits and repairs; how many workers were asked."""
        chunks, self._queue = self._queue[: len(workers)], self._queue[len(workers) :]
        self._queued[chunks] = False
        chunks = chunks[self._wanted(chunks)]
        workers = workers[: len(chunks)]
        asked = len(workers)
        barred = (self._voters[chunks] == workers[:, None]).any(axis=1)
        self._want(chunks[barred])
        chunks, workers = chunks[~barred], workers[~barred]
        if not len(chunks):
            return asked
        if self._crew.foresees:
            friends = self._crew.liar[workers] & (self._honest[chunks] == 0)
            self._value[chunks[friends]] = 1
        friend_lied = (self._value[chunks] == 1) & (self._honest[chunks] == 0)
        values = self._crew.values(workers, chunks, friend_lied, asked=True)
        differs = values != self._value[chunks]
        offenders = self._dispute(chunks[differs], workers[differs], values[differs])
        self._log(workers, chunks, asked=True)
        self._votes[chunks] += 1
        self._asked[chunks] += 1
        self._honest[chunks] += ~self._crew.liar[workers]
        if len(offenders):
            self._convict(offenders)
        self._agreed(chunks, workers)
        self._want(chunks)
        return asked

    def _dispute(self, chunks: Chunks, workers: Workers, values: NDArray[np.int32]) -> Workers:
        """Two values: the creator executes, and whoever said anything else is an offender."""
        if not len(chunks):
            return np.empty(0, np.int32)
        self._creator_executions += len(chunks)
        self._retract(chunks)
        before = self._voters[chunks[self._value[chunks] != 0]].ravel()
        self._value[chunks] = 0
        self._trusted[chunks] = True
        return np.concatenate((workers[values != 0], before[before >= 0]))

    def _log(self, workers: Workers, chunks: Chunks, *, asked: bool) -> None:
        end = self._logged + len(chunks)
        if end > len(self._log_worker):
            longer = 2 * len(self._log_worker)
            self._log_worker = np.resize(self._log_worker, longer)
            self._log_chunk = np.resize(self._log_chunk, longer)
            self._log_asked = np.resize(self._log_asked, longer)
            self._log_void = np.resize(self._log_void, longer)
        self._log_worker[self._logged : end] = workers
        self._log_chunk[self._logged : end] = chunks
        self._log_asked[self._logged : end] = asked
        self._log_void[self._logged : end] = False
        self._logged = end
        self._voters[chunks, self._voted[chunks] % _VOTERS_KEPT] = workers
        self._voted[chunks] += 1

    def _want(self, chunks: Chunks) -> None:
        chunks = chunks[~self._queued[chunks]]
        chunks = chunks[self._wanted(chunks)]
        self._queued[chunks] = True
        self._queue = np.concatenate((self._queue, chunks))

    # ---- audits and convictions

    def _agreed(self, chunks: Chunks, workers: Workers) -> None:
        """Chunks that agree for the first time draw their audits: uniform, and of newcomers with one vote more."""
        first = (self._drawn[chunks] < 0) & (self._surplus(chunks) >= 0) & ~self._trusted[chunks]
        chunks, workers = chunks[first], workers[first]
        drawn = self._rng.poisson(self._audit_share, len(chunks))
        # With more than one vote there is no probation, so the last voter may stand for all.
        probed = np.minimum(self._crew.standing[workers], _PROBED_AT_MOST)
        drawn += self._rng.random(len(chunks)) < self._probation[probed]
        self._drawn[chunks] = drawn
        self._crew.standing[workers] += drawn

    def _convict(self, workers: Workers) -> None:
        """Their votes so far are void; what they voted on is tainted, and reopens where nothing is left.

        The first time is a strike, after which they go on; the second time they are banned.
        """
        again = workers[self._crew.struck[workers]]
        struck = self._crew.strike(workers)
        self._convicted += len(struck)
        self._honest_convicted += int((~self._crew.liar[struck]).sum())
        workers = np.concatenate((struck, self._crew.convict(again, self._round)))
        void = np.zeros(len(self._crew.alive), np.bool_)
        void[workers] = True
        theirs = np.flatnonzero(void[self._log_worker[: self._logged]] & ~self._log_void[: self._logged])
        self._log_void[theirs] = True
        chunks = self._log_chunk[theirs]
        self._retract(chunks)
        np.subtract.at(self._votes, chunks, 1)
        np.subtract.at(self._asked, chunks[self._log_asked[theirs]], 1)
        np.subtract.at(self._honest, chunks[~self._crew.liar[self._log_worker[theirs]]], 1)
        self._tainted[chunks] = True
        chunks = np.unique(chunks)
        empty = chunks[(self._votes[chunks] == 0) & ~self._trusted[chunks]]
        self._value[empty] = 0
        self._reopened = np.concatenate((self._reopened, empty))
        self._want(chunks)

    def _retract(self, chunks: Chunks) -> None:
        """The creator takes another look at these: an accepted result that is wrong discards the final sample."""
        mistakes = int(((self._value[chunks] != 0) & (self._surplus(chunks) >= 0)).sum())
        if mistakes:
            self._sample = None
            self._mistakes += mistakes

    # ---- the end

    def _close(self) -> None:
        """All chunks are closed and nothing is outstanding: certify, or draw more (auditing.py, closing.py)."""
        policy = self._policy
        anybody_convicted = self._convicted > 0
        confidence = CONFIDENCE_AFTER_CONVICTION if anybody_convicted else CONFIDENCE
        required = poisson_upper_limit(0, 1 - confidence) / policy.eps - _STRENGTH_TOLERANCE
        if self._trusted.all():
            self._certified = True
            return
        if anybody_convicted and self._sample is None:
            count = math.ceil(required / audit_strength(policy, 1, 0))
            if self._is_search_due() and count <= self._size.chunks:
                self._search(count)
                return
            self._sample, self._before = np.empty(0, np.int64), np.empty(0, np.int16)
            self._unsampled = self._rng.permutation(self._size.chunks)
        elif self._sample is not None or not anybody_convicted:
            if self._strength() >= required:
                self._certified = True
                return
            if not anybody_convicted and not len(self._unsampled):
                self._unsampled = self._rng.permutation(self._size.chunks)
        missing = math.ceil((required - self._strength()) / audit_strength(policy, 1, 0))
        drawn, self._unsampled = self._unsampled[:missing], self._unsampled[missing:]
        if self._sample is not None:
            self._sample = np.concatenate((self._sample, drawn))
            self._before = np.concatenate((self._before, self._surplus(drawn).astype(np.int16)))
        drawn = drawn[~self._trusted[drawn]]
        if len(drawn):
            self._drawn[drawn] = self._surplus(drawn) + 1
            self._want(drawn)
        else:
            self._execute_ourselves(required - self._strength())

    def _is_search_due(self) -> bool:
        """Whether another sample would hardly be clean, and mostly look where somebody has looked (auditing.py)."""
        mistakes, self._mistakes = self._mistakes, 0
        first, self._sampled_before = not self._sampled_before, True
        audited = int((self._trusted | (self._surplus(slice(None)) > 0)).sum())
        return not first and mistakes * audited > SEARCH_ABOVE * self._size.chunks

    def _search(self, count: int) -> None:
        """One more audit of each of the chunks that had fewest."""
        chunks = self._rng.permutation(np.flatnonzero(~self._trusted))
        chunks = chunks[np.argsort(np.maximum(0, self._surplus(chunks)), kind="stable")[:count]]
        self._drawn[chunks] = np.maximum(0, self._surplus(chunks)) + 1
        self._want(chunks)

    def _strength(self) -> float:
        if self._sample is None:
            audits = int(self._surplus(slice(None))[~self._trusted].sum())
            return audit_strength(self._policy, audits, self._creator_audits)
        trusted = self._trusted[self._sample]
        fresh = np.minimum(1, np.maximum(0, self._surplus(self._sample) - self._before))
        return audit_strength(self._policy, int(fresh[~trusted].sum()), int(trusted.sum()))

    def _execute_ourselves(self, missing: float) -> None:
        """Every chunk is in the sample: what workers confirmed, the creator now confirms itself."""
        chunks = np.flatnonzero(~self._trusted)[: math.ceil(missing / (self._policy.liars or 1.0))]
        wrong = chunks[self._value[chunks] != 0]
        self._creator_executions += len(chunks)
        self._creator_audits += len(chunks)
        self._trusted[chunks] = True
        offenders = self._voters[wrong].ravel()
        self._retract(wrong)
        self._value[chunks] = 0
        if len(wrong):
            self._convict(offenders[offenders >= 0])

"""BOINC's adaptive replication: trusted hosts are believed without a second copy.

As in its source (BOINC/boinc, sched/sched_send.cpp `set_trust`, sched/validator.cpp, sched/sched_config.h; wiki page
AdaptiveReplication; research: verification section 1.4). CV is a host's number of consecutive valid results of
replicated jobs. CV < 10: not trusted. Else trusted for this job with probability 1 - 1/CV. A job that an untrusted host
gets is replicated, with a quorum of two; further copies while no two agree. An invalid result sets CV to 0. Nobody is
banned, and what was accepted is never looked at again.

Copies that are outstanding go to whoever asks next, as in the scheduler's code; the documented preference (trusted
hosts get unreplicated jobs) is not in its job score.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .crew import Crew
from .majority import two_alike
from .sizes import Result

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .adversaries import Adversary
    from .sizes import Size

TRUSTED_FROM = 10
"""sched_config.h: `adaptive_replication_min_consecutive_valid`, whose default this is."""
_COPIES_MAX = 12
_ROUNDS_PER_CHUNK_MAX = 20


def adaptive_replication(size: Size, adversary: Adversary, liars: float, seed: int) -> Result:
    """One batch of jobs on hosts that nobody knows yet."""
    rng = np.random.default_rng(seed)
    crew = Crew(size.workers, liars, adversary, size.chunks, rng)
    voters = np.full((size.chunks, _COPIES_MAX), -1, np.int32)
    values = np.zeros((size.chunks, _COPIES_MAX), np.int32)
    copies = np.zeros(size.chunks, np.int64)
    outstanding: NDArray[np.int64] = np.empty(0, np.int64)
    fresh = executions = wrong = decided = round_ = 0
    while decided < size.chunks and round_ < _ROUNDS_PER_CHUNK_MAX * (size.chunks // size.workers + 20):
        round_ += 1
        hosts = crew.at_work(round_)
        valid = crew.standing[hosts]
        trusted = (valid >= TRUSTED_FROM) & (rng.random(len(hosts)) >= 1 / np.maximum(valid, 1))
        # Outstanding copies first, to whoever asks; never two of one job to one host.
        second, outstanding = outstanding[: len(hosts)], outstanding[len(hosts) :]
        workers = hosts[: len(second)]
        barred = (voters[second] == workers[:, None]).any(axis=1)
        outstanding = np.concatenate((second[barred], outstanding))
        second, workers = second[~barred], workers[~barred]
        # Then new jobs.
        rest, believed = hosts[len(barred) :], trusted[len(barred) :]
        jobs = np.arange(fresh, min(size.chunks, fresh + len(rest)))
        fresh += len(jobs)
        rest, believed = rest[: len(jobs)], believed[: len(jobs)]
        nothing = np.zeros(len(jobs), np.bool_)
        said = crew.values(rest, jobs, nothing, asked=False)
        executions += len(jobs) + len(second)
        wrong += int((said[believed] != 0).sum())
        decided += int(believed.sum())
        # Votes on replicated jobs.
        checked = np.concatenate((second, jobs[~believed]))
        if not len(checked):
            continue
        by = np.concatenate((workers, rest[~believed]))
        seconds = crew.values(workers, second, np.zeros(len(second), np.bool_), asked=False)
        voters[checked, copies[checked]] = by
        values[checked, copies[checked]] = np.concatenate((seconds, said[~believed]))
        copies[checked] += 1
        outstanding = np.concatenate((outstanding, jobs[~believed]))
        judged = second[copies[second] >= 2]
        if not len(judged):
            continue
        width = int(copies[judged].max())
        theirs, cast = values[judged, :width], voters[judged, :width] >= 0
        if crew.foresees:
            friends = crew.liar[voters[judged, :width]] & cast
            theirs = np.where(friends & (friends.sum(axis=1) >= 2)[:, None], np.int32(1), theirs)
        agreed, winner = two_alike(theirs, cast)
        wrong += int((agreed & (winner != 0)).sum())
        decided += int(agreed.sum())
        right = cast & (theirs == winner[:, None]) & agreed[:, None]
        np.add.at(crew.standing, voters[judged, :width][right], 1)
        crew.standing[voters[judged, :width][cast & ~right & agreed[:, None]]] = 0
        unsettled = judged[~agreed]
        full = copies[unsettled] == _COPIES_MAX
        outstanding = np.concatenate((outstanding, unsettled[~full]))
    result = Result(
        wrong=wrong, undecided=size.chunks - decided, executions=executions, identities=int(crew.liar.sum())
    )
    result.check_invariants(size)
    return result

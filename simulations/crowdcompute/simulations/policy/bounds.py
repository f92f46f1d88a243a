"""What any policy pays whose audits do not react, against liars that know its share (research: verification, 3.1, B3).

A worker computes n chunks; each of its votes is audited by somebody honest with probability q, and a liar learns of it
at once. An audited lie is a verdict: every vote before it is void. Who has had `verdicts` of them is banned.

`share_at_constant_rate` is B3 with its approximations (a liar lies at one rate until the first verdict and, where there
is a second chance, at another after it; q·n is large). `share_at_best_play` lets it decide vote by vote, and is exact
for any n: there it is the larger, above all for few chunks a worker, where lying exactly once is best.

In the limit, with lies counted in units of 1 / q: with one chance left, A of them all go unnoticed with e^-A, which is
worth A·e^-A, at most 1 / e. With two it is A·e^-A + (1 − e^-A) / e, at most 1 / e + e^-(1 + 1 / e), at A = 1 + 1 / e:
1.69 times as much. Only what is not audited itself can be left, hence (1 − q).
"""

from __future__ import annotations

import math

import numpy as np

_WORTH = {1: 1 / math.e, 2: 1 / math.e + math.exp(-(1 + 1 / math.e))}
"""Lies that are left at the end, in units of (1 - q) / q, of a liar that is banned at its first or second verdict."""
_HALVINGS = 40


def share_at_constant_rate(chunks_per_worker: float, eps: float, liars: float, verdicts: int) -> float:
    """The audit share q that keeps the error at `eps` against the best constant rates."""
    return 1 / (1 + chunks_per_worker * eps / (_WORTH[verdicts] * liars))


def share_at_best_play(chunks_per_worker: int, eps: float, liars: float, verdicts: int) -> float:
    """The same against a liar that decides before each vote, knowing what it has said and what was found."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        wrong = liars * lies_accepted(chunks_per_worker, share, verdicts) / chunks_per_worker
        low, high = (share, high) if wrong > eps else (low, share)
    return high


def lies_accepted(chunks: int, share: float, verdicts: int) -> float:
    """Expected lies left at the end of one liar that plays best, by backward induction over its votes."""
    # worth[w]: of a liar with w lies standing. After its last verdict nothing is left.
    after_verdict = np.zeros(chunks + 1)
    for _ in range(verdicts):
        worth = np.arange(chunks + 1, dtype=np.float64)
        found = np.zeros(chunks + 1)  # by votes left: what the liar is worth whose lie was found just now
        for left in range(1, chunks + 1):
            lied = (1 - share) * worth[1:] + share * after_verdict[left - 1]
            worth[:-1] = np.maximum(worth[:-1], lied)
            found[left] = worth[0]
        after_verdict = found
    return float(after_verdict[chunks])


def cost_of_honest_audits(share: float, liars: float) -> float:
    """Executions a chunk, as research B3 counts them: the vote, and audits of which the liars' own are done again."""
    return 1 + share / (1 - liars)


def cost_of_blind_audits(share: float, liars: float) -> float:
    """The same where nobody can tell a friend's audit, which covers the lie, from an honest one.

    Each of k audits is a friend's with probability `liars`, so that all of them are with liars^k, which must be at most
    1 - share. A mixture of k and k + 1 costs least. Up to one audit of each chunk it is what B3 says, beyond it more.
    """
    missed, audits, covered = 1 - share, 0, 1.0
    while covered * liars > missed:
        audits, covered = audits + 1, covered * liars
    return 1 + audits + (covered - missed) / (covered * (1 - liars))

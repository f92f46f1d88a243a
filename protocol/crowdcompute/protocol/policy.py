"""How much checking a task needs (spec/verification.md; the reasoning is risk-limiting blind audits, RLBA).

An audit is a blind re-execution of a committed chunk. Audits are drawn uniformly and arrive like a Poisson process, so
the confidence in 'at most eps of the accepted results are wrong' follows from the Poisson upper confidence limit.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .manifest import Policy

CONFIDENCE = 0.95
"""Of a certificate on a task in which nobody was convicted (RLBA section 2.6, rule a: alpha = 0.05)."""

CONFIDENCE_AFTER_CONVICTION = 0.99
"""Rule b: alpha_w = 0.01. Somebody did lie here, so the fresh audits must say more."""

AUDIT_SHARE_MIN = 0.01
"""q_min: even a huge task audits one chunk in a hundred."""

SEARCH_ABOVE = 4
"""Mistakes since the last drawing, times the share of chunks that were audited, above which lies are searched for
before another sample is drawn. With fewer a sample may well be clean. From simulations (docs/verification.md)."""


@lru_cache(maxsize=4_096)
def poisson_upper_limit(events: int, alpha: float) -> float:
    """The largest Poisson mean under which `events` or fewer still have probability `alpha`.

    With no event this is -ln(alpha): the "rule of three" at alpha = 0.05.
    """
    low, high = float(events), events + 10.0 + 10.0 * math.sqrt(events + 1.0) - 2.0 * math.log(alpha)
    for _ in range(80):
        mean = (low + high) / 2
        term = total = math.exp(-mean)
        for k in range(1, events + 1):
            term *= mean / k
            total += term
        low, high = (mean, high) if total > alpha else (low, mean)
    return (low + high) / 2


def audit_share(policy: Policy, chunks: int) -> float:
    """q_0: expected uniform audits per chunk, such that an honest task is certified when its last chunk is done."""
    expected_wrong = policy.eps * (1 - policy.liars) * chunks
    # A stranger's manifest may hold the smallest number there is: then the product is 0.
    needed = poisson_upper_limit(0, 1 - CONFIDENCE) / expected_wrong if expected_wrong else math.inf
    return min(1.0, max(AUDIT_SHARE_MIN, needed))


def probation_share(policy: Policy, chunks: int, vetted: int) -> float:
    """Extra audit probability of a worker on whom `vetted` audits were drawn so far, where one vote alone decides.

    RLBA section 2.4: (1 + k)^-2 - q_0. The first result of an unknown worker is always checked.
    """
    if policy.replication > 1:
        return 0.0
    return max(0.0, (1.0 + vetted) ** -2 - audit_share(policy, chunks))


def audit_strength(policy: Policy, by_workers: int, by_creator: int) -> float:
    """Audits weighted by how far their result can be believed: a worker's by (1 - liars), the creator's own fully."""
    return by_workers * (1 - policy.liars) + by_creator


def error_bound(strength: float, mismatches: int, *, convicted: bool) -> float:
    """Upper confidence limit on the share of wrong accepted results after audits of this total strength."""
    if strength <= 0:
        return 1.0
    return min(1.0, poisson_upper_limit(mismatches, _alpha(convicted=convicted)) / strength)


def certified(policy: Policy, strength: float, *, convicted: bool) -> bool:
    """Whether mismatch-free audits of this strength certify the task's eps."""
    return error_bound(strength, 0, convicted=convicted) <= policy.eps


def audits_needed(policy: Policy, *, convicted: bool) -> float:
    """Clean audits by workers that certify the task's eps. Of a task with fewer chunks each must be audited often."""
    weight = policy.eps * (1 - policy.liars)
    return poisson_upper_limit(0, _alpha(convicted=convicted)) / weight if weight else math.inf


def eps_within_reach(policy: Policy, chunks: int, *, convicted: bool) -> float:
    """The smallest eps that one clean audit of each chunk, by a worker, certifies."""
    return min(1.0, poisson_upper_limit(0, _alpha(convicted=convicted)) / ((1 - policy.liars) * chunks))


def _alpha(*, convicted: bool) -> float:
    return 1 - (CONFIDENCE_AFTER_CONVICTION if convicted else CONFIDENCE)


def explain(policy: Policy, chunks: int) -> str:
    """The policy in plain words, for the creator who asked for it."""
    share = audit_share(policy, chunks)
    needed = audits_needed(policy, convicted=False)
    executions = policy.replication + share
    words = (
        f"each chunk is computed by {policy.replication} worker{'s' if policy.replication > 1 else ''} and audited "
        f"with probability {share:.1%}: about {executions:.2f} executions per chunk. To certify at most "
        f"{policy.eps:g} wrong results with {CONFIDENCE:.0%} confidence, up to {policy.liars:.0%} of the work lying, "
        f"{needed:,.0f} clean audits are needed"
    )
    if needed > chunks:
        words += f"; this task has only {chunks:,} chunks, so the creator's own node re-executes until it is sure"
    return words + "."

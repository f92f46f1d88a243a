"""How far a mean over some seeds can be believed: intervals of 95%."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_NORMAL = 1.959964
_STUDENT = (math.inf, 12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)
"""Two-sided 95% quantiles of Student's t by degrees of freedom (any table); beyond, the normal's is near enough."""


class Interval(NamedTuple):
    mean: float
    low: float
    high: float


def student(values: Sequence[float]) -> Interval:
    """The mean of independent runs, by Student's t. Of a single run nothing is known but its value."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Interval(mean, mean, mean)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    freedom = len(values) - 1
    half = (_STUDENT[freedom] if freedom < len(_STUDENT) else _NORMAL) * math.sqrt(variance / len(values))
    return Interval(mean, mean - half, mean + half)


def wilson(successes: int, trials: int) -> Interval:
    """The share of successes, by Wilson's score: sensible also where there were none."""
    z2 = _NORMAL**2
    share = successes / trials
    middle = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _NORMAL * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) / (1 + z2 / trials)
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def error_share(wrong: Sequence[int], chunks: int) -> Interval:
    """The share of wrong results over runs of `chunks` each.

    By Student's t between runs, since what one run's liars lie about is not independent; but never narrower upwards
    than Wilson's for all chunks together, since runs without any error do not prove that there can be none.
    """
    between = student([count / chunks for count in wrong])
    within = wilson(sum(wrong), chunks * len(wrong))
    return Interval(between.mean, max(0.0, between.low), max(between.high, within.high))

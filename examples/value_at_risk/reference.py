"""The paths of the bootstrap in pure Python, without anything of CrowdCompute."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MASK = 2**64 - 1


def path(number: int, returns: Sequence[float], days: int, block: int) -> int:
    """A path's log return in ten-millionths."""
    total, at = 0.0, 0
    for day in range(days):
        if day % block == 0:
            z = (number * 64 + day // block + 1) * 0x9E3779B97F4A7C15 & MASK
            z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & MASK
            z = (z ^ z >> 27) * 0x94D049BB133111EB & MASK
            at = ((z ^ z >> 31) >> 32) * len(returns) >> 32
        total += returns[at]
        at = (at + 1) % len(returns)
    return floor(total * 1e7)

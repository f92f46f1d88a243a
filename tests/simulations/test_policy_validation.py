"""The policy engine and the real protocol code agree on a size that takes seconds.

The larger ones take minutes each: `python -m crowdcompute.simulations validate` (docs/verification.md).
"""

from __future__ import annotations

import pytest

from crowdcompute.simulations.policy.sizes import Size
from crowdcompute.simulations.policy.validation import Comparison, Figures, compare

TINY = Size("V0", 12, 120, 0.08)


@pytest.mark.parametrize(
    ("name", "liars", "replication"),
    [("honest", 0.0, 1), ("colluding", 0.17, 1), ("rate:0.1", 0.25, 2), ("accuser", 0.17, 2)],
)
def test_both_engines_measure_the_same_error_cost_and_convictions(name: str, liars: float, replication: int) -> None:
    comparison = compare(TINY, name, liars, replication, 1)
    assert comparison.differences() == []


def test_a_difference_between_the_engines_is_noticed() -> None:
    policy = Figures([0.0, 0.0], [1.10, 1.12], [5.0, 5.0])
    for protocol, what in (
        (Figures([0.0], [1.11], [2.0]), "convicted"),
        (Figures([0.0], [1.60], [5.0]), "cost"),
        (Figures([0.5], [1.11], [5.0]), "error"),
    ):
        comparison = Comparison(TINY, "x", 0.1, 1, policy, protocol, [])
        (difference,) = comparison.differences()
        assert difference.startswith(what)

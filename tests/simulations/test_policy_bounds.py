"""The lower bounds are what a liar that plays best, and one that keeps to the best rate, really get."""

from __future__ import annotations

import math
from functools import cache
from itertools import product

import numpy as np
import pytest

from crowdcompute.simulations.policy.bounds import (
    cost_of_blind_audits,
    cost_of_honest_audits,
    lies_accepted,
    share_at_best_play,
    share_at_constant_rate,
)


def best_by_trying(chunks: int, share: float, verdicts: int) -> float:
    """Every choice at every vote, one state after the other: no array, no induction from the end."""

    @cache
    def play(left: int, standing: int, chances: int) -> float:
        if not left:
            return standing
        found = play(left - 1, 0, chances - 1) if chances > 1 else 0.0
        lying = (1 - share) * play(left - 1, standing + 1, chances) + share * found
        return max(play(left - 1, standing, chances), lying)

    return play(chunks, 0, verdicts)


@pytest.mark.parametrize(("chunks", "share", "verdicts"), list(product((1, 2, 5, 20), (0.0, 0.1, 0.5, 0.9), (1, 2))))
def test_the_best_play_is_the_best_of_all_choices(chunks: int, share: float, verdicts: int) -> None:
    assert lies_accepted(chunks, share, verdicts) == pytest.approx(best_by_trying(chunks, share, verdicts))


def rates_tried(chunks: int, share: float, verdicts: int, workers: int, rng: np.random.Generator) -> float:
    """Liars that lie at the best rates: until the first of two verdicts 1 + 1/e lies would be audited, after it one."""
    aim = np.full(workers, 1.0 + (verdicts - 1) / math.e)
    rate, chances = aim / (share * chunks), np.full(workers, verdicts)
    standing = np.zeros(workers)
    for left in range(chunks, 0, -1):
        lies = (rng.random(workers) < rate) & (chances > 0)
        found = lies & (rng.random(workers) < share)
        standing += lies
        standing[found] = 0
        chances -= found
        rate[found] = 1 / (share * max(1, left - 1))
    return float(standing.mean())


@pytest.mark.parametrize("verdicts", [1, 2])
def test_liars_at_the_best_rates_get_what_the_formula_says(verdicts: int) -> None:
    chunks, share, liars = 1_500, 0.05, 0.2
    got = rates_tried(chunks, share, verdicts, 40_000, np.random.default_rng(1))
    assert share_at_constant_rate(chunks, liars * got / chunks, liars, verdicts) == pytest.approx(share, rel=0.02)
    # To decide vote by vote gains little where there are many, and never loses.
    assert got < lies_accepted(chunks, share, verdicts) < 1.06 * got


def test_a_second_chance_is_worth_seven_tenths_of_the_first_more() -> None:
    worth = [lies_accepted(4_000, 0.005, verdicts) for verdicts in (1, 2)]
    assert worth[1] / worth[0] == pytest.approx(1 + math.exp(-1 / math.e), rel=5e-3)


@pytest.mark.parametrize("verdicts", [1, 2])
@pytest.mark.parametrize(("chunks", "eps"), [(100, 1e-3), (10, 1e-3)])
def test_the_best_play_keeps_to_eps_at_the_share_that_is_said(chunks: int, eps: float, verdicts: int) -> None:
    for liars in (0.1, 0.3):
        share = share_at_best_play(chunks, eps, liars, verdicts)
        assert liars * lies_accepted(chunks, share, verdicts) / chunks == pytest.approx(eps, rel=1e-6)
        assert share > share_at_constant_rate(chunks, eps, liars, verdicts)


def test_blind_audits_cost_what_honest_ones_do_up_to_one_of_each_chunk_and_more_beyond() -> None:
    for liars in (0.1, 0.3):
        for share in (0.0, 0.3, 1 - liars):
            assert cost_of_blind_audits(share, liars) == pytest.approx(cost_of_honest_audits(share, liars))
        # Two audits of each miss liars^2.
        assert cost_of_blind_audits(1 - liars**2, liars) == pytest.approx(3.0)
        assert cost_of_blind_audits(0.95, liars) > cost_of_honest_audits(0.95, liars)

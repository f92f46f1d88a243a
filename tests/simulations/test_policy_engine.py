"""The policy at full size: the goals of DESIGN section 9 hold, the others' known weaknesses show, runs repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from crowdcompute.simulations.policy.adversaries import NAMES, adversary
from crowdcompute.simulations.policy.bounds import cost_of_honest_audits, share_at_constant_rate
from crowdcompute.simulations.policy.schemes import SCHEMES
from crowdcompute.simulations.policy.sizes import SIZES, Size

if TYPE_CHECKING:
    from crowdcompute.simulations.policy.sizes import Result

SMALL = Size("small", 100, 2_000, 5e-3)
BULK, DEFAULT = "ours, 1 vote", "ours, 2 votes"


def ran(size: str | Size, scheme: str, name: str, liars: float, seed: int = 1) -> Result:
    return SCHEMES[scheme](SIZES[size] if isinstance(size, str) else size, adversary(name), liars, seed)


def cost_by_workers(result: Result, size: str) -> float:
    return (result.executions - result.creator_executions) / SIZES[size].chunks


@pytest.mark.parametrize(
    ("size", "scheme", "cost_max"),
    [
        ("S1", BULK, 1.05),
        ("S2", BULK, 1.08),
        ("S3", BULK, 1.27),
        ("S1", DEFAULT, 2.06),
        ("S2", DEFAULT, 2.06),
        ("S3", DEFAULT, 2.06),
    ],
)
def test_honest_workers_cost_little_more_than_the_votes(size: str, scheme: str, cost_max: float) -> None:
    result = ran(size, scheme, "honest", 0.0)
    assert result.certified
    assert result.undecided == result.convicted == 0
    assert cost_by_workers(result, size) <= cost_max


@pytest.mark.parametrize("name", ["alone", "colluding"])
@pytest.mark.parametrize("liars", [0.05, 0.3])
@pytest.mark.parametrize(
    ("size", "scheme", "cost_max"),
    [
        ("S2", BULK, 1.15),
        ("S3", BULK, 1.37),
        ("S2", DEFAULT, 2.15),
        ("S3", DEFAULT, 2.15),
    ],
)
def test_liars_that_always_lie_are_all_convicted_and_cost_little(
    size: str, scheme: str, cost_max: float, liars: float, name: str
) -> None:
    result = ran(size, scheme, name, liars)
    assert result.certified
    assert result.wrong == result.undecided == result.honest_convicted == 0
    assert result.convicted == result.identities
    assert cost_by_workers(result, size) <= cost_max


@pytest.mark.parametrize("scheme", [BULK, DEFAULT])
@pytest.mark.parametrize("name", ["pair", "rate:0.003", "rate:0.01", "rate:0.03", "rate:0.1", "sleeper:3", "lazy:0.1"])
@pytest.mark.parametrize("size", ["S2", "S3"])
def test_strategic_liars_get_at_most_eps_wrong_on_average(size: str, name: str, scheme: str) -> None:
    results = [ran(size, scheme, name, 0.2, seed) for seed in range(1, 5)]
    chunks, eps = SIZES[size].chunks, SIZES[size].eps
    assert sum(result.wrong for result in results) / len(results) <= eps * chunks
    assert not any(result.honest_convicted or result.undecided for result in results)
    assert all(result.certified for result in results)


@pytest.mark.parametrize(
    ("size", "name", "over_bound"), [("S2", "rate:0.03", 1.5), ("S2", "rate:0.01", 1.5), ("S3", "rate:0.1", 1.7)]
)
def test_liars_at_tuned_rates_cost_what_the_lower_bound_for_two_verdicts_explains(
    size: str, name: str, over_bound: float
) -> None:
    each = SIZES[size].chunks // SIZES[size].workers
    bound = cost_of_honest_audits(share_at_constant_rate(each, SIZES[size].eps, 0.2, verdicts=2), 0.2)
    results = [ran(size, BULK, name, 0.2, seed) for seed in range(1, 5)]
    cost = sum(result.executions for result in results) / len(results) / SIZES[size].chunks
    assert cost <= over_bound * bound


@pytest.mark.parametrize("name", ["colluding", "pair", "rate:0.1", "sleeper:10"])
def test_ours_has_fewer_wrong_results_than_boinc(name: str) -> None:
    boinc = ran("S2", "BOINC adaptive", name, 0.1)
    assert boinc.wrong > 0
    for scheme in (BULK, DEFAULT):
        assert ran("S2", scheme, name, 0.1).wrong < boinc.wrong


@pytest.mark.parametrize("name", ["alone", "colluding"])
@pytest.mark.parametrize("liars", [0.05, 0.1, 0.2, 0.3])
def test_ours_costs_less_than_boinc_where_liars_always_lie(liars: float, name: str) -> None:
    assert ran("S2", BULK, name, liars).executions < ran("S2", "BOINC adaptive", name, liars).executions


def test_voting_fails_as_often_as_the_binomial_distribution_says() -> None:
    f, chunks = 0.1, SIZES["S2"].chunks
    expected = f**2 * (3 - 2 * f)
    # A hundred friends of a thousand are drawn without replacement: a little less.
    for scheme in ("first 2 equal", "2 of 3"):
        assert ran("S2", scheme, "colluding", f).wrong / chunks == pytest.approx(expected, rel=0.06)
    assert ran("S2", "first 2 equal", "pair", f).wrong / chunks == pytest.approx(f**2, rel=0.12)
    assert ran("S2", "first 2 equal", "colluding", f).executions / chunks == pytest.approx(
        2 + 2 * f * (1 - f), rel=0.01
    )


def test_boinc_believes_sleepers_once_they_are_trusted() -> None:
    assert ran("S2", "BOINC adaptive", "sleeper:10", 0.1).wrong / SIZES["S2"].chunks == pytest.approx(0.038, rel=0.1)


def test_credibility_voting_never_catches_pairs() -> None:
    result = ran("S2", "credibility", "pair", 0.1)
    assert result.convicted == 0
    assert result.wrong / SIZES["S2"].chunks == pytest.approx(0.01, rel=0.15)


@pytest.mark.parametrize(("scheme", "cost_max"), [(BULK, 1.3), (DEFAULT, 2.3)])
@pytest.mark.parametrize("name", ["whitewasher", "lazy:0.1", "accuser"])
def test_accusing_the_honest_does_not_keep_a_task_open(name: str, scheme: str, cost_max: float) -> None:
    result = ran("S2", scheme, name, 0.1)
    assert result.certified
    assert result.wrong == result.undecided == result.honest_convicted == 0
    assert result.executions < cost_max * SIZES["S2"].chunks


@pytest.mark.parametrize("scheme", list(SCHEMES))
def test_equal_seeds_give_equal_runs(scheme: str) -> None:
    assert ran(SMALL, scheme, "rate:0.1", 0.2, 7) == ran(SMALL, scheme, "rate:0.1", 0.2, 7)
    assert ran(SMALL, scheme, "rate:0.1", 0.2, 7) != ran(SMALL, scheme, "rate:0.1", 0.2, 8)


@pytest.mark.parametrize("scheme", list(SCHEMES))
@pytest.mark.parametrize("name", [name.replace("NUMBER", "0.2") for name in NAMES])
def test_no_scheme_stops_at_any_adversary(scheme: str, name: str) -> None:
    for liars in (0.0, 0.5):
        result = ran(Size("tiny", 12, 60, 0.2), scheme, name, liars)
        assert result.executions >= 60


def test_a_task_smaller_than_its_audits_is_executed_by_the_creator() -> None:
    result = ran(Size("strict", 10, 50, 1e-3), BULK, "colluding", 0.2)
    assert result.certified
    assert result.wrong == 0
    assert result.creator_executions >= 40


@pytest.mark.parametrize("name", ["liar", "rate", "rate:often", "alone:1"])
def test_an_unknown_adversary_is_refused_with_the_names_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="choose from honest, alone"):
        adversary(name)

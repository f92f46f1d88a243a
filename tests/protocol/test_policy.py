"""The numbers of verification, against closed forms and as vectors."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.manifest import Policy
from crowdcompute.protocol.policy import (
    audit_share,
    audit_strength,
    certified,
    error_bound,
    explain,
    poisson_upper_limit,
    probation_share,
)

if TYPE_CHECKING:
    from tests.conftest import ExpectVectors

policies = st.builds(
    Policy,
    replication=st.integers(1, 3),
    eps=st.floats(1e-6, 0.5),
    liars=st.floats(0, 0.5),
    pow_bits=st.just(0),
)


@given(st.floats(1e-6, 0.9))
def test_without_events_the_limit_is_minus_the_logarithm_of_alpha(alpha: float) -> None:
    assert poisson_upper_limit(0, alpha) == pytest.approx(-math.log(alpha), rel=1e-9)


@given(st.integers(0, 60), st.floats(1e-4, 0.5))
def test_at_the_limit_so_few_events_have_probability_alpha(events: int, alpha: float) -> None:
    mean = poisson_upper_limit(events, alpha)
    tail = sum(math.exp(-mean + k * math.log(mean) - math.lgamma(k + 1)) for k in range(events + 1))
    assert tail == pytest.approx(alpha, rel=1e-6)


def test_the_limits_are_those_of_the_tables() -> None:
    table = [(0, 0.05, 2.996), (0, 0.01, 4.605), (1, 0.01, 6.638), (2, 0.01, 8.406), (5, 0.01, 13.108)]
    for events, alpha, limit in table:
        assert poisson_upper_limit(events, alpha) == pytest.approx(limit, abs=5e-4)


@given(policies, st.integers(1, 10**7))
def test_an_honest_task_is_expected_to_be_certified_when_its_last_chunk_is_done(policy: Policy, chunks: int) -> None:
    share = audit_share(policy, chunks)
    assert 0.01 <= share <= 1
    if share < 1:
        assert certified(policy, audit_strength(policy, math.ceil(share * chunks), 0), convicted=False)


@given(policies, st.integers(1, 10**7), st.integers(0, 1_000))
def test_probation_falls_with_every_audit_drawn_and_never_below_zero(policy: Policy, chunks: int, k: int) -> None:
    now, later = probation_share(policy, chunks, k), probation_share(policy, chunks, k + 1)
    assert 0 <= later <= now <= 1
    if policy.replication > 1:
        assert now == 0
    else:
        assert probation_share(policy, chunks, 0) + audit_share(policy, chunks) >= 1


@given(st.floats(0, 1e7), st.floats(0, 1e7), st.integers(0, 20), st.booleans())
def test_more_audits_never_raise_the_bound_and_mismatches_never_lower_it(
    one: float, other: float, mismatches: int, convicted: bool
) -> None:
    less, more = sorted((one, other))
    assert error_bound(more, mismatches, convicted=convicted) <= error_bound(less, mismatches, convicted=convicted)
    after = error_bound(less, mismatches + 1, convicted=convicted)
    assert error_bound(less, mismatches, convicted=convicted) <= after <= 1


@given(policies, st.floats(0, 1e7))
def test_a_conviction_asks_for_more_and_never_for_less(policy: Policy, strength: float) -> None:
    if certified(policy, strength, convicted=True):
        assert certified(policy, strength, convicted=False)


def test_without_audits_anything_may_be_wrong() -> None:
    assert error_bound(0.0, 0, convicted=False) == 1.0


def test_the_policy_is_explained_in_words() -> None:
    policy = Policy(replication=2, eps=1e-3, liars=0.2, pow_bits=0)
    words = explain(policy, 100_000)
    assert "each chunk is computed by 2 workers and audited with probability 3.7%" in words
    assert "3,745 clean audits" in words
    assert "re-executes until it is sure" not in words
    assert "this task has only 100 chunks" in explain(policy, 100)


def rounded(number: float) -> float:
    """Ten digits: beyond them the exponential functions of two machines may differ."""
    return float(f"{number:.10g}")


def test_the_vectors_hold(expect_vectors: ExpectVectors) -> None:
    policies = [
        (Policy(1, eps=1e-4, liars=0.2, pow_bits=0), 1_000_000),
        (Policy(1, eps=1e-3, liars=0.2, pow_bits=0), 100_000),
        (Policy(2, eps=1e-4, liars=0.2, pow_bits=0), 1_000),
        (Policy(3, eps=1e-2, liars=0.0, pow_bits=0), 100_000_000),
    ]
    expect_vectors(
        "policy",
        {
            "significant_digits": 9,
            "poisson_upper_limit": [
                {"events": events, "alpha": alpha, "limit": rounded(poisson_upper_limit(events, alpha))}
                for events in (0, 1, 2, 5, 40)
                for alpha in (0.05, 0.01)
            ],
            "policies": [
                {
                    "replication": policy.replication,
                    "eps": policy.eps,
                    "liars": policy.liars,
                    "chunks": chunks,
                    "audit_share": rounded(audit_share(policy, chunks)),
                    "probation_share": [
                        rounded(probation_share(policy, chunks, confirmed)) for confirmed in (0, 1, 3, 30)
                    ],
                    "strength_of_100_and_7": audit_strength(policy, 100, 7),
                    "certified_at": {
                        convicted: rounded(poisson_upper_limit(0, alpha) / policy.eps)
                        for convicted, alpha in (("nobody convicted", 0.05), ("somebody convicted", 0.01))
                    },
                    "explained": explain(policy, chunks),
                }
                for policy, chunks in policies
            ],
            "error_bound": [
                {
                    "strength": strength,
                    "mismatches": mismatches,
                    "convicted": convicted,
                    "bound": rounded(error_bound(strength, mismatches, convicted=convicted)),
                }
                for strength in (0.0, 1.0, 3_000.0, 1e6)
                for mismatches in (0, 2)
                for convicted in (False, True)
            ],
        },
    )

"""What `cc-task check` says about [verify]: every number in the sentences is the policy's."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from crowdcompute.creator.assurance import EPS_MIN, Assurance
from crowdcompute.protocol.manifest import CHUNKS_MAX, Policy
from crowdcompute.protocol.policy import audit_share, audit_strength, certified, error_bound

policies = st.builds(
    Policy,
    replication=st.integers(1, 3),
    eps=st.floats(1e-6, 0.5),
    liars=st.floats(0, 0.499),
    pow_bits=st.just(0),
)
chunk_counts = st.one_of(st.integers(1, 2_000), st.integers(1, CHUNKS_MAX))


def number(pattern: str, words: str) -> float:
    found = re.search(pattern, words)
    assert found is not None, f"{pattern!r} is not in {words!r}"
    return float(found[1].replace(",", ""))


def said(assurance: Assurance) -> str:
    return "\n".join([*(text for _, text in assurance.lines()), *assurance.warnings()])


@given(policies, chunk_counts)
def test_so_many_clean_audits_certify_and_one_fewer_does_not(policy: Policy, chunks: int) -> None:
    needed = int(number(r"([\d,]+) clean audits show it", said(Assurance(policy, chunks))))
    just_enough, too_few = (audit_strength(policy, audits, 0) for audits in (needed, needed - 1))
    assert error_bound(just_enough, 0, convicted=False) <= policy.eps * (1 + 1e-9)
    assert error_bound(too_few, 0, convicted=False) >= policy.eps * (1 - 1e-9)


@given(policies, chunk_counts)
def test_chunks_and_eps_that_are_named_as_a_way_out_are_one(policy: Policy, chunks: int) -> None:
    assurance = Assurance(policy, chunks)
    words = said(assurance)
    if assurance.audits_suffice:
        assert certified(policy, audit_strength(policy, chunks, 0) * (1 + 1e-12), convicted=False)
        assert "your own node will" not in words
        return
    assert f"your own node will execute all {chunks:,} chunks" in words
    enough = int(number(r"cut the work into >= ([\d,]+) chunks", words))
    assert Assurance(policy, enough).audits_suffice
    assert not Assurance(policy, enough - 1).audits_suffice
    if "eps >=" in words:
        eps = number(r"eps >= ([\d.e-]+)", words)
        assert policy.eps < eps < 1
        with_it = Policy(policy.replication, eps=eps, liars=policy.liars, pow_bits=0)
        assert Assurance(with_it, chunks).audits_suffice
        assert error_bound(audit_strength(policy, chunks, 0), 0, convicted=False) == pytest.approx(eps, rel=0.01)


@given(policies, chunk_counts)
def test_the_extra_work_is_what_the_audits_are_to_the_replicated_work(policy: Policy, chunks: int) -> None:
    assurance = Assurance(policy, chunks)
    assume(assurance.audits_suffice)
    share = audit_share(policy, chunks)
    words = said(assurance)
    assert number(r"([\d.]+)% extra work", words) == pytest.approx(100 * share / policy.replication, abs=0.051)
    assert number(r"([\d.]+) executions a chunk", words) == pytest.approx(policy.replication + share, abs=0.0051)


@given(policies, chunk_counts)
def test_after_a_conviction_the_named_executions_of_our_own_are_enough_and_needed(policy: Policy, chunks: int) -> None:
    assurance = Assurance(policy, chunks)
    own = assurance.own_executions_after_conviction
    assert 0 <= own <= chunks
    strength = audit_strength(policy, chunks - own, own)
    assert own == chunks or error_bound(strength, 0, convicted=True) <= policy.eps * (1 + 1e-9)
    if own > 1:
        fewer = audit_strength(policy, chunks - own + 1, own - 1)
        assert error_bound(fewer, 0, convicted=True) >= policy.eps * (1 - 1e-9)


@given(policies, chunk_counts)
def test_programs_are_told_the_numbers_people_are(policy: Policy, chunks: int) -> None:
    assurance = Assurance(policy, chunks)
    report, words = assurance.report(), said(assurance)
    assert f"{report['audits_needed']:,} clean audits" in words
    assert report["certified_means"] in words
    assert report["own_executions_at_most"] == (0 if report["audits_suffice"] else chunks)
    assert report["executions_per_chunk"] == policy.replication + report["audits_per_chunk"]
    assert report["chunks_for_audits_alone"] * (1 - policy.liars) * policy.eps == pytest.approx(
        -math.log(0.05), rel=1e-6, abs=policy.eps
    )
    if assurance.audits_suffice:
        assert f"{report['after_conviction']['audits_needed']:,} fresh audits" in words


def test_the_numbers_are_those_of_the_specification() -> None:
    policy = Policy(replication=2, eps=1e-4, liars=0.2, pow_bits=16)
    large = Assurance(policy, 1_000_000)
    assert large.promise == "at most 1 in 10,000 results wrong, at 95% confidence, if at most 20% of the work lies"
    assert (large.audits_needed, large.audits_after_conviction) == (37_447, 57_565)
    assert "2.04 executions a chunk, 1.9% extra work" in said(large)
    assert large.warnings() == []
    (warning,) = Assurance(policy, 600).warnings()
    assert warning == (
        "one audit of each of the 600 chunks cannot show 1 in 10,000 wrong: your own node will execute all 600 chunks; "
        "to spare it choose eps >= 0.00625 or cut the work into >= 37,447 chunks"
    )


def test_a_bulk_task_of_few_chunks_is_advised_against() -> None:
    assert any("take 2" in warning for warning in Assurance(Policy(1, 0.3, 0.2, 0), 99).warnings())
    assert Assurance(Policy(1, 0.3, 0.2, 0), 100).warnings() == []


@given(st.floats(5e-324, EPS_MIN), st.floats(0, 0.5), chunk_counts)
def test_a_strangers_bundle_may_ask_for_anything(eps: float, liars: float, chunks: int) -> None:
    assurance = Assurance(Policy(2, eps, liars, 0), chunks)
    assert "your own node will execute all" in said(assurance)
    assert assurance.report()["own_executions_at_most"] == chunks

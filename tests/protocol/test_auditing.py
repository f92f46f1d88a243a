"""Audits are drawn uniformly, and nothing is certified on less than what the policy demands."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.auditing import Auditor
from crowdcompute.protocol.manifest import Policy
from crowdcompute.protocol.policy import audit_share, certified

POLICY = Policy(replication=2, eps=1e-2, liars=0.2, pow_bits=0)


class Task:
    """What has been audited of a task, as the creator would answer the auditor."""

    def __init__(self, policy: Policy, chunks: int, rng: Random) -> None:
        self.policy = policy
        self.chunks = chunks
        self.auditor = Auditor(policy, chunks, rng)
        self.done: Counter[int] = Counter()
        self.trusted: set[int] = set()
        self.convicted = False

    def audits_of(self, chunk: int) -> tuple[int, bool]:
        return self.done[chunk], chunk in self.trusted

    def strength(self) -> float:
        return self.auditor.strength(self.done.total(), len(self.trusted), self.audits_of)

    def sufficient(self) -> bool:
        """The rule by which the creator's role closes a task."""
        fresh = not self.convicted or self.auditor.sampling
        return fresh and self.strength() >= self.auditor.required(convicted=self.convicted) - 1e-9

    def audit(self, chunk: int, *, by_creator: bool) -> None:
        if by_creator:
            self.trusted.add(chunk)
        else:
            self.done[chunk] += 1

    def run_out(self, rng: Random, *, creator_share: float) -> None:
        """Draw and perform audits until they suffice or nothing is left to draw."""
        while not self.sufficient():
            drawn = self.auditor.draw_more(
                self.strength(), convicted=self.convicted, by_workers=creator_share < 1, audits_of=self.audits_of
            )
            if not drawn and not self.sufficient():
                return
            for chunk in drawn:
                assert self.auditor.due(chunk, self.done[chunk]) == 1
                self.audit(chunk, by_creator=rng.random() < creator_share)


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.integers(1, 2_000),
    eps=st.sampled_from([0.3, 0.05, 0.01]),
    liars=st.sampled_from([0.0, 0.2, 0.5]),
    convictions=st.integers(0, 2),
    creator_share=st.sampled_from([0.0, 0.5, 1.0]),
    rng=st.integers(0, 2**32).map(Random),
)
def test_what_suffices_is_at_least_what_the_policy_demands(
    chunks: int, eps: float, liars: float, convictions: int, creator_share: float, rng: Random
) -> None:
    policy = Policy(replication=2, eps=eps, liars=liars, pow_bits=0)
    task = Task(policy, chunks, rng)
    for chunk in range(chunks):
        task.auditor.agreed(chunk, 0)
        for _ in range(task.auditor.due(chunk, 0)):
            task.audit(chunk, by_creator=False)
    for _ in range(convictions):
        task.convicted = True
        task.auditor.mistaken()
        assert not task.sufficient(), "what was audited while a liar was at work must not count"
        before = task.done.copy(), set(task.trusted)
        task.run_out(rng, creator_share=creator_share)
        if task.sufficient():
            fresh = sum(min(1, task.done[chunk] - before[0][chunk]) for chunk in set(range(chunks)) - task.trusted)
            claimed = fresh * (1 - liars) + len(task.trusted)
            assert certified(policy, claimed * (1 + 1e-9), convicted=True)
    task.run_out(rng, creator_share=creator_share)
    if task.sufficient():
        assert certified(policy, task.strength() * (1 + 1e-9), convicted=task.convicted)
        assert task.auditor.bound(task.strength(), convicted=task.convicted, all_trusted=False) <= eps * (1 + 1e-6)


def test_a_conviction_asks_for_a_fresh_sample_over_all_chunks_without_replacement() -> None:
    task = Task(POLICY, 2_000, Random(1))
    task.convicted = True
    drawn = task.auditor.draw_more(1e9, convicted=True, by_workers=True, audits_of=task.audits_of)
    assert len(drawn) == pytest.approx(4.605 / (0.01 * 0.8), abs=2)
    for chunk in drawn:
        task.audit(chunk, by_creator=False)
    assert task.sufficient()
    task.auditor.mistaken()
    assert not task.sufficient()


def test_audits_from_before_the_sample_was_drawn_add_nothing_to_it() -> None:
    task = Task(POLICY, 2_000, Random(1))
    task.done.update(range(2_000))
    task.convicted = True
    drawn = task.auditor.draw_more(task.strength(), convicted=True, by_workers=True, audits_of=task.audits_of)
    assert task.strength() == 0
    for count, chunk in enumerate(sorted(drawn), start=1):
        task.audit(chunk, by_creator=False)
        assert task.strength() == pytest.approx(count * 0.8)


def searching(*, mistakes: int, audited: int) -> tuple[Task, set[int]]:
    """A task whose first sample was discarded by so many mistakes, and what is drawn next."""
    task = Task(POLICY, 2_000, Random(1))
    task.convicted = True
    task.auditor.draw_more(0.0, convicted=True, by_workers=True, audits_of=task.audits_of)
    task.done.update(range(audited))
    for _ in range(mistakes):
        task.auditor.mistaken()
    return task, task.auditor.draw_more(0.0, convicted=True, by_workers=True, audits_of=task.audits_of)


def test_many_mistakes_among_many_audited_chunks_send_audits_where_nobody_has_looked() -> None:
    task, drawn = searching(mistakes=9, audited=1_000)
    assert not task.auditor.sampling
    assert not task.sufficient()
    assert len(drawn) == pytest.approx(4.605 / (0.01 * 0.8), abs=2)
    assert min(drawn) >= 1_000, "all of these were audited already"
    for chunk in drawn:
        assert task.auditor.due(chunk, 0) == 1
        task.audit(chunk, by_creator=False)
    assert not task.sufficient(), "what a search has confirmed is no uniform sample"
    task.auditor.draw_more(0.0, convicted=True, by_workers=True, audits_of=task.audits_of)
    assert task.auditor.sampling
    assert task.strength() == 0


@pytest.mark.parametrize(("mistakes", "audited"), [(8, 1_000), (9, 880), (400, 0)])
def test_few_mistakes_or_few_audits_call_for_a_fresh_sample_at_once(mistakes: int, audited: int) -> None:
    task, drawn = searching(mistakes=mistakes, audited=audited)
    assert task.auditor.sampling
    assert not audited or min(drawn) < audited


def test_nobody_is_asked_to_search_what_only_the_creator_could_make_sure_of() -> None:
    task = Task(POLICY, 300, Random(1))  # 576 audits would be needed.
    task.convicted = True
    task.done.update(range(300))
    for _ in range(2):
        for _ in range(50):
            task.auditor.mistaken()
        assert task.auditor.draw_more(0.0, convicted=True, by_workers=True, audits_of=task.audits_of) == set()


def test_a_sampled_chunk_that_the_creator_executed_counts_at_once() -> None:
    task = Task(POLICY, 2_000, Random(1))
    task.convicted = True
    task.trusted = set(range(2_000))
    assert task.auditor.draw_more(0.0, convicted=True, by_workers=True, audits_of=task.audits_of) == set()
    assert task.sufficient()


def test_a_task_whose_every_chunk_the_creator_executed_has_nothing_left_to_be_wrong() -> None:
    auditor = Auditor(POLICY, 3, Random(1))
    assert auditor.bound(0.0, convicted=True, all_trusted=True) == 0.0
    assert auditor.bound(0.0, convicted=False, all_trusted=False) == 1.0


def test_audits_are_drawn_uniformly_and_as_many_as_the_policy_says() -> None:
    chunks, rounds = 2_000, 40
    counts: Counter[int] = Counter()
    for number in range(rounds):
        auditor = Auditor(POLICY, chunks, Random(number))
        for chunk in range(chunks):
            auditor.agreed(chunk, 0)
            counts[chunk] += auditor.due(chunk, 0)
    expected = audit_share(POLICY, chunks) * rounds
    assert counts.total() / chunks == pytest.approx(expected, rel=0.03)
    # Chi-squared over 20 blocks of chunks: 19 degrees of freedom, above 43.8 once in a thousand seeds.
    blocks = [sum(counts[chunk] for chunk in range(block, chunks, 20)) for block in range(20)]
    assert sum((block - counts.total() / 20) ** 2 / (counts.total() / 20) for block in blocks) < 43.8


def test_a_fresh_sample_is_uniform_too() -> None:
    hits: Counter[int] = Counter()
    for number in range(300):
        task = Task(Policy(2, eps=0.3, liars=0.0, pow_bits=0), 40, Random(number))
        hits.update(task.auditor.draw_more(0.0, convicted=True, by_workers=True, audits_of=task.audits_of))
    mean = hits.total() / 40
    assert sum((hits[chunk] - mean) ** 2 / mean for chunk in range(40)) < 72.1


def test_the_first_vote_of_an_unknown_worker_is_always_audited_where_one_vote_decides() -> None:
    auditor = Auditor(Policy(1, eps=1e-2, liars=0.2, pow_bits=0), 100_000, Random(1))
    for chunk in range(500):
        auditor.agreed(chunk, 0)
    due = sum(auditor.due(chunk, 0) > 0 for chunk in range(500))
    assert due > 490  # (1 + 0)^-2 - q_0 by probation, q_0 by the uniform draw: almost surely one of them.


def test_a_chunk_that_comes_to_agree_again_draws_no_second_time() -> None:
    auditor = Auditor(POLICY, 10, Random(1))
    auditor.agreed(0, 0)
    due = auditor.due(0, 0)
    for _ in range(100):
        auditor.agreed(0, 0)
    assert auditor.due(0, 0) == due
    assert auditor.due(0, due) == 0

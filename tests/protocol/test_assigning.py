from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.assigning import Assignments
from crowdcompute.protocol.records import COMMIT_CHUNKS_MAX, SHARD_CHUNKS, shard_of

if TYPE_CHECKING:
    from collections.abc import Callable

WORKERS = [bytes([number]) for number in range(6)]


def nobody(chunk: int) -> frozenset[bytes]:
    return frozenset()


@given(
    wanted=st.dictionaries(st.integers(0, 3 * SHARD_CHUNKS), st.integers(1, 3), max_size=60),
    voters=st.dictionaries(st.integers(0, 3 * SHARD_CHUNKS), st.frozensets(st.sampled_from(WORKERS)), max_size=60),
    candidates=st.lists(st.sampled_from(WORKERS), unique=True),
    seed=st.integers(0, 99),
)
def test_nobody_is_asked_twice_for_a_chunk_nor_for_one_it_voted_on(
    wanted: dict[int, int], voters: dict[int, frozenset[bytes]], candidates: list[bytes], seed: int
) -> None:
    assignments = Assignments(Random(seed), batch_s=2.0, capacity={})

    def excluded(chunk: int) -> frozenset[bytes]:
        return voters.get(chunk, frozenset())

    asked: Counter[tuple[bytes, int]] = Counter()
    for now in (0.0, 1.0):
        for worker, chunks in assignments.distribute(wanted, candidates, excluded, now):
            assert worker in candidates
            assert chunks == sorted(set(chunks))
            assert len({shard_of(chunk) for chunk in chunks}) == 1
            assert len(chunks) <= COMMIT_CHUNKS_MAX
            asked.update((worker, chunk) for chunk in chunks)
    assert not asked or max(asked.values()) == 1
    assert not any(worker in excluded(chunk) for worker, chunk in asked)
    assert assignments.room(candidates) >= 0
    assert {(worker, chunk) for worker, chunk, _ in assignments.outstanding()} == set(asked)
    for worker in WORKERS:
        assert assignments.backlog(worker) == sum(who == worker for who, _ in asked)


def test_whoever_is_free_gets_what_is_wanted() -> None:
    assignments = Assignments(Random(1), batch_s=2.0, capacity={})
    given_out = assignments.distribute({0: 2, 1: 1}, WORKERS, nobody, 0.0)
    on = Counter(chunk for _, chunks in given_out for chunk in chunks)
    assert on == {0: 2, 1: 1}
    assert len(assignments.workers_on(0)) == 2
    assert assignments.chunks()


def test_what_nobody_has_room_for_stays_wanted() -> None:
    assignments = Assignments(Random(1), batch_s=2.0, capacity={})
    wanted = dict.fromkeys(range(100), 1)
    taken = sum(len(chunks) for _, chunks in assignments.distribute(wanted, WORKERS[:1], nobody, 0.0))
    assert 0 < taken < 100
    assert assignments.room(WORKERS[:1]) == 0
    assert assignments.distribute(wanted, WORKERS[:1], nobody, 0.0) == []


def answer(assignments: Assignments, worker: bytes, after_s: float) -> None:
    assignments.distribute(dict.fromkeys(range(8), 1), [worker], nobody, 0.0)
    assignments.committed(worker, range(8), after_s)


def test_quick_answers_widen_what_a_worker_is_asked_for_and_slow_ones_narrow_it() -> None:
    assignments = Assignments(Random(1), batch_s=2.0, capacity={})
    quick, slow = WORKERS[:2]
    answer(assignments, quick, after_s=0.1)
    assert assignments.room([quick]) == 16
    answer(assignments, quick, after_s=100.0)
    assert assignments.room([quick]) == 8
    answer(assignments, slow, after_s=100.0)
    assert assignments.room([slow]) == 8


def test_an_answer_nobody_waited_for_changes_nothing() -> None:
    assignments = Assignments(Random(1), batch_s=2.0, capacity={})
    assignments.committed(WORKERS[0], [1, 2], 5.0)
    assert assignments.room(WORKERS[:1]) == 8


def test_withdrawn_chunks_are_free_for_others() -> None:
    assignments = Assignments(Random(1), batch_s=2.0, capacity={})
    assignments.distribute({0: 1, 1: 1}, WORKERS[:1], nobody, 0.0)
    assert sorted(assignments.withdraw(WORKERS[0], [0])) == [0]
    assert sorted(assignments.withdraw(WORKERS[0])) == [1]
    assert assignments.withdraw(WORKERS[0]) == []
    assert not assignments.chunks()
    assert assignments.distribute({0: 1}, WORKERS[1:2], nobody, 1.0) == [(WORKERS[1], [0])]


def test_seconds_are_drawn_from_everybody_so_that_no_friend_can_be_arranged() -> None:
    counts: Counter[bytes] = Counter()
    for seed in range(600):
        ((worker, _),) = Assignments(Random(seed), batch_s=2.0, capacity={}).distribute({0: 1}, WORKERS, nobody, 0.0)
        counts[worker] += 1
    assert sum((counts[worker] - 100) ** 2 / 100 for worker in WORKERS) < 20.5  # once in a thousand draws of seeds


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "answer", "withdraw"]), st.sampled_from(WORKERS), st.integers(0, 8)), max_size=30
)


@given(steps, st.integers(0, 99))
def test_both_sides_of_the_books_agree_after_any_history(sequence: list[tuple[str, bytes, int]], seed: int) -> None:
    assignments = Assignments(Random(seed), batch_s=2.0, capacity={})
    actions: dict[str, Callable[[bytes, int, float], object]] = {
        "ask": lambda worker, chunk, now: assignments.distribute({chunk: 2, chunk + 1: 1}, WORKERS, nobody, now),
        "answer": lambda worker, chunk, now: assignments.committed(worker, [chunk], now),
        "withdraw": lambda worker, chunk, now: assignments.withdraw(worker),
    }
    for now, (what, worker, chunk) in enumerate(sequence):
        actions[what](worker, chunk, float(now))
        pairs = {(who, which) for who, which, _ in assignments.outstanding()}
        assert pairs == {(who, which) for which in range(10) for who in assignments.workers_on(which)}
        assert set(assignments.chunks()) == {chunk for _, chunk in pairs}
        assert all(assignments.backlog(who) >= 0 for who in WORKERS)

"""The creator's incremental tally gives what the pure one gives, after every single step."""

from __future__ import annotations

import hashlib
import struct
from typing import TypeAlias

from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol.batch import Leaf
from crowdcompute.protocol.events import Status
from crowdcompute.protocol.gpu.compare import Array, Comparison, Tolerance, Within
from crowdcompute.protocol.lineage import Rest
from crowdcompute.protocol.opening import counted_value
from crowdcompute.protocol.records import EVERYTHING
from crowdcompute.protocol.referee import Referee
from crowdcompute.protocol.tally import Ballot, ChunkState, ChunkTally, differ, equivocators, tally

CREATOR = b"creator"
WORKERS = (b"alice", b"bob", b"carol", b"dave")
CHUNKS = range(4)
RESULTS = (b"right", b"wrong")


def leaf(chunk: int, data: bytes | None) -> Leaf:
    if data is None:
        return Leaf(chunk, Status.NO_RESULT, inline=True, size=4, data=b"trap")
    return Leaf(chunk, Status.OK, inline=True, size=len(data), data=data)


def number(value: float) -> bytes:
    return struct.pack("<f", value)


COMPARISON = Comparison((Array(1, Tolerance(absolute=1.0, relative=0.0, outliers=0.0)),))
WITHIN = Comparison((Array(1, Within(absolute=1.0, relative=0.0, outliers=0.0)),))
CLASSED = tuple(number(value) + its * 32 for value in (0.0, 0.75, 1.5) for its in (b"\0", b"a", b"b"))
NUMBERS = (number(0.0), number(0.75), number(1.5), number(float("nan")), b"none!")
leaves = st.dictionaries(st.sampled_from(CHUNKS), st.sampled_from((*RESULTS, None)), min_size=1, max_size=3)
numbers = st.dictionaries(st.sampled_from(CHUNKS), st.sampled_from((*NUMBERS, None)), min_size=1, max_size=3)
classed = st.dictionaries(st.sampled_from(CHUNKS), st.sampled_from((*CLASSED, None)), min_size=1, max_size=3)
Step: TypeAlias = tuple[str, bytes, dict[int, bytes | None]]


def steps(votes: st.SearchStrategy[dict[int, bytes | None]]) -> st.SearchStrategy[list[Step]]:
    step: st.SearchStrategy[Step] = st.one_of(
        st.tuples(st.just("cast"), st.sampled_from((CREATOR, *WORKERS)), votes),
        st.tuples(st.just("admit"), st.sampled_from(WORKERS), st.just({})),
        st.tuples(st.just("void"), st.sampled_from(WORKERS), st.just({})),
        st.tuples(st.just("strike"), st.sampled_from(WORKERS), st.just({})),
        st.tuples(st.just("assign"), st.sampled_from(WORKERS), votes),
        *(st.tuples(st.just(f"after {maker.decode()}"), st.sampled_from(WORKERS), votes) for maker in WORKERS),
    )
    return st.lists(step, max_size=14)


@settings(max_examples=300)
@given(steps(leaves), st.integers(1, 3))
def test_after_every_step_the_referee_says_what_the_whole_set_says(sequence: list[Step], replication: int) -> None:
    step_by_step(sequence, replication, None)


@settings(max_examples=300)
@given(steps(leaves), st.integers(1, 3))
def test_so_it_does_of_what_was_observed(sequence: list[Step], replication: int) -> None:
    step_by_step(sequence, replication, None, observed=True)


@settings(max_examples=300)
@given(steps(numbers), st.integers(1, 3))
def test_so_it_does_where_results_are_compared_as_numbers(sequence: list[Step], replication: int) -> None:
    step_by_step(sequence, replication, COMPARISON)


@settings(max_examples=300)
@given(steps(classed), st.integers(1, 3))
def test_so_it_does_where_they_are_compared_within_classes_of_devices(sequence: list[Step], replication: int) -> None:
    step_by_step(sequence, replication, WITHIN)


DATA = {b"\0" + hashlib.sha256(each).digest(): each for each in (*NUMBERS, *CLASSED)}


def class_of(chunk: int, value: bytes) -> bytes:
    return WITHIN.class_of(DATA[value])


def step_by_step(
    sequence: list[Step], replication: int, comparison: Comparison | None, *, observed: bool = False
) -> None:
    referee = Referee(CREATOR, replication, comparison=comparison, observed=observed)

    def are_close(chunk: int, one: bytes, other: bytes) -> bool:
        return comparison is not None and comparison.are_close(DATA[one], DATA[other])

    same = differ if comparison is None else are_close
    kin = class_of if comparison is WITHIN else None
    cast: list[Ballot] = []
    admitted: set[bytes] = set()
    convicted: dict[bytes, int] = {}
    assigned: set[tuple[bytes, int]] = set()
    before: dict[int, ChunkTally] = {chunk: referee.chunk(chunk) for chunk in CHUNKS}
    for what, worker, named in sequence:
        touched: set[int] = set()
        match what:
            case "cast" | "after alice" | "after bob" | "after carol" | "after dave":
                opened = [leaf(chunk, data) for chunk, data in named.items()]
                seq = len(cast)
                maker = what.removeprefix("after ").encode()
                rests = () if what == "cast" else (Rest(maker, seq, bytes((seq,)), 1, bytes(32)),)
                values = {each.chunk: counted_value(each, comparison, each.data) for each in opened}
                cast.append(Ballot(worker, seq, bytes((seq,)), values, rests))
                touched.update(referee.cast(worker, opened, seq, rests))
                for rest in rests:
                    # The whole set does not say which are false: then a wrong vote is its author's fault.
                    for chunk in named:
                        referee.judge(rest.savepoint, chunk, true=True)
                # The creator's role convicts whoever contradicts itself, itself included should it ever happen.
                assert referee.contradictors == equivocators(cast, same, observed=observed)
                for contradictor in referee.contradictors:
                    touched.update(referee.make_void(contradictor, EVERYTHING))
            case "admit":
                admitted.add(worker)
                touched.update(referee.admit(worker))
            case "void":
                convicted[worker] = EVERYTHING
                touched.update(referee.make_void(worker, EVERYTHING))
            case "strike":
                if worker not in convicted and any(ballot.worker == worker for ballot in cast):
                    convicted[worker] = referee.last_seq(worker)
                    touched.update(referee.make_void(worker, convicted[worker]))
            case "assign":
                assigned.update((worker, chunk) for chunk in named)
                touched.update(referee.assign(worker, named))
        whole = tally(
            cast,
            replication=replication,
            creator=CREATOR,
            admitted=admitted,
            convicted=convicted,
            assigned=assigned,
            same=same,
            kin=kin,
            observed=observed,
        )
        assert referee.void == whole.void
        nothing = ChunkTally(ChunkState.OPEN, None, replication, (), 0)
        for chunk in CHUNKS:
            now = referee.chunk(chunk)
            assert now == whole.chunks.get(chunk, nothing)
            assert now == before[chunk] or chunk in touched, "a state changed that was not reported as touched"
            before[chunk] = now


def test_it_does_not_matter_whether_a_worker_was_asked_before_or_after_its_vote_came() -> None:
    for asked_first in (True, False):
        referee = Referee(CREATOR, 2)
        for worker in WORKERS:
            referee.admit(worker)
        referee.cast(b"alice", [leaf(0, b"right")], 1)
        assert referee.chunk(0).missing == 1
        if asked_first:
            referee.assign(b"bob", [0])
        referee.cast(b"bob", [leaf(0, b"right")], 1)
        if not asked_first:
            assert referee.chunk(0).state is ChunkState.SEALED
            referee.assign(b"bob", [0])
        assert referee.chunk(0).state is ChunkState.AGREED


def test_a_chunk_is_confirmed_by_the_class_that_began_it() -> None:
    referee = Referee(CREATOR, 2, comparison=WITHIN)
    for worker in WORKERS:
        referee.admit(worker)
    for chunk, (worker, data) in enumerate(zip(WORKERS, (CLASSED[1], CLASSED[2], CLASSED[1]), strict=False)):
        referee.cast(worker, [leaf(chunk, data)], 1)
    assert referee.strangers(0) == {b"bob"}
    assert referee.strangers(1) == {b"alice", b"carol"}
    referee.assign(b"carol", [0])
    referee.cast(b"carol", [leaf(0, CLASSED[1])], 2)
    assert referee.chunk(0).state is ChunkState.AGREED
    assert referee.strangers(0) == frozenset(), "anybody audits"


def test_the_leaf_of_an_agreed_value_carries_its_result() -> None:
    referee = Referee(CREATOR, 1)
    referee.admit(b"alice")
    referee.cast(b"alice", [leaf(2, b"right")], 1)
    value = referee.chunk(2).value
    assert value is not None
    assert referee.leaf(2, value).data == b"right"


def test_the_reasons_for_no_result_are_kept_by_worker() -> None:
    referee = Referee(CREATOR, 1)
    referee.cast(b"alice", [Leaf(0, Status.NO_RESULT, inline=True, size=4, data=b"\xfftra")], 1)
    assert list(referee.reports(0)) == [b"alice"]
    assert referee.reports(0)[b"alice"].endswith("tra")


def test_a_vote_for_what_is_no_number_is_a_report_without_result() -> None:
    referee = Referee(CREATOR, 1, comparison=COMPARISON)
    for worker, data in zip(WORKERS, (*NUMBERS[3:], NUMBERS[0]), strict=False):
        referee.admit(worker)
        referee.cast(worker, [leaf(0, data)], 1)
    assert referee.chunk(0) == ChunkTally(ChunkState.AGREED, leaf(0, NUMBERS[0]).value, 0, (), 0)
    assert referee.reports(0) == dict.fromkeys(WORKERS[:2], "a result that is none of the task's")

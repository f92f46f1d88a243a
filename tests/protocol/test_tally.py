"""The tally is a function of the set: no order and no repetition changes it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.lineage import Rest, is_void
from crowdcompute.protocol.records import EVERYTHING
from crowdcompute.protocol.tally import (
    NO_RESULT,
    Ballot,
    ChunkState,
    ChunkTally,
    Tally,
    Vote,
    differ,
    says_more,
    tally,
    tally_chunk,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.conftest import ExpectVectors

CREATOR, ALICE, BOB, CAROL, DAVE = (name.encode() for name in ("creator", "alice", "bob", "carol", "dave"))
WORKERS = (ALICE, BOB, CAROL, DAVE)
RIGHT, WRONG = b"\0right", b"\0wrong"
LOW, MIDDLE, HIGH = b"\0low", b"\0middle", b"\0high"
"""Of a task with a tolerance: neighbours are one result."""
NEIGHBOURS = ((LOW, MIDDLE), (MIDDLE, HIGH))
NORTH, NORTHERN, SOUTH, FAR, MADE_UP = b"\0north", b"\0northern", b"\0south", b"\0far", b"\0made up"
"""Of a task with classes: all but one are near each other."""
KIN = {NORTH: b"n", NORTHERN: b"n", SOUTH: b"s", FAR: b"s", MADE_UP: b"m"}
NEAR = tuple((one, other) for one in KIN for other in KIN if one < other and FAR not in (one, other))


def count(
    *ballots: Ballot,
    replication: int = 2,
    admitted: Collection[bytes] = WORKERS,
    convicted: Mapping[bytes, int] = MappingProxyType({}),
    assigned: Collection[tuple[bytes, int]] = (),
    close: Collection[tuple[bytes, bytes]] = (),
    kin: Mapping[bytes, bytes] = MappingProxyType({}),
    observed: bool = False,
) -> Tally:
    return tally(
        ballots,
        replication=replication,
        creator=CREATOR,
        admitted=admitted,
        convicted=convicted,
        assigned=assigned,
        same=(lambda _, one, other: (one, other) in close or (other, one) in close) if close else differ,
        kin=(lambda _, value: kin[value]) if kin else None,
        observed=observed,
    )


def ballot(worker: bytes, seq: int, **values: bytes | None) -> Ballot:
    """A commit of `worker`, whose votes are named c0, c1, …"""
    by_chunk = {int(name[1:]): value for name, value in values.items()}
    return Ballot(worker, seq, worker + bytes((seq,)) + repr(sorted(by_chunk.items())).encode(), by_chunk)


def after(of: Ballot, *makers: tuple[bytes, int]) -> Ballot:
    """The same, its execution gone on from savepoints of these, each with its seq."""
    return of._replace(rests=tuple(Rest(maker, seq, maker + bytes((seq,)), seq, bytes(32)) for maker, seq in makers))


def test_a_vote_of_ones_own_choice_and_an_assigned_one_make_a_quorum_of_two() -> None:
    result = count(ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=RIGHT), assigned={(BOB, 0)})
    assert result.chunks[0] == ChunkTally(ChunkState.AGREED, RIGHT, 0, (), 0)


def test_two_friends_who_choose_the_same_chunk_are_not_a_quorum() -> None:
    result = count(ballot(ALICE, 1, c0=WRONG), ballot(BOB, 1, c0=WRONG))
    assert result.chunks[0] == ChunkTally(ChunkState.SEALED, None, 1, (), 0)


def test_two_values_are_a_dispute_however_many_stand_behind_each() -> None:
    result = count(
        ballot(ALICE, 1, c0=RIGHT),
        ballot(BOB, 1, c0=RIGHT),
        ballot(CAROL, 1, c0=RIGHT),
        ballot(DAVE, 1, c0=WRONG),
        assigned={(BOB, 0), (CAROL, 0)},
    )
    assert result.chunks[0].state is ChunkState.DISPUTED


def test_the_creators_execution_settles_a_dispute_and_names_the_offenders() -> None:
    result = count(ballot(ALICE, 1, c0=WRONG), ballot(BOB, 1, c0=RIGHT), ballot(CREATOR, 1, c0=RIGHT))
    assert result.chunks[0] == ChunkTally(ChunkState.AGREED, RIGHT, 0, (ALICE,), 0)


def test_three_reports_of_no_result_fail_a_chunk_and_convict_nobody() -> None:
    three = [ballot(worker, 1, c0=NO_RESULT) for worker in (ALICE, BOB, CAROL)]
    assert count(*three[:2]).chunks[0].state is ChunkState.SEALED
    assert count(*three).chunks[0] == ChunkTally(ChunkState.FAILED, None, 0, (), 0)
    assert count(*three, ballot(DAVE, 1, c0=RIGHT)).chunks[0].state is ChunkState.SEALED
    assert count(*three, ballot(CREATOR, 1, c0=RIGHT)).chunks[0].offenders == ()


def test_a_chunk_that_a_convicted_worker_touched_needs_two_votes_though_one_would_do() -> None:
    honest = ballot(BOB, 1, c0=RIGHT)
    assert count(honest, replication=1).chunks[0].state is ChunkState.AGREED
    tainted = count(honest, ballot(ALICE, 1, c0=RIGHT), replication=1, convicted={ALICE: EVERYTHING})
    assert tainted.chunks[0] == ChunkTally(ChunkState.SEALED, None, 1, (), 0)


def test_a_strike_voids_what_was_committed_until_then_and_no_more() -> None:
    cast = [ballot(ALICE, 5, c0=RIGHT, c1=RIGHT), ballot(ALICE, 6, c2=RIGHT), ballot(BOB, 1, c0=RIGHT)]
    result = count(*cast, replication=1, convicted={ALICE: 5})
    assert [result.chunks[chunk].state for chunk in range(3)] == [
        ChunkState.SEALED,
        ChunkState.OPEN,
        ChunkState.AGREED,
    ]
    assert count(ballot(ALICE, 7, c1=RIGHT), *cast, replication=1, convicted={ALICE: 5}).chunks[1].missing == 1


def test_two_batches_with_one_seq_void_their_author() -> None:
    result = count(ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 1, c1=RIGHT), replication=1)
    assert result.void == {ALICE: EVERYTHING}
    assert result.chunks[1].state is ChunkState.OPEN


def test_two_values_for_one_chunk_void_their_author() -> None:
    assert count(ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 2, c0=WRONG)).void == {ALICE: EVERYTHING}


def test_saying_the_same_again_is_no_crime() -> None:
    assert not count(ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 2, c0=RIGHT)).void


def test_a_worker_that_had_no_result_may_have_one_later() -> None:
    result = count(ballot(ALICE, 1, c0=NO_RESULT), ballot(ALICE, 2, c0=RIGHT), replication=1)
    assert result.chunks[0].value == RIGHT


def test_votes_of_workers_that_were_not_admitted_are_as_if_never_cast() -> None:
    assert count(ballot(ALICE, 1, c0=RIGHT), replication=1, admitted=(BOB,)).chunks == {}


def test_without_the_creators_key_a_chunk_is_sealed_and_no_more() -> None:
    result = count(ballot(ALICE, 1, c0=None), ballot(BOB, 1, c0=None), assigned={(BOB, 0)})
    assert result.chunks[0] == ChunkTally(ChunkState.SEALED, None, 0, (), 0)


def test_votes_within_the_tolerance_are_a_quorum_that_one_of_them_stands_for() -> None:
    cast = [ballot(ALICE, 1, c0=MIDDLE), ballot(BOB, 1, c0=LOW), ballot(CAROL, 1, c0=HIGH)]
    result = count(*cast, assigned={(BOB, 0), (CAROL, 0)}, close=NEIGHBOURS)
    assert result.chunks[0] == ChunkTally(ChunkState.AGREED, MIDDLE, 0, (), 1)
    # Ends of which nobody stands between are two results.
    apart = count(*cast[1:], assigned={(BOB, 0), (CAROL, 0)}, close=NEIGHBOURS)
    assert apart.chunks[0].state is ChunkState.DISPUTED


def test_who_is_beyond_the_tolerance_of_what_the_creator_computed_is_an_offender() -> None:
    cast = [ballot(ALICE, 1, c0=MIDDLE), ballot(BOB, 1, c0=HIGH), ballot(CREATOR, 1, c0=LOW)]
    assert count(*cast, close=NEIGHBOURS).chunks[0] == ChunkTally(ChunkState.AGREED, LOW, 0, (BOB,), 0)


def test_two_devices_of_one_worker_may_differ_within_the_tolerance() -> None:
    assert not count(ballot(ALICE, 1, c0=LOW), ballot(ALICE, 2, c0=MIDDLE), close=NEIGHBOURS).void
    assert count(ballot(ALICE, 1, c0=LOW), ballot(ALICE, 2, c0=HIGH), close=NEIGHBOURS).void == {ALICE: EVERYTHING}


def test_votes_that_rest_on_one_savepoint_are_one_vote() -> None:
    everybody = {(worker, 0) for worker in WORKERS}
    cast = [after(ballot(BOB, 1, c0=RIGHT), (ALICE, 1)), after(ballot(CAROL, 1, c0=RIGHT), (ALICE, 1))]
    assert count(*cast, assigned=everybody).chunks[0] == ChunkTally(ChunkState.SEALED, None, 1, (), 0)
    assert count(*cast, ballot(ALICE, 2, c0=RIGHT), assigned=everybody).chunks[0].state is ChunkState.SEALED
    alone = count(*cast, ballot(DAVE, 1, c0=RIGHT), assigned=everybody)
    assert alone.chunks[0] == ChunkTally(ChunkState.AGREED, RIGHT, 0, (), 0)


def test_a_maker_that_chose_the_chunk_cannot_confirm_a_friend_by_way_of_an_honest_worker() -> None:
    # Alice and bob chose the chunk, agree on a lie, and carol, who was asked, goes on from what alice has prepared.
    cast = [ballot(BOB, 1, c0=WRONG), after(ballot(CAROL, 1, c0=WRONG), (ALICE, 1))]
    assert count(*cast, assigned={(CAROL, 0)}).chunks[0].state is ChunkState.SEALED
    assert count(*cast, assigned={(CAROL, 0), (ALICE, 0)}).chunks[0].state is ChunkState.AGREED


def test_a_vote_that_rests_on_a_savepoint_is_no_audit() -> None:
    cast = [ballot(BOB, 1, c0=RIGHT), after(ballot(CAROL, 1, c0=RIGHT), (ALICE, 1))]
    asked = {(worker, 0) for worker in (ALICE, CAROL, DAVE)}
    assert count(*cast, assigned=asked, replication=1).chunks[0].extra == 0
    assert count(*cast, ballot(DAVE, 1, c0=RIGHT), assigned=asked, replication=1).chunks[0].extra == 1


def test_a_savepoint_of_who_is_convicted_takes_the_votes_with_it_that_rest_on_it() -> None:
    cast = after(ballot(BOB, 1, c0=WRONG), (ALICE, 5))
    assert count(cast, replication=1).chunks[0].state is ChunkState.AGREED
    gone = count(cast, ballot(CAROL, 1, c0=RIGHT), replication=1, convicted={ALICE: 5})
    assert gone.chunks[0] == ChunkTally(ChunkState.SEALED, None, 1, (), 0)
    assert BOB not in gone.void
    assert count(cast, replication=1, convicted={ALICE: 4}).chunks[0].state is ChunkState.AGREED


def test_a_vote_that_rests_on_a_savepoint_of_nobody_admitted_does_not_count() -> None:
    cast = after(ballot(BOB, 1, c0=WRONG), (b"nobody", 5))
    assert not count(cast, replication=1).chunks


def test_the_maker_of_the_first_false_savepoint_is_to_blame_and_who_went_on_honestly_is_not() -> None:
    rests = after(ballot(CAROL, 1, c0=WRONG), (ALICE, 1), (BOB, 2)).rests
    vote, own = Vote(CAROL, WRONG, rests=rests), Vote(CREATOR, RIGHT, trusted=True)
    alice, bob = (rest.savepoint for rest in rests)

    def offenders(truths: Mapping[bytes, bool]) -> tuple[bytes, ...]:
        return tally_chunk([vote, own], 2, tainted=False, truth=truths.get).offenders

    assert offenders({}) == ()
    assert offenders({alice: False}) == offenders({alice: False, bob: False}) == (ALICE,)
    assert offenders({alice: True}) == ()
    assert offenders({alice: True, bob: False}) == (BOB,)
    assert offenders({alice: True, bob: True}) == (CAROL,)


values = st.sampled_from([RIGHT, WRONG, NO_RESULT, None])
floats = st.sampled_from([LOW, MIDDLE, HIGH, WRONG, NO_RESULT, None])


def ballots_of(votes: st.SearchStrategy[bytes | None]) -> st.SearchStrategy[list[Ballot]]:
    return st.lists(
        st.builds(
            lambda worker, seq, cast, nonce, makers: after(
                Ballot(worker, seq, worker + bytes((seq, nonce)), cast), *(makers if worker != CREATOR else ())
            ),
            st.sampled_from((CREATOR, *WORKERS)),
            st.integers(0, 5),
            st.dictionaries(st.integers(0, 3), votes, min_size=1, max_size=3),
            st.integers(0, 1),
            st.lists(st.tuples(st.sampled_from(WORKERS), st.integers(0, 5)), max_size=2),
        ),
        max_size=12,
    )


ballots = ballots_of(values)
workers = st.sets(st.sampled_from(WORKERS))
assignments = st.sets(st.tuples(st.sampled_from(WORKERS), st.integers(0, 3)))


PUBLIC = st.fixed_dictionaries(
    {
        "admitted": workers,
        "convicted": st.dictionaries(st.sampled_from(WORKERS), st.integers(0, 6)),
        "assigned": assignments,
        "replication": st.integers(1, 3),
    }
)
"""What is known besides the ballots."""


@given(ballots, PUBLIC, st.randoms(use_true_random=False))
def test_no_order_and_no_repetition_changes_the_tally(cast: list[Ballot], public: dict[str, Any], rng: Any) -> None:
    shuffled = cast + [rng.choice(cast) for _ in range(len(cast))]
    rng.shuffle(shuffled)
    assert count(*shuffled, **public) == count(*cast, **public)


@given(ballots_of(floats), PUBLIC, st.randoms(use_true_random=False))
def test_no_order_changes_what_is_agreed_within_a_tolerance(
    cast: list[Ballot], public: dict[str, Any], rng: Any
) -> None:
    said = count(*cast, **public, close=NEIGHBOURS)
    shuffled = list(cast)
    rng.shuffle(shuffled)
    assert count(*shuffled, **public, close=NEIGHBOURS) == said
    for chunk, state in said.chunks.items():
        counted = {
            ballot.values[chunk]
            for ballot in cast
            if {ballot.worker, *(rest.maker for rest in ballot.rests)} <= public["admitted"]
            and not is_void(ballot.worker, ballot.seq, ballot.rests, said.void)
            and chunk in ballot.values
        }
        if state.state is ChunkState.AGREED and not state.offenders:
            near = {state.value, *(pair for pairs in NEIGHBOURS if state.value in pairs for pair in pairs)}
            assert all(value in near for value in counted if value), "a vote that counts is far from what is accepted"


@given(
    ballots_of(st.sampled_from([*KIN, NO_RESULT])),
    st.sets(st.sampled_from(NEAR)),
    assignments,
    st.integers(1, 3),
    st.randoms(use_true_random=False),
)
def test_only_votes_of_one_class_make_a_quorum_whatever_their_order(
    cast: list[Ballot],
    close: set[tuple[bytes, bytes]],
    assigned: set[tuple[bytes, int]],
    replication: int,
    rng: Any,
) -> None:
    def say(records: list[Ballot]) -> Tally:
        return count(*records, replication=replication, assigned=assigned, close=close or {(b"", b"")}, kin=KIN)

    shuffled = list(cast)
    rng.shuffle(shuffled)
    whole = say(cast)
    assert say(shuffled) == whole
    for chunk, state in whole.chunks.items():
        said: dict[bytes, bytes] = {}
        for each in cast:
            value = each.values.get(chunk)
            if value and each.seq > whole.void.get(each.worker, -1):
                said[each.worker] = min(value, said.get(each.worker, value))  # Of one worker's the first counts.
        counted: dict[bytes, set[bytes]] = {}
        for worker, value in said.items():
            counted.setdefault(value, set()).add(worker)
        if state.state is not ChunkState.AGREED or CREATOR in said:
            continue
        assert state.value is not None
        confirming = {worker for worker in counted[state.value] if (worker, chunk) in assigned}
        assert len(counted[state.value]) >= replication
        assert len(confirming) >= replication - 1
        assert len({KIN[value] for value in counted}) == len(counted), "two results of one class, and no dispute"
        for value in counted:
            pair = (min(value, state.value), max(value, state.value))
            assert value == state.value or pair in close, "a vote that counts is far from what is accepted"


def test_who_makes_up_a_class_is_confirmed_by_nobody_else_and_hides_nothing() -> None:
    alone = ballot(ALICE, 1, c0=MADE_UP)
    asked = {(BOB, 0), (CAROL, 0)}
    others = [ballot(worker, 1, c0=NORTH) for worker in (BOB, CAROL)]
    assert count(alone, others[0], assigned=asked, close=NEAR, kin=KIN).chunks[0].state is ChunkState.SEALED
    agreed = count(alone, *others, assigned=asked, close=NEAR, kin=KIN).chunks[0]
    assert (agreed.state, agreed.value) == (ChunkState.AGREED, NORTH)
    beside = count(alone, ballot(BOB, 1, c0=FAR), assigned=asked, close=NEAR, kin=KIN).chunks[0]
    assert beside.state is ChunkState.DISPUTED
    settled = count(alone, ballot(BOB, 1, c0=FAR), ballot(CREATOR, 1, c0=SOUTH), close=NEAR, kin=KIN).chunks[0]
    assert settled.offenders == (BOB,)


@given(ballots, assignments, st.integers(1, 3))
def test_what_is_agreed_has_its_votes(cast: list[Ballot], assigned: set[tuple[bytes, int]], replication: int) -> None:
    result = count(*cast, replication=replication, assigned=assigned)
    for chunk, state in result.chunks.items():
        honest = [
            b for b in cast if not is_void(b.worker, b.seq, b.rests, result.void) and b.values.get(chunk) == state.value
        ]
        if state.state is ChunkState.AGREED and CREATOR not in {b.worker for b in honest}:
            # So many that have nobody in common, and in each but one a vote of which everybody was asked.
            parties = [frozenset({b.worker, *(rest.maker for rest in b.rests)}) for b in honest]
            apart = set(parties)
            while met := next(((one, two) for one in apart for two in apart if one != two and one & two), None):
                apart = (apart - set(met)) | {met[0] | met[1]}
            asked = [each for each in parties if all((worker, chunk) in assigned for worker in each)]
            assert len(apart) >= replication
            assert sum(any(each <= lineage for each in asked) for lineage in apart) >= replication - 1
        assert CREATOR not in state.offenders


@given(st.lists(st.builds(Vote, st.sampled_from(WORKERS), values, st.booleans()), unique_by=lambda v: v.worker))
def test_asking_for_the_missing_votes_is_enough(votes: list[Vote]) -> None:
    state = tally_chunk(votes, 2, tainted=False)
    if state.state is ChunkState.SEALED and not any(vote.value is None for vote in votes):
        new = [Vote(f"new {index}".encode(), RIGHT, assigned=True) for index in range(state.missing)]
        after = tally_chunk([*votes, *new], 2, tainted=False)
        assert after.state in (ChunkState.AGREED, ChunkState.DISPUTED)


@given(values, values, values)
def test_saying_more_is_a_strict_order(one: bytes | None, two: bytes | None, three: bytes | None) -> None:
    assert not says_more(one, one)
    assert not (says_more(one, two) and says_more(two, one))
    if says_more(one, two) and says_more(two, three):
        assert says_more(one, three)


CASES: dict[str, dict[str, Any]] = {
    "nobody": {"ballots": []},
    "one vote where two are needed": {"ballots": [ballot(ALICE, 1, c0=RIGHT)]},
    "a quorum with an assigned vote": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=RIGHT)],
        "assigned": [(BOB, 0)],
    },
    "two votes of their own choice count once": {"ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=RIGHT)]},
    "an audit": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=RIGHT), ballot(CAROL, 1, c0=RIGHT)],
        "assigned": [(BOB, 0), (CAROL, 0)],
    },
    "a dispute": {"ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=WRONG)]},
    "a settled dispute": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=WRONG), ballot(CREATOR, 1, c0=RIGHT)]
    },
    "the creator has no result either": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(CREATOR, 1, c0=NO_RESULT)],
        "replication": 1,
    },
    "three without a result": {"ballots": [ballot(worker, 1, c0=NO_RESULT) for worker in (ALICE, BOB, CAROL)]},
    "sealed votes": {"ballots": [ballot(ALICE, 1, c0=None, c1=None), ballot(BOB, 1, c1=None)]},
    "a convicted worker taints": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT, c1=RIGHT), ballot(BOB, 1, c0=RIGHT)],
        "replication": 1,
        "convicted": {ALICE: EVERYTHING},
    },
    "a strike taints what was committed until then": {
        "ballots": [
            ballot(ALICE, 5, c0=RIGHT, c1=RIGHT),
            ballot(ALICE, 6, c1=RIGHT, c2=RIGHT),
            ballot(BOB, 1, c0=RIGHT),
        ],
        "replication": 1,
        "convicted": {ALICE: 5},
    },
    "a result before a strike and none after": {
        "ballots": [ballot(ALICE, 5, c0=RIGHT), ballot(ALICE, 6, c0=NO_RESULT)],
        "replication": 1,
        "convicted": {ALICE: 5},
    },
    "one seq twice": {"ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 1, c1=RIGHT)], "replication": 1},
    "two values for one chunk": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 2, c0=WRONG), ballot(BOB, 1, c0=RIGHT)],
        "replication": 1,
    },
    "the same batch twice": {"ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 1, c0=RIGHT)], "replication": 1},
    "not admitted": {"ballots": [ballot(ALICE, 1, c0=RIGHT)], "replication": 1, "admitted": [BOB]},
    "not admitted and void taints nothing": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(BOB, 1, c0=RIGHT)],
        "replication": 1,
        "admitted": [BOB],
        "convicted": {ALICE: EVERYTHING},
    },
    "votes within a tolerance": {
        "ballots": [ballot(ALICE, 1, c0=HIGH), ballot(BOB, 1, c0=MIDDLE), ballot(CAROL, 1, c0=LOW)],
        "assigned": [(BOB, 0), (CAROL, 0)],
        "close": NEIGHBOURS,
    },
    "of two that could stand for both the first": {
        "ballots": [ballot(ALICE, 1, c0=MIDDLE), ballot(BOB, 1, c0=LOW)],
        "assigned": [(BOB, 0)],
        "close": NEIGHBOURS,
    },
    "two ends of a tolerance": {
        "ballots": [ballot(ALICE, 1, c0=HIGH), ballot(BOB, 1, c0=LOW)],
        "close": NEIGHBOURS,
    },
    "within and beyond what the creator computed": {
        "ballots": [ballot(ALICE, 1, c0=MIDDLE), ballot(BOB, 1, c0=HIGH), ballot(CREATOR, 1, c0=LOW)],
        "close": NEIGHBOURS,
    },
    "one worker's two devices": {
        "ballots": [ballot(ALICE, 2, c0=MIDDLE), ballot(ALICE, 1, c0=LOW)],
        "replication": 1,
        "close": NEIGHBOURS,
    },
    "one worker beyond the tolerance of itself": {
        "ballots": [ballot(ALICE, 1, c0=MIDDLE), ballot(ALICE, 2, c0=LOW), ballot(ALICE, 3, c0=HIGH)],
        "replication": 1,
        "close": NEIGHBOURS,
    },
    "two classes confirm nothing of each other": {
        "ballots": [ballot(ALICE, 1, c0=NORTH), ballot(BOB, 1, c0=SOUTH)],
        "assigned": [(BOB, 0)],
        "close": NEAR,
        "kin": KIN,
    },
    "a quorum of one class, and an audit by another": {
        "ballots": [ballot(ALICE, 1, c0=SOUTH), ballot(BOB, 1, c0=NORTH), ballot(CAROL, 1, c0=NORTH)],
        "assigned": [(ALICE, 0), (CAROL, 0)],
        "close": NEAR,
        "kin": KIN,
    },
    "a class that differs within itself": {
        "ballots": [ballot(ALICE, 1, c0=NORTH), ballot(BOB, 1, c0=NORTHERN)],
        "assigned": [(BOB, 0)],
        "close": NEAR,
        "kin": KIN,
    },
    "two classes that are far apart": {
        "ballots": [ballot(ALICE, 1, c0=NORTH), ballot(BOB, 1, c0=FAR)],
        "close": NEAR,
        "kin": KIN,
    },
    "a creator of another class convicts only what is far": {
        "ballots": [
            ballot(ALICE, 1, c0=NORTH),
            ballot(BOB, 1, c0=NORTHERN),
            ballot(CAROL, 1, c0=FAR),
            ballot(CREATOR, 1, c0=SOUTH),
        ],
        "close": NEAR,
        "kin": KIN,
    },
    "of two classes that agree the value that comes first": {
        "ballots": [ballot(worker, 1, c0=SOUTH if worker in (ALICE, BOB) else NORTH) for worker in WORKERS],
        "assigned": [(ALICE, 0), (BOB, 0), (CAROL, 0), (DAVE, 0)],
        "close": NEAR,
        "kin": KIN,
    },
    "two votes on one savepoint": {
        "ballots": [
            after(ballot(ALICE, 1, c0=RIGHT), (DAVE, 3)),
            after(ballot(BOB, 1, c0=RIGHT), (DAVE, 3)),
        ],
        "assigned": [(ALICE, 0), (BOB, 0), (DAVE, 0)],
    },
    "a quorum of two lineages, all of them asked": {
        "ballots": [
            after(ballot(ALICE, 1, c0=RIGHT), (DAVE, 3)),
            after(ballot(BOB, 1, c0=RIGHT), (CAROL, 2)),
        ],
        "assigned": [(ALICE, 0), (BOB, 0), (CAROL, 0), (DAVE, 0)],
    },
    "a lineage whose maker was not asked": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), after(ballot(BOB, 1, c0=RIGHT), (CAROL, 2))],
        "assigned": [(BOB, 0)],
    },
    "a lineage of three is no audit": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), after(ballot(BOB, 1, c0=RIGHT), (CAROL, 2), (DAVE, 7))],
        "assigned": [(BOB, 0), (CAROL, 0), (DAVE, 0)],
        "replication": 1,
    },
    "a savepoint that a strike voids": {
        "ballots": [after(ballot(ALICE, 9, c0=RIGHT), (BOB, 4)), after(ballot(ALICE, 9, c1=RIGHT), (BOB, 5))],
        "replication": 1,
        "convicted": {BOB: 4},
    },
    "a savepoint of who is not admitted": {
        "ballots": [after(ballot(ALICE, 1, c0=RIGHT), (BOB, 4))],
        "replication": 1,
        "admitted": [ALICE],
    },
    "the same with and without a savepoint": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), after(ballot(ALICE, 2, c0=RIGHT), (BOB, 4)), ballot(BOB, 5, c0=RIGHT)],
        "assigned": [(ALICE, 0), (BOB, 0)],
    },
    "an answer that the creator did not get": {
        "ballots": [ballot(ALICE, 1, c0=WRONG), ballot(BOB, 1, c0=RIGHT), ballot(CREATOR, 1, c0=RIGHT)],
        "observed": True,
    },
    "two answers, and nobody to say which": {
        "ballots": [ballot(ALICE, 1, c0=WRONG), ballot(BOB, 1, c0=RIGHT)],
        "assigned": [(BOB, 0)],
        "observed": True,
    },
    "one worker that looked twice": {
        "ballots": [ballot(ALICE, 2, c0=RIGHT), ballot(ALICE, 1, c0=WRONG), ballot(BOB, 1, c0=RIGHT)],
        "assigned": [(BOB, 0)],
        "observed": True,
    },
    "two batches of one number, of what was observed": {
        "ballots": [ballot(ALICE, 1, c0=RIGHT), ballot(ALICE, 1, c0=WRONG)],
        "observed": True,
    },
    "a result after none": {
        "ballots": [ballot(ALICE, 2, c0=RIGHT), ballot(ALICE, 1, c0=NO_RESULT)],
        "replication": 1,
    },
}


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


@pytest.mark.parametrize("name", CASES)
def test_a_case_says_what_its_vector_says_in_any_order(name: str) -> None:
    case = dict(CASES[name])
    cast = case.pop("ballots")
    assert count(*cast, **case) == count(*reversed(cast), *cast, **case)


def test_the_vectors_hold(expect_vectors: ExpectVectors) -> None:
    vectors = []
    for name, case in CASES.items():
        full = {
            "replication": 2,
            "admitted": WORKERS,
            "convicted": {},
            "assigned": [],
            "close": (),
            "kin": {},
            "observed": False,
            **case,
        }
        cast = full.pop("ballots")
        result = count(*cast, **full)
        vectors.append(
            {
                "name": name,
                "creator": CREATOR.hex(),
                "replication": full["replication"],
                "admitted": [worker.hex() for worker in full["admitted"]],
                "convicted": [[worker.hex(), void_to] for worker, void_to in full["convicted"].items()],
                "assigned": [[worker.hex(), chunk] for worker, chunk in full["assigned"]],
                "observed": full["observed"],
                "close": [[one.hex(), other.hex()] for one, other in full["close"]],
                "kin": [[value.hex(), its.hex()] for value, its in full["kin"].items()],
                "ballots": [
                    {
                        "worker": b.worker.hex(),
                        "seq": b.seq,
                        "commit": b.commit.hex(),
                        "values": [[chunk, _hex(value)] for chunk, value in b.values.items()],
                        "rests": [[rest.maker.hex(), rest.seq, rest.savepoint.hex()] for rest in b.rests],
                    }
                    for b in cast
                ],
                "void": sorted([worker.hex(), void_to] for worker, void_to in result.void.items()),
                "chunks": [
                    {
                        "chunk": chunk,
                        "state": state.state.value,
                        "value": _hex(state.value),
                        "missing": state.missing,
                        "offenders": [worker.hex() for worker in state.offenders],
                        "extra": state.extra,
                    }
                    for chunk, state in result.chunks.items()
                ],
            }
        )
    expect_vectors("tally", vectors)

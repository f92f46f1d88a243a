"""Lots choose who confirms what while the creator is away: checked by anybody, chosen by nobody."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from tests.protocol.unattended import BEACONS, CREATOR, RIGHT, WORKERS, Task, take

from crowdcompute.protocol.drawing import Absence, lot, wins
from crowdcompute.protocol.epochs import Chain
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.records import EVERYTHING, Join, Verdict, parse, sign

ALICE, BOB, CAROL, DAVE = WORKERS[:4]


@pytest.fixture
def task() -> Task:
    return Task().begin()


def drawn(task: Task, chunk: int, *, blind: bool = True) -> frozenset[bytes]:
    return task.ledger.lots.workers(chunk, blind=blind)


def test_in_the_first_epoch_one_worker_is_drawn_for_a_chunk_on_average_and_then_twice_as_many() -> None:
    chance = Random(1)
    for age in range(4):
        counts = []
        for chunk in range(300):
            absence = Absence(bytes(32), 20)
            lots = [lot(bytes(32), absence, chance.randbytes(16), chance.randbytes(32), chunk) for _ in range(20)]
            counts.append(sum(wins(number, absence, age) for number in lots))
        assert sum(counts) / len(counts) == pytest.approx(2**age, rel=0.15)


def test_everybody_is_drawn_in_the_end_and_where_nobody_was_admitted_at_once() -> None:
    assert wins(2**32 - 1, Absence(bytes(32), 100_000), 17)
    assert not wins(2**32 - 1, Absence(bytes(32), 2), 0)
    assert wins(2**32 - 1, Absence(bytes(32), 0), 0)


def test_a_vote_counts_as_drawn_only_where_lots_chose_its_worker(task: Task) -> None:
    task.vote(ALICE, 2, {chunk: RIGHT for chunk in range(40)})
    chosen = {chunk: task.winner(chunk, 3, besides=[ALICE]) for chunk in range(40)}
    loser = {chunk: task.winner(chunk, 3, besides=[ALICE], wins=False) for chunk in range(40)}
    picked = next(chunk for chunk in range(40) if chosen[chunk] and loser[chunk])
    winner, other = chosen[picked], loser[picked]
    assert winner and other
    task.vote(winner, 3, {picked: RIGHT}, drawn=True)
    task.vote(other, 3, {picked: RIGHT}, drawn=True)
    assert drawn(task, picked) == {winner.public_key}


def test_nobody_is_drawn_before_a_chunk_was_chosen_nor_in_the_same_epoch(task: Task) -> None:
    task.vote(ALICE, 5, {0: RIGHT})
    for worker in (BOB, CAROL, DAVE):
        task.vote(worker, 5, {0: RIGHT}, drawn=True)
    assert drawn(task, 0) == frozenset()


def test_nobody_is_drawn_while_the_creator_is_there_nor_in_the_epoch_after(task: Task) -> None:
    task.vote(ALICE, 0, {0: RIGHT})
    task.beacon(9, since=7, workers=4)
    assert [task.ledger.absence(epoch) is not None for epoch in range(13)] == [
        *[False] * 3,  # It was there in 0 and 1.
        *[True] * 4,
        *[False] * 4,  # And from 7 to 9.
        *[True] * 2,
    ]


def test_a_beacon_replaces_those_of_the_same_presence_in_whatever_order_they_come() -> None:
    chance = Random(2)
    first = Task().begin()
    first.beacon(2, since=0, workers=4)
    first.beacon(5, since=5, workers=5)
    first.beacon(7, since=5, workers=6)
    first.beacon(6, since=5, workers=6)
    beacons = [record for record in first.records if record.kind == "beacon"]
    for _ in range(10):
        chance.shuffle(beacons)
        other = Task()
        for signed in beacons:
            take(other.ledger, signed)
        assert other.ledger.beacons == first.ledger.beacons
        assert sorted(other.ledger.beacons) == [2, 7]
        assert sum(record.kind == "beacon" for record in other.ledger.records()) == 2


def test_a_wrong_link_is_drawn_for_nothing_and_spoils_the_right_ones(task: Task) -> None:
    task.vote(ALICE, 2, {chunk: RIGHT for chunk in range(40)})
    chunk = next(chunk for chunk in range(40) if task.winner(chunk, 3, besides=[ALICE]))
    winner = task.winner(chunk, 3, besides=[ALICE])
    assert winner
    task.vote(winner, 3, {chunk: RIGHT}, drawn=True)
    assert drawn(task, chunk)
    task.vote(winner, 4, {39: RIGHT}, link=bytes(32))
    assert drawn(task, chunk) == frozenset()


def test_the_chain_that_was_admitted_counts_and_no_other(task: Task) -> None:
    task.vote(ALICE, 2, {chunk: RIGHT for chunk in range(40)})
    other = Chain(b"\1" * 32, 1_440)
    for epoch in range(3, 12):
        for chunk in range(40):
            if task.ledger.lots.is_drawn(BOB.public_key, other.value(epoch), epoch, chunk):
                task.vote(BOB, epoch, {chunk: RIGHT}, link=other.value(epoch))
                assert drawn(task, chunk) == frozenset()
                return
    raise AssertionError("nothing was drawn")


def test_a_vote_is_blind_if_all_who_showed_theirs_had_seen_it(task: Task) -> None:
    first = task.vote(ALICE, 2, {chunk: RIGHT for chunk in range(40)})
    chunk = next(chunk for chunk in range(40) if task.winner(chunk, 3, besides=[ALICE]))
    winner = task.winner(chunk, 3, besides=[ALICE])
    assert winner
    second = task.vote(winner, 3, {chunk: RIGHT}, drawn=True)
    task.show(first)
    assert drawn(task, chunk) == {winner.public_key}
    own = task.vote(CAROL if winner is not CAROL else DAVE, 3, {chunk: RIGHT})
    task.show(own, seen=[])
    assert drawn(task, chunk) == frozenset()
    assert drawn(task, chunk, blind=False) == {winner.public_key}
    task.add(CREATOR, Verdict(task.task, own.author, "equivocated", 0, bytes(32), EVERYTHING))
    assert drawn(task, chunk) == {winner.public_key}, "liars have no say in it"
    task.show(second)
    assert drawn(task, chunk) == {winner.public_key}, "what it showed itself it had not copied"


def test_a_reveal_is_refused_that_is_not_of_its_authors_commit(task: Task) -> None:
    mine, theirs = task.vote(ALICE, 2, {0: RIGHT}), task.vote(BOB, 2, {0: RIGHT, 1: RIGHT})
    task.show(mine)
    right = task.ledger.reveals[mine.record_id][1]
    for wrong in (
        msgspec.structs.replace(right, commit=theirs.record_id),
        msgspec.structs.replace(right, commit=bytes(32)),
        msgspec.structs.replace(right, shard=1),
        msgspec.structs.replace(right, salt=bytes(16)),
        msgspec.structs.replace(right, votes=((1, right.votes[0][1]),)),
        msgspec.structs.replace(right, votes=right.votes * 2),
    ):
        with pytest.raises(RemoteProtocolError):
            take(task.ledger, sign(ALICE, wrong))


def test_a_join_names_a_beacon_of_the_task(task: Task) -> None:
    late = WORKERS[8]
    for epoch, beacon, holds in (
        (1, BEACONS.value(1), True),
        (7, BEACONS.value(7), True),
        (7, BEACONS.value(6), False),
    ):
        join = sign(late, Join(task.task, late.seal_key, bytes(32), epoch, beacon, 0))
        if holds:
            task.ledger.check(join, parse(join))
        else:
            with pytest.raises(RemoteProtocolError, match="beacon"):
                task.ledger.check(join, parse(join))

"""While the creator is away every peer comes to the same results, and to the same liars, from the same records."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from tests.protocol.unattended import CREATOR, RIGHT, WORKERS, WRONG, Task, take

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.drawing import Absence, lot, wins
from crowdcompute.protocol.epochs import Chain
from crowdcompute.protocol.jury import Settled, chance_of_error, margin_needed, on_trial, settle
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Policy
from crowdcompute.protocol.provisional import (
    DRAWN_REVEAL_AFTER,
    LATE_AFTER,
    REVEAL_AFTER,
    REVEAL_PATIENCE,
    Provisional,
    ProvisionalState,
    credibility,
    provisional_tally,
)
from crowdcompute.protocol.records import EVERYTHING, Checkpoint, Reveal, Verdict, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

    from crowdcompute.protocol.identity import Identity
    from crowdcompute.protocol.records import Signed

ALICE, BOB, CAROL, DAVE = WORKERS[:4]
POLICY = Policy(replication=2, eps=0.1, liars=0.2, pow_bits=0)
SEALED, DISPUTED, PROVISIONAL, FINAL, OPEN = (
    ProvisionalState(name) for name in ("sealed", "disputed", "provisional", "final", "open")
)


def count(task: Task, epoch: int = 9) -> Provisional:
    return provisional_tally(task.ledger, epoch)


def first_and_second(task: Task, second: bytes = RIGHT) -> tuple[int, Identity, Signed, Signed]:
    """Alice chose a chunk in epoch 2, and somebody was drawn for it in epoch 3."""
    first = task.vote(ALICE, 2, dict.fromkeys(range(task.ledger.manifest.chunks), RIGHT))
    for chunk in range(task.ledger.manifest.chunks):
        worker = task.winner(chunk, 3, besides=[ALICE])
        if worker is not None:
            return chunk, worker, first, task.vote(worker, 3, {chunk: second}, drawn=True)
    raise AssertionError("nobody was drawn")


def test_two_equal_votes_one_of_them_drawn_make_a_provisional_result() -> None:
    task = Task().begin()
    chunk, _, first, second = first_and_second(task)
    assert count(task).chunks[chunk]._replace(voters=0) == (SEALED, None, 0.0, 0, 0)
    task.show(first)
    assert count(task).chunks[chunk].state is SEALED
    task.show(second)
    standing = count(task).chunks[chunk]
    assert (standing.state, standing.value is not None, standing.missing) == (PROVISIONAL, True, 0)
    assert standing.credibility == pytest.approx(1 - 0.2**2)
    assert count(task).void == frozenset()


def test_of_votes_that_workers_chose_themselves_only_one_counts() -> None:
    task = Task().begin()
    for worker in (ALICE, BOB, CAROL):
        task.show(task.vote(worker, 2, {0: RIGHT}))
    assert count(task).chunks[0][:4] == (SEALED, None, 0.0, 1)


def test_a_copied_vote_fills_a_quorum_and_adds_nothing_to_its_credibility() -> None:
    task = Task().begin()
    chunk, _, first, second = first_and_second(task)
    task.show(first, seen=[])
    task.show(second)
    standing = count(task).chunks[chunk]
    assert standing.state is PROVISIONAL
    assert standing.credibility == pytest.approx(0.8)


def test_a_vote_that_is_not_shown_in_time_does_not_count() -> None:
    task = Task().begin()
    task.vote(ALICE, 2, {0: RIGHT})
    last = 2 + REVEAL_AFTER + REVEAL_PATIENCE + LATE_AFTER
    assert count(task, last).chunks[0][:4] == (SEALED, None, 0.0, 1)
    assert count(task, last + 1).chunks[0][:4] == (OPEN, None, 0.0, 2)


def test_a_commit_that_claims_a_later_epoch_is_not_drawn_before_that_comes() -> None:
    task = Task().begin()
    task.vote(ALICE, 2, {0: RIGHT})
    epoch = next(epoch for epoch in range(5, 60) if task.winner(0, epoch, besides=[ALICE]))
    winner = task.winner(0, epoch, besides=[ALICE])
    assert winner
    task.vote(winner, epoch, {0: RIGHT}, drawn=True)
    assert count(task, epoch - 2).chunks[0].missing == 1
    assert count(task, epoch - 1).chunks[0].missing == 0


def dispute(task: Task, against: int) -> int:
    """Alice lies about chunk 0, and `against` others that are drawn later say so; all of it is shown."""
    commits = [task.vote(ALICE, 2, {0: WRONG})]
    # So late that everybody is drawn.
    commits += [task.vote(worker, 12, {0: RIGHT}, drawn=True) for worker in task.workers[1 : 1 + against]]
    for commit in commits:
        task.show(commit)
    return 0


def test_a_jury_finds_who_lied_once_it_leads_by_the_margin() -> None:
    task = Task(workers=9).begin()
    assert margin_needed(POLICY, 9) == 4
    chunk = dispute(task, 4)
    assert count(task, 20).chunks[chunk].state is DISPUTED
    assert count(task, 20).trials == {chunk}
    task.show(task.vote(WORKERS[5], 13, {chunk: RIGHT}, drawn=True))
    counted = count(task, 20)
    assert counted.found == {ALICE.public_key}
    assert counted.void == {ALICE.public_key}
    assert counted.chunks[chunk].state is PROVISIONAL
    assert counted.chunks[chunk].credibility == pytest.approx(1 - 1 / (1 + 4**4))


def test_who_was_found_to_lie_counts_nowhere_and_what_it_touched_needs_two_others() -> None:
    task = Task(workers=9).begin()
    second = task.vote(ALICE, 2, {1: RIGHT})
    task.show(second)
    dispute(task, 5)
    standing = count(task, 20).chunks[1]
    assert standing.missing == 2
    task.show(task.vote(BOB, 12, {1: RIGHT}, drawn=True))
    task.show(task.vote(CAROL, 12, {1: RIGHT}, drawn=True))
    assert count(task, 20).chunks[1].state is PROVISIONAL


def test_a_verdict_of_the_creator_overrides_a_jury() -> None:
    task = Task(workers=9).begin()
    chunk = dispute(task, 5)
    for worker in WORKERS[1:6]:
        task.add(CREATOR, Verdict(task.task, worker.public_key, "equivocated", chunk, bytes(32), EVERYTHING))
    counted = count(task, 20)
    assert ALICE.public_key not in counted.void
    assert counted.found == frozenset()


def test_two_values_of_one_worker_for_one_chunk_void_it() -> None:
    task = Task().begin()
    task.show(task.vote(ALICE, 2, {0: RIGHT}))
    task.show(task.vote(ALICE, 3, {0: WRONG}))
    assert count(task).void == {ALICE.public_key}


def test_what_a_checkpoint_accepts_is_final() -> None:
    task = Task().begin()
    chunk, *_ = first_and_second(task)
    accepted = bytearray(5)
    accepted[chunk // 8] |= 1 << chunk % 8
    task.add(CREATOR, Checkpoint(task.task, 0, 1, 1, bytes(accepted), bytes(5), bytes(32), *fields_of(b"")))
    assert count(task).chunks[chunk].state is FINAL


def test_guests_confirm_each_other_provisionally() -> None:
    task = Task().begin(admitted=False)
    chunk, _, first, second = first_and_second(task)
    task.show(first)
    task.show(second)
    assert count(task).chunks[chunk].state is PROVISIONAL


# ---- the same set, the same tally


def random_set(chance: Random) -> tuple[Task, int]:
    """What some workers and guests may sign in an absence: honest, lying, drawn or not, shown or not."""
    task = Task(replication=chance.randint(1, 3), chunks=6, workers=chance.randint(3, 9))
    for worker in task.workers:
        task.join(worker, admitted=chance.random() < 0.7)
    if chance.random() < 0.8:
        task.beacon(chance.randint(1, 2), since=0, workers=chance.randint(0, 4))
    liars = {worker for worker in task.workers if chance.random() < 0.3}
    for _ in range(chance.randint(3, 30)):
        worker, epoch = chance.choice(task.workers), chance.randint(0, 14)
        data = WRONG if worker in liars and chance.random() < 0.7 else RIGHT
        votes = dict.fromkeys(chance.sample(range(6), chance.randint(1, 3)), data)
        drawn = chance.random() < 0.7
        commit = task.vote(worker, epoch, votes, drawn=drawn, link=bytes(32) if chance.random() < 0.02 else b"")
        if chance.random() < 0.8:
            others = [record for record in task.records if record.kind == "commit" and record is not commit]
            task.show(commit, seen=[record for record in others if chance.random() < 0.9])
    if chance.random() < 0.2:
        void_to = chance.choice((3, 9, EVERYTHING))
        task.add(CREATOR, Verdict(task.task, chance.choice(task.workers).public_key, "wrong", 0, bytes(32), void_to))
    if chance.random() < 0.2:
        task.add(CREATOR, Checkpoint(task.task, 0, 1, 1, b"\1", b"\0", bytes(32), *fields_of(b"")))
    return task, chance.randint(2, 22)


def shuffled(task: Task, chance: Random) -> list[Signed]:
    """The same records in another order; what a record refers to comes before it, as peers see to."""
    records = task.records + chance.sample(task.records, min(3, len(task.records)))
    chance.shuffle(records)
    rank = {"join": 0, "reveal": 2}
    return sorted(records, key=lambda record: rank.get(record.kind, 1))


def test_equal_record_sets_give_equal_provisional_tallies() -> None:
    states = set()
    found = 0
    for number in range(300):
        chance = Random(number)
        task, epoch = random_set(chance)
        expected = provisional_tally(task.ledger, epoch)
        other = Ledger(task.signed, task.ledger.manifest, keep_commits=chance.random() < 0.5)
        for signed in shuffled(task, chance):
            record = parse(signed)
            if isinstance(record, Reveal) and record.commit not in other.commits:
                continue  # A checkpoint came first that closes all of it.
            take(other, signed)
            # Counting in between, as peers do, changes nothing.
            if chance.random() < 0.1:
                provisional_tally(other, epoch)
        theirs = provisional_tally(other, epoch)
        assert theirs.void == expected.void, f"seed {number}"
        assert theirs._replace(chunks={}) == expected._replace(chunks={}), f"seed {number}"
        assert {c: it for c, it in theirs.chunks.items() if it.state is not FINAL} == {
            c: it for c, it in expected.chunks.items() if it.state is not FINAL
        }, f"seed {number}"
        states |= {standing.state for standing in expected.chunks.values()}
        found += bool(expected.found)
    assert states == set(ProvisionalState) - {ProvisionalState.STEWARD}, "its vectors are in stewards.json"
    assert found > 5, "juries that find nobody are not compared"


# ---- numbers


def test_credibility_is_the_better_of_two_reasons_and_not_their_product() -> None:
    assert credibility(POLICY, 1, [0, 0]) == pytest.approx(0.8)
    assert credibility(POLICY, 2, [1000, 0]) == pytest.approx(1 - 0.04)
    assert credibility(POLICY, 2, [1000, 1000]) == pytest.approx(1 - 0.2 / (0.64 * 2.718281828 * 1000))


def test_the_vectors_hold(expect_vectors: ExpectVectors, plain_json: Callable[[Any], Any]) -> None:
    chain = Chain(bytes(range(32)), 1_000)
    absence = Absence(bytes(range(32)), 12)
    many = Policy(replication=2, eps=0.1, liars=0.3, pow_bits=0)
    juries = []
    for number in range(12):
        chance = Random(number)
        votes = {bytes([worker]) * 2: chance.choice([RIGHT, RIGHT, RIGHT, WRONG]) for worker in range(9)}
        drawn = {worker for worker in votes if chance.random() < 0.8}
        margin = chance.randint(1, 5)
        juries.append(
            {
                "votes": [[worker.hex(), value.hex()] for worker, value in votes.items()],
                "drawn": sorted(worker.hex() for worker in drawn),
                "margin": margin,
                "settled": plain_settled(settle(votes, drawn, margin)),
            }
        )
    disputes = {5: {b"a", b"b"}, 2: {b"a", b"c"}, 3: {b"c", b"d"}, 9: {b"a", b"d"}, 7: {b"e", b"f"}}
    sets = []
    for number in range(10):
        task, epoch = random_set(Random(1_000 + number))
        sets.append(
            {
                "manifest": encode(task.signed).hex(),
                "records": [encode(signed).hex() for signed in task.records],
                "epoch": epoch,
                "tally": said(provisional_tally(task.ledger, epoch)),
            }
        )
    expect_vectors(
        "away",
        {
            "epochs": {
                "reveal_after": REVEAL_AFTER,
                "drawn_reveal_after": DRAWN_REVEAL_AFTER,
                "patience": REVEAL_PATIENCE,
                "late_after": LATE_AFTER,
            },
            "chain": {
                "secret": bytes(range(32)).hex(),
                "length": 1_000,
                "values": [[epoch, chain.value(epoch).hex()] for epoch in (0, 1, 255, 256, 257, 999, 1_000)],
            },
            "lots": [
                {
                    "task": bytes(32).hex(),
                    "beacon": absence.beacon.hex(),
                    "workers": absence.workers,
                    "nonce": bytes(range(16)).hex(),
                    "link": chain.value(7).hex(),
                    "chunk": chunk,
                    "age": age,
                    "lot": (number := lot(bytes(32), absence, bytes(range(16)), chain.value(7), chunk)),
                    "wins": wins(number, absence, age),
                }
                for chunk in (0, 1, 4_096, 2**31 - 2)
                for age in (0, 2, 3, 40)
            ],
            "margins": [
                {"liars": policy.liars, "workers": workers, "margin": margin_needed(policy, workers)}
                for policy in (POLICY, many)
                for workers in (0, 1, 2, 3, 9, 15, 16, 21, 100)
            ],
            "errors": [
                {"liars": policy.liars, "margin": margin, "chance": float(f"{chance_of_error(policy, margin):.9g}")}
                for policy in (POLICY, many, Policy(2, 0.1, 0.0, 0))
                for margin in (1, 4, 7)
            ],
            "juries": juries,
            "trials": {
                "disputes": [[chunk, sorted(worker.hex() for worker in its)] for chunk, its in disputes.items()],
                "trials": sorted(on_trial(disputes)),
            },
            "tallies": sets,
        },
    )


def plain_settled(settled: Settled | None) -> list[Any] | None:
    return None if settled is None else [settled.value.hex(), settled.margin]


def said(counted: Provisional) -> dict[str, Any]:
    return {
        "void": sorted(worker.hex() for worker in counted.void),
        "found": sorted(worker.hex() for worker in counted.found),
        "trials": sorted(counted.trials),
        "chunks": [
            [
                chunk,
                standing.state.value,
                standing.value.hex() if standing.value is not None else None,
                float(f"{standing.credibility:.9g}"),
                standing.missing,
                standing.voters,
            ]
            for chunk, standing in sorted(counted.chunks.items())
        ],
    }

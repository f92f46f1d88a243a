"""Who is invited to a task before it has joined; what that saves, tests/simulations/test_round_trip.py shows."""

from __future__ import annotations

from random import Random

from crowdcompute.protocol.inviting import ACQUAINTANCES_MAX, INVITED_MAX, Acquaintances

ALICE, BOB = b"a" * 32, b"b" * 32
KEY = b"k" * 32


def everybody(worker: bytes) -> bool:
    return True


def test_who_was_heard_of_lately_is_invited_with_the_key_it_has_used() -> None:
    known = Acquaintances(15.0)
    known.heard(ALICE, KEY, 0.0)
    assert known.choose(everybody, Random(1), 14.9) == {ALICE: KEY}
    assert known.choose(everybody, Random(1), 15.0) == {}
    known.heard(ALICE, KEY, 14.0)
    assert known.choose(everybody, Random(1), 15.0) == {ALICE: KEY}


def test_who_is_not_here_or_has_lied_is_not_invited() -> None:
    known = Acquaintances(15.0)
    known.heard(ALICE, KEY, 0.0)
    known.heard(BOB, KEY, 0.0)
    assert known.choose(lambda worker: worker == BOB, Random(1), 1.0) == {BOB: KEY}
    known.forget(BOB)
    assert known.choose(everybody, Random(1), 1.0) == {ALICE: KEY}
    known.forget(BOB)


def test_of_many_some_are_drawn_and_those_heard_of_last_are_remembered() -> None:
    known = Acquaintances(15.0)
    workers = [number.to_bytes(32) for number in range(ACQUAINTANCES_MAX + 1)]
    for worker in workers:
        known.heard(worker, KEY, 0.0)
    drawn = [set(known.choose(everybody, Random(seed), 1.0)) for seed in range(100)]
    assert {len(each) for each in drawn} == {INVITED_MAX}
    assert set.union(*drawn) == set(workers[1:])

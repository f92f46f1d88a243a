from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.credit import fields_of
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Manifest, Range, sign_manifest
from crowdcompute.protocol.picking import ROOMY, is_open, pick_endgame, pick_open
from crowdcompute.protocol.records import Checkpoint, Commit, Lease, Record, Signed, runs_of, sign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    MakeManifest = Callable[..., Manifest]

CREATOR = Identity(bytes(range(32)))
ALICE, BOB, CAROL = (Identity(bytes([number]) * 32) for number in (101, 102, 103))
CHUNKS = 40


@pytest.fixture(scope="session")
def signed_manifest(make_manifest: MakeManifest) -> Signed:
    return sign_manifest(CREATOR, make_manifest(split=Range(start=0, stop=CHUNKS, step=1), chunks=CHUNKS))


def fresh(signed_manifest: Signed) -> Ledger:
    return Ledger(signed_manifest, msgspec.msgpack.decode(signed_manifest.body, type=Manifest))


def add(ledger: Ledger, author: Identity, record: Record, now: float = 0.0) -> None:
    ledger.add(sign(author, record), record, now)


def vote(ledger: Ledger, author: Identity, chunks: Iterable[int], seq: int = 1) -> None:
    runs = runs_of(chunks)
    if runs:
        add(ledger, author, Commit(ledger.task, 0, seq, 0, b"", runs, bytes(32), b""))


def lease(ledger: Ledger, author: Identity, chunks: Iterable[int], now: float, seq: int = 1) -> None:
    add(ledger, author, Lease(ledger.task, 0, 0, seq, 15, runs_of(chunks)), now)


def close(ledger: Ledger, accepted: Iterable[int]) -> None:
    bitmap = sum(1 << chunk for chunk in set(accepted)).to_bytes(CHUNKS // 8, "little")
    add(ledger, CREATOR, Checkpoint(ledger.task, 0, 0, CHUNKS, bitmap, bytes(CHUNKS // 8), bytes(32), *fields_of(b"")))


some_chunks = st.sets(st.integers(0, CHUNKS - 1))


@given(some_chunks, some_chunks, some_chunks, some_chunks, st.integers(1, CHUNKS), st.integers(0, 99))
def test_only_what_nobody_has_and_nobody_is_on_is_picked(
    signed_manifest: Signed, voted: set[int], leased: set[int], closed: set[int], mine: set[int], size: int, seed: int
) -> None:
    ledger = fresh(signed_manifest)
    vote(ledger, ALICE, voted)
    lease(ledger, BOB, leased, now=0.0)
    close(ledger, closed)
    free = set(range(CHUNKS)) - voted - leased - closed - mine
    picked, left = pick_open(ledger, 0, size, mine, Random(seed), now=1.0)
    assert picked == sorted(picked)
    assert set(picked) <= free
    assert len(picked) == min(size, len(free))
    assert all(is_open(ledger, chunk, 1.0) for chunk in picked)
    assert left == len(free)


def test_a_lease_that_has_run_out_frees_its_chunks(signed_manifest: Signed) -> None:
    ledger = fresh(signed_manifest)
    lease(ledger, BOB, range(CHUNKS), now=0.0)
    assert pick_open(ledger, 0, 5, (), Random(1), now=14.9) == ([], 0)
    assert len(pick_open(ledger, 0, 5, (), Random(1), now=15.0)[0]) == 5


def test_where_few_are_left_everybody_takes_a_fair_share(signed_manifest: Signed) -> None:
    ledger = fresh(signed_manifest)
    close(ledger, set(range(10, CHUNKS)))
    picked, left = pick_open(ledger, 0, 8, (), Random(1), now=0.0, sharing=5)
    assert len(picked) == 2
    assert left == 10


@pytest.mark.parametrize("alone", [False, True])
def test_every_chunk_of_a_half_is_as_likely_to_be_picked_first(signed_manifest: Signed, *, alone: bool) -> None:
    ledger = fresh(signed_manifest)
    rng = Random(7)
    counts = Counter(pick_open(ledger, 0, 1, (), rng, now=0.0, alone=alone)[0][0] for _ in range(2_000))
    half = range(CHUNKS // 2, CHUNKS) if alone else range(CHUNKS // 2)
    assert set(counts) == set(half)
    assert sum((counts[chunk] - 100) ** 2 / 100 for chunk in half) < 43.8  # once in a thousand seeds


@given(some_chunks, some_chunks, st.integers(0, 99))
def test_who_works_alone_begins_with_none_of_those_that_others_begin_with(
    signed_manifest: Signed, voted: set[int], closed: set[int], seed: int
) -> None:
    """Until half of what was not closed is begun, or there is no room."""
    ledger = fresh(signed_manifest)
    vote(ledger, ALICE, voted)
    close(ledger, closed)
    not_closed = [chunk for chunk in range(CHUNKS) if chunk not in closed]
    half = -(-len(not_closed) // 2)
    first, second = set(not_closed[:half]) - voted, set(not_closed[half:]) - voted
    with_others, _ = pick_open(ledger, 0, 1, (), Random(seed), now=0.0)
    alone, _ = pick_open(ledger, 0, 1, (), Random(seed), now=0.0, alone=True)
    roomy = len(first | second) >= ROOMY
    if roomy and first and second and max(first) > max(voted & set(not_closed[:half]), default=-1):
        assert first.issuperset(with_others)
    if roomy and first and second and max(second) > max(voted & set(not_closed[half:]), default=-1):
        assert second.issuperset(alone)


@pytest.mark.parametrize("alone", [False, True])
def test_where_there_is_no_room_everybody_begins_anywhere(signed_manifest: Signed, *, alone: bool) -> None:
    ledger = fresh(signed_manifest)
    sharing = CHUNKS // ROOMY + 1
    picks = (pick_open(ledger, 0, 1, (), Random(seed), now=0.0, sharing=sharing, alone=alone) for seed in range(500))
    assert {chunks[0] for chunks, _ in picks} == set(range(CHUNKS))


def test_the_end_game_copies_the_longest_leased_chunk_that_nobody_copies_yet(signed_manifest: Signed) -> None:
    ledger = fresh(signed_manifest)
    lease(ledger, ALICE, {1, 2}, now=0.0)
    lease(ledger, BOB, {5}, now=3.0)

    def pick(now: float, mine: Iterable[int] = ()) -> int | None:
        return pick_endgame(ledger, 0, set(mine), Random(1), now, leased_for_s=2.0)

    assert pick(1.0) is None
    assert pick(4.0) in (1, 2)
    assert pick(6.0, mine={1, 2}) == 5
    lease(ledger, CAROL, {1, 2}, now=4.0)
    assert pick(6.0) == 5, "no chunk is worth a third copy"
    vote(ledger, BOB, {5})
    assert pick(6.0) is None


def test_a_closed_chunk_is_not_copied(signed_manifest: Signed) -> None:
    ledger = fresh(signed_manifest)
    lease(ledger, ALICE, {1}, now=0.0)
    close(ledger, {1})
    assert pick_endgame(ledger, 0, (), Random(1), 10.0, leased_for_s=1.0) is None

"""Reconciliation: any two sets come to know their difference, at a bounded price, whatever the other side sends."""

from __future__ import annotations

from hashlib import sha256
from itertools import chain, count
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from crowdcompute.protocol import reconcile
from crowdcompute.protocol.codec import decode, encode
from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.frames import IDS_MAX, IHave, IWant
from crowdcompute.protocol.reconcile import (
    ALLOWED_IDS,
    ALLOWED_IDS_LEAST,
    ALLOWED_IDS_PER_S,
    ATTEMPTS,
    CELL_BYTES,
    CELLS_MAX,
    IDS_PER_FRAME,
    SET_MAX,
    SKETCH_BYTES,
    SMALL_SET,
    Allowance,
    Answer,
    Difference,
    Reconcile,
    ReconcileCells,
    ReconcileIds,
    Reconciliation,
    answer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.conftest import ExpectVectors

TOPIC = bytes(range(36))
SALT = bytes(range(8))
FRAME = Reconcile | ReconcileCells | ReconcileIds


class Salts(Random):
    """A source of chance that says given salts."""

    def __init__(self, salts: Iterable[bytes]) -> None:
        super().__init__(0)
        self._salts = iter(salts)

    def randbytes(self, n: int) -> bytes:
        salt = next(self._salts)
        assert len(salt) == n
        return salt


def salts(seed: int) -> Iterator[bytes]:
    return (sha256(f"salt {seed} {number}".encode()).digest()[:8] for number in count())


def record_ids(first: int, end: int) -> list[bytes]:
    """Ids as in the vectors: SHA-256 of consecutive numbers."""
    return [sha256(number.to_bytes(4)).digest() for number in range(first, end)]


def travelled(frame: FRAME) -> Any:
    """A frame as it arrives."""
    data = encode(frame)
    assert len(data) <= FRAME_BYTES_MAX
    return decode(data, FRAME)  # type: ignore[arg-type]  # a union is not a class for mypy


class Conversation:
    """Two honest ends: what they learned, what went over the wire, and in how many round trips."""

    def __init__(self, ours: list[bytes], theirs: list[bytes], rng: Random) -> None:
        self.requests: list[Reconcile] = []
        self.answers: list[list[Answer]] = []
        asking = Reconciliation(TOPIC, rng)
        outcome: Reconcile | Difference | None = asking.begin(ours)
        while not isinstance(outcome, Difference):
            assert isinstance(outcome, Reconcile)
            self.requests.append(outcome)
            self.answers.append(answer(travelled(outcome), theirs))
            *before, last = self.answers[-1]
            for frame in before:
                assert asking.received(travelled(frame), ours) is None
            outcome = asking.received(travelled(last), ours)
        self.difference = outcome

    @property
    def wire_bytes(self) -> int:
        """Of both directions, until both sides know what they lack and have asked for it: all but the records."""
        missing, surplus = self.difference.missing, self.difference.surplus
        return sum(
            len(encode(frame))
            for frame in chain(
                self.requests,
                *self.answers,
                (IWant(TOPIC, missing[at : at + IDS_MAX]) for at in range(0, len(missing), IDS_MAX)),
                (IHave(TOPIC, surplus[at : at + IDS_MAX]) for at in range(0, len(surplus), IDS_MAX)),
                (IWant(TOPIC, surplus[at : at + IDS_MAX]) for at in range(0, len(surplus), IDS_MAX)),
            )
        )


sizes = st.integers(0, 40) | st.integers(0, 1_200)


@given(sizes, sizes, sizes, st.integers(0, 2**32))
@settings(max_examples=150)
def test_any_two_sets_converge_in_at_most_three_round_trips(common: int, missing: int, surplus: int, seed: int) -> None:
    ours = record_ids(missing, missing + common + surplus)
    theirs = record_ids(0, missing + common)
    talk = Conversation(ours, theirs, Salts(salts(seed)))
    assert talk.difference.missing == tuple(sorted(theirs[:missing]))
    assert talk.difference.surplus == tuple(sorted(ours[common:]))
    assert len(talk.requests) <= ATTEMPTS


@given(st.integers(0, 3_000), st.integers(0, 600), st.integers(0, 600), st.integers(0, 2**32))
@settings(max_examples=60)
def test_a_first_answer_costs_at_most_150_bytes_for_each_missing_record(
    common: int, missing: int, surplus: int, seed: int
) -> None:
    talk = Conversation(
        record_ids(missing, missing + common + surplus), record_ids(0, missing + common), Salts(salts(seed))
    )
    # The constant is the request, frame headers, and the cells that even two ids need.
    if len(talk.requests) == 1:
        assert talk.wire_bytes <= 500 + 150 * (missing + surplus)


@pytest.mark.parametrize(
    ("common", "missing", "surplus"), [(20_000, 25, 25), (20_000, 0, 60), (20_000, 400, 400), (15_000, 0, 3_000)]
)
def test_a_difference_of_fifty_or_more_in_a_large_set_costs_at_most_150_bytes_a_record(
    common: int, missing: int, surplus: int
) -> None:
    ours, theirs = record_ids(missing, missing + common + surplus), record_ids(0, missing + common)
    talks = [Conversation(ours, theirs, Salts(salts(seed))) for seed in range(3)]
    for talk in talks:
        assert len(talk.requests) == 1
        assert all(isinstance(frame, ReconcileCells) for frame in talk.answers[0])
    # An estimate may be too large: now and then a comparison costs more, and others less.
    assert sum(talk.wire_bytes for talk in talks) <= 3 * 150 * (missing + surplus)


def test_one_missing_record_costs_at_most_540_bytes_in_sets_of_thousands() -> None:
    for ours, theirs in ((1, 0), (0, 1)):
        talk = Conversation(record_ids(ours, 5_000), record_ids(theirs, 5_000), Salts(salts(1)))
        assert len(talk.requests) == 1
        assert talk.wire_bytes <= 540


def test_a_table_is_too_small_for_at_most_one_difference_in_twenty() -> None:
    again = sum(
        len(Conversation(record_ids(10, 210), record_ids(0, 205), Salts(salts(seed))).requests) > 1
        for seed in range(400)
    )
    assert again <= 20


def test_equal_sets_cost_one_small_round_trip() -> None:
    ids = record_ids(0, 5_000)
    talk = Conversation(ids, ids[::-1], Salts(salts(0)))
    assert talk.difference == Difference((), ())
    assert sum(len(encode(frame)) for frame in chain(talk.requests, talk.answers[0])) < 260


def test_a_newcomer_hears_all_ids_and_says_next_to_nothing() -> None:
    theirs = record_ids(0, 5_000)
    talk = Conversation([], theirs, Salts(salts(0)))
    assert talk.difference.missing == tuple(sorted(theirs))
    assert len(encode(talk.requests[0])) < 90
    assert [len(frame.data) // 32 for frame in talk.answers[0]] == [IDS_PER_FRAME, IDS_PER_FRAME, 904]


def test_what_changes_on_either_side_meanwhile_does_no_harm() -> None:
    ours, theirs = record_ids(10, 1_000), record_ids(0, 990)
    asking = Reconciliation(TOPIC, Salts(salts(4)))
    request = asking.begin(ours)
    ours, theirs = ours[2:] + record_ids(2_000, 2_001), theirs + record_ids(3_000, 3_001)
    *before, last = answer(request, theirs)
    assert not before
    difference = asking.received(last, ours)
    assert isinstance(difference, Difference)
    assert set(difference.missing) == set(theirs) - set(ours)
    assert set(difference.surplus) == set(ours) - set(theirs)


def test_a_table_that_is_too_small_is_asked_for_anew_with_a_fresh_salt_and_at_last_all_ids_come() -> None:
    ours, theirs = record_ids(300, 2_300), record_ids(0, 2_000)
    asking = Reconciliation(TOPIC, Salts(salts(5)))
    outcome: Reconcile | Difference | None = asking.begin(ours)
    cells, used = [], set()
    for attempt in range(ATTEMPTS):
        assert isinstance(outcome, Reconcile)
        assert outcome.attempt == attempt
        used.add(outcome.salt)
        # A request whose sketch says that nothing differs, as in the worst of luck.
        empty = Reconciliation(TOPIC, Salts([outcome.salt])).begin(theirs)
        frames = answer(replace(outcome, sketch=empty.sketch), theirs)
        cells.append(frames[0].cells if isinstance(frames[0], ReconcileCells) else None)
        for frame in frames:
            outcome = asking.received(frame, ours)
    assert cells == [4, 8, None]
    assert len(used) == ATTEMPTS
    assert isinstance(outcome, Difference)
    assert (len(outcome.missing), len(outcome.surplus)) == (300, 300)


def test_a_table_is_never_smaller_than_the_sizes_of_the_sets_ask_for() -> None:
    ours, theirs = record_ids(0, 1_960), record_ids(0, 2_000)
    request = Reconciliation(TOPIC, Salts([SALT])).begin(ours)
    same_sketch = Reconciliation(TOPIC, Salts([SALT])).begin(theirs).sketch
    (frame,) = answer(replace(request, sketch=same_sketch), theirs)
    assert isinstance(frame, ReconcileCells)
    assert frame.cells == 4 * (1 + 19), "forty ids at least"


def test_ids_ground_for_one_salt_are_like_any_others_under_the_next() -> None:
    """Under the salt they were made for, 200 ids cancel out in the sketch, and share one counter."""
    ground: dict[int, list[bytes]] = {0: [], 128: []}
    for number in count():
        record_id = sha256(b"ground" + number.to_bytes(4)).digest()
        word = sha256(SALT + record_id).digest()[3]
        if word in ground and len(ground[word]) < 100:
            ground[word].append(record_id)
        if all(len(ids) == 100 for ids in ground.values()):
            break
    ours = record_ids(0, 2_000)
    theirs = ours + ground[0] + ground[128]

    def cells(salt: bytes) -> int:
        request = Reconciliation(TOPIC, Salts([salt])).begin(ours)
        # Sets of one size: how many differ is for the sketch alone to say.
        (frame,) = answer(replace(request, count=len(theirs)), theirs)
        assert isinstance(frame, ReconcileCells)
        return frame.cells

    assert cells(SALT) == 4
    assert all(250 < cells(salt) < 600 for salt, _ in zip(salts(1), range(20), strict=False))


# ---- hostile neighbours

requests = st.builds(
    Reconcile,
    topic=st.just(TOPIC),
    salt=st.just(SALT),
    attempt=st.integers(0, ATTEMPTS - 1),
    count=st.integers(0, 200) | st.integers(0, 2**32 - 1),
    fingerprint=st.binary(min_size=8, max_size=8),
    sketch=st.binary(max_size=SKETCH_BYTES) | st.binary(min_size=SKETCH_BYTES, max_size=SKETCH_BYTES),
)


@given(requests, st.integers(0, 400))
def test_no_request_makes_an_answer_longer_than_all_ids(request: Reconcile, held: int) -> None:
    ids = record_ids(0, held)
    try:
        frames = answer(travelled(request), ids)
    except RemoteProtocolError:
        assert len(request.sketch) not in (0, SKETCH_BYTES)
    else:
        assert sum(len(frame.data) for frame in frames) <= 32 * held
        assert all(frame.salt == SALT and travelled(frame) == frame for frame in frames)


def pieces(item_bytes: int) -> st.SearchStrategy[bytes]:
    some = st.integers(0, 12).flatmap(lambda items: st.binary(min_size=items * item_bytes, max_size=items * item_bytes))
    return some | st.binary(max_size=100)


answers: st.SearchStrategy[Answer] = st.builds(
    ReconcileCells,
    salt=st.just(SALT) | st.binary(min_size=8, max_size=8),
    cells=st.integers(0, 16) | st.integers(0, CELLS_MAX),
    data=pieces(CELL_BYTES),
) | st.builds(ReconcileIds, salt=st.just(SALT), count=st.integers(0, 16) | st.integers(0, SET_MAX), data=pieces(32))


@given(st.lists(answers, max_size=6), st.integers(0, 30))
@settings(max_examples=300)
def test_no_answers_raise_anything_but_a_remote_protocol_error(frames: list[Answer], held: int) -> None:
    ours = record_ids(0, held)
    asking = Reconciliation(TOPIC, Salts([SALT, SALT, SALT]))
    asking.begin(ours)
    for frame in frames:
        try:
            outcome = asking.received(travelled(frame), ours)
        except RemoteProtocolError:
            # It is over: what comes after is of a request that was given up.
            assert all(asking.received(late, ours) is None for late in frames)
            return
        if isinstance(outcome, Difference):
            assert set(outcome.surplus) <= set(ours)
            assert not set(outcome.missing) & set(ours)


def forged_cell(salt: bytes, quarter: int, width: int) -> list[bytes]:
    """Cells of one quarter, each filled so that it looks like holding one id alone, which nothing else bears out."""
    filled: list[bytes | None] = [None] * width
    for number in count():
        record_id = sha256(b"forged" + bytes([quarter]) + number.to_bytes(4)).digest()
        digest = sha256(salt + record_id).digest()
        place = int.from_bytes(digest[8 + 4 * quarter : 12 + 4 * quarter]) * width >> 32
        filled[place] = digest[4:8] + record_id
        if all(filled):
            return [cell for cell in filled if cell]
    raise AssertionError


@pytest.mark.parametrize("kind", ["noise", "forged", "one id everywhere"])
def test_a_made_up_table_costs_five_hashes_a_cell_and_a_second_request(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    width, rng = 200, Random(7)
    ours = record_ids(0, 100)
    if kind == "noise":
        data = rng.randbytes(4 * width * CELL_BYTES)
    elif kind == "forged":
        data = b"".join(chain.from_iterable(forged_cell(SALT, quarter, width) for quarter in range(4)))
    else:
        data = forged_cell(SALT, 0, width)[0] * (4 * width)
    hashes = 0
    digest = reconcile._digest

    def counting(salt: bytes, record_id: bytes) -> bytes:
        nonlocal hashes
        hashes += 1
        return digest(salt, record_id)

    asking = Reconciliation(TOPIC, Salts(chain([SALT], salts(1))))
    asking.begin(ours)
    monkeypatch.setattr(reconcile, "_digest", counting)
    outcome = asking.received(ReconcileCells(SALT, 4 * width, data), ours)
    assert isinstance(outcome, Reconcile)
    assert outcome.attempt == 1
    assert hashes <= 2 * len(ours) + 5 * 4 * width


@pytest.mark.parametrize("held", [0, 100])
def test_a_made_up_table_of_the_vectors_is_answered_with_a_second_request(held: int) -> None:
    ours = record_ids(0, held)
    for data in MADE_UP.values():
        asking = Reconciliation(TOPIC, Salts(chain([SALT], salts(1))))
        asking.begin(ours)
        assert isinstance(asking.received(ReconcileCells(SALT, 32, data), ours), Reconcile)


def test_cells_for_the_last_request_that_do_not_decode_are_a_breach() -> None:
    ours = record_ids(0, 100)
    asking = Reconciliation(TOPIC, Salts(salts(2)))
    asking.begin(ours)
    for _ in range(ATTEMPTS - 1):
        assert isinstance(asking.received(ReconcileCells(asking.salt, 4, bytes([1]) * 144), ours), Reconcile)
    with pytest.raises(RemoteProtocolError):
        asking.received(ReconcileCells(asking.salt, 4, bytes([1]) * 144), ours)


def test_frames_of_another_request_are_ignored() -> None:
    ours, theirs = record_ids(0, 100), record_ids(5, 105)
    asking = Reconciliation(TOPIC, Salts(salts(9)))
    assert asking.received(ReconcileIds(b"", 0, b""), ours) is None, "nothing was asked yet"
    request = asking.begin(ours)
    (frame,) = answer(request, theirs)
    assert asking.received(replace(frame, salt=bytes(8)), ours) is None
    assert isinstance(asking.received(frame, ours), Difference)
    assert asking.received(frame, ours) is None, "it is done"


def test_a_set_beyond_the_limit_is_compared_up_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconcile, "SET_MAX", 500)
    ids = record_ids(0, 600)
    talk = Conversation(ids, ids, Salts(salts(0)))
    assert talk.requests[0].count == 500
    assert talk.difference == Difference((), ())
    assert len(Conversation([], ids, Salts(salts(0))).difference.missing) == 500


def test_an_allowance_is_spent_and_comes_back() -> None:
    allowance = Allowance(100.0)
    assert allowance.spend(ALLOWED_IDS - SET_MAX, 100.0)
    assert allowance.spend(10 * SET_MAX, 100.0), "no set costs more than the largest that is compared"
    assert not allowance.spend(0, 100.0), "a small set is not free"
    later = 100.0 + 1.5 * ALLOWED_IDS_LEAST / ALLOWED_IDS_PER_S
    assert allowance.spend(ALLOWED_IDS_LEAST, later)
    assert not allowance.spend(ALLOWED_IDS_LEAST, later)
    assert allowance.spend(SET_MAX, 100_000.0)
    assert not allowance.spend(SET_MAX, 100_000.0), "it never holds more than at first"


# ---- vectors

REFUSED_FRAMES: dict[str, bytes] = {
    "a salt of 7 bytes": encode(("reconcile", TOPIC, bytes(7), 0, 0, bytes(8), b"")),
    "a topic of 37 bytes": encode(("reconcile", bytes(37), SALT, 0, 0, bytes(8), b"")),
    "a fourth attempt": encode(("reconcile", TOPIC, SALT, ATTEMPTS, 0, bytes(8), b"")),
    "a fingerprint of 9 bytes": encode(("reconcile", TOPIC, SALT, 0, 0, bytes(9), b"")),
    "a sketch of 129 bytes": encode(("reconcile", TOPIC, SALT, 0, 0, bytes(8), bytes(SKETCH_BYTES + 1))),
    "a count of 33 bits": encode(("reconcile", TOPIC, SALT, 0, 2**32, bytes(8), b"")),
    "more cells than any table has": encode(("reconcile-cells", SALT, CELLS_MAX + 1, b"")),
    "more ids than are compared": encode(("reconcile-ids", SALT, SET_MAX + 1, b"")),
    "ids as an array": encode(("reconcile-ids", SALT, 1, [bytes(32)])),
}

REFUSED_ANSWERS: dict[str, list[Answer]] = {
    "a table without equal quarters": [ReconcileCells(SALT, 6, bytes(6 * CELL_BYTES))],
    "half a cell": [ReconcileCells(SALT, 8, bytes(50))],
    "half an id": [ReconcileIds(SALT, 8, bytes(48))],
    "a frame without any cell": [ReconcileCells(SALT, 8, b"")],
    "a frame without any id": [ReconcileIds(SALT, 8, b"")],
    "cells of a table that has none": [ReconcileCells(SALT, 0, bytes(CELL_BYTES))],
    "more cells than it said": [ReconcileCells(SALT, 4, bytes(5 * CELL_BYTES))],
    "more ids than it said": [ReconcileIds(SALT, 2, bytes(32)), ReconcileIds(SALT, 2, bytes(64))],
    "another total": [ReconcileIds(SALT, 3, bytes(32)), ReconcileIds(SALT, 2, bytes(32))],
    "ids after cells": [ReconcileCells(SALT, 8, bytes(CELL_BYTES)), ReconcileIds(SALT, 8, bytes(32))],
}

# Name: our ids, their ids (first and end), the seed of the salts.
CASES: dict[str, tuple[tuple[int, int], tuple[int, int], int]] = {
    "equal sets": ((0, 50), (0, 50), 0),
    "two empty sets": ((0, 0), (0, 0), 0),
    "an empty set asks": ((0, 0), (0, 20), 0),
    "an empty set answers": ((0, 20), (0, 0), 0),
    "a small set without a sketch": ((0, SMALL_SET), (3, 60), 0),
    "the smallest set with a sketch": ((0, SMALL_SET + 1), (0, 100), 0),
    "one id is missing": ((1, 200), (0, 200), 0),
    "one id each": ((1, 200), (0, 199), 0),
    "forty ids each": ((40, 600), (0, 560), 0),
    "most ids differ": ((100, 220), (0, 120), 0),
    "a table that is too small": ((6, 300), (0, 294), 5),
    "a table of several frames": ((600, 3_600), (0, 3_000), 0),
    "ids of several frames": ((0, 10), (0, 5_000), 0),
}


MADE_UP = {
    "cells that look as if they held one id alone": b"".join(
        chain.from_iterable(forged_cell(SALT, quarter, 8) for quarter in range(4))
    ),
    "one id in all cells": forged_cell(SALT, 0, 8)[0] * 32,
    "cells of one bits": b"\xff" * (32 * CELL_BYTES),
}


def frame_vector(frame: FRAME) -> dict[str, Any]:
    data = encode(frame)
    # Of long frames their hash: a vector of a hundred kilobytes helps nobody.
    return {"bytes": data.hex()} if len(data) < 8_000 else {"sha256": sha256(data).hexdigest()}


@pytest.mark.parametrize("why", REFUSED_FRAMES)
def test_a_malformed_frame_is_refused(why: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode(REFUSED_FRAMES[why], FRAME)  # type: ignore[arg-type]


@pytest.mark.parametrize("why", REFUSED_ANSWERS)
def test_frames_that_make_no_answer_are_refused(why: str) -> None:
    asking = Reconciliation(TOPIC, Salts([SALT]))
    asking.begin(record_ids(0, 100))
    *before, last = REFUSED_ANSWERS[why]
    for frame in before:
        assert asking.received(travelled(frame), record_ids(0, 100)) is None
    with pytest.raises(RemoteProtocolError):
        asking.received(travelled(last), record_ids(0, 100))


def test_the_case_of_a_second_request_has_one() -> None:
    ours, theirs, seed = CASES["a table that is too small"]
    assert len(Conversation(record_ids(*ours), record_ids(*theirs), Salts(salts(seed))).requests) == 2


def test_the_vectors_hold(expect_vectors: ExpectVectors, plain_json: Callable[[Any], Any]) -> None:
    exchanges = []
    for name, (ours, theirs, seed) in CASES.items():
        talk = Conversation(record_ids(*ours), record_ids(*theirs), Salts(salts(seed)))
        exchanges.append(
            {
                "name": name,
                "ours": list(ours),
                "theirs": list(theirs),
                "steps": [
                    {
                        "salt": request.salt.hex(),
                        "request": frame_vector(request),
                        "answer": [frame_vector(frame) for frame in frames],
                    }
                    for request, frames in zip(talk.requests, talk.answers, strict=True)
                ],
            }
        )
    expect_vectors(
        "reconcile",
        {
            "topic": TOPIC.hex(),
            "ids": "SHA-256 of the numbers from the first to below the second, each as a big-endian u32",
            "exchanges": exchanges,
            "made_up_tables": [
                {"name": name, "frame": encode(ReconcileCells(SALT, 32, data)).hex()} for name, data in MADE_UP.items()
            ],
            "refused_frames": [{"why": why, "bytes": data.hex()} for why, data in REFUSED_FRAMES.items()],
            "refused_answers": [
                {"why": why, "salt": SALT.hex(), "frames": [encode(frame).hex() for frame in frames]}
                for why, frames in REFUSED_ANSWERS.items()
            ],
        },
    )

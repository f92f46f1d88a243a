"""Streams: what a set of feeds says, in whatever order; and what a creator that plays double can do: nothing."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.feeding import FED_BYTES_MAX, FEED_CALLS_MAX, Fed, parts_of
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.ledger import Ledger
from crowdcompute.protocol.manifest import Policy, Stream, sign_manifest
from crowdcompute.protocol.records import EVERYTHING, CertificateBody, Commit, Feed, Join, Record, Verdict, parse, sign
from crowdcompute.protocol.split import ChunkReader, chunk_count

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

    from crowdcompute.protocol.manifest import Manifest

    MakeManifest = Callable[..., Manifest]

CREATOR = Identity(bytes(range(32)))
ALICE, BOB = (Identity(bytes([number]) * 32) for number in (101, 102))
TASK = bytes(32)


@pytest.fixture
def ledger(make_manifest: MakeManifest) -> Ledger:
    manifest = make_manifest(split=Stream(), chunks=4_000, policy=Policy(1, eps=0.1, liars=0.2, pow_bits=0))
    return Ledger(sign_manifest(CREATOR, manifest), manifest)


def add(ledger: Ledger, author: Identity, record: Record) -> bool:
    signed = sign(author, record)
    ledger.check(signed, record)
    return ledger.add(signed, record, 0.0)


def says(fed: Fed) -> dict[str, Any]:
    return {"count": fed.count, "end": fed.end, "ended": fed.is_ended, "forked": fed.is_forked}


SETS: dict[str, tuple[tuple[int, tuple[bytes, ...], bool], ...]] = {
    "nothing yet": (),
    "two feeds": ((0, (b"a", b"b"), False), (2, (b"c",), False)),
    "a gap, as long as a feed is on its way": ((0, (b"a",), False), (2, (b"c",), False)),
    "ended with its last calls": ((0, (b"a",), False), (1, (b"b", b"c"), True)),
    "ended afterwards": ((0, (b"a", b"b"), False), (2, (), True)),
    "ended without a call": ((0, (), True),),
    "ended, but for a feed on its way": ((0, (b"a",), False), (3, (), True)),
    "the same input twice": ((0, (b"a", b"b"), False), (1, (b"b", b"c"), False)),
    "two inputs of one chunk": ((0, (b"a", b"b"), False), (1, (b"B", b"c"), False)),
    "two ends": ((0, (b"a", b"b"), True), (1, (), True)),
    "a chunk after the end": ((0, (b"a", b"b"), False), (1, (), True)),
    "a chunk long after the end": ((0, (b"a",), True), (7, (b"h",), False)),
}


FORKED = {"two inputs of one chunk", "two ends", "a chunk after the end", "a chunk long after the end"}
ENDED = {"ended with its last calls", "ended afterwards", "ended without a call"}


@pytest.mark.parametrize("name", SETS)
def test_no_order_and_no_repetition_changes_what_feeds_say(name: str) -> None:
    feeds = [Feed(TASK, *fields) for fields in SETS[name]]
    said = []
    for order in permutations([*feeds, *feeds]):
        fed = Fed()
        for feed in order:
            fed.add(feed)
        said.append((fed.is_forked, fed.is_ended, fed.end if not fed.is_forked else None, sorted(fed.inputs)))
    assert all(each[0] == (name in FORKED) for each in said)
    assert name in FORKED or all(each[1] == (name in ENDED) for each in said)
    assert all(each[2] == said[0][2] for each in said)
    assert said[0][0] or all(each == said[0] for each in said)


def test_a_feed_that_repeats_says_nothing_new() -> None:
    fed = Fed()
    assert fed.add(Feed(TASK, 0, (b"a", b""), ends=False))
    assert not fed.add(Feed(TASK, 0, (b"a",), ends=False))
    assert not fed.add(Feed(TASK, 1, (b"",), ends=False))
    assert fed.add(Feed(TASK, 1, (b"",), ends=True))
    assert not fed.add(Feed(TASK, 2, (), ends=True))


@given(st.lists(st.binary(max_size=FED_BYTES_MAX), max_size=200))
def test_whatever_is_fed_fits_records(inputs: list[bytes]) -> None:
    parts = parts_of(inputs)
    assert [data for part in parts for data in part] == inputs
    for part in parts:
        signed = sign(CREATOR, Feed(TASK, 0, part, ends=False))
        assert len(signed.body) <= 48 * 1024
        parse(signed)
    assert all(parts_of([b""] * 3_000)[:2]) and len(parts_of([b""] * 3_000)[0]) == FEED_CALLS_MAX


def test_only_the_creator_feeds_and_only_a_stream(ledger: Ledger, make_manifest: MakeManifest) -> None:
    with pytest.raises(RemoteProtocolError, match="creator did not sign"):
        add(ledger, ALICE, Feed(ledger.task, 0, (b"a",), ends=False))
    with pytest.raises(RemoteProtocolError, match="more chunks than the stream may have"):
        add(ledger, CREATOR, Feed(ledger.task, 3_999, (b"a", b"b"), ends=False))
    manifest = make_manifest()
    other = Ledger(sign_manifest(CREATOR, manifest), manifest)
    with pytest.raises(RemoteProtocolError, match="from the beginning"):
        add(other, CREATOR, Feed(other.task, 0, (b"a",), ends=False))


def test_only_what_was_fed_is_there_to_be_computed(ledger: Ledger) -> None:
    reader = ChunkReader(ledger.manifest, fed=ledger.inputs_fed())
    assert (ledger.chunks, ledger.open_count(0), ledger.exists(0), ledger.is_whole) == (0, 0, False, False)
    assert add(ledger, CREATOR, Feed(ledger.task, 0, (b"a", b"b"), ends=False))
    assert (ledger.chunks, ledger.open_count(0), ledger.exists(1), ledger.exists(2)) == (2, 2, True, False)
    assert reader.read(1) == b"b"
    with pytest.raises(LocalProtocolError, match="has not been fed"):
        reader.read(2)
    assert add(ledger, CREATOR, Feed(ledger.task, 2, (), ends=True))
    assert ledger.is_whole
    assert chunk_count(Stream()) == 4_096


def test_a_forked_creator_convicts_nobody(ledger: Ledger) -> None:
    """Whoever computed the input that it does not speak of any more voted right."""
    task = ledger.task
    verdicts = [
        Verdict(task, ALICE.public_key, "wrong", 1, bytes(32), 7),
        Verdict(task, BOB.public_key, "wrong", 1, bytes(32), EVERYTHING),
    ]
    fork = [Feed(task, 0, (b"a", b"b"), ends=False), Feed(task, 1, (b"B",), ends=False)]
    for first, then in ((verdicts, fork), (fork, verdicts)):
        held = Ledger(ledger.signed, ledger.manifest)
        for worker in (ALICE, BOB):
            add(held, worker, Join(task, worker.seal_key, bytes(32), 0, bytes(32), 0))
            add(held, worker, Commit(task, 0, 5, 0, b"", ((1, 1),), bytes(32), b"sealed"))
        for record in (*first, *then):
            add(held, CREATOR, record)
        assert held.is_forked
        assert sorted(held.voters(1)) == sorted((ALICE.public_key, BOB.public_key))
        assert not held.is_void(BOB.public_key)
        kinds = [signed.kind for signed in held.records()]
        assert kinds.count("feed") == 2, "the two are the proof, and passed on"
        assert not add(held, CREATOR, Feed(task, 1, (b"once more",), ends=False)), "one proof is enough"


def test_whoever_equivocated_in_a_forked_stream_did_so(ledger: Ledger) -> None:
    task = ledger.task
    add(ledger, CREATOR, Verdict(task, ALICE.public_key, "equivocated", 1, bytes(32), EVERYTHING))
    for root in (bytes(32), bytes(31) + b"\1"):
        add(ledger, ALICE, Commit(task, 0, 5, 0, b"", ((1, 1),), root, b"sealed"))
    for data in (b"a", b"b"):
        add(ledger, CREATOR, Feed(task, 0, (data,), ends=False))
    assert ledger.is_forked and ledger.is_void(ALICE.public_key)


def test_feeds_are_let_go_with_the_certificate(ledger: Ledger) -> None:
    task = ledger.task
    add(ledger, CREATOR, Feed(task, 0, (b"a",), ends=True))
    add(ledger, CREATOR, CertificateBody(task, 1, 1, 0, bytes(32), 1, 0, 1, 0, 0, 0.1, 0.0, 0.95))
    assert [signed.kind for signed in ledger.records()] == ["manifest", "certificate"]
    assert not add(ledger, CREATOR, Feed(task, 0, (b"a",), ends=True)), "nor taken again"
    assert ledger.chunks == 1


def test_the_vectors_hold(expect_vectors: ExpectVectors, ledger: Ledger) -> None:
    sets = []
    for name, feeds in SETS.items():
        fed = Fed()
        for fields in feeds:
            fed.add(Feed(ledger.task, *fields))
        records = [encode(sign(CREATOR, Feed(ledger.task, *fields))).hex() for fields in feeds]
        chunks = {str(chunk): data.hex() for chunk, data in sorted(fed.inputs.items())}
        sets.append({"name": name, "feeds": records, "says": {**says(fed), "inputs": chunks}})
    expect_vectors("feeding", {"manifest": encode(ledger.signed).hex(), "sets": sets})

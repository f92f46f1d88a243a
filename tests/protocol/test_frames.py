"""Frames: bytes to typed values and back, and nothing but `RemoteProtocolError` for anything else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.frames import (
    IDS_MAX,
    TOPICS_MAX,
    BlobCancel,
    BlobGot,
    BlobHave,
    BlobMissing,
    BlobPieceFrame,
    BlobSeek,
    BlobWant,
    Bye,
    Frame,
    Graft,
    Hello,
    IHave,
    IWant,
    Keep,
    Kept,
    Part,
    Ping,
    Pong,
    Prune,
    Publish,
    Topics,
    decode_frame,
    encode_frame,
)
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.reconcile import (
    CELL_BYTES,
    CELLS_MAX,
    CELLS_PER_FRAME,
    IDS_PER_FRAME,
    SET_MAX,
    Reconcile,
    ReconcileCells,
    ReconcileIds,
)
from crowdcompute.protocol.records import RECORD_BYTES_MAX, Join, Signed, sign
from crowdcompute.protocol.signaling import Ask, Peers, Relay, Relayed, Undeliverable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

WORKER = Identity(bytes(range(32, 64)))
TASK = bytes(range(200, 232))
DIGEST = bytes(range(32))

FRAMES: dict[str, Frame] = {
    "hello": Hello((1,), "main", "crowdcompute 0.1"),
    "hello of a peer with several versions": Hello((1, 2, 4_294_967_295), "lab-7", ""),
    "ping": Ping(1),
    "ping with the largest nonce": Ping(2**53 - 1),
    "pong": Pong(1),
    "bye": Bye("the window was closed"),
    "part": Part(),
    "topics": Topics((b"", TASK, TASK + bytes(4)), (TASK + (1).to_bytes(4),)),
    "graft": Graft(TASK),
    "prune": Prune(TASK + (258).to_bytes(4)),
    "ihave": IHave(TASK, (DIGEST, TASK)),
    "ihave of nothing": IHave(TASK, ()),
    "iwant": IWant(TASK, (DIGEST,)),
    "reconcile": Reconcile(TASK, DIGEST[:8], 0, 4_294_967_295, DIGEST[:8], bytes(range(128))),
    "reconcile, a small set for the last time": Reconcile(b"", DIGEST[:8], 2, 3, DIGEST[:8], b""),
    "reconcile-cells": ReconcileCells(DIGEST[:8], 8, bytes(range(CELL_BYTES))),
    "reconcile-cells of equal sets": ReconcileCells(DIGEST[:8], 0, b""),
    "reconcile-ids": ReconcileIds(DIGEST[:8], 2, DIGEST + TASK),
    "publish": Publish(TASK, (sign(WORKER, Join(TASK, WORKER.seal_key, bytes(32), 0, bytes(32), 3)),)),
    "blob-want": BlobWant(DIGEST, 0, 16),
    "blob-piece": BlobPieceFrame(DIGEST, 65_540, 1, b"tail", (DIGEST,)),
    "blob-missing": BlobMissing(DIGEST),
    "blob-seek": BlobSeek(DIGEST, whole=True),
    "blob-have": BlobHave(DIGEST, 65_536, b"\x05\x80"),
    "blob-got": BlobGot(DIGEST, (0, 4_294_967_295)),
    "blob-cancel": BlobCancel(DIGEST, (7,)),
    "keep": Keep(TASK, 4_294_967_295, DIGEST, 20_028),
    "kept": Kept(TASK, DIGEST, kept=True),
    "kept, not": Kept(TASK, DIGEST, kept=False),
    "ask": Ask(32),
    "peers": Peers((DIGEST, TASK)),
    "peers, none": Peers(()),
    "relay": Relay(DIGEST, b"signal"),
    "relayed": Relayed(DIGEST, b"signal"),
    "undeliverable": Undeliverable(DIGEST),
}

REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "only a tag": encode(("ping",)),
    "no tag": encode((1,)),
    "an unknown tag": encode(("pang", 1)),
    "a tag in capitals": encode(("PING", 1)),
    "a map": encode({"ping": 1}),
    "a field too many": encode(("ping", 1, 2)),
    "trailing bytes": encode(("ping", 1)) + b"\0",
    "cut short": encode(("bye", "reason"))[:-1],
    "a negative nonce": encode(("ping", -1)),
    "a nonce of 54 bits": encode(("ping", 2**53)),
    "hello without a version": encode(("hello", (), "main", "")),
    "hello with 17 versions": encode(("hello", tuple(range(17)), "main", "")),
    "a network's name of 65 characters": encode(("hello", (1,), "n" * 65, "")),
    "a part with a reason": encode(("part", "enough")),
    "a reason of 201 characters": encode(("bye", "r" * 201)),
    "text that is not UTF-8": encode(("bye", "rr")).replace(b"rr", b"\xff\xfe"),
    "a topic of 37 bytes": encode(("graft", bytes(37))),
    "a topic as text": encode(("graft", "topic")),
    "too many topics": encode(("topics", tuple(index.to_bytes(4) for index in range(TOPICS_MAX + 1)), ())),
    "an id of 31 bytes": encode(("ihave", TASK, (bytes(31),))),
    "too many ids": encode(("iwant", TASK, (bytes(32),) * (IDS_MAX + 1))),
    "a fourth attempt to reconcile": encode(("reconcile", TASK, DIGEST[:8], 3, 0, DIGEST[:8], b"")),
    "a salt of 7 bytes": encode(("reconcile-cells", DIGEST[:7], 0, b"")),
    "a table beyond every limit": encode(("reconcile-cells", DIGEST[:8], CELLS_MAX + 1, b"")),
    "a set beyond every limit": encode(("reconcile-ids", DIGEST[:8], SET_MAX + 1, b"")),
    "a record that is none": encode(("publish", TASK, (("join", 1, 2, 3),))),
    "more than 1,024 records": encode(("publish", b"", (("join", bytes(32), b"", bytes(64)),) * 1_025))[
        :FRAME_BYTES_MAX
    ],
    "no piece wanted": encode(("blob-want", DIGEST, 0, 0)),
    "65 pieces wanted": encode(("blob-want", DIGEST, 0, 65)),
    "a proof of 41 hashes": encode(("blob-piece", DIGEST, 1, 0, b"", (DIGEST,) * 41)),
    "a result to keep of 54 bits": encode(("keep", TASK, 0, DIGEST, 2**53)),
    "kept as a number": encode(("kept", TASK, DIGEST, 1)),
    "nobody asked for": encode(("ask", 0)),
    "33 peers asked for": encode(("ask", 33)),
    "33 peers": encode(("peers", (DIGEST,) * 33)),
    "a peer of 31 bytes": encode(("peers", (bytes(31),))),
    "a signal to nobody": encode(("relay", b"", b"signal")),
    "a relayed signal without its sender": encode(("relayed", b"signal")),
    "a message of the signaling server only": encode(("entered", ())),
    "an extension type": b"\xd4\x01\x00",
    "an array that claims four billion elements": b"\xdd\xff\xff\xff\xff",
    "bytes that claim four billion": b"\x92\xa5graft\xc6\xff\xff\xff\xff",
    "nested without end": b"\x91" * 50_000,
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_comes_back_as_it_was_sent(name: str) -> None:
    assert decode_frame(encode_frame(FRAMES[name])) == FRAMES[name]


@pytest.mark.parametrize("why", REFUSED)
def test_a_malformed_frame_is_refused(why: str) -> None:
    with pytest.raises(RemoteProtocolError):
        decode_frame(REFUSED[why])


def test_a_frame_over_the_limit_is_refused_whatever_it_holds() -> None:
    padding = FRAME_BYTES_MAX - len(encode(BlobPieceFrame(DIGEST, 1, 0, b"", ()))) - 2
    longest = BlobPieceFrame(DIGEST, 1, 0, bytes(padding - 2), ())
    data = encode_frame(longest)
    assert decode_frame(data) == longest
    with pytest.raises(RemoteProtocolError):
        decode_frame(data + bytes(FRAME_BYTES_MAX + 1 - len(data)))


def test_every_frame_our_own_limits_allow_fits() -> None:
    largest = Signed("certificate", DIGEST, bytes(RECORD_BYTES_MAX), bytes(64))
    for frame in (
        IHave(bytes(36), (DIGEST,) * IDS_MAX),
        ReconcileCells(bytes(8), CELLS_MAX, bytes(CELL_BYTES * CELLS_PER_FRAME)),
        ReconcileIds(bytes(8), SET_MAX, bytes(32 * IDS_PER_FRAME)),
        Topics((bytes(36),) * TOPICS_MAX, (bytes(36),) * TOPICS_MAX),
        Publish(bytes(36), (largest,)),
        BlobPieceFrame(DIGEST, 2**53 - 1, 2**32 - 1, bytes(65_536), (DIGEST,) * 40),
    ):
        assert decode_frame(encode_frame(frame)) == frame


def decodes(data: bytes) -> bool:
    try:
        decode_frame(data)
    except RemoteProtocolError:
        return False
    return True


@given(st.binary(max_size=500))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    decodes(data)


@given(st.sampled_from(sorted(FRAMES)), st.data())
def test_a_frame_with_changed_bytes_is_a_frame_or_refused(name: str, data: st.DataObject) -> None:
    mutated = bytearray(encode_frame(FRAMES[name]))
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    decodes(bytes(mutated))
    decodes(bytes(mutated[: data.draw(st.integers(0, len(mutated)))]))


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.binary(max_size=40) | st.text(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)
TAGS = sorted({str(type(frame).__struct_config__.tag) for frame in FRAMES.values()})


@given(st.sampled_from(TAGS), st.lists(anything, max_size=6))
def test_a_known_tag_with_any_fields_is_a_frame_or_refused(tag: str, fields: list[Any]) -> None:
    decodes(encode([tag, *fields]))


def test_the_vectors_hold(expect_vectors: ExpectVectors, plain_json: Callable[[Any], Any]) -> None:
    expect_vectors(
        "frames",
        {
            "frame_bytes_max": FRAME_BYTES_MAX,
            "frames": [
                {
                    "name": name,
                    "tag": type(frame).__struct_config__.tag,
                    "fields": plain_json(frame),
                    "bytes": encode_frame(frame).hex(),
                }
                for name, frame in FRAMES.items()
            ],
            # Long ones are left to each implementation's own limits: a vector of megabytes helps nobody.
            "refused": [{"why": why, "bytes": data.hex()} for why, data in REFUSED.items() if len(data) < 4_000],
        },
    )

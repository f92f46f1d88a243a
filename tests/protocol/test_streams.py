"""Frames on a stream of bytes: whole however the stream cuts them, and nothing else gets through."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.config import FRAME_BYTES_MAX
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import Channel
from crowdcompute.protocol.identity import Identity
from crowdcompute.protocol.streams import FrameReader, framed, opening

ALICE, BOB = (Identity(bytes([seed]) * 32) for seed in (1, 2))
ADDRESSES = (
    f"/ip4/10.0.0.1/tcp/4001/p2p/{ALICE.peer_id}",
    f"/dns/alice.example.org/tcp/4001/p2p/{ALICE.peer_id}",
)
OTHERS = (f"/ip4/10.0.0.1/tcp/4001/p2p/{BOB.peer_id}", "/ip4/10.0.0.1/tcp/4001", "nonsense")
OPENING = opening("main", ADDRESSES)


def reader() -> FrameReader:
    return FrameReader("main", ALICE.peer_id)


@given(
    st.lists(st.tuples(st.sampled_from(Channel), st.binary(max_size=300)), max_size=8),
    st.lists(st.integers(1, 400), max_size=20),
)
def test_frames_come_out_as_they_went_in_however_the_stream_is_cut(
    frames: list[tuple[Channel, bytes]], cuts: list[int]
) -> None:
    stream = OPENING + b"".join(framed(channel, frame) for channel, frame in frames)
    taker = reader()
    came = []
    for size in [*cuts, len(stream)]:
        came += taker.feed(stream[:size])
        stream = stream[size:]
    assert came == frames
    assert taker.addresses == ADDRESSES


def test_only_the_peers_own_addresses_are_taken() -> None:
    taker = reader()
    taker.feed(opening("main", (*OTHERS, *ADDRESSES)))
    assert taker.addresses == ADDRESSES


HUGE = (FRAME_BYTES_MAX + 1).to_bytes(3)
REFUSED = {
    "a frame before the opening": (framed(Channel.CONTROL, b""), "before its opening"),
    "another network": (opening("elsewhere", ()), "of network 'elsewhere'"),
    "a second opening": (OPENING + OPENING, "channel 2"),
    "a channel nobody has": (OPENING + b"\x07\x00\x00\x00", "channel 7"),
    "a frame over the limit": (OPENING + b"\x00" + HUGE, "too long"),
    "an opening over the limit": (b"\x02" + HUGE, "too long"),
    "an opening that is something else": (b"\x02\x00\x00\x01\x90", "not a valid"),
    "nine addresses": (
        b"\x02\x00" + len(body := encode(("listening", "main", ("/ip4/10.0.0.1",) * 9))).to_bytes(2) + body,
        "not a valid",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_ends_the_stream(name: str) -> None:
    data, why = REFUSED[name]
    with pytest.raises(RemoteProtocolError, match=why):
        reader().feed(data)


@given(st.binary(max_size=400), st.booleans())
def test_no_bytes_raise_anything_else(data: bytes, opened: bool) -> None:
    with suppress(RemoteProtocolError):
        reader().feed((OPENING if opened else b"") + data)


def test_the_vectors_hold(expect_vectors: Any) -> None:
    frames = [(Channel.CONTROL, b""), (Channel.BULK, bytes(range(20))), (Channel.CONTROL, b"last")]
    expect_vectors(
        "streams",
        {
            "about": "What one peer writes on a stream of /crowdcompute/1; see protocol/spec/libp2p.md. Bytes are "
            "hexadecimal. The reader is of network main.",
            "peer_id": ALICE.peer_id,
            "network": "main",
            "addresses": list(ADDRESSES),
            "opening": OPENING.hex(),
            "frames": [{"channel": int(channel), "frame": frame.hex()} for channel, frame in frames],
            "stream": (OPENING + b"".join(framed(*frame) for frame in frames)).hex(),
            "refused": {name: data.hex() for name, (data, _) in REFUSED.items()},
        },
    )

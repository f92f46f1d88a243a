"""What travels on a link: one MessagePack array per frame, its first element the frame's kind (spec/session.md)."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from msgspec import Meta

from .codec import U32, U53, Body, Bytes32, decode, encode
from .config import FRAME_BYTES_MAX
from .errors import RemoteProtocolError
from .reconcile import Reconcile, ReconcileCells, ReconcileIds
from .records import Signed
from .signaling import Ask, Peers, Relay, Relayed, Undeliverable

Topic = Annotated[bytes, Meta(max_length=36)]
"""Empty: manifests of the whole network. A task id: that task's records. Task id and big-endian u32: a shard's."""

IDS_MAX = 1_500
"""Record ids of one ihave or iwant: 48 kB."""

TOPICS_MAX = 512
"""Topics of one frame, each way."""


class Hello(Body, frozen=True, tag="hello"):
    """First frame in both directions."""

    versions: Annotated[tuple[U32, ...], Meta(min_length=1, max_length=16)]
    network: Annotated[str, Meta(max_length=64)]
    agent: Annotated[str, Meta(max_length=64)]


class Ping(Body, frozen=True, tag="ping"):
    nonce: U53


class Pong(Body, frozen=True, tag="pong"):
    nonce: U53


class Bye(Body, frozen=True, tag="bye"):
    """The sender is leaving on purpose."""

    reason: Annotated[str, Meta(max_length=200)]


class Part(Body, frozen=True, tag="part"):
    """The sender closes this link and stays on the network: it has other neighbours."""


class Topics(Body, frozen=True, tag="topics"):
    """Topics the sender follows from now on, and those it no longer does."""

    follow: Annotated[tuple[Topic, ...], Meta(max_length=TOPICS_MAX)]
    leave: Annotated[tuple[Topic, ...], Meta(max_length=TOPICS_MAX)]


class Graft(Body, frozen=True, tag="graft"):
    topic: Topic


class Prune(Body, frozen=True, tag="prune"):
    topic: Topic


class IHave(Body, frozen=True, tag="ihave"):
    topic: Topic
    ids: Annotated[tuple[Bytes32, ...], Meta(max_length=IDS_MAX)]


class IWant(Body, frozen=True, tag="iwant"):
    topic: Topic
    ids: Annotated[tuple[Bytes32, ...], Meta(max_length=IDS_MAX)]


class Publish(Body, frozen=True, tag="publish"):
    """Records of one topic, new or asked for."""

    topic: Topic
    records: Annotated[tuple[Signed, ...], Meta(max_length=1_024)]


class BlobWant(Body, frozen=True, tag="blob-want"):
    """Please send `count` pieces of a blob from piece `first` on."""

    sha256: Bytes32
    first: U32
    count: Annotated[int, Meta(ge=1, le=64)]


class BlobPieceFrame(Body, frozen=True, tag="blob-piece"):
    sha256: Bytes32
    size: U53
    index: U32
    data: bytes
    proof: Annotated[tuple[Bytes32, ...], Meta(max_length=40)]


class BlobSeek(Body, frozen=True, tag="blob-seek"):
    """I fetch this blob, all of it or only pieces that I name: say which you have, now and as they come."""

    sha256: Bytes32
    whole: bool


class BlobHave(Body, frozen=True, tag="blob-have"):
    """Of the pieces from `first` on, those of the set bits are the sender's to give: bit i of byte j is 8 j + i."""

    sha256: Bytes32
    first: U32
    bits: Annotated[bytes, Meta(min_length=1, max_length=8_192)]


class BlobGot(Body, frozen=True, tag="blob-got"):
    """The sender now has these pieces to give, too."""

    sha256: Bytes32
    pieces: Annotated[tuple[U32, ...], Meta(min_length=1, max_length=256)]


class BlobCancel(Body, frozen=True, tag="blob-cancel"):
    """These pieces have come from somebody else: do not send them any more."""

    sha256: Bytes32
    pieces: Annotated[tuple[U32, ...], Meta(min_length=1, max_length=256)]


class BlobMissing(Body, frozen=True, tag="blob-missing"):
    """The sender does not have (or no longer has) this blob."""

    sha256: Bytes32


class Keep(Body, frozen=True, tag="keep"):
    """Please fetch this sealed result of mine and keep it until its chunk is closed (keeping.py)."""

    task: Bytes32
    chunk: U32
    sha256: Bytes32
    size: U53


class Kept(Body, frozen=True, tag="kept"):
    """The answer to `keep`: whether the sender has it now and keeps it."""

    task: Bytes32
    sha256: Bytes32
    kept: bool


Frame: TypeAlias = (
    Hello
    | Ping
    | Pong
    | Bye
    | Part
    | Topics
    | Graft
    | Prune
    | IHave
    | IWant
    | Reconcile
    | ReconcileCells
    | ReconcileIds
    | Publish
    | BlobWant
    | BlobPieceFrame
    | BlobSeek
    | BlobHave
    | BlobGot
    | BlobCancel
    | BlobMissing
    | Keep
    | Kept
    | Ask
    | Peers
    | Relay
    | Relayed
    | Undeliverable
)
"""The last five are the signaling server's own messages, said between neighbours (introductions.py)."""


def encode_frame(frame: Frame) -> bytes:
    """Encode one frame; the result never exceeds `FRAME_BYTES_MAX`, or that is our own bug."""
    data = encode(frame)
    assert len(data) <= FRAME_BYTES_MAX, f"{type(frame).__name__} of {len(data)} bytes"
    return data


def decode_frame(data: bytes) -> Frame:
    """Decode one frame.

    Raises:
        RemoteProtocolError: Too long, or not exactly one known frame.
    """
    if len(data) > FRAME_BYTES_MAX:
        raise RemoteProtocolError(f"a frame of {len(data)} bytes is over the limit of {FRAME_BYTES_MAX}")
    return decode(data, Frame)  # type: ignore[arg-type]  # a union is not a class for mypy

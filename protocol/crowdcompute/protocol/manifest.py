"""A task as its creator signed it (spec/manifest.md)."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from msgspec import Meta, Struct

from .codec import U32, U63, Bytes32

CHUNKS_MAX = 2**31 - 1
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the manifest's parts: MessagePack maps with named keys, so that any tool can show them."""


class BlobRef(Part, frozen=True):
    """A blob by name: SHA-256 of its bytes, its size, and the Merkle root over its 64 KiB pieces (blobs.py)."""

    sha256: Bytes32
    size: U63
    root: Bytes32


class Range(Part, frozen=True, tag="range", tag_field="kind"):
    """Chunk i gets the two little-endian i64s `start + i*step` and `min(stop, start + (i+1)*step)`."""

    start: I64
    stop: I64
    step: Annotated[int, Meta(ge=1, le=2**63 - 1)]


class Grid(Part, frozen=True, tag="grid", tag_field="kind"):
    """Row by row, chunk i gets the four little-endian i64s x, y, width, height of its tile (edges are cut)."""

    width: Annotated[int, Meta(ge=1, lt=2**31)]
    height: Annotated[int, Meta(ge=1, lt=2**31)]
    tile_width: Annotated[int, Meta(ge=1, lt=2**31)]
    tile_height: Annotated[int, Meta(ge=1, lt=2**31)]


class Items(Part, frozen=True, tag="items", tag_field="kind"):
    """Chunk i gets item i of the inputs blob, which begins with a table of offsets (spec/manifest.md)."""


class Lines(Part, frozen=True, tag="lines", tag_field="kind"):
    """Chunk i gets `per_chunk` lines of the inputs blob, line feeds included."""

    per_chunk: Annotated[int, Meta(ge=1, lt=2**31)]


class Blocks(Part, frozen=True, tag="blocks", tag_field="kind"):
    """Chunk i gets bytes `i*size` to `(i+1)*size` of the inputs blob; the last block may be shorter."""

    size: Annotated[int, Meta(ge=1, lt=2**31)]


Split: TypeAlias = Range | Grid | Items | Lines | Blocks


class Limits(Part, frozen=True):
    """What one chunk may use. Beyond them it ends as 'no result', never as a vote."""

    memory_bytes: Annotated[int, Meta(ge=65_536, le=4_096 * 65_536)]
    output_bytes: Annotated[int, Meta(ge=1, le=16 * 1024 * 1024)]
    seconds: Annotated[float, Meta(gt=0, le=3_600)]


class Policy(Part, frozen=True):
    """How sure the creator wants to be (policy.py): at most `eps` wrong results if at most `liars` of the work lies."""

    replication: Annotated[int, Meta(ge=1, le=3)]
    eps: Annotated[float, Meta(gt=0, lt=1)]
    liars: Annotated[float, Meta(ge=0, le=0.5)]
    pow_bits: Annotated[int, Meta(ge=0, le=32)]


class Manifest(Part, frozen=True):
    """Everything a volunteer needs to decide about a task and to compute it."""

    schema: Literal[1]
    name: Annotated[str, Meta(min_length=1, max_length=80)]
    description: Annotated[str, Meta(max_length=2_000)]
    link: Annotated[str, Meta(max_length=500)]
    creator: Bytes32
    seal_key: Bytes32
    runtime: Literal["wasm"]
    code: BlobRef
    split: Split
    chunks: Annotated[int, Meta(ge=1, le=CHUNKS_MAX)]
    inputs: BlobRef | None
    limits: Limits
    policy: Policy
    reward: U32
    permissions: Annotated[tuple[str, ...], Meta(max_length=0)]
    created_s: U63
    expires_s: U63

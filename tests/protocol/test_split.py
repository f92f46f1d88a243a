from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol.blobs import describe
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.manifest import Blocks, Calls, Grid, Items, Limits, Lines, Manifest, Range
from crowdcompute.protocol.split import (
    ChunkReader,
    check_inputs,
    chunk_count,
    chunk_input,
    is_numbers,
    pack_items,
    seed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    MakeManifest = Callable[..., Manifest]

SMALL = Limits(memory_bytes=65_536, output_bytes=1, seconds=1.0)


def all_inputs(manifest: Manifest, data: bytes | None = None) -> list[bytes]:
    check_inputs(manifest, data)
    reader = ChunkReader(manifest, data)
    return [reader.read(index) for index in range(manifest.chunks)]


def numbers(chunks: list[bytes]) -> list[tuple[int, ...]]:
    return [struct.unpack(f"<{len(chunk) // 8}q", chunk) for chunk in chunks]


@given(
    start=st.integers(-(2**63), 2**63 - 1),
    step=st.integers(1, 2**63 - 1),
    count=st.integers(1, 20),
    rest=st.integers(1, 2**63),
)
def test_the_chunks_of_a_range_follow_one_another_from_start_to_stop(
    make_manifest: MakeManifest, start: int, step: int, count: int, rest: int
) -> None:
    stop = min(start + (count - 1) * step + min(step, rest), 2**63 - 1)
    split = Range(start=start, stop=stop, step=step)
    chunks = chunk_count(split)
    if chunks == 0:
        return
    pairs = numbers(all_inputs(make_manifest(split=split, chunks=chunks)))
    assert pairs[0][0] == start
    assert pairs[-1][1] == stop
    assert all(begin < end <= begin + step for begin, end in pairs)
    assert all(before[1] == after[0] for before, after in pairwise(pairs))


@given(
    width=st.integers(1, 40), height=st.integers(1, 40), tile_width=st.integers(1, 50), tile_height=st.integers(1, 50)
)
def test_the_tiles_of_a_grid_cover_every_cell_once(
    make_manifest: MakeManifest, width: int, height: int, tile_width: int, tile_height: int
) -> None:
    split = Grid(width=width, height=height, tile_width=tile_width, tile_height=tile_height)
    tiles = numbers(all_inputs(make_manifest(split=split, chunks=chunk_count(split))))
    cells = [(x + dx, y + dy) for x, y, w, h in tiles for dy in range(h) for dx in range(w)]
    assert len(cells) == len(set(cells)) == width * height
    assert all(w <= tile_width and h <= tile_height for _, _, w, h in tiles)
    assert tiles == sorted(tiles, key=lambda tile: (tile[1], tile[0]))


@given(items=st.lists(st.binary(max_size=20), min_size=1, max_size=20))
def test_items_come_out_as_they_were_packed(make_manifest: MakeManifest, items: list[bytes]) -> None:
    data = pack_items(items)
    manifest = make_manifest(data=data, chunks=len(items))
    assert chunk_count(Items(), len(data), data) == len(items)
    assert all_inputs(manifest, data) == items


@given(inputs=st.lists(st.binary(max_size=20), min_size=1, max_size=20).map(tuple))
def test_calls_are_what_the_manifest_says(make_manifest: MakeManifest, inputs: tuple[bytes, ...]) -> None:
    split = Calls(inputs)
    assert all_inputs(make_manifest(split=split, chunks=chunk_count(split))) == list(inputs)
    with pytest.raises(LocalProtocolError, match="has no inputs blob"):
        ChunkReader(make_manifest(split=split, chunks=len(inputs))).span(0)


@given(
    lines=st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=20),
    per_chunk=st.integers(1, 7),
    ends_with_line_feed=st.booleans(),
)
def test_lines_are_kept_whole_and_in_order(
    make_manifest: MakeManifest, lines: list[bytes], per_chunk: int, *, ends_with_line_feed: bool
) -> None:
    data = b"\n".join(lines) + (b"\n" if ends_with_line_feed else b"")
    if not data:
        return
    split = Lines(per_chunk=per_chunk)
    manifest = make_manifest(split=split, data=data, chunks=chunk_count(split, len(data), data))
    chunks = all_inputs(manifest, data)
    assert b"".join(chunks) == data
    assert all(chunk.count(b"\n") == per_chunk and chunk.endswith(b"\n") for chunk in chunks[:-1])
    last_lines = chunks[-1].count(b"\n") + (not chunks[-1].endswith(b"\n"))
    assert 1 <= last_lines <= per_chunk


@given(data=st.binary(min_size=1, max_size=300), size=st.integers(1, 400))
def test_blocks_have_one_size_but_the_last(make_manifest: MakeManifest, data: bytes, size: int) -> None:
    split = Blocks(size=size)
    blocks = all_inputs(make_manifest(split=split, data=data, chunks=chunk_count(split, len(data))), data)
    assert b"".join(blocks) == data
    assert {len(block) for block in blocks[:-1]} <= {size}


def test_lines_longer_than_the_scanning_window_are_found(make_manifest: MakeManifest) -> None:
    data = b"a" * 1_500_000 + b"\n" + b"b" * 700_000 + b"\nlast"
    limits = Limits(memory_bytes=2_000_000, output_bytes=1, seconds=1.0)
    manifest = make_manifest(split=Lines(per_chunk=1), data=data, chunks=3, limits=limits)
    assert [len(chunk) for chunk in all_inputs(manifest, data)] == [1_500_001, 700_001, 4]


def test_a_reader_is_asked_only_for_what_a_chunk_needs(make_manifest: MakeManifest) -> None:
    data = pack_items([b"first", b"second", b"third"])
    asked: list[tuple[int, int]] = []

    def read(start: int, length: int) -> bytes:
        asked.append((start, length))
        return data[start : start + length]

    assert chunk_input(make_manifest(data=data, chunks=3), 1, read) == b"second"
    assert sum(length for _, length in asked) == 4 + 8 + 8 + 6


def items_blob(count: int, ends: list[int], payload: bytes) -> bytes:
    return struct.pack(f"<I{len(ends)}Q", count, *ends) + payload


BROKEN_ITEMS: list[tuple[str, bytes, int, str]] = [
    ("another count", pack_items([b"a"]), 2, "2 chunks, but its split makes 1"),
    ("a table longer than the blob", items_blob(9, [20], b"12345678"), 1, "too short for a table of 9"),
    ("an item that ends before it begins", items_blob(2, [24, 22], b"1234"), 2, "in order"),
    ("an item beyond the end", items_blob(1, [99], b"1234"), 1, "to its end"),
    ("bytes after the last item", items_blob(1, [14], b"1234"), 1, "to its end"),
    ("an item inside the table", items_blob(1, [3], b"1234"), 1, "in order"),
    ("an item larger than memory", pack_items([bytes(65_537)]), 1, "memory limit"),
]


@pytest.mark.parametrize(
    ("data", "chunks", "message"), [case[1:] for case in BROKEN_ITEMS], ids=[case[0] for case in BROKEN_ITEMS]
)
def test_a_broken_table_of_items_is_the_creators_fault(
    make_manifest: MakeManifest, data: bytes, chunks: int, message: str
) -> None:
    manifest = make_manifest(data=data, chunks=chunks, limits=SMALL)
    with pytest.raises(RemoteProtocolError, match=message):
        check_inputs(manifest, data)


def test_a_worker_reads_no_item_from_outside_its_bounds(make_manifest: MakeManifest) -> None:
    data = items_blob(3, [5, 30, 99], b"12")
    manifest = make_manifest(data=data, chunks=3)
    for index in range(3):
        with pytest.raises(RemoteProtocolError, match=f"item {index} lies outside"):
            chunk_input(manifest, index, data)


@given(data=st.binary(min_size=1, max_size=60), chunks=st.integers(1, 5), index=st.integers(0, 4))
def test_any_inputs_blob_gives_an_input_or_a_refusal(
    make_manifest: MakeManifest, data: bytes, chunks: int, index: int
) -> None:
    for split in (Items(), Lines(per_chunk=2), Blocks(size=7)):
        manifest = make_manifest(split=split, data=data, chunks=chunks)
        if index >= chunks:
            with pytest.raises(LocalProtocolError, match="no chunk"):
                chunk_input(manifest, index, data)
            continue
        try:
            assert chunk_input(manifest, index, data) in data
        except RemoteProtocolError:
            with pytest.raises(RemoteProtocolError):
                check_inputs(manifest, data)


def test_a_blob_shorter_than_the_manifest_says_is_refused(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(split=Blocks(size=5), data=b"0123456789", chunks=2)
    with pytest.raises(RemoteProtocolError, match="ends before"):
        chunk_input(manifest, 1, b"0123456")


def test_a_split_of_a_blob_asks_for_the_blob(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(split=Lines(per_chunk=1), data=b"a\n", chunks=1)
    with pytest.raises(LocalProtocolError, match="inputs blob is needed"):
        chunk_input(manifest, 0)


def test_numbers_are_ranges_and_grids() -> None:
    assert is_numbers(Range(start=0, stop=1, step=1))
    assert is_numbers(Grid(width=1, height=1, tile_width=1, tile_height=1))
    assert not is_numbers(Items())
    assert not is_numbers(Calls((bytes(8),)))
    assert not is_numbers(Lines(per_chunk=1))
    assert not is_numbers(Blocks(size=1))


def test_seeds_differ_between_chunks_and_tasks() -> None:
    seeds = {seed(task, chunk) for task in (bytes(32), b"\1" * 32) for chunk in range(100)}
    assert len(seeds) == 200
    assert all(0 <= each < 2**64 for each in seeds)


def test_the_split_vectors_hold(make_manifest: MakeManifest, expect_vectors: Callable[[str, object], None]) -> None:
    def case(name: str, split: Any, data: bytes | None = None) -> dict[str, Any]:
        size = 0 if data is None else len(data)
        chunks = chunk_count(split, size, data)
        inputs = None if data is None else describe(data)
        manifest = make_manifest(split=split, inputs=inputs, chunks=chunks)
        fields = {field: getattr(split, field) for field in split.__struct_fields__}
        if isinstance(split, Range):
            # JSON numbers lose digits beyond 2^53 in JavaScript.
            fields = {field: str(value) for field, value in fields.items()}
        if isinstance(split, Calls):
            fields = {"inputs": [data.hex() for data in split.inputs]}
        return {
            "name": name,
            "split": {"kind": type(split).__name__.lower(), **fields},
            "blob": None if data is None else data.hex(),
            "is_numbers": is_numbers(split),
            "chunks": [chunk.hex() for chunk in all_inputs(manifest, data)],
        }

    def refused_case(name: str, split: Any, data: bytes, chunks: int, size: int | None = None) -> dict[str, Any]:
        ref = msgspec.structs.replace(describe(data), size=len(data) if size is None else size)
        manifest = make_manifest(split=split, inputs=ref, chunks=chunks, limits=SMALL)
        with pytest.raises(RemoteProtocolError):
            check_inputs(manifest, data)
            ChunkReader(manifest, data).read(chunks - 1)
        fields = {field: getattr(split, field) for field in split.__struct_fields__}
        kind = {"kind": type(split).__name__.lower(), **fields}
        return {"name": name, "split": kind, "blob": data.hex(), "size": ref.size, "chunks": chunks}

    refused = [
        {"name": name, "blob": data.hex(), "chunks": chunks}
        for name, data, chunks, _ in BROKEN_ITEMS
        if len(data) < 1_000
    ]
    task = bytes(range(32))
    expect_vectors(
        "split",
        {
            "about": "Inputs of every chunk, in hexadecimal; see protocol/spec/manifest.md, section Split.",
            "cases": [
                case("range", Range(start=-5, stop=10, step=4)),
                case("range at the ends of i64", Range(start=-(2**63), stop=2**63 - 1, step=2**62 + 1)),
                case("grid", Grid(width=10, height=5, tile_width=4, tile_height=3)),
                case("calls", Calls((b"one", b"", b"three"))),
                case("items", Items(), pack_items([b"one", b"", b"three"])),
                case("lines", Lines(per_chunk=2), b"a\nb\n\nd\ne"),
                case("lines with a line feed at the end", Lines(per_chunk=2), b"a\nb\nc\nd\n"),
                case("blocks", Blocks(size=4), b"0123456789"),
            ],
            "refused_items": refused,
            "refused_splits": [
                refused_case("a line too few", Lines(per_chunk=1), b"a\nb\n", 3),
                refused_case("a line too many", Lines(per_chunk=1), b"a\nb\nc", 2),
                refused_case("no lines at all", Lines(per_chunk=1), b"", 1),
                refused_case("a block too many", Blocks(size=4), b"12345", 1),
                refused_case("a block too few", Blocks(size=4), b"1234", 2),
                refused_case("a blob shorter than said", Blocks(size=4), b"12345", 2, size=8),
                refused_case("items of an empty blob", Items(), b"", 1),
                refused_case("items of half a table", Items(), b"\1\0\0\0\0", 1),
            ],
            "seeds": {
                "task_id": task.hex(),
                "seeds": {str(chunk): str(seed(task, chunk)) for chunk in (0, 1, 255, 256, 2**31 - 2)},
            },
        },
    )

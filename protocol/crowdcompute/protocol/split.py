"""From a manifest and an index to one chunk's input bytes (spec/manifest.md, "Split").

`range` and `grid` need nothing but the manifest: their chunks are little-endian i64s. `calls` stand in it. `items`,
`lines` and `blocks` cut the inputs blob, which may be far larger than memory; so it may be given as a `Reader` instead
of as bytes. Of `results` the inputs blob says only which results of an earlier task a chunk gets (onward.py).

What is wrong with the inputs is the creator's fault, for every peer has checked the blob's hash: it comes out as
`RemoteProtocolError`, and equally on every peer, in every language.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, TypeAlias, assert_never

from msgspec import Meta, Struct

from .codec import Bytes32
from .errors import LocalProtocolError, RemoteProtocolError
from .identity import content_id
from .onward import ResultRef, open_refs
from .permissions import is_fetched, open_address
from .records import SHARD_CHUNKS

if TYPE_CHECKING:
    from .manifest import Manifest

CHUNKS_MAX = 2**31 - 1
CALLS_MAX = 1_024
"""Chunks whose inputs a manifest may hold."""
TASKS_MAX = 8
"""Tasks whose results one task takes at most."""
I64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]

Reader: TypeAlias = Callable[[int, int], bytes]
"""`read(start, length)`: bytes of the inputs blob, fewer at its end."""
Inputs: TypeAlias = bytes | Reader | None
"""The inputs blob; None for `range`, `grid`, `calls` and `stream`, which have none."""
Results: TypeAlias = Callable[[Sequence[ResultRef]], bytes]
"""Reads results of earlier tasks, one after another."""
FedInputs: TypeAlias = Mapping[int, bytes]
"""The inputs of a stream's chunks, as far as they have come."""

_COUNT = struct.Struct("<I")
_END = struct.Struct("<Q")
_SCAN_BYTES = 1024 * 1024


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of the manifest's parts: MessagePack maps with named keys, so that any tool can show them."""


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


class Calls(Part, frozen=True, tag="calls", tag_field="kind"):
    """Chunk i gets input i, as it stands here: a few small ones, so that whoever has the manifest can begin."""

    inputs: Annotated[tuple[bytes, ...], Meta(min_length=1, max_length=CALLS_MAX)]


class Stream(Part, frozen=True, tag="stream", tag_field="kind"):
    """Chunk i gets input i of those that its creator feeds while the task runs (feeding.py): `chunks` at most."""


class Items(Part, frozen=True, tag="items", tag_field="kind"):
    """Chunk i gets item i of the inputs blob, which begins with a table of offsets (spec/manifest.md)."""


class Lines(Part, frozen=True, tag="lines", tag_field="kind"):
    """Chunk i gets `per_chunk` lines of the inputs blob, line feeds included."""

    per_chunk: Annotated[int, Meta(ge=1, lt=2**31)]


class Blocks(Part, frozen=True, tag="blocks", tag_field="kind"):
    """Chunk i gets bytes `i*size` to `(i+1)*size` of the inputs blob; the last block may be shorter."""

    size: Annotated[int, Meta(ge=1, lt=2**31)]


class Handed(Part, frozen=True, tag="results", tag_field="kind"):
    """Chunk i gets results of earlier tasks, one after another: those that item i of the inputs blob names."""

    of: Annotated[tuple[Bytes32, ...], Meta(min_length=1, max_length=TASKS_MAX)]


Split: TypeAlias = Range | Grid | Calls | Stream | Items | Lines | Blocks | Handed


def is_numbers(split: Split) -> bool:
    """Whether a chunk's input is a few i64s (`range`, `grid`) instead of bytes of a blob."""
    return isinstance(split, Range | Grid)


def seed(task_id: bytes, chunk: int) -> int:
    """The u64 that seeds a chunk's random numbers: the first 8 bytes, little-endian, of a hash over task and chunk.

    The hash is `content_id("cc/seed/1", task id ‖ chunk as u32 little-endian)`: equal on every peer, different in
    every chunk, and fixed only once the task is signed, so a creator cannot choose it.
    """
    return int.from_bytes(content_id("cc/seed/1", task_id + _COUNT.pack(chunk))[:8], "little")


def chunk_count(split: Split, inputs_size: int = 0, inputs: Inputs = None) -> int:
    """How many chunks `split` makes. `items`, `results` and `lines` can only tell with the inputs at hand.

    Raises:
        LocalProtocolError: One of these without inputs.
        RemoteProtocolError: The table of an `items` blob does not fit the blob.
    """
    match split:
        case Range():
            return max(0, _ceil_div(split.stop - split.start, split.step))
        case Grid():
            return _ceil_div(split.width, split.tile_width) * _ceil_div(split.height, split.tile_height)
        case Calls():
            return len(split.inputs)
        case Stream():
            return SHARD_CHUNKS
        case Blocks():
            return _ceil_div(inputs_size, split.size)
        case Items() | Handed():
            return _Items(inputs_size, _reader(inputs)).count
        case Lines():
            return len(_line_starts(inputs_size, _reader(inputs), split.per_chunk))
        case _:
            assert_never(split)


def check_chunk_count(manifest: Manifest) -> None:
    """Check `chunks` against the split, as far as that goes without the inputs blob.

    Raises:
        RemoteProtocolError: Inputs are missing or superfluous, or no inputs of that size give that many chunks.
    """
    split, inputs, chunks = manifest.split, manifest.inputs, manifest.chunks
    if isinstance(split, Range | Grid | Calls | Stream):
        if inputs is not None:
            raise RemoteProtocolError(f"a {_kind(split)} split takes no inputs, but the manifest names an inputs blob")
        if isinstance(split, Stream):
            _check_stream(manifest)
            return
        _expect_chunks(chunks, chunk_count(split))
        if isinstance(split, Calls):
            _expect_fit(max(map(len, split.inputs)), manifest)
        return
    if inputs is None:
        raise RemoteProtocolError(f"a {_kind(split)} split needs inputs, but the manifest names no inputs blob")
    match split:
        case Blocks():
            _expect_chunks(chunks, chunk_count(split, inputs.size))
            _expect_fit(min(split.size, inputs.size), manifest)
        case Items() | Handed():
            possible = (inputs.size - _COUNT.size) // _END.size
        case Lines():
            # A line has at least one byte: its line feed.
            possible = _ceil_div(inputs.size, split.per_chunk)
    if isinstance(split, Items | Handed | Lines) and chunks > possible:
        raise RemoteProtocolError(
            f"the manifest says {chunks} chunks, but {inputs.size} bytes of inputs cannot hold them"
        )


def check_inputs(manifest: Manifest, inputs: Inputs) -> None:
    """Check the inputs blob itself: that it gives exactly `chunks` chunks, and every chunk's input is in bounds.

    A creator does this before signing and whoever opens a bundle does it once; a worker need not, since
    `ChunkReader.read` checks the part it reads.

    Raises:
        RemoteProtocolError: It does not. The message is one sentence.
    """
    _check_cuts(manifest, inputs)
    if is_fetched(manifest) and not isinstance(manifest.split, Handed):
        reader = ChunkReader(manifest, inputs)
        for index in range(manifest.chunks):
            reader.read(index)


def _check_cuts(manifest: Manifest, inputs: Inputs) -> None:
    size = 0 if manifest.inputs is None else manifest.inputs.size
    match manifest.split:
        case Range() | Grid() | Calls() | Stream() | Blocks():
            check_chunk_count(manifest)
            return
        case Items() | Handed():
            boundaries = _Items(size, _reader(inputs)).boundaries()
        case Lines() as split:
            boundaries = _line_starts(size, _reader(inputs), split.per_chunk)
            boundaries.append(size)
    _expect_chunks(manifest.chunks, len(boundaries) - 1)
    _expect_fit(max(end - begin for begin, end in pairwise(boundaries)), manifest)
    if isinstance(manifest.split, Handed):
        read = _reader(inputs)
        for begin, end in pairwise(boundaries):
            _expect_fit(sum(ref.size for ref in open_refs(read(begin, end - begin))), manifest)


class ChunkReader:
    """Reads the input of any chunk of one task, and remembers where lines begin, which takes one pass to find."""

    def __init__(
        self,
        manifest: Manifest,
        inputs: Inputs = None,
        results: Results | None = None,
        fed: FedInputs = MappingProxyType({}),
    ) -> None:
        self._manifest = manifest
        self._fed = fed
        self._size = 0 if manifest.inputs is None else manifest.inputs.size
        self._inputs = inputs
        self._results = results
        self._starts: array[int] | None = None

    def read(self, index: int) -> bytes:
        """The input bytes of chunk `index`.

        Raises:
            LocalProtocolError: There is no such chunk, or a split that needs the inputs blob, or results, was given
                none.
            RemoteProtocolError: The inputs do not hold what the manifest says: the creator's fault. Other chunks
                may still be fine.
        """
        data = self._input(index)
        if is_fetched(self._manifest):
            open_address(data, self._manifest.permissions)
        return data

    def _input(self, index: int) -> bytes:
        split = self._manifest.split
        self._expect_index(index)
        if isinstance(split, Range):
            begin = split.start + index * split.step
            return struct.pack("<2q", begin, min(split.stop, begin + split.step))
        if isinstance(split, Grid):
            row, column = divmod(index, _ceil_div(split.width, split.tile_width))
            x, y = column * split.tile_width, row * split.tile_height
            width, height = min(split.tile_width, split.width - x), min(split.tile_height, split.height - y)
            return struct.pack("<4q", x, y, width, height)
        if isinstance(split, Calls):
            _expect_chunks(self._manifest.chunks, len(split.inputs))
            _expect_fit(len(split.inputs[index]), self._manifest)
            return split.inputs[index]
        if isinstance(split, Stream):
            if index not in self._fed:
                raise LocalProtocolError(f"chunk {index} of a stream has not been fed")
            return self._fed[index]
        begin, end = self.span(index)
        _expect_fit(end - begin, self._manifest)
        data = _reader(self._inputs)(begin, end - begin)
        if len(data) != end - begin:
            raise RemoteProtocolError(f"the inputs blob ends before the input of chunk {index} does")
        if not isinstance(split, Handed):
            return data
        refs = open_refs(data)
        _expect_fit(sum(ref.size for ref in refs), self._manifest)
        if self._results is None:
            raise LocalProtocolError(f"the results that chunk {index} takes are not at hand")
        return self._results(refs)

    def span(self, index: int) -> tuple[int, int]:
        """Where in the inputs blob the input of chunk `index` begins and ends: the pieces a worker has to fetch.

        Raises as `read` does; a split without inputs has no spans.
        """
        split = self._manifest.split
        self._expect_index(index)
        match split:
            case Range() | Grid() | Calls() | Stream():
                raise LocalProtocolError(f"a {_kind(split)} split has no inputs blob")
            case Blocks():
                return index * split.size, min(self._size, (index + 1) * split.size)
            case Items() | Handed():
                items = _Items(self._size, _reader(self._inputs))
                _expect_chunks(self._manifest.chunks, items.count)
                return items.span(index)
            case Lines():
                if self._starts is None:
                    self._starts = _line_starts(self._size, _reader(self._inputs), split.per_chunk)
                _expect_chunks(self._manifest.chunks, len(self._starts))
                after = self._starts[index + 1] if index + 1 < len(self._starts) else self._size
                return self._starts[index], after
            case _:
                assert_never(split)

    def _expect_index(self, index: int) -> None:
        if not 0 <= index < self._manifest.chunks:
            raise LocalProtocolError(f"there is no chunk {index}: the task has {self._manifest.chunks}")


def are_read_in_pieces(manifest: Manifest, whole_bytes: int) -> bool:
    """Whether workers fetch of the inputs what their chunks need only. Where lines begin, only the whole can tell."""
    large = manifest.inputs is not None and manifest.inputs.size > whole_bytes
    return large and not isinstance(manifest.split, Lines)


def chunk_input(manifest: Manifest, index: int, inputs: Inputs = None) -> bytes:
    """The input bytes of one chunk: `ChunkReader.read` for a caller who wants only one."""
    return ChunkReader(manifest, inputs).read(index)


def pack_items(items: Iterable[bytes]) -> bytes:
    """An inputs blob for an `items` split: u32 count, one u64 end offset for each item, then the items themselves."""
    packed = list(items)
    return b"".join((items_table([len(item) for item in packed]), *packed))


def items_table(sizes: Sequence[int]) -> bytes:
    """What stands before items of these sizes in an inputs blob."""
    end = _COUNT.size + _END.size * len(sizes)
    table = bytearray(_COUNT.pack(len(sizes)))
    for size in sizes:
        end += size
        table += _END.pack(end)
    return bytes(table)


class _Items:
    """The table at the head of an `items` blob: where each item ends, counted from the blob's first byte."""

    def __init__(self, size: int, read: Reader) -> None:
        self._size = size
        self._read = read
        head = read(0, _COUNT.size)
        self.count = _COUNT.unpack(head)[0] if len(head) == _COUNT.size else 0
        self.table_end = _COUNT.size + _END.size * self.count
        if self.count > CHUNKS_MAX or self.table_end > size:
            raise RemoteProtocolError(f"the inputs blob is too short for a table of {self.count} items")

    def span(self, index: int) -> tuple[int, int]:
        begin = self.table_end if index == 0 else self._end(index - 1)
        end = self._end(index)
        if not self.table_end <= begin <= end <= self._size:
            raise RemoteProtocolError(f"item {index} lies outside the inputs blob")
        return begin, end

    def boundaries(self) -> array[int]:
        """Where every item begins, and where the last one ends: checked to cover the blob without a gap."""
        ends = self._read(_COUNT.size, self.table_end - _COUNT.size)
        table = array("Q", [self.table_end])
        table.extend(end for (end,) in _END.iter_unpack(ends))
        if any(end < begin for begin, end in pairwise(table)) or table[-1] != self._size:
            raise RemoteProtocolError("the items do not cover the inputs blob in order and to its end")
        return table

    def _end(self, index: int) -> int:
        raw = self._read(_COUNT.size + _END.size * index, _END.size)
        if len(raw) != _END.size:
            raise RemoteProtocolError("the inputs blob ends within its table of items")
        end: int = _END.unpack(raw)[0]
        return end


def _line_starts(size: int, read: Reader, per_chunk: int) -> array[int]:
    """Where every chunk of `per_chunk` lines begins. A last line needs no line feed; nothing after one is no line."""
    starts = array("Q", [0] if size else [])
    lines = 0
    for window_start in range(0, size, _SCAN_BYTES):
        window = read(window_start, _SCAN_BYTES)
        position = window.find(b"\n")
        while position >= 0:
            lines += 1
            if lines % per_chunk == 0 and window_start + position + 1 < size:
                starts.append(window_start + position + 1)
            position = window.find(b"\n", position + 1)
    return starts


def _reader(inputs: Inputs) -> Reader:
    if inputs is None:
        raise LocalProtocolError("the inputs blob is needed to split this task")
    if isinstance(inputs, bytes):
        return lambda start, length: inputs[start : start + length]
    return inputs


def _expect_chunks(stated: int, derived: int) -> None:
    if stated != derived:
        raise RemoteProtocolError(f"the manifest says {stated} chunks, but its split makes {derived}")


def _check_stream(manifest: Manifest) -> None:
    """A stream is one shard, computed while its creator is there, and no source of further tasks."""
    if manifest.chunks > SHARD_CHUNKS:
        raise RemoteProtocolError(
            f"a stream has at most {SHARD_CHUNKS} chunks, and the manifest says {manifest.chunks}"
        )
    if manifest.epochs is not None or manifest.onward or manifest.permissions:
        raise RemoteProtocolError("a stream has no epochs, fetches nothing, and its results do not go onward")


def _expect_fit(size: int, manifest: Manifest) -> None:
    """An input larger than the chunk's memory could only waste a volunteer's bandwidth."""
    if size > manifest.limits.memory_bytes:
        raise RemoteProtocolError(f"a chunk's input of {size} bytes is larger than the chunk's memory limit")


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _kind(split: Split) -> str:
    return "results" if isinstance(split, Handed) else type(split).__name__.lower()

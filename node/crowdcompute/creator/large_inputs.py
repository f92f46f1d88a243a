"""Inputs too large to hold in memory: read from their files as they are needed, never all at once."""

from __future__ import annotations

import os
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from crowdcompute.protocol.split import items_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LARGE_BYTES = 64 * 2**20
"""Inputs up to this size are read at once, and may be packed into a bundle."""

_READ_BYTES = 2**20


class LargeInputs:
    """An inputs blob that stays in its files. It is a `split.Reader`: call it for some of its bytes.

    Whoever keeps it checks its hash again (`DiskBlobStore.put_file`), because a file may change between two readings.
    """

    def __init__(self, parts: Sequence[bytes | Path]) -> None:
        """One after the other.

        Raises:
            OSError: A file cannot be read.
        """
        self._parts = parts
        sizes = [part.stat().st_size if isinstance(part, Path) else len(part) for part in parts]
        self._starts = list(accumulate(sizes, initial=0))

    @classmethod
    def packed(cls, files: Sequence[Path]) -> LargeInputs:
        """Every file as one item, behind the table of an `items` blob."""
        return cls([items_table([file.stat().st_size for file in files]), *files])

    def __len__(self) -> int:
        return self._starts[-1]

    def __call__(self, start: int, length: int) -> bytes:
        """`length` bytes from `start`, fewer at the end."""
        found, end = [], min(start + length, len(self))
        while start < end:
            number = bisect_right(self._starts, start) - 1
            part, within = self._parts[number], start - self._starts[number]
            taken = min(end, self._starts[number + 1]) - start
            found.append(_read(part, within, taken) if isinstance(part, Path) else part[within : within + taken])
            start += taken
        return b"".join(found)

    def blocks(self) -> Iterator[bytes]:
        """All of it, a part at a time."""
        return (self(start, _READ_BYTES) for start in range(0, len(self), _READ_BYTES))


def _read(path: Path, start: int, length: int) -> bytes:
    file = os.open(path, os.O_RDONLY)
    try:
        return os.pread(file, length, start)
    finally:
        os.close(file)

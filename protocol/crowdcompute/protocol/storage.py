"""Where blobs are kept: the one thing the core reads and writes itself.

It is an argument, like the random generator: a folder on disk for a node, a dictionary for a simulation. Everything
is synchronous, because reading one 64 KiB piece costs less than scheduling it.
"""

from __future__ import annotations

from typing import Protocol


class BlobStore(Protocol):
    """Bytes by their SHA-256. What was put survives a crash; nothing half-written is ever visible."""

    def size(self, digest: bytes) -> int | None:
        """The blob's size in bytes, or None when it is not here."""

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        """`length` bytes from `start` (fewer at the end). The blob must be here."""

    def put(self, digest: bytes, data: bytes) -> None:
        """Keep bytes whose SHA-256 the caller has checked."""

    def discard(self, digest: bytes) -> None:
        """Forget a blob that nothing refers to any more."""


class MemoryBlobStore:
    """Blobs in a dictionary: for simulations and tests."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}

    def size(self, digest: bytes) -> int | None:
        blob = self._blobs.get(digest)
        return None if blob is None else len(blob)

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        return self._blobs[digest][start : start + length]

    def put(self, digest: bytes, data: bytes) -> None:
        self._blobs[digest] = data

    def discard(self, digest: bytes) -> None:
        self._blobs.pop(digest, None)

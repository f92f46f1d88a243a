"""Where blobs are kept: the one thing the core reads and writes itself.

It is an argument, like the random generator: a folder on disk for a node, a dictionary for a simulation. Everything
is synchronous, because reading one 64 KiB piece costs less than scheduling it.

    a blob:  nothing --put--------------------------------------> WHOLE
                '-----begin--> PARTIAL --put_piece …--> --finish----'
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from .blobs import PIECE_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence


class NoRoom(Exception):  # It is no error of ours or of a peer's.
    """The store is full of what may not go. Nothing was kept."""


class BlobStore(Protocol):
    """Bytes by their SHA-256. What was put survives a crash; nothing half-written is ever visible."""

    def size(self, digest: bytes) -> int | None:
        """The blob's size in bytes, or None when not all of it is here."""

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        """`length` bytes from `start` (fewer at the end). They must be here: the blob, or these pieces of it."""

    def put(self, digest: bytes, data: bytes) -> None:
        """Keep bytes whose SHA-256 the caller has checked.

        Raises:
            NoRoom: They do not fit.
        """

    def begin(self, digest: bytes, size: int) -> dict[int, bytes]:
        """Take pieces of this blob from now on. Returns the nodes of its tree that an earlier life kept with pieces.

        Raises:
            NoRoom: It would not fit.
        """

    def put_piece(self, digest: bytes, index: int, data: bytes, nodes: Sequence[tuple[int, bytes]]) -> None:
        """Keep one checked piece of a blob begun, and the nodes of its tree that came with it."""

    def finish(self, digest: bytes) -> bool:
        """All pieces are here. Whether they have the SHA-256: then the blob is whole, else nothing of it is left."""

    def discard(self, digest: bytes) -> None:
        """Forget a blob, or what is here of it, that nothing refers to any more."""


class MemoryBlobStore:
    """Blobs in a dictionary: for simulations and tests."""

    def __init__(self) -> None:
        self._blobs: dict[bytes, bytes] = {}
        self._pieces: dict[bytes, dict[int, bytes]] = {}
        self._nodes: dict[bytes, dict[int, bytes]] = {}

    def size(self, digest: bytes) -> int | None:
        blob = self._blobs.get(digest)
        return None if blob is None else len(blob)

    def read(self, digest: bytes, start: int, length: int) -> bytes:
        blob = self._blobs.get(digest)
        if blob is not None:
            return blob[start : start + length]
        pieces = self._pieces[digest]
        first, last = start // PIECE_BYTES, (start + max(1, length) - 1) // PIECE_BYTES
        data = b"".join(pieces.get(index, b"") for index in range(first, last + 1))
        return data[start - first * PIECE_BYTES :][:length]

    def put(self, digest: bytes, data: bytes) -> None:
        self.discard(digest)
        self._blobs[digest] = data

    def begin(self, digest: bytes, size: int) -> dict[int, bytes]:
        self._pieces.setdefault(digest, {})
        return dict(self._nodes.setdefault(digest, {}))

    def put_piece(self, digest: bytes, index: int, data: bytes, nodes: Sequence[tuple[int, bytes]]) -> None:
        self._pieces[digest][index] = data
        self._nodes[digest].update(nodes)

    def finish(self, digest: bytes) -> bool:
        pieces = self._pieces[digest]
        data = b"".join(pieces[index] for index in range(len(pieces)))
        self.discard(digest)
        if sha256(data).digest() != digest:
            return False
        self._blobs[digest] = data
        return True

    def discard(self, digest: bytes) -> None:
        for kept in (self._blobs, self._pieces, self._nodes):
            kept.pop(digest, None)

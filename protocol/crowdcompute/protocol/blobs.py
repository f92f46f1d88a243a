"""Blobs: bytes named by their SHA-256, moved in verified pieces (spec/blobs.md).

A blob is cut into pieces of 64 KiB; the last may be shorter, and an empty blob has none. A Merkle tree over the pieces
lets whoever knows its root check each piece as it arrives, from anybody, in any order.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from . import merkle
from .errors import LocalProtocolError, RemoteProtocolError
from .manifest import BlobRef

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECE_BYTES = 64 * 1024


def piece_count(size: int) -> int:
    """How many pieces a blob of `size` bytes has."""
    return -(-size // PIECE_BYTES)


def piece_size(size: int, index: int) -> int:
    """How many bytes piece `index` of a blob of `size` bytes has."""
    return min(PIECE_BYTES, size - index * PIECE_BYTES)


def piece_hashes(data: bytes) -> list[bytes]:
    """The leaves of a blob's tree, in order. Whoever serves a blob keeps them, to prove pieces with `merkle.proof`."""
    return [merkle.leaf_hash(data[start : start + PIECE_BYTES]) for start in range(0, len(data), PIECE_BYTES)]


def describe(data: bytes) -> BlobRef:
    """The reference under which `data` can be asked for and checked."""
    return BlobRef(sha256=sha256(data).digest(), size=len(data), root=merkle.root(piece_hashes(data)))


class PieceAssembly:
    """Collects the pieces of one blob in any order, from anybody, and gives the whole once it is complete.

    With the root known, every piece is checked as it comes, and a liar is known at once. Without it (a result, of
    which a vote tells only hash and size) the hash of the whole decides: then ask one peer for all pieces, because
    `whole` cannot tell which of several lied.
    """

    def __init__(self, digest: bytes, size: int, root: bytes | None = None) -> None:
        self.digest = digest
        self.size = size
        self.root = root
        self._pieces: dict[int, bytes] = {}
        self._first_missing = 0

    @property
    def complete(self) -> bool:
        return len(self._pieces) == piece_count(self.size)

    def missing(self) -> Iterator[int]:
        """Indices of the pieces that still have to come, ascending.

        One by one, because a manifest may claim a blob of any size, and a list of its pieces would fill the memory.
        """
        while self._first_missing in self._pieces:
            self._first_missing += 1
        return (index for index in range(self._first_missing, piece_count(self.size)) if index not in self._pieces)

    def add(self, index: int, data: bytes, proof: Sequence[bytes] = ()) -> bool:
        """Take one piece; False when it was here already. Without a root, `proof` is not looked at.

        Raises:
            RemoteProtocolError: There is no such piece, its length is wrong, or its proof does not lead to the root.
                Nothing changed; whoever sent it broke the protocol.
        """
        count = piece_count(self.size)
        if not 0 <= index < count:
            raise RemoteProtocolError(f"there is no piece {index}: the blob has {count}")
        if len(data) != piece_size(self.size, index):
            raise RemoteProtocolError(f"piece {index} has {len(data)} bytes, not {piece_size(self.size, index)}")
        if self.root is not None and not merkle.verifies(merkle.leaf_hash(data), index, count, proof, self.root):
            raise RemoteProtocolError(f"piece {index} does not belong to the blob: its proof is wrong")
        if index in self._pieces:
            return False
        self._pieces[index] = data
        return True

    def whole(self) -> bytes:
        """The blob's bytes, checked against its SHA-256.

        Raises:
            LocalProtocolError: Pieces are missing still.
            RemoteProtocolError: The bytes have another hash. All pieces are forgotten, so `missing` names them
                again. With a root this is the fault of whoever made the reference, without one of the sender.
        """
        if not self.complete:
            missing = piece_count(self.size) - len(self._pieces)
            raise LocalProtocolError(f"{missing} pieces of the blob are missing")
        data = b"".join(self._pieces[index] for index in range(piece_count(self.size)))
        if sha256(data).digest() != self.digest:
            self._pieces.clear()
            self._first_missing = 0
            raise RemoteProtocolError("the pieces put together are not the blob that was asked for")
        return data

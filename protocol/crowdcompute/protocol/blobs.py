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
    from collections.abc import Iterable, Iterator, Sequence

PIECE_BYTES = 64 * 1024


def piece_count(size: int) -> int:
    """How many pieces a blob of `size` bytes has."""
    return -(-size // PIECE_BYTES)


def piece_size(size: int, index: int) -> int:
    """How many bytes piece `index` of a blob of `size` bytes has."""
    return min(PIECE_BYTES, size - index * PIECE_BYTES)


def piece_hashes(data: bytes) -> list[bytes]:
    """The leaves of a blob's tree, in order. Whoever serves a blob keeps them, to prove pieces with `merkle.proof`."""
    with memoryview(data) as whole:
        return [merkle.leaf_hash(whole[start : start + PIECE_BYTES]) for start in range(0, len(whole), PIECE_BYTES)]


def describe_stream(chunks: Iterable[bytes]) -> BlobRef:
    """The reference of bytes that come in parts of any length: a blob that does not fit the memory."""
    whole, size, leaves, rest = sha256(), 0, list[bytes](), b""
    for chunk in chunks:
        whole.update(chunk)
        size += len(chunk)
        rest += chunk
        cut = len(rest) - len(rest) % PIECE_BYTES
        leaves += piece_hashes(rest[:cut])
        rest = rest[cut:]
    return BlobRef(sha256=whole.digest(), size=size, root=merkle.root(leaves + piece_hashes(rest)))


def describe(data: bytes) -> BlobRef:
    """The reference under which `data` can be asked for and checked."""
    return BlobRef(sha256=sha256(data).digest(), size=len(data), root=merkle.root(piece_hashes(data)))


def check_piece(size: int, root: bytes | None, index: int, data: bytes, proof: Sequence[bytes]) -> bytes:
    """The leaf of one piece of a blob, once length and proof are right. Without a root, `proof` is not looked at.

    Raises:
        RemoteProtocolError: There is no such piece, its length is wrong, or its proof does not lead to the root.
    """
    count = piece_count(size)
    if not 0 <= index < count:
        raise RemoteProtocolError(f"there is no piece {index}: the blob has {count}")
    if len(data) != piece_size(size, index):
        raise RemoteProtocolError(f"piece {index} has {len(data)} bytes, not {piece_size(size, index)}")
    leaf = merkle.leaf_hash(data)
    if root is not None and not merkle.verifies(leaf, index, count, proof, root):
        raise RemoteProtocolError(f"piece {index} does not belong to the blob: its proof is wrong")
    return leaf


class PieceAssembly:
    """Collects the pieces of a blob without a known root, and gives the whole once it is complete.

    Of a result a vote tells only hash and size, so the hash of the whole decides: ask one peer for all pieces, because
    `whole` cannot tell which of several lied. Results are small enough for the memory; all else has a root (pieces.py).
    """

    def __init__(self, digest: bytes, size: int) -> None:
        self.digest = digest
        self.size = size
        self._pieces: dict[int, bytes] = {}
        self._first_missing = 0

    @property
    def complete(self) -> bool:
        return len(self._pieces) == piece_count(self.size)

    def missing(self) -> Iterator[int]:
        """Indices of the pieces that still have to come, ascending.

        One by one, because a vote may claim a result of any size, and a list of its pieces would fill the memory.
        """
        while self._first_missing in self._pieces:
            self._first_missing += 1
        return (index for index in range(self._first_missing, piece_count(self.size)) if index not in self._pieces)

    def add(self, index: int, data: bytes) -> bool:
        """Take one piece; False when it was here already.

        Raises:
            RemoteProtocolError: There is no such piece, or its length is wrong. Nothing changed; whoever sent it broke
                the protocol.
        """
        check_piece(self.size, None, index, data, ())
        if index in self._pieces:
            return False
        self._pieces[index] = data
        return True

    def whole(self) -> bytes:
        """The blob's bytes, checked against its SHA-256.

        Raises:
            LocalProtocolError: Pieces are missing still.
            RemoteProtocolError: The bytes have another hash: the fault of their sender. All pieces are forgotten, so
                `missing` names them again.
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

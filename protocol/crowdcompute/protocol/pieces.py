"""Pieces of one blob as they come, each proved by the blob's root, and as they are given on (spec/blobs.md).

    a piece:  MISSING --its proof leads to the root--> HERE, stored, and given on with the same proof

A set of pieces is a whole number whose bit i stands for piece i. Whoever holds a piece holds the siblings of its proof,
too: so it can prove the piece to others before it has the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import merkle
from .blobs import PIECE_BYTES, check_piece, piece_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

    from .storage import BlobStore


def members(pieces: int) -> Iterator[int]:
    """The pieces of a set, ascending."""
    while pieces:
        low = pieces & -pieces
        yield low.bit_length() - 1
        pieces ^= low


def set_of(indices: Sequence[int]) -> int:
    """The set of these pieces."""
    pieces = 0
    for index in indices:
        pieces |= 1 << index
    return pieces


def pieces_of(start: int, length: int) -> int:
    """The pieces that hold these bytes of a blob."""
    first, end = start // PIECE_BYTES, -(-(start + length) // PIECE_BYTES)
    return (1 << end) - (1 << first) if length > 0 else 0


def draw(pieces: int, rng: Random) -> int:
    """A piece of a set that is not empty: the next one from a random place on."""
    start = rng.randrange(pieces.bit_length())
    after = pieces >> start
    return start + (after & -after).bit_length() - 1


class PieceTree:
    """The known hashes of a blob's tree. A node's number counts level by level, the leaves first."""

    def __init__(self, count: int) -> None:
        self.nodes: dict[int, bytes] = {}
        self.count = count

    @classmethod
    def of(cls, leaves: Sequence[bytes]) -> PieceTree:
        """The whole tree over these leaves."""
        tree, base, level = cls(len(leaves)), 0, list(leaves)
        while level:
            tree.nodes.update(enumerate(level, base))
            base += len(level)
            level = merkle.parents(level) if len(level) > 1 else []
        return tree

    def path(self, index: int) -> Iterator[tuple[int, int | None]]:
        """From a leaf up to the root: the number of each node and of its sibling, where it has one."""
        base, count = 0, self.count
        while True:
            sibling = index ^ 1
            yield base + index, base + sibling if sibling < count else None
            if count == 1:
                return
            base, index, count = base + count, index // 2, (count + 1) // 2

    def proof(self, index: int) -> tuple[bytes, ...]:
        """The siblings of a piece that is here."""
        return tuple(self.nodes[sibling] for _, sibling in self.path(index) if sibling is not None)

    def learn(self, index: int, leaf: bytes, proof: Sequence[bytes]) -> list[tuple[int, bytes]]:
        """Remember a piece's leaf and siblings, which the caller has checked; those that were not known before."""
        siblings = iter(proof)
        found = [(index, leaf)]
        found += [(sibling, next(siblings)) for _, sibling in self.path(index) if sibling is not None]
        new = [(number, node) for number, node in found if number not in self.nodes]
        self.nodes.update(new)
        return new


class Partial:
    """A blob of which some pieces are here, in the store, all of them proved."""

    def __init__(self, blobs: BlobStore, digest: bytes, size: int, root: bytes) -> None:
        """Go on with what an earlier life left in the store, as far as its hashes still lead to the root.

        Raises:
            NoRoom: The store does not take a blob of this size.
        """
        self.digest = digest
        self.size = size
        self.root = root
        self.count = piece_count(size)
        self.here = 0
        self._blobs = blobs
        self.tree = PieceTree(self.count)
        kept = PieceTree(self.count)
        kept.nodes = blobs.begin(digest, size)
        for index in sorted(number for number in kept.nodes if number < self.count):
            try:
                proof = kept.proof(index)
            except KeyError:
                continue  # Its leaf is there as somebody's sibling only.
            data = blobs.read(digest, index * PIECE_BYTES, PIECE_BYTES)
            if merkle.verifies(merkle.leaf_hash(data), index, self.count, proof, root):
                self.tree.learn(index, kept.nodes[index], proof)
                self.here |= 1 << index

    @property
    def complete(self) -> bool:
        return self.here == (1 << self.count) - 1

    def add(self, index: int, data: bytes, proof: Sequence[bytes]) -> bool:
        """Take one piece; False when it was here already.

        Raises:
            RemoteProtocolError: It is not this blob's. Nothing changed; whoever sent it broke the protocol.
        """
        leaf = check_piece(self.size, self.root, index, data, proof)
        if self.here >> index & 1:
            return False
        self._blobs.put_piece(self.digest, index, data, self.tree.learn(index, leaf, proof))
        self.here |= 1 << index
        return True

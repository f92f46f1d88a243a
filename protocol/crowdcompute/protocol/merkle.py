"""Merkle trees over a list of leaves (spec/blobs.md, "Tree").

The shape is RFC 6962's: a tree of n leaves has a left subtree of the largest power of two below n. Leaf and inner
hashes carry different prefixes, so that an inner node can never be passed off as a leaf.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
_LEAF = sha256(b"\x00")


def leaf_hash(data: bytes | memoryview) -> bytes:
    """Hash of one leaf's bytes."""
    leaf = _LEAF.copy()
    leaf.update(data)
    return leaf.digest()


def root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root over already hashed leaves, in order. The root of no leaves is SHA-256 of nothing."""
    level = list(leaf_hashes)
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = parents(level)
    return level[0]


def parents(level: Sequence[bytes]) -> list[bytes]:
    """The level above. Pairing neighbours and carrying an odd last node up unchanged builds RFC 6962's shape."""
    paired = [sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
    if len(level) % 2:
        paired.append(level[-1])
    return paired


def proof(leaf_hashes: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """Siblings from leaf `index` up to the root: what `verifies` needs besides the leaf itself."""
    if not 0 <= index < len(leaf_hashes):
        raise IndexError(index)
    level = list(leaf_hashes)
    siblings = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            siblings.append(level[sibling])
        level = parents(level)
        index //= 2
    return tuple(siblings)


def verifies(leaf: bytes, index: int, count: int, siblings: Sequence[bytes], expected_root: bytes) -> bool:
    """Whether the hashed `leaf` stands at `index` of the `count` leaves below `expected_root`."""
    if not 0 <= index < count:
        return False
    node, remaining = leaf, iter(siblings)
    while count > 1:
        if index ^ 1 < count:
            sibling = next(remaining, None)
            if sibling is None:
                return False
            node = sha256(b"\x01" + (sibling + node if index % 2 else node + sibling)).digest()
        index //= 2
        count = (count + 1) // 2
    return next(remaining, None) is None and node == expected_root

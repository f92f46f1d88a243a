from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcompute.protocol import merkle

LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(9)]


def rfc6962_root(leaves: list[bytes]) -> bytes:
    """The definition as RFC 6962 section 2.1 writes it, recursively."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + rfc6962_root(leaves[:split]) + rfc6962_root(leaves[split:])).digest()


@given(st.lists(st.binary(max_size=4), max_size=70))
def test_the_tree_has_the_shape_of_rfc_6962(items: list[bytes]) -> None:
    leaves = [merkle.leaf_hash(item) for item in items]
    assert merkle.root(leaves) == rfc6962_root(leaves)


@given(count=st.integers(1, 70), data=st.data())
def test_a_proof_verifies_at_its_own_place_only(count: int, data: st.DataObject) -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(count)]
    root = merkle.root(leaves)
    index = data.draw(st.integers(0, count - 1))
    proof = merkle.proof(leaves, index)
    assert merkle.verifies(leaves[index], index, count, proof, root)
    for other in set(range(-1, count + 1)) - {index}:
        assert not merkle.verifies(leaves[index], other, count, proof, root)


@given(st.integers(0, 8), st.data())
def test_a_changed_proof_does_not_verify(index: int, data: st.DataObject) -> None:
    root = merkle.root(LEAVES)
    proof = list(merkle.proof(LEAVES, index))
    place = data.draw(st.integers(0, len(proof) - 1))
    for changed in (
        [*proof[:place], bytes(32), *proof[place + 1 :]],
        proof[:-1],
        [*proof, bytes(32)],
        [*proof[:place], b"", *proof[place + 1 :]],
    ):
        assert not merkle.verifies(LEAVES[index], index, len(LEAVES), changed, root)


def test_an_inner_node_is_no_leaf() -> None:
    pair = LEAVES[:2]
    inner = merkle.root(pair)
    assert merkle.leaf_hash(pair[0] + pair[1]) != inner
    assert merkle.leaf_hash(b"\x01" + pair[0] + pair[1]) != inner


def test_a_proof_of_a_leaf_that_is_not_there_cannot_be_asked_for() -> None:
    with pytest.raises(IndexError):
        merkle.proof(LEAVES, 9)
    with pytest.raises(IndexError):
        merkle.proof(LEAVES, -1)

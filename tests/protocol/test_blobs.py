from __future__ import annotations

from hashlib import sha256
from itertools import islice, pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol import merkle
from crowdcompute.protocol.blobs import (
    PIECE_BYTES,
    PieceAssembly,
    check_piece,
    describe,
    describe_stream,
    piece_count,
    piece_hashes,
    piece_size,
)
from crowdcompute.protocol.errors import LocalProtocolError, RemoteProtocolError
from crowdcompute.protocol.pieces import Partial, PieceTree
from crowdcompute.protocol.storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = st.one_of(
    st.integers(0, 3), st.integers(-2, 2).map(lambda near: PIECE_BYTES * 2 + near), st.integers(0, PIECE_BYTES * 5)
)


def pattern(size: int) -> bytes:
    """Bytes in which no two pieces are alike."""
    block = b"".join(sha256(number.to_bytes(4, "little")).digest() for number in range(size // 32 + 1))
    return block[:size]


def pieces(data: bytes) -> list[tuple[int, bytes, tuple[bytes, ...]]]:
    hashes = piece_hashes(data)
    return [
        (index, data[index * PIECE_BYTES : (index + 1) * PIECE_BYTES], merkle.proof(hashes, index))
        for index in range(len(hashes))
    ]


@settings(max_examples=30)
@given(size=SIZES, shuffle=st.randoms(use_true_random=False))
def test_pieces_in_any_order_give_the_blob(size: int, shuffle: object) -> None:
    data = pattern(size)
    ref = describe(data)
    assembly = PieceAssembly(ref.sha256, ref.size)
    arriving = pieces(data)
    shuffle.shuffle(arriving)  # type: ignore[attr-defined]  # hypothesis types its Random as object
    for index, piece, _ in arriving:
        assert not assembly.complete
        assert index in assembly.missing()
        assert assembly.add(index, piece)
        assert not assembly.add(index, piece)
    assert assembly.complete
    assert list(assembly.missing()) == []
    assert assembly.whole() == data


@given(st.integers(0, 2**53 - 1))
def test_the_sizes_of_all_pieces_add_up_to_the_blob(size: int) -> None:
    count = piece_count(size)
    if count:
        last = piece_size(size, count - 1)
        assert 1 <= last <= PIECE_BYTES
        assert (count - 1) * PIECE_BYTES + last == size
    else:
        assert size == 0


def test_with_a_root_a_false_piece_is_known_at_once() -> None:
    data = pattern(PIECE_BYTES * 3 + 7)
    ref = describe(data)
    store = MemoryBlobStore()
    partial = Partial(store, ref.sha256, ref.size, ref.root)
    index, piece, proof = pieces(data)[1]
    for false in ((index, bytes(PIECE_BYTES), proof), (index, piece, ()), (index - 1, piece, proof)):
        with pytest.raises(RemoteProtocolError, match="proof is wrong"):
            partial.add(*false)
    assert partial.here == 0
    assert not store.begin(ref.sha256, ref.size)


def test_pieces_that_cannot_belong_are_refused_even_without_a_root() -> None:
    assembly = PieceAssembly(bytes(32), PIECE_BYTES + 5)
    with pytest.raises(RemoteProtocolError, match="no piece 2"):
        assembly.add(2, b"x")
    with pytest.raises(RemoteProtocolError, match="no piece -1"):
        assembly.add(-1, b"x")
    with pytest.raises(RemoteProtocolError, match="has 6 bytes, not 5"):
        assembly.add(1, b"123456")


def test_without_a_root_the_hash_of_the_whole_decides_and_the_pieces_are_asked_for_again() -> None:
    data = pattern(PIECE_BYTES + 5)
    assembly = PieceAssembly(sha256(data).digest(), len(data))
    assembly.add(0, data[:PIECE_BYTES])
    with pytest.raises(LocalProtocolError, match="1 pieces"):
        assembly.whole()
    assembly.add(1, b"liars")
    with pytest.raises(RemoteProtocolError, match="not the blob"):
        assembly.whole()
    assert list(assembly.missing()) == [0, 1]


def test_a_claimed_size_costs_no_memory_before_its_pieces_come() -> None:
    assembly = PieceAssembly(bytes(32), 2**62)
    assert not assembly.complete
    with pytest.raises(RemoteProtocolError):
        assembly.add(0, b"short")


@given(st.integers(-1, 9), st.binary(max_size=9), st.lists(st.binary(max_size=33), max_size=4))
def test_any_piece_is_taken_or_refused(index: int, data: bytes, proof: list[bytes]) -> None:
    blob = b"small"
    ref = describe(blob)
    store = MemoryBlobStore()
    partial = Partial(store, ref.sha256, ref.size, ref.root)
    try:
        partial.add(index, data, proof)
    except RemoteProtocolError:
        assert (index, data, proof) != (0, blob, [])
    else:
        assert partial.complete
        assert store.finish(ref.sha256)


def told(piece: bytes, data: bytes) -> dict[str, object]:
    """Where a piece stands in the blob, and what follows or is changed: 64 KiB in hexadecimal tell nobody anything."""
    start = data.find(piece[:6])
    if data[start : start + len(piece)] == piece:
        return {"start": start, "bytes": len(piece), "rest": ""}
    common = next(n for n in range(len(piece)) if data[start : start + n + 1] != piece[: n + 1])
    return {"start": start, "bytes": common, "rest": piece[common:].hex()}


def test_the_blob_vectors_hold(expect_vectors: Callable[[str, object], None]) -> None:
    cases = []
    for size in (0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, PIECE_BYTES * 5 + 1):
        data = pattern(size)
        ref = describe(data)
        hashes = piece_hashes(data)
        cases.append(
            {
                "size": size,
                "sha256": ref.sha256.hex(),
                "root": ref.root.hex(),
                "pieces": [piece.hex() for piece in hashes],
                "proofs": [[step.hex() for step in merkle.proof(hashes, index)] for index in range(len(hashes))],
            }
        )
    data = pattern(PIECE_BYTES * 3 + 7)
    ref = describe(data)
    arriving = pieces(data)
    last = arriving[3]
    refused = {
        "a piece there is not": (4, *last[1:]),
        "another piece's place": (1, arriving[2][1], arriving[2][2]),
        "a byte too few": (3, last[1][:-1], last[2]),
        "a byte too many": (3, last[1] + b"\0", last[2]),
        "an altered byte": (3, last[1][:-1] + bytes((last[1][-1] ^ 1,)), last[2]),
        "no proof": (3, last[1], ()),
        "a proof cut short": (3, last[1], last[2][:-1]),
        "a proof with a step too many": (3, last[1], (*last[2], bytes(32))),
        "a proof out of order": (3, last[1], tuple(reversed(last[2]))),
        "another piece's proof": (3, last[1], arriving[1][2]),
    }
    for index, piece, proof in refused.values():
        with pytest.raises(RemoteProtocolError):
            check_piece(ref.size, ref.root, index, piece, proof)
    expect_vectors(
        "blobs",
        {
            "refused_pieces": {
                "size": ref.size,
                "sha256": ref.sha256.hex(),
                "root": ref.root.hex(),
                "pieces": [
                    # Of a piece only what is told from the blob itself: its own is named, not written down.
                    {"why": why, "index": index, **told(piece, data), "proof": [step.hex() for step in proof]}
                    for why, (index, piece, proof) in refused.items()
                ],
            },
            "about": "Blobs made of SHA-256(u32 0) ‖ SHA-256(u32 1) ‖ … (little-endian), cut to size; spec/blobs.md.",
            "piece_bytes": PIECE_BYTES,
            "cases": cases,
        },
    )


def test_a_blob_that_claims_any_size_costs_nothing_until_its_pieces_come() -> None:
    assembly = PieceAssembly(bytes(32), 2**53 - 1)
    assert list(islice(assembly.missing(), 3)) == [0, 1, 2]


@settings(max_examples=30)
@given(size=SIZES, cuts=st.lists(st.integers(0, PIECE_BYTES * 5), max_size=5))
def test_a_blob_described_part_by_part_has_the_same_reference(size: int, cuts: list[int]) -> None:
    data = pattern(size)
    places = [0, *sorted(cut for cut in cuts if cut < size), size]
    assert describe_stream(data[start:end] for start, end in pairwise(places)) == describe(data)


@settings(max_examples=30)
@given(count=st.integers(1, 40), some=st.sets(st.integers(0, 39)))
def test_whoever_holds_some_pieces_proves_them_as_whoever_holds_all_does(count: int, some: set[int]) -> None:
    leaves = [merkle.leaf_hash(bytes([number])) for number in range(count)]
    whole, known = PieceTree.of(leaves), PieceTree(count)
    for index in sorted(some & set(range(count))):
        assert whole.proof(index) == merkle.proof(leaves, index)
        known.learn(index, leaves[index], whole.proof(index))
        assert known.proof(index) == whole.proof(index)


def test_what_an_earlier_life_left_is_taken_up_as_far_as_it_still_leads_to_the_root() -> None:
    data = pattern(PIECE_BYTES * 5 + 1)
    ref, store = describe(data), MemoryBlobStore()
    first = Partial(store, ref.sha256, ref.size, ref.root)
    for index, piece, proof in pieces(data)[1:4]:
        first.add(index, piece, proof)
    store.put_piece(ref.sha256, 2, bytes(PIECE_BYTES), ())  # a power cut
    again = Partial(store, ref.sha256, ref.size, ref.root)
    assert again.here == 0b1010
    assert again.tree.proof(3) == pieces(data)[3][2]
    for arriving in pieces(data):
        again.add(*arriving)
    assert store.finish(ref.sha256)
    assert store.read(ref.sha256, 0, ref.size) == data

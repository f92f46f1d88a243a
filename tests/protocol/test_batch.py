"""Sealed batches: both ends can open them, nobody else can, and a root fits one batch only."""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdcompute.protocol import merkle
from crowdcompute.protocol.assigning import open_assignment
from crowdcompute.protocol.batch import (
    BATCH_BYTES_MAX,
    CUSTODIANS_MAX,
    DETAIL_BYTES_MAX,
    Leaf,
    custodians_of,
    open_commit,
    seal_commit,
)
from crowdcompute.protocol.codec import encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.events import ChunkOutcome, Status
from crowdcompute.protocol.identity import SEAL_BYTES, Identity
from crowdcompute.protocol.records import COMMIT_CHUNKS_MAX, RECORD_BYTES_MAX, SHARD_CHUNKS, Assign, Commit, parse, sign
from crowdcompute.protocol.storage import MemoryBlobStore
from crowdcompute.protocol.tally import NO_RESULT
from crowdcompute.protocol.voting import commits_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.conftest import ExpectVectors

CREATOR = Identity(bytes(range(32)))
WORKER = Identity(bytes(range(32, 64)))
STRANGER = Identity(bytes(range(64, 96)))
TASK = bytes(range(200, 232))
SALT = bytes(range(16))
NONCE = bytes(range(100, 112))

BOB, CAROL = bytes(range(1, 33)), bytes(range(2, 34))
LARGE = bytes(1_000_000)
SEALED = WORKER.seal(CREATOR.seal_key, b"result" + TASK, LARGE, NONCE)

LEAVES = [
    Leaf(3, Status.OK, inline=True, size=5, data=b"hello"),
    Leaf(4, Status.OK, inline=True, size=0, data=b""),
    Leaf(9, Status.TASK_ERROR, inline=True, size=8, data=b"no prime"),
    Leaf(10, Status.NO_RESULT, inline=True, size=8, data=b"time out"),
    Leaf(4_094, Status.OK, inline=False, size=5, data=sha256(b"hello").digest()),
    Leaf(4_095, Status.OK, inline=False, size=len(LARGE), data=sha256(LARGE).digest(), sealed=sha256(SEALED).digest()),
]


def sealed(leaves: list[Leaf] = LEAVES) -> Commit:
    return seal_commit(WORKER, CREATOR.seal_key, TASK, 7, leaves, salt=SALT, nonce=NONCE, custodians=[BOB, CAROL])


def test_the_creator_and_the_author_open_a_commit_and_nobody_else_does() -> None:
    commit = sealed()
    assert open_commit(CREATOR, WORKER.seal_key, WORKER.public_key, commit) == LEAVES
    assert open_commit(WORKER, CREATOR.seal_key, WORKER.public_key, commit) == LEAVES
    with pytest.raises(RemoteProtocolError):
        open_commit(STRANGER, WORKER.seal_key, WORKER.public_key, commit)


def test_a_commit_says_who_is_asked_to_keep_its_large_results() -> None:
    assert custodians_of(CREATOR, WORKER.seal_key, sealed()) == (BOB, CAROL)


def test_where_a_result_is_kept_is_no_part_of_what_is_voted_on() -> None:
    kept = LEAVES[-1]
    assert kept._replace(sealed=b"").value == kept.value
    assert sealed([kept._replace(sealed=b"")]).root == sealed([kept]).root


def test_a_commit_copied_by_another_worker_does_not_open_as_its_own() -> None:
    with pytest.raises(RemoteProtocolError):
        open_commit(CREATOR, STRANGER.seal_key, STRANGER.public_key, sealed())
    with pytest.raises(RemoteProtocolError):
        open_commit(CREATOR, WORKER.seal_key, STRANGER.public_key, sealed())


def test_equal_results_are_not_to_be_recognised_in_public() -> None:
    leaf = [Leaf(3, Status.OK, inline=True, size=1, data=b"1")]
    one = seal_commit(WORKER, CREATOR.seal_key, TASK, 1, leaf, salt=SALT, nonce=NONCE)
    other = seal_commit(WORKER, CREATOR.seal_key, TASK, 1, leaf, salt=bytes(16), nonce=NONCE)
    assert one.root != other.root
    assert one.sealed != other.sealed


@pytest.mark.parametrize("field", ["task", "shard", "runs", "root", "sealed"])
def test_a_commit_changed_in_any_field_does_not_open(field: str) -> None:
    changed: dict[str, Any] = {
        "task": bytes(32),
        "shard": 1,
        "runs": ((3, 2), (9, 4)),
        "root": bytes(32),
        "sealed": sealed().sealed[:-1] + b"\0",
    }
    with pytest.raises(RemoteProtocolError):
        open_commit(
            CREATOR,
            WORKER.seal_key,
            WORKER.public_key,
            msgspec.structs.replace(sealed(), **{field: changed[field]}),
        )


def _resealed(plaintext: bytes, root: bytes | None = None) -> Commit:
    """A commit of chunk 3 whose author sealed whatever it liked."""
    commit = seal_commit(WORKER, CREATOR.seal_key, TASK, 7, LEAVES[:1], salt=SALT, nonce=NONCE)
    return msgspec.structs.replace(
        commit,
        sealed=WORKER.seal(CREATOR.seal_key, b"commit" + TASK, plaintext, NONCE),
        root=commit.root if root is None else root,
    )


REFUSED_BATCHES: dict[str, Commit] = {
    "not a batch": _resealed(b"\xc1"),
    "no leaves": _resealed(encode((SALT, (), ()))),
    "more leaves than chunks": _resealed(encode((SALT, ((0, True, 5, b"hello", b""), (0, True, 0, b"", b"")), ()))),
    "another result than the root's": _resealed(encode((SALT, ((0, True, 5, b"jello", b""),), ()))),
    "another status than the root's": _resealed(encode((SALT, ((1, True, 5, b"hello", b""),), ()))),
    "another salt": _resealed(encode((bytes(16), ((0, True, 5, b"hello", b""),), ()))),
    "a salt of 15 bytes": _resealed(encode((SALT[:15], ((0, True, 5, b"hello", b""),), ()))),
    "a status nobody knows": _resealed(encode((SALT, ((3, True, 5, b"hello", b""),), ()))),
    "a wrong size": _resealed(encode((SALT, ((0, True, 4, b"hello", b""),), ()))),
    "a hash of 31 bytes": _resealed(encode((SALT, ((0, False, 5, bytes(31), b""),), ()))),
    "no result, told by a hash": _resealed(encode((SALT, ((2, False, 5, bytes(32), b""),), ()))),
    "no custodians": _resealed(encode((SALT, ((0, True, 5, b"hello", b""),)))),
    "nine custodians": _resealed(encode((SALT, ((0, True, 5, b"hello", b""),), (bytes(32),) * 9))),
    "a custodian of 31 bytes": _resealed(encode((SALT, ((0, True, 5, b"hello", b""),), (bytes(31),)))),
    "a leaf that says nothing of a sealed result": _resealed(encode((SALT, ((0, True, 5, b"hello"),), ()))),
    "an inline result that is sealed as well": _resealed(encode((SALT, ((0, True, 5, b"hello", bytes(32)),), ()))),
    "a sealed result of 31 bytes": _resealed(
        encode((SALT, ((0, False, 5, sha256(b"hello").digest(), bytes(31)),), ()))
    ),
    "a sealed result of 33 bytes": _resealed(
        encode((SALT, ((0, False, 5, sha256(b"hello").digest(), bytes(33)),), ()))
    ),
    "sealed for another purpose": msgspec.structs.replace(
        _resealed(b""), sealed=WORKER.seal(CREATOR.seal_key, b"assign" + TASK, b"", NONCE)
    ),
    "shorter than a nonce": msgspec.structs.replace(_resealed(b""), sealed=b"short"),
}


@pytest.mark.parametrize("why", REFUSED_BATCHES)
def test_a_batch_that_no_honest_worker_seals_is_refused(why: str) -> None:
    with pytest.raises(RemoteProtocolError):
        open_commit(CREATOR, WORKER.seal_key, WORKER.public_key, REFUSED_BATCHES[why])


@settings(max_examples=50)
@given(st.binary(max_size=200))
def test_whatever_is_sealed_opens_or_is_refused(plaintext: bytes) -> None:
    try:
        open_commit(CREATOR, WORKER.seal_key, WORKER.public_key, _resealed(plaintext))
    except RemoteProtocolError:
        return


outcomes = st.lists(
    st.builds(
        ChunkOutcome,
        chunk=st.integers(0, 3 * SHARD_CHUNKS),
        status=st.sampled_from(Status),
        data=st.binary(max_size=40) | st.integers(0, 9_000).map(bytes),
        detail=st.text(max_size=700),
    ),
    max_size=40,
    unique_by=lambda outcome: outcome.chunk,
)


@settings(max_examples=60, deadline=None)
@given(outcomes, st.none() | st.lists(st.binary(min_size=32, max_size=32), max_size=3))
def test_outcomes_become_commits_that_say_the_same_and_fit(
    done: list[ChunkOutcome], custodians: list[bytes] | None
) -> None:
    blobs, seqs = MemoryBlobStore(), iter(range(1_000))
    commits = commits_of(
        WORKER,
        CREATOR.seal_key,
        TASK,
        lambda: next(seqs),
        done,
        blobs,
        Random(1),
        inline_bytes=4_096,
        custodians=custodians,
    )
    opened = []
    for commit, leaves in commits:
        parse(sign(WORKER, commit))
        assert len(encode(commit)) <= RECORD_BYTES_MAX
        assert open_commit(CREATOR, WORKER.seal_key, WORKER.public_key, commit) == leaves
        opened += leaves
    assert [leaf.chunk for leaf in opened] == sorted(outcome.chunk for outcome in done)
    assert len({commit.seq for commit, _ in commits}) == len(commits)
    by_chunk = {outcome.chunk: outcome for outcome in done}
    for leaf in opened:
        outcome = by_chunk[leaf.chunk]
        assert leaf.status is outcome.status
        if leaf.status is Status.NO_RESULT:
            assert leaf.value == NO_RESULT
            assert len(leaf.data) <= DETAIL_BYTES_MAX
        else:
            assert leaf.value == bytes((outcome.status,)) + sha256(outcome.data).digest()
            kept = leaf.data if leaf.inline else blobs.read(leaf.digest, 0, leaf.size)
            assert kept == outcome.data
        assert bool(leaf.sealed) == (not leaf.inline and custodians is not None)
        if leaf.sealed:
            kept = blobs.read(leaf.sealed, 0, leaf.size + SEAL_BYTES)
            assert sha256(kept).digest() == leaf.sealed
            assert CREATOR.unseal(WORKER.seal_key, b"result" + TASK, kept) == outcome.data


@pytest.mark.parametrize("result_bytes", [20, 5_000])
def test_the_worst_batch_still_fits_a_record(result_bytes: int) -> None:
    done = [ChunkOutcome(2 * index, Status.OK, bytes(result_bytes)) for index in range(SHARD_CHUNKS // 2)]
    commits = commits_of(
        WORKER,
        CREATOR.seal_key,
        TASK,
        lambda: 2**53 - 1,
        done,
        MemoryBlobStore(),
        Random(1),
        inline_bytes=4_096,
        custodians=[bytes(32)] * CUSTODIANS_MAX,
    )
    if result_bytes == 20:
        assert max(len(leaves) for _, leaves in commits) == COMMIT_CHUNKS_MAX
    assert all(len(encode(commit)) <= RECORD_BYTES_MAX for commit, _ in commits)
    assert BATCH_BYTES_MAX < RECORD_BYTES_MAX


def test_the_vectors_hold(expect_vectors: ExpectVectors, plain_json: Callable[[Any], Any]) -> None:
    commit = sealed()
    prefix = b"cc/leaf/1\0" + TASK + WORKER.public_key
    leaves = []
    hashes = []
    for leaf in LEAVES:
        salt = sha256(SALT + leaf.chunk.to_bytes(4)).digest()
        preimage = prefix + leaf.chunk.to_bytes(4) + bytes((leaf.status,)) + leaf.digest + salt
        hashes.append(sha256(b"\0" + preimage).digest())
        leaves.append(
            {
                "chunk": leaf.chunk,
                "status": int(leaf.status),
                "inline": leaf.inline,
                "size": leaf.size,
                "data": leaf.data.hex(),
                "sealed": leaf.sealed.hex(),
                "digest": leaf.digest.hex(),
                "value": leaf.value.hex(),
                "salt": salt.hex(),
                "leaf_hash": hashes[-1].hex(),
            }
        )
    assert merkle.root(hashes) == commit.root
    request = encode((0, ((3, 2), (9, 1)), True))
    assign = Assign(TASK, 0, 9, WORKER.public_key, CREATOR.seal(WORKER.seal_key, b"assign" + TASK, request, NONCE))
    expect_vectors(
        "batches",
        {
            "worker_seed": bytes(range(32, 64)).hex(),
            "creator_seed": bytes(range(32)).hex(),
            "task": TASK.hex(),
            "commit": {
                "seq": 7,
                "batch_salt": SALT.hex(),
                "nonce": NONCE.hex(),
                "leaves": leaves,
                "custodians": [BOB.hex(), CAROL.hex()],
                "root": commit.root.hex(),
                "plaintext": WORKER.unseal(CREATOR.seal_key, b"commit" + TASK, commit.sealed).hex(),
                "sealed": commit.sealed.hex(),
                "signed": encode(sign(WORKER, commit)).hex(),
            },
            "result of zeros": {"size": len(LARGE), "nonce": NONCE.hex(), "sealed_sha256": sha256(SEALED).hexdigest()},
            "assignment": {
                "chunks": open_assignment(WORKER, CREATOR.seal_key, assign).chunks,
                "urgent": open_assignment(WORKER, CREATOR.seal_key, assign).urgent,
                "nonce": NONCE.hex(),
                "plaintext": request.hex(),
                "sealed": assign.sealed.hex(),
                "signed": encode(sign(CREATOR, assign)).hex(),
            },
            "refused": [{"why": why, "commit": plain_json(commit)} for why, commit in REFUSED_BATCHES.items()],
        },
    )

"""Credit: what each worker earned by accepted chunks, and a proof of it that stands alone (spec/credit.md).

    accepted chunks --split--> a table for each shard --root--> checkpoint --row and path--> proof, checked by anybody

An accepted chunk's reward is split evenly, in millicredits, among the workers whose votes for its value count. A table
is rows of a worker's key and its millicredits, ascending by key; checkpoints carry it, or the hash of a large one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta

from . import merkle
from .codec import U32, U53, Body, Bytes32, decode, encode
from .errors import RemoteProtocolError
from .manifest import Manifest, open_manifest
from .records import Checkpoint, Signed, parse, verify_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .identity import Verifier
    from .storage import BlobStore

MAGIC = b"CCCRED1\n"
"""The first bytes of a file that proves credit. What follows is one encoded `CreditProof`."""

KEY_BYTES, ROW_BYTES = 32, 40

INLINE_BYTES_MAX = 4_096
"""A table up to this size is in the checkpoint itself, as small results are in their batch: a hundred workers."""

MILLICREDITS_MAX = 2**53 - 1
"""Nobody earns more in a shard: every language reads such numbers exactly."""

TABLE_BYTES_MAX = 100_000 * ROW_BYTES
"""As many rows as a task has workers."""


def share(reward: int, workers: int) -> int:
    """Millicredits for each of the workers that share a chunk's reward. What cannot be divided is nobody's."""
    return 1_000 * reward // workers


def split(reward: int, confirmers: Iterable[Iterable[bytes]]) -> dict[bytes, int]:
    """Millicredits by worker, from whoever confirmed each of the accepted chunks."""
    amounts: dict[bytes, int] = {}
    # Few workers do much of a shard, so that most chunks have the same ones.
    for workers, chunks in Counter(map(tuple, confirmers)).items():
        for worker in workers:
            amounts[worker] = min(MILLICREDITS_MAX, amounts.get(worker, 0) + chunks * share(reward, len(workers)))
    return {worker: amount for worker, amount in amounts.items() if amount}


def table_of(amounts: Mapping[bytes, int]) -> bytes:
    """The rows, ascending by key."""
    return b"".join(worker + amount.to_bytes(8) for worker, amount in sorted(amounts.items()))


def rows(table: bytes) -> Iterator[tuple[bytes, int]]:
    """Worker and millicredits of each row."""
    for at in range(0, len(table), ROW_BYTES):
        yield table[at : at + KEY_BYTES], int.from_bytes(table[at + KEY_BYTES : at + ROW_BYTES])


def root_of(table: bytes) -> bytes:
    """The Merkle root over the rows."""
    return merkle.root(_leaves(table))


def check_table(table: bytes, root: bytes) -> None:
    """Whether this is the table that a checkpoint's root names.

    Raises:
        RemoteProtocolError: It is not, or it is no table.
    """
    keys = [worker for worker, _ in rows(table)]
    if len(table) % ROW_BYTES or any(key >= following for key, following in pairwise(keys)):
        raise RemoteProtocolError("a table of credit has its rows out of order, or half a row")
    if root_of(table) != root:
        raise RemoteProtocolError("a table of credit does not have its root")


def check_credits(checkpoint: Checkpoint) -> None:
    """Whether a checkpoint's fields about credit fit each other. Whoever reads the table looks at its root.

    Raises:
        RemoteProtocolError: They do not.
    """
    size, carried = checkpoint.credits_size, len(checkpoint.credits)
    expected = size if size <= INLINE_BYTES_MAX else merkle.HASH_BYTES
    if size > TABLE_BYTES_MAX or size % ROW_BYTES or carried != expected:
        raise RemoteProtocolError("a checkpoint's table of credit does not fit its size")


def read_table(checkpoint: Checkpoint, blobs: BlobStore) -> bytes | None:
    """A checkpoint's table, or None while it is not here, or is not what the checkpoint says."""
    table, size = checkpoint.credits, checkpoint.credits_size
    if size > INLINE_BYTES_MAX:
        if blobs.size(table) != size:
            return None
        table = blobs.read(table, 0, size)
    try:
        check_table(table, checkpoint.credits_root)
    except RemoteProtocolError:
        return None
    return table


def fields_of(table: bytes) -> tuple[bytes, int, bytes]:
    """What a checkpoint says of a table: its root, its size, and the table itself or its SHA-256."""
    carried = table if len(table) <= INLINE_BYTES_MAX else sha256(table).digest()
    return root_of(table), len(table), carried


class ShardCredit(Body, frozen=True):
    """A worker's row in the table of one checkpoint, and the way from it to the root."""

    checkpoint: Signed
    amount: U53
    index: U32
    count: U32
    path: Annotated[tuple[Bytes32, ...], Meta(max_length=32)]


class CreditProof(Body, frozen=True):
    """What a worker earned in one task: the creator's signed words, and nothing else that must be believed."""

    manifest: Signed
    worker: Bytes32
    shards: Annotated[tuple[ShardCredit, ...], Meta(min_length=1, max_length=65_536)]


@dataclass(frozen=True, slots=True)
class Credit:
    """What a proof proves."""

    task: bytes
    manifest: Manifest
    worker: bytes
    millicredits: int
    checkpoints: Mapping[int, tuple[int, bytes]]
    """Shard -> the seq and the record id of the checkpoint that says so."""


def latest_tables(records: Iterable[Signed], blobs: BlobStore) -> dict[int, tuple[Signed, bytes]]:
    """Of each shard the newest checkpoint whose table is here, and that table."""
    found: dict[int, tuple[int, Signed, bytes]] = {}
    for signed in records:
        if signed.kind != "checkpoint":
            continue
        checkpoint = parse(signed)
        assert isinstance(checkpoint, Checkpoint)
        seq = found[checkpoint.shard][0] if checkpoint.shard in found else -1
        if checkpoint.seq > seq and (table := read_table(checkpoint, blobs)) is not None:
            found[checkpoint.shard] = (checkpoint.seq, signed, table)
    return {shard: (signed, table) for shard, (_, signed, table) in sorted(found.items())}


def prove(manifest: Signed, worker: bytes, tables: Iterable[tuple[Signed, bytes]]) -> CreditProof | None:
    """What these checkpoints, with their tables, say that a worker earned; None when that is nothing."""
    shards = []
    for signed, table in tables:
        for index, (key, amount) in enumerate(rows(table)):
            if key == worker:
                path = merkle.proof(_leaves(table), index)
                shards.append(ShardCredit(signed, amount, index, len(table) // ROW_BYTES, path))
    return CreditProof(manifest, worker, tuple(shards)) if shards else None


def write_proof(proof: CreditProof) -> bytes:
    """The file."""
    return MAGIC + encode(proof)


def check_proof(data: bytes, verifier: Verifier) -> Credit:
    """What a file proves.

    Raises:
        RemoteProtocolError: It proves nothing. The message says why.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise RemoteProtocolError("this is no proof of credit")
    proof = decode(data[len(MAGIC) :], CreditProof)
    manifest = open_manifest(proof.manifest, verifier)
    checkpoints: dict[int, tuple[int, bytes]] = {}
    for shard in proof.shards:
        signed = shard.checkpoint
        checkpoint = parse(signed)
        if not isinstance(checkpoint, Checkpoint) or checkpoint.task != proof.manifest.record_id:
            raise RemoteProtocolError("a proof of credit rests on something else than checkpoints of its task")
        if signed.author != manifest.creator:
            raise RemoteProtocolError("a proof of credit rests on a checkpoint that the creator did not sign")
        verify_signature(verifier, signed)
        if checkpoint.shard in checkpoints:
            raise RemoteProtocolError("a proof of credit counts a shard twice")
        leaf = merkle.leaf_hash(proof.worker + shard.amount.to_bytes(8))
        if not merkle.verifies(leaf, shard.index, shard.count, shard.path, checkpoint.credits_root):
            raise RemoteProtocolError("a proof of credit names another amount or worker than the checkpoint it shows")
        checkpoints[checkpoint.shard] = (checkpoint.seq, signed.record_id)
    total = sum(shard.amount for shard in proof.shards)
    return Credit(proof.manifest.record_id, manifest, proof.worker, total, checkpoints)


def _leaves(table: bytes) -> list[bytes]:
    return [merkle.leaf_hash(table[at : at + ROW_BYTES]) for at in range(0, len(table), ROW_BYTES)]

"""Sealed batches: what a commit hides until it counts (spec/ledger.md, "Commit").

The votes of a batch are leaves of a Merkle tree whose root is public, and travel sealed to the creator inside the
commit itself: one key agreement per pair of peers and one cipher call per batch, not per chunk. Every leaf is salted,
because results are often guessable; the salts derive from one per batch, so that a leaf can be shown alone later.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, NamedTuple

from msgspec import Meta

from . import merkle
from .codec import Body, Bytes32, decode, encode
from .errors import RemoteProtocolError
from .events import STATUSES, Status
from .records import COMMIT_CHUNKS_MAX, RECORD_BYTES_MAX, Commit, chunks_of, runs_of, shard_of
from .tally import NO_RESULT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .identity import Signer

BATCH_BYTES_MAX = RECORD_BYTES_MAX - 12 * 1024
"""Sealed leaves of one commit: leaves room for 1,024 runs in the worst case."""

DETAIL_BYTES_MAX = 500

CUSTODIANS_MAX = 8
"""Peers that a batch may name as keepers of its large results."""


class Leaf(NamedTuple):
    """One vote in the clear. `data` is the result itself when `inline`, otherwise its SHA-256.

    Without a result `data` is the reason as UTF-8 text, for the creator's eyes. `sealed` is the SHA-256 of the result
    as it is given to others to keep, sealed to the creator; empty when it is inline or given to nobody. It is no part
    of what is voted on.
    """

    chunk: int
    status: Status
    inline: bool
    size: int
    data: bytes
    sealed: bytes = b""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the result."""
        return sha256(self.data).digest() if self.inline else self.data

    @property
    def value(self) -> bytes:
        """What votes are compared by: the status and the result's hash; all reports of 'no result' are one value."""
        return NO_RESULT if self.status is Status.NO_RESULT else bytes((self.status,)) + self.digest


_LeafWire = tuple[
    Annotated[int, Meta(ge=0, le=2)],
    bool,
    Annotated[int, Meta(ge=0, le=16 * 1024 * 1024)],
    Annotated[bytes, Meta()],
    Annotated[bytes, Meta(max_length=merkle.HASH_BYTES)],
]


class _Batch(Body, frozen=True):
    salt: Annotated[bytes, Meta(min_length=16, max_length=16)]
    leaves: Annotated[tuple[_LeafWire, ...], Meta(min_length=1, max_length=COMMIT_CHUNKS_MAX)]
    custodians: Annotated[tuple[Bytes32, ...], Meta(max_length=CUSTODIANS_MAX)]


def leaf_bytes(leaf: Leaf) -> int:
    """An upper bound on what this leaf adds to a batch."""
    return len(leaf.data) + len(leaf.sealed) + 16


def seal_commit(
    signer: Signer,
    seal_key: bytes,
    task: bytes,
    seq: int,
    leaves: Sequence[Leaf],
    *,
    salt: bytes,
    nonce: bytes,
    custodians: Sequence[bytes] = (),
    epoch: int = 0,
    link: bytes = b"",
) -> Commit:
    """A commit of these leaves, which must be of one shard, ascending by chunk and no more than a commit holds.

    `custodians` are the keys of peers that are asked to keep its large results. Of chunks that lots chose, `link`
    is what shows it.
    """
    chunks = [leaf.chunk for leaf in leaves]
    wire = tuple((int(leaf.status), leaf.inline, leaf.size, leaf.data, leaf.sealed) for leaf in leaves)
    batch = _Batch(salt, wire, tuple(custodians))
    return Commit(
        task,
        shard_of(chunks[0]),
        seq,
        epoch,
        link,
        runs_of(chunks),
        root_of(task, signer.public_key, salt, leaves),
        signer.seal(seal_key, b"commit" + task, encode(batch), nonce),
    )


def open_commit(signer: Signer, seal_key: bytes, author: bytes, commit: Commit) -> list[Leaf]:
    """The leaves of a commit sealed between `signer` and the owner of `seal_key`.

    Raises:
        RemoteProtocolError: It does not open, does not fit its chunk list, or its root is another one's. The author
            signed something no honest worker signs: convict it as malformed.
    """
    return open_batch(signer, seal_key, author, commit)[1]


def open_batch(signer: Signer, seal_key: bytes, author: bytes, commit: Commit) -> tuple[bytes, list[Leaf]]:
    """As `open_commit`, with the salt: who has it can show the votes to others (opening.py)."""
    batch = decode(signer.unseal(seal_key, b"commit" + commit.task, commit.sealed), _Batch)
    chunks = chunks_of(commit.shard, commit.runs)
    if len(chunks) != len(batch.leaves):
        raise RemoteProtocolError("a commit seals another number of leaves than it names chunks")
    leaves = []
    for chunk, (status, inline, size, data, sealed) in zip(chunks, batch.leaves, strict=True):
        leaf = Leaf(chunk, STATUSES[status], inline, size, data, sealed)
        if (len(data) != size) if inline else (len(data) != merkle.HASH_BYTES or leaf.status is Status.NO_RESULT):
            raise RemoteProtocolError("a leaf's data does not fit its size")
        if sealed and (inline or len(sealed) != merkle.HASH_BYTES):
            raise RemoteProtocolError("a leaf names a sealed result that it cannot have")
        leaves.append(leaf)
    if root_of(commit.task, author, batch.salt, leaves) != commit.root:
        raise RemoteProtocolError("a commit's sealed leaves do not have its root")
    return batch.salt, leaves


def custodians_of(signer: Signer, seal_key: bytes, commit: Commit) -> tuple[bytes, ...]:
    """Whom the author of a commit that opens asks to keep its large results: their keys."""
    return decode(signer.unseal(seal_key, b"commit" + commit.task, commit.sealed), _Batch).custodians


def root_of(task: bytes, worker: bytes, salt: bytes, leaves: Sequence[Leaf]) -> bytes:
    """The public root that binds a worker to these leaves: to their status and digest, whatever else they carry."""
    prefix = b"cc/leaf/1\0" + task + worker
    hashes = []
    for leaf in leaves:
        chunk = leaf.chunk.to_bytes(4)
        leaf_salt = sha256(salt + chunk).digest()
        hashes.append(merkle.leaf_hash(prefix + chunk + bytes((leaf.status,)) + leaf.digest + leaf_salt))
    return merkle.root(hashes)

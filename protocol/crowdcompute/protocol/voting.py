"""From executed chunks to commits: what a worker, or a creator that executes itself, signs."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import msgspec

from .batch import BATCH_BYTES_MAX, DETAIL_BYTES_MAX, Leaf, leaf_bytes, seal_commit
from .events import ChunkOutcome, Status
from .identity import NONCE_BYTES
from .records import COMMIT_CHUNKS_MAX, Commit, Resumed, shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from .identity import Signer
    from .storage import BlobStore


RESULT_CONTEXT = b"result"
"""With the task's id: what results are sealed for that others keep."""


def commits_of(
    signer: Signer,
    seal_key: bytes,
    task: bytes,
    next_seq: Callable[[], int],
    outcomes: Iterable[ChunkOutcome],
    blobs: BlobStore,
    rng: Random,
    *,
    inline_bytes: int,
    custodians: Sequence[bytes] | None = None,
    epoch: int = 0,
    link: bytes = b"",
    onward: bool = False,
    after: Callable[[int], bytes] = lambda chunk: b"",
) -> list[tuple[Commit, list[Leaf]]]:
    """Commits over these outcomes, as few as their size allows, each of one shard.

    Results longer than `inline_bytes` are put into the blob store first, so that whoever is told their hash can have
    them. With `custodians` (the keys of those that are asked to keep them, perhaps none as yet) they are put there
    sealed as well, so that others can keep them unread. Results that go `onward` to another task are blobs whatever
    their size. A chunk whose execution rests on the savepoint of another, `after`, has a commit of its own.
    """
    commits: list[tuple[Commit, list[Leaf]]] = []
    batch: list[Leaf] = []
    batch_bytes = 0

    def seal() -> None:
        commit = seal_commit(
            signer,
            seal_key,
            task,
            next_seq(),
            batch,
            salt=rng.randbytes(16),
            nonce=rng.randbytes(NONCE_BYTES),
            custodians=(custodians or ()) if any(leaf.sealed for leaf in batch) else (),
            epoch=epoch,
            link=link,
        )
        rest = after(batch[0].chunk)
        commits.append((Resumed(**msgspec.structs.asdict(commit), after=rest) if rest else commit, batch))

    def seal_result(data: bytes) -> bytes:
        if custodians is None:
            return b""
        sealed = signer.seal(seal_key, RESULT_CONTEXT + task, data, rng.randbytes(NONCE_BYTES))
        digest = sha256(sealed).digest()
        blobs.put(digest, sealed)
        return digest

    for outcome in sorted(outcomes):
        leaf = _leaf(outcome, blobs, inline_bytes, seal_result)
        if onward and leaf.inline and leaf.status is Status.OK:
            blobs.put(leaf.digest, leaf.data)
        if batch and (
            shard_of(batch[0].chunk) != shard_of(leaf.chunk)
            or after(batch[0].chunk)
            or after(leaf.chunk)
            or len(batch) == COMMIT_CHUNKS_MAX
            or batch_bytes + leaf_bytes(leaf) > BATCH_BYTES_MAX
        ):
            seal()
            batch, batch_bytes = [], 0
        batch.append(leaf)
        batch_bytes += leaf_bytes(leaf)
    if batch:
        seal()
    return commits


def _leaf(outcome: ChunkOutcome, blobs: BlobStore, inline_bytes: int, seal_result: Callable[[bytes], bytes]) -> Leaf:
    data = outcome.data
    if outcome.status is Status.NO_RESULT:
        data = outcome.detail.encode()[:DETAIL_BYTES_MAX]
        return Leaf(outcome.chunk, outcome.status, inline=True, size=len(data), data=data)
    if len(data) <= inline_bytes:
        return Leaf(outcome.chunk, outcome.status, inline=True, size=len(data), data=data)
    digest = sha256(data).digest()
    blobs.put(digest, data)
    sealed = seal_result(data)
    return Leaf(outcome.chunk, outcome.status, inline=False, size=len(data), data=digest, sealed=sealed)

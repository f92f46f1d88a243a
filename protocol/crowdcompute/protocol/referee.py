"""The creator's view of the votes: every batch opened, tallied chunk by chunk as records come in (spec/ledger.md).

`tally.tally` is the definition; this class gives the same answers without counting everything again, because a state
depends only on the votes on that chunk and on who is void (tests/protocol/test_referee.py holds the two together).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .tally import ChunkTally, Vote, says_more, tally_chunk

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .batch import Leaf


class Referee:
    """Incremental tally of one task. Methods return the chunks whose state may have changed."""

    def __init__(self, creator: bytes, replication: int) -> None:
        self._creator = creator
        self._replication = replication
        self.void: set[bytes] = set()
        self.contradictors: set[bytes] = set()
        """Workers that signed two different values for one chunk; the caller convicts them."""
        self._admitted: set[bytes] = set()
        self._votes: dict[int, dict[bytes, Vote]] = {}
        self._chunks_of: dict[bytes, set[int]] = {}
        self._assigned: dict[int, set[bytes]] = {}
        self._leaves: dict[int, dict[bytes, Leaf]] = {}
        self._copies: dict[int, dict[bytes, Leaf]] = {}
        self._reports: dict[int, dict[bytes, str]] = {}
        self._cache: dict[int, ChunkTally] = {}

    def admit(self, worker: bytes) -> Iterable[int]:
        """Votes of this worker count from now on."""
        self._admitted.add(worker)
        return self._touched(self._chunks_of.get(worker, ()))

    def make_void(self, worker: bytes) -> Iterable[int]:
        """No vote of this worker counts any more; what it voted on is tainted."""
        if worker in self.void:
            return ()
        self.void.add(worker)
        return self._touched(self._chunks_of.get(worker, ()))

    def assign(self, worker: bytes, chunks: Iterable[int]) -> Iterable[int]:
        """The creator asked this worker for these chunks."""
        touched = list(chunks)
        for chunk in touched:
            self._assigned.setdefault(chunk, set()).add(worker)
            vote = self._votes.get(chunk, {}).get(worker)
            if vote is not None:
                self._votes[chunk][worker] = vote._replace(assigned=True)
        return self._touched(touched)

    def cast(self, worker: bytes, leaves: Iterable[Leaf]) -> Iterable[int]:
        """Count one opened batch."""
        chunks = self._chunks_of.setdefault(worker, set())
        touched = []
        for leaf in leaves:
            chunk, value = leaf.chunk, leaf.value
            cast = self._votes.setdefault(chunk, {})
            previous = cast.get(worker)
            if previous is not None and previous.value and value and previous.value != value:
                self.contradictors.add(worker)
            if previous is None or says_more(value, previous.value):
                assigned = worker in self._assigned.get(chunk, ())
                cast[worker] = Vote(worker, value, assigned, worker == self._creator)
            if value:
                self._leaves.setdefault(chunk, {}).setdefault(value, leaf)
                if leaf.sealed:
                    self._copies.setdefault(chunk, {})[worker] = leaf
            else:
                self._reports.setdefault(chunk, {})[worker] = leaf.data.decode(errors="replace")
            chunks.add(chunk)
            touched.append(chunk)
        return self._touched(touched)

    def chunk(self, chunk: int) -> ChunkTally:
        """The state of one chunk."""
        cached = self._cache.get(chunk)
        if cached is None:
            cast = self._votes.get(chunk, {})
            admitted = [vote for worker, vote in cast.items() if vote.trusted or worker in self._admitted]
            counted = [vote for vote in admitted if vote.worker not in self.void]
            cached = tally_chunk(counted, self._replication, tainted=len(counted) < len(admitted))
            self._cache[chunk] = cached
        return cached

    def touched_chunks(self) -> Iterable[int]:
        """Chunks somebody voted on."""
        return self._votes.keys()

    def voters(self, chunk: int) -> dict[bytes, Vote]:
        """All votes on a chunk, void ones included."""
        return self._votes.get(chunk, {})

    def voted_chunks(self, worker: bytes) -> Iterable[int]:
        return self._chunks_of.get(worker, ())

    def leaf(self, chunk: int, value: bytes) -> Leaf:
        """The leaf that carries, or names, the result of this value."""
        return self._leaves[chunk][value]

    def copies(self, chunk: int) -> dict[bytes, Leaf]:
        """The leaves that name a sealed copy of their result, by worker."""
        return self._copies.get(chunk, {})

    def reports(self, chunk: int) -> dict[bytes, str]:
        """Why workers got no result, by worker."""
        return self._reports.get(chunk, {})

    def _touched(self, chunks: Iterable[int]) -> list[int]:
        touched = list(chunks)
        for chunk in touched:
            self._cache.pop(chunk, None)
        return touched

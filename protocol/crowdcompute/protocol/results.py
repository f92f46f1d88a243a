"""What a task has come to: its settled chunks, and what a person asks of them.

    a chunk:  OPEN --a value counts, its result is here--> ACCEPTED
               ^ '-------nobody gets a result------------> FAILED
               '------ votes turn out void, or wrong --------'

The creator settles (creator.py); here it is kept, and read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .events import CANCELLED, Status

if TYPE_CHECKING:
    from .closing import TaskState
    from .ledger import Ledger
    from .referee import Referee
    from .storage import BlobStore


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What the creator holds of one chunk."""

    chunk: int
    state: str
    """"ok", "task error", "failed" (nobody gets a result) or "open"."""
    digest: bytes | None
    size: int
    votes: int
    agreed: tuple[bytes, ...]
    disagreed: tuple[bytes, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """A task in numbers, for whoever watches."""

    state: TaskState
    chunks: int
    accepted: int
    failed: int
    votes: int
    workers: int
    convicted: int
    worker_audits: int
    creator_audits: int
    bound: float
    drawn: int = 0
    """Votes that lots chose while we were away, and that count towards a quorum."""


class Results:
    """The settled chunks of one task."""

    def __init__(self, ledger: Ledger, referee: Referee, blobs: BlobStore) -> None:
        self.accepted: dict[int, bytes] = {}
        """Chunk -> the value that counts."""
        self.failed: set[int] = set()
        self.elsewhere: set[int] = set()
        """For a steward: what the creator has closed itself."""
        self.needless: set[int] = set()
        """What has failed and what was closed elsewhere: no audit of it is wanted."""
        self._ledger = ledger
        self._referee = referee
        self._blobs = blobs

    # ---- settling

    def fail(self, chunk: int) -> None:
        self.failed.add(chunk)
        self.needless.add(chunk)

    def fails_no_more(self, chunk: int) -> None:
        self.failed.discard(chunk)
        self.needless.discard(chunk)

    def closed_elsewhere(self, chunk: int) -> None:
        self.elsewhere.add(chunk)
        self.needless.add(chunk)

    def are_complete(self) -> bool:
        """Whether every chunk is closed."""
        settled = len(self.accepted) + len(self.failed)
        if self.elsewhere:
            settled += len(self.elsewhere - self.accepted.keys() - self.failed)
        return settled == self._ledger.chunks and self._ledger.is_whole

    def left(self) -> list[int]:
        """The chunks that we have settled in no way."""
        chunks = range(self._ledger.chunks)
        return [chunk for chunk in chunks if chunk not in self.accepted and chunk not in self.failed]

    # ---- what a person asks

    def of(self, chunk: int) -> ChunkResult:
        """What is known of one chunk, for results.ndjson."""
        voters = self._referee.voters(chunk)
        reasons = self.reasons(chunk)
        value = self.accepted.get(chunk)
        if value is None:
            state = "failed" if chunk in self.failed else "open"
            return ChunkResult(chunk, state, None, 0, len(voters), (), (), reasons)
        leaf = self._referee.leaf(chunk, value)
        same = {
            worker: self._referee.is_same(chunk, vote.value, value) for worker, vote in voters.items() if vote.value
        }
        # Within a tolerance not all of them have the bytes that stand for theirs: those that do come first.
        agreed = sorted(
            (worker for worker, agrees in same.items() if agrees), key=lambda each: (voters[each].value != value, each)
        )
        disagreed = sorted(worker for worker, agrees in same.items() if not agrees)
        state = "ok" if leaf.status is Status.OK else "task error"
        return ChunkResult(chunk, state, leaf.digest, leaf.size, len(voters), tuple(agreed), tuple(disagreed), reasons)

    def reasons(self, chunk: int) -> tuple[str, ...]:
        """Why executions of a chunk gave no result."""
        return tuple(sorted(set(self._referee.reports(chunk).values())))

    def data(self, chunk: int) -> bytes | None:
        """The accepted result of a chunk, or None while there is none."""
        value = self.accepted.get(chunk)
        if value is None:
            return None
        leaf = self._referee.leaf(chunk, value)
        return leaf.data if leaf.inline else self._blobs.read(leaf.digest, 0, leaf.size)

    def settled(self) -> list[int]:
        """The chunks that have a result, or will get none."""
        return sorted(self.accepted.keys() | self.failed)

    def cancelled(self) -> int:
        """How many chunks were given up."""
        creator = self._ledger.manifest.creator
        return sum(self._referee.reports(chunk).get(creator) == CANCELLED for chunk in self.failed)

    def wrong_votes(self) -> dict[bytes, int]:
        """Votes that differ from the accepted result, by worker."""
        wrong: dict[bytes, int] = {}
        for chunk, value in self.accepted.items():
            for worker, vote in self._referee.voters(chunk).items():
                if vote.value and not self._referee.is_same(chunk, vote.value, value):
                    wrong[worker] = wrong.get(worker, 0) + 1
        return wrong

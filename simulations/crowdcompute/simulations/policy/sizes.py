"""What is simulated: how many workers and chunks, what is asked for, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

ASSUMED_LIARS = 0.2
"""Share of lying work that every scheme is told to expect: `liars` in the manifest. The true share varies."""


@dataclass(frozen=True, slots=True)
class Size:
    """A task and its workers."""

    name: str
    workers: int
    chunks: int
    eps: float


SIZES = {
    size.name: size
    for size in (
        # Issue "Verification strength as a number", item 8: 1,000, 100 and 10 chunks a worker.
        Size("S1", 1_000, 1_000_000, 1e-4),
        Size("S2", 1_000, 100_000, 1e-3),
        Size("S3", 10_000, 100_000, 1e-3),
    )
}


@dataclass(frozen=True, slots=True)
class Result:
    """One run. `executions` are everybody's, the creator's own included."""

    wrong: int
    """Chunks accepted with a wrong value."""
    undecided: int
    """Chunks without an accepted value."""
    executions: int
    creator_executions: int = 0
    convicted: int = 0
    honest_convicted: int = 0
    identities: int = 0
    """Liars' identities ever seen."""
    certified: bool = False
    """Whether the scheme states that the error is at most eps."""

    def check_invariants(self, size: Size) -> None:
        assert 0 <= self.wrong <= size.chunks - self.undecided
        assert self.honest_convicted <= self.convicted
        assert self.creator_executions <= self.executions

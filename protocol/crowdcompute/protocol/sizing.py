"""How many chunks make a batch of the wanted length: the cost of a lease and a commit is paid per batch."""

from __future__ import annotations

from .records import COMMIT_CHUNKS_MAX

_GROWTH = 4
"""A batch is at most this many times the largest so far: one lucky first chunk must not start an hour of work."""


class BatchSizer:
    """Learns from finished batches. The first batch of a task is a single chunk."""

    def __init__(self, target_s: float) -> None:
        self._target_s = target_s
        self._chunk_s: float | None = None
        self._largest = 0

    def finished(self, chunks: int, seconds: float) -> None:
        """Learn from one batch; recent ones count most."""
        chunk_s = max(seconds / max(chunks, 1), 1e-7)
        self._chunk_s = chunk_s if self._chunk_s is None else 0.6 * self._chunk_s + 0.4 * chunk_s
        self._largest = max(self._largest, chunks, 1)

    @property
    def chunk_s(self) -> float | None:
        """Expected seconds per chunk, None before the first."""
        return self._chunk_s

    def size(self) -> int:
        """Chunks of the next batch."""
        if self._chunk_s is None:
            return 1
        return max(1, min(COMMIT_CHUNKS_MAX, int(self._target_s / self._chunk_s), self._largest * _GROWTH))

"""How many chunks make a batch of the wanted length: the cost of a lease and a commit is paid per batch.

What one task has taught holds for the next one with the same code: who publishes a task for every few calls would
otherwise begin each with a single chunk.
"""

from __future__ import annotations

import math
from collections import OrderedDict

from .inviting import Acquaintances
from .records import COMMIT_CHUNKS_MAX

_GROWTH = 4
"""A batch is at most this many times the largest so far: one lucky first chunk must not start an hour of work."""


_PART_OF_AGE = 16
"""Who has been there for so long will be there for about as long again, so of a batch that takes this part of it little
is lost on average. A guess; simulations/scenarios/replaced.toml."""

_YOUNG_S = 0.5
"""No batch is shorter for that reason."""

PACES_KEPT = 64
"""Codes whose pace is remembered, those used last."""


class BatchSizer:
    """Learns from finished batches. The first batch is a single chunk.

    Args:
        since: When this machine came. What a young one is on is lost more often: its batches are shorter.
    """

    def __init__(self, target_s: float, since: float = -math.inf) -> None:
        self._target_s = target_s
        self._since = since
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

    def size(self, now: float) -> int:
        """Chunks of the next batch."""
        if self._chunk_s is None:
            return 1
        target_s = min(self._target_s, max(_YOUNG_S, (now - self._since) / _PART_OF_AGE))
        return max(1, min(COMMIT_CHUNKS_MAX, int(target_s / self._chunk_s + 0.5), self._largest * _GROWTH))


class Pace:
    """What is known of one code, from all tasks that have it."""

    def __init__(self, batch_s: float, active_s: float, since: float) -> None:
        self.sizer = BatchSizer(batch_s, since)
        """Of us, who execute it."""
        self.capacity: dict[bytes, int] = {}
        """Of each worker, for whom we are the creator (assigning.py)."""
        self.acquaintances = Acquaintances(active_s)


class Paces:
    """The paces of the codes used last."""

    def __init__(self, batch_s: float, active_s: float, since: float) -> None:
        self._batch_s = batch_s
        self._since = since
        self._active_s = active_s
        self._of_code: OrderedDict[bytes, Pace] = OrderedDict()

    def of(self, code: bytes) -> Pace:
        """The pace of a code; a new one if none is known."""
        pace = self._of_code.get(code)
        if pace is None:
            pace = self._of_code[code] = Pace(self._batch_s, self._active_s, self._since)
            if len(self._of_code) > PACES_KEPT:
                self._of_code.popitem(last=False)
        self._of_code.move_to_end(code)
        return pace

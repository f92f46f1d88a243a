"""What a worker says that it is on, so that others begin something else (spec/ledger.md, "Leases").

a shard:  UNSAID --a chunk of it is ours--> SAID --half its time is over, or something else is ours--> SAID anew
                                             '--nothing of it is ours any more--> runs out; or we leave, and end it
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .records import COMMIT_CHUNKS_MAX, LEAVING_TTL_S, Lease, Run, runs_of, shard_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .config import ProtocolConfig
    from .desk import Desk
    from .ledger import Ledger

LEASE_RUNS_MAX = 512
"""Runs of one lease: a scattered backlog is not worth a record of ten kilobytes every few seconds."""


class Leasing:
    """The leases of one worker in one task."""

    def __init__(self, config: ProtocolConfig, ledger: Ledger, desk: Desk, next_seq: Callable[[float], int]) -> None:
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._next_seq = next_seq
        self._said: dict[int, tuple[tuple[Run, ...], float]] = {}  # shard -> what we said, until when

    def say(self, home: int, ours: Iterable[int], now: float) -> float:
        """Publish what we are on where that changed or is about to run out; idle, say so in the shard we work in.

        Args:
            home: That shard.
            ours: What runs, and behind it what is to run.

        Returns:
            When to say it again.
        """
        by_shard: dict[int, list[int]] = {}
        for chunk in ours:
            by_shard.setdefault(shard_of(chunk), []).append(chunk)
        if not by_shard:
            by_shard[home] = []
        for shard in [shard for shard in self._said if shard not in by_shard]:
            del self._said[shard]
        ttl_s = self._config.lease_ttl_s
        for shard, chunks in by_shard.items():
            # What runs comes first; a lease names no more chunks than a commit, and the rest of the backlog can wait.
            runs = runs_of(chunks[:COMMIT_CHUNKS_MAX])[:LEASE_RUNS_MAX]
            said, until = self._said.get(shard, (None, 0.0))
            if runs == said and now < until - ttl_s / 2:
                continue
            self._said[shard] = (runs, now + ttl_s)
            self._publish(shard, home, ttl_s, runs, now)
        return min((until - ttl_s / 2 for _, until in self._said.values()), default=math.inf)

    def leave(self, home: int, now: float) -> None:
        """End our leases before their time, so that others need not wait for them to run out."""
        for shard in self._said:
            self._publish(shard, home, LEAVING_TTL_S, (), now)
        self._said.clear()

    def _publish(self, shard: int, home: int, ttl_s: int, runs: tuple[Run, ...], now: float) -> None:
        self._desk.publish(self._ledger, Lease(self._ledger.task, shard, home, self._next_seq(now), ttl_s, runs))

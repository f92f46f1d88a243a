"""Which shard of a task a worker picks from, and whose records it hears (spec/ledger.md, "Picking").

a shard:  --chosen at random, by how much of it is open--> HOME --another is chosen--> FOLLOWED --the next--> LEFT
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .ledger import Ledger

SHARDS_FOLLOWED = 2
"""The shard we pick from and the one we came from: assignments may still be on their way there."""

BATCHES_LEFT = 2
"""Batches that the open chunks of a shard must make for each of its workers, or they shrink: one running, one next."""


class Following:
    """The shards that one worker follows."""

    def __init__(self, config: ProtocolConfig, rng: Random, ledger: Ledger, desk: Desk, now: float) -> None:
        self.home: int | None = None
        """The shard we pick from."""
        self.shards: list[int] = []
        """Those whose records we hear, the longest followed first."""
        self.settled_at = now
        """When we have heard what others do there, as far as neighbours told."""
        self._config = config
        self._rng = rng
        self._ledger = ledger
        self._desk = desk
        self._empty_until: dict[int, float] = {}  # shards in which nothing was open

    def found_empty(self, now: float) -> None:
        """Nothing is open at home, until leases may have run out."""
        assert self.home is not None
        self._empty_until[self.home] = now + self._config.lease_ttl_s

    def choose(self, now: float, worthwhile: int) -> bool:
        """Follow another shard that may have something open, at random by how much; False when there is none.

        Args:
            worthwhile: Chunks of the smallest batch for which we still come.
        """
        weights = [
            self._ledger.unbegun_count(shard) if self._empty_until.get(shard, now) <= now else 0
            for shard in range(self._ledger.shards)
        ]
        unbegun = sum(weights)
        workers = max(1, len(self._ledger.joins))
        if self.home is not None and unbegun < BATCHES_LEFT * workers * worthwhile:
            # Too little is left for everybody to come for it: to move costs both shards more than a few chunks.
            return False
        if not unbegun:
            # Nothing is left to begin, but second votes and audits are asked of whoever says where it listens.
            weights = [1] * self._ledger.shards
        (shard,) = self._rng.choices(range(self._ledger.shards), weights)
        self.follow(shard, now)
        return True

    def follow(self, shard: int, now: float) -> None:
        """Make a shard our home."""
        self.home = shard
        self._desk.follow(self._ledger.shard_topic(shard))
        if shard in self.shards:
            self.shards.remove(shard)
        self.shards.append(shard)
        if len(self.shards) > SHARDS_FOLLOWED:
            self._desk.leave(self._ledger.shard_topic(self.shards.pop(0)))
        self.settled_at = now + self._config.settle_s

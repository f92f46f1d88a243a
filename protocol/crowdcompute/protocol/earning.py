"""Where a worker learns what it earned: from the checkpoints themselves, or from large tables that they name.

a shard's table:  IN THE CHECKPOINT, or WANTED --fetched--> HERE --a newer one is here--> let go
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .credit import INLINE_BYTES_MAX

if TYPE_CHECKING:
    from .config import ProtocolConfig
    from .desk import Desk
    from .ledger import Ledger
    from .storage import BlobStore


class Earning:
    """The tables of the shards that a worker of one task voted in."""

    def __init__(self, config: ProtocolConfig, ledger: Ledger, desk: Desk, blobs: BlobStore) -> None:
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs
        self._here: dict[int, bytes] = {}  # shard -> its newest table that we fetched
        self._wanted: dict[bytes, int] = {}
        self._look_at = math.inf

    def needs(self, digest: bytes) -> bool:
        """Whether a blob is a table that we show."""
        return digest in self._here.values()

    def checkpoint(self, now: float) -> None:
        """A checkpoint came. Not each is followed by a fetch: a table changes with every one of them."""
        self._look_at = min(self._look_at, now + self._config.credit_every_s)

    def closed(self, now: float) -> None:
        """The task is closed: these tables are the last ones."""
        self._look_at = now

    def advance(self, shards: set[int]) -> None:
        """Look for the tables of `shards`, those we voted in: it is time."""
        self._look_at = math.inf
        for shard in sorted(shards):
            checkpoint = self._ledger.checkpoints.get(shard)
            if checkpoint is None or checkpoint.credits_size <= INLINE_BYTES_MAX:
                continue
            if self._here.get(shard) != checkpoint.credits:
                self._wanted[checkpoint.credits] = shard
                creator = self._ledger.manifest.creator
                self._desk.fetch(checkpoint.credits, checkpoint.credits_size, None, (creator,))

    def blob_arrived(self, digest: bytes, here: bool, now: float) -> None:
        """A table is here, or nobody we reach has it now."""
        shard = self._wanted.pop(digest, None)
        if shard is None:
            return
        if not here:
            self._look_at = now + self._config.credit_every_s
            return
        before, self._here[shard] = self._here.get(shard), digest
        if before is not None and before not in self._here.values():
            self._blobs.discard(before)

    def wake_at(self) -> float:
        """When `advance` has something to do."""
        return self._look_at

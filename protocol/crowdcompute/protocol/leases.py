"""The leases of one task as every peer holds them: who says that it is on which chunks (spec/ledger.md, "Leases").

    of a worker in a shard:  NONE --lease--> LIVE --its next lease--> LIVE, on what that names
                               ^--time over, or its worker is silent or void--'

Leases are hints: nobody is bound by one, and what is let go of is forgotten. What a worker says in public is chosen in
leasing.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .records import SHARD_CHUNKS, chunks_of, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from .records import Lease

LEASES_PER_WORKER_MAX = 64
"""Shards one worker can have live leases in: an honest one is in a few, a hostile one would fill our memory."""


@dataclass(slots=True, eq=False)
class LiveLease:
    """What one worker says it is on in one shard. Its next lease replaces this one whole."""

    worker: bytes
    home: int
    seq: int
    record_id: bytes
    expires_at: float
    ttl_s: int
    since: dict[int, float]
    """Chunk -> when this worker first leased it, on our clock."""
    bits: int
    """The same chunks as bits of their shard."""


class Leases:
    """The live leases of one task.

    Args:
        remove: Lets go of the record of a lease that is replaced or over.
    """

    def __init__(self, remove: Callable[[bytes], None]) -> None:
        self.live: dict[tuple[bytes, int], LiveLease] = {}
        """By worker and shard."""
        self.by_chunk: dict[int, list[LiveLease]] = {}
        """Those that have just run out may be among them."""
        self._remove = remove
        self._by_ttl: dict[int, dict[tuple[bytes, int], LiveLease]] = {}  # each in order of expiry
        self._shards_of: dict[bytes, int] = {}

    def add(self, record_id: bytes, author: bytes, lease: Lease, now: float) -> bool:
        """Take what a worker says. False when it is nothing new, or of more shards than it may lease in."""
        key = (author, lease.shard)
        current = self.live.get(key)
        if current is not None and current.seq >= lease.seq:
            return False
        if current is None and self._shards_of.get(author, 0) >= LEASES_PER_WORKER_MAX:
            return False
        chunks, bits = chunks_of(lease.shard, lease.runs, allow_none=True), mask(lease.shard, lease.runs)
        if current is None:
            self._shards_of[author] = self._shards_of.get(author, 0) + 1
            since = dict.fromkeys(chunks, now)
            live = LiveLease(author, lease.home, lease.seq, record_id, now + lease.ttl_s, lease.ttl_s, since, bits)
            self.live[key] = live
            added = chunks
        else:
            # Renewed in place: most of its chunks are those that it had.
            live, before = current, current.since
            added = [chunk for chunk in chunks if chunk not in before]
            self._unschedule(key, live)
            self._remove(live.record_id)
            live.home, live.seq, live.record_id = lease.home, lease.seq, record_id
            live.expires_at, live.ttl_s = now + lease.ttl_s, lease.ttl_s
            live.since, live.bits = {chunk: before.get(chunk, now) for chunk in chunks}, bits
            self._let_go(live, [chunk for chunk in before if chunk not in live.since])
        self._by_ttl.setdefault(lease.ttl_s, {})[key] = live
        for chunk in added:
            self.by_chunk.setdefault(chunk, []).append(live)
        return True

    def expire(self, now: float) -> None:
        """Let go of leases that have run out."""
        for leases in list(self._by_ttl.values()):
            while leases:
                key, lease = next(iter(leases.items()))
                if lease.expires_at > now:
                    break
                self._end(key)

    def release(self, worker: bytes) -> list[int]:
        """Forget a worker's leases: it is suspected or void.

        The chunks that it was on, those first that it leased first: the others it had not begun.
        """
        since: list[tuple[float, int]] = []
        for key in [key for key in self.live if key[0] == worker]:
            since += [(at, chunk) for chunk, at in self.live[key].since.items()]
            self._end(key)
        return [chunk for _, chunk in sorted(since)]

    # ---- asking

    def on(self, chunk: int, now: float) -> list[LiveLease]:
        """Leases on a chunk that have not expired."""
        return [lease for lease in self.by_chunk.get(chunk, ()) if lease.expires_at > now]

    def chunks(self, shard: int, now: float) -> list[int]:
        """Chunks of a shard under a live lease."""
        first, end = shard * SHARD_CHUNKS, (shard + 1) * SHARD_CHUNKS
        return [chunk for chunk in self.by_chunk if first <= chunk < end and self.on(chunk, now)]

    def bits(self, shard: int, now: float) -> int:
        """The same as bits of the shard."""
        bits = 0
        for (_, leased), lease in self.live.items():
            if leased == shard and lease.expires_at > now:
                bits |= lease.bits
        return bits

    def workers_at_home(self, shard: int) -> int:
        """Workers that say they work in this shard; others only lease what they were asked for."""
        return sum(key[1] == shard == lease.home for key, lease in self.live.items())

    # ---- inside

    def _end(self, key: tuple[bytes, int]) -> None:
        lease = self.live.pop(key)
        self._unschedule(key, lease)
        self._remove(lease.record_id)
        self._shards_of[lease.worker] -= 1
        if not self._shards_of[lease.worker]:
            del self._shards_of[lease.worker]
        self._let_go(lease, lease.since)

    def _unschedule(self, key: tuple[bytes, int], lease: LiveLease) -> None:
        alike = self._by_ttl[lease.ttl_s]
        del alike[key]
        if not alike:
            del self._by_ttl[lease.ttl_s]

    def _let_go(self, lease: LiveLease, chunks: Iterable[int]) -> None:
        for chunk in chunks:
            leases = self.by_chunk[chunk]
            if len(leases) > 1:
                leases.remove(lease)
            else:
                del self.by_chunk[chunk]

"""Results that count and are not here yet.

    a result:  ASKED of its makers --none delivers it--> ASKED of who keeps it sealed (reclaiming.py) --nobody--> LOST
                     '------------------------ here: its chunks are accepted --------'

What is lost the creator executes itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .batch import CUSTODIANS_MAX
from .reclaiming import Copy, Reclaiming

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .batch import Leaf
    from .desk import Desk
    from .identity import Signer
    from .ledger import Ledger
    from .named import Named
    from .referee import Referee
    from .storage import BlobStore


class Collecting:
    """The fetching of one task's results."""

    def __init__(
        self, signer: Signer, ledger: Ledger, desk: Desk, blobs: BlobStore, referee: Referee, named: Named
    ) -> None:
        self._ledger = ledger
        self._desk = desk
        self._blobs = blobs
        self._referee = referee
        self._named = named
        self._fetching: dict[bytes, set[int]] = {}  # result -> chunks that have it
        self._custodians: dict[bytes, tuple[bytes, ...]] = {}  # worker -> who keeps its results, the latest first
        self._reclaiming = Reclaiming(signer, ledger, desk, blobs)

    def kept_by(self, worker: bytes, custodians: Iterable[bytes]) -> None:
        """A worker says who keeps its results."""
        named = (*custodians, *self._custodians.get(worker, ()))
        self._custodians[worker] = tuple(dict.fromkeys(named))[:CUSTODIANS_MAX]

    def has(self, leaf: Leaf) -> bool:
        """Whether a result is here."""
        return leaf.inline or self._blobs.size(leaf.digest) is not None

    def fetch(self, chunk: int, value: bytes, leaf: Leaf) -> None:
        """Ask for a result that counts."""
        waiting = self._fetching.setdefault(leaf.digest, set())
        if chunk in waiting:
            return
        waiting.add(chunk)
        voters = self._referee.voters(chunk)
        makers = [worker for worker, vote in sorted(voters.items()) if vote.value == value]
        makers += [steward for steward in self._ledger.delegations if steward not in makers]
        self._desk.fetch(leaf.digest, leaf.size, None, makers)

    def reclaim(self, digest: bytes, now: float) -> bool:
        """Look for a result that its makers do not deliver; False when there is no copy to look for."""
        return self._reclaiming.begin(digest, self._copies(digest), now)

    def kept_arrived(self, sealed: bytes, now: float, *, here: bool) -> list[tuple[bytes, bool]]:
        """A sealed result came, or nobody we reach has it: results that are found now, or lost."""
        return self._reclaiming.arrived(sealed, now, here=here)

    def over(self, digest: bytes) -> list[int]:
        """A result is here, or lost: the chunks that waited for it."""
        return sorted(self._fetching.pop(digest, ()))

    def _copies(self, digest: bytes) -> list[Copy]:
        """The sealed copies that votes for a result name."""
        if self._named.needs(digest):
            return self._named.copies(digest, self._custodians)
        return [
            Copy(worker, leaf, self._custodians[worker])
            for chunk in sorted(self._fetching.get(digest, ()))
            for worker, leaf in sorted(self._referee.copies(chunk).items())
            if leaf.digest == digest
        ]

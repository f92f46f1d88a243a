"""Whom stewards asked, and what that is worth to the creator they acted for (spec/stewards.md).

    a vote:  a steward's own, or asked for by one --the delegation stands--> counts as drawn by lots
                                                  --and is trusted---------> as if we had asked for it

What a steward asked is kept whether it may or not: the delegation can come later, and goes with a revocation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from .ledger import Ledger
    from .records import Delegate


class Entrusted:
    """The requests of one task's stewards."""

    def __init__(self, ledger: Ledger, stewards: Mapping[bytes, Delegate]) -> None:
        self._ledger = ledger
        self._stewards = stewards
        self._asked: dict[bytes, dict[int, set[bytes]]] = {}

    def asked(self, steward: bytes, worker: bytes, chunks: Iterable[int]) -> None:
        """A steward has asked a worker for chunks."""
        by_chunk = self._asked.setdefault(steward, {})
        for chunk in chunks:
            by_chunk.setdefault(chunk, set()).add(worker)

    def chunks(self, steward: bytes) -> Collection[int]:
        """What a steward asked for."""
        return self._asked.get(steward, {}).keys()

    def revoked(self, steward: bytes) -> None:
        self._asked.pop(steward, None)

    def drawn(self, chunk: int) -> frozenset[bytes]:
        """Whose votes on a chunk count towards a quorum though we did not ask: lots chose them, or a steward did."""
        drawn = self._ledger.lots.workers(chunk, blind=True)
        for steward in self._stewards:
            drawn = drawn.union((steward,), self._asked.get(steward, {}).get(chunk, ()))
        return drawn

    def asked_for_us(self, chunk: int) -> frozenset[bytes]:
        """Whom a trusted steward asked, as we might have."""
        asked: frozenset[bytes] = frozenset()
        for steward, delegation in self._stewards.items():
            if delegation.trusted:
                asked = asked.union(self._asked.get(steward, {}).get(chunk, ()))
        return asked.difference(self._stewards)  # A steward's own vote is no audit, whoever asked it.

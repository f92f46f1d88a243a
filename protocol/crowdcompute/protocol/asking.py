"""The assignments of one task, and the numbers of what its creator signs (spec/ledger.md, "Assign").

    an assignment:  ours, now or in an earlier life --> a vote that it brings is an audit
                    a steward's --> what that is worth depends on its delegation (entrusting.py)

Whom to ask for what is chosen in dispatching.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .assigning import open_assignment, seal_assignment
from .errors import RemoteProtocolError
from .records import Assign

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .admitting import Admitting
    from .desk import Desk
    from .entrusting import Entrusted
    from .identity import Signer
    from .ledger import Ledger
    from .office import Office
    from .referee import Referee


class Asking:
    """What workers of one task were asked for, by whoever may.

    Args:
        signer: Seals and opens with the task's keys.
        used: The last number that an earlier life has used, as far as no record tells.
    """

    def __init__(
        self,
        signer: Signer,
        rng: Random,
        ledger: Ledger,
        desk: Desk,
        office: Office,
        referee: Referee,
        admitting: Admitting,
        entrusted: Entrusted,
        used: int,
    ) -> None:
        self._signer = signer
        self._rng = rng
        self._ledger = ledger
        self._desk = desk
        self._office = office
        self._referee = referee
        self._admitting = admitting
        self._entrusted = entrusted
        self._seq = used

    def next_seq(self) -> int:
        self._seq += 1
        return self._seq

    def used(self, author: bytes, seq: int) -> None:
        """Somebody's record has this number: if it is ours, we use none up to it again."""
        if author == self._signer.public_key:
            self._seq = max(self._seq, seq)

    def ask(self, worker: bytes, home: int, chunks: list[int], urgent: bool) -> None:
        """Ask a worker that listens in a shard for chunks."""
        seal_key = self._admitting.seal_key(worker)
        sealed = seal_assignment(self._signer, seal_key, self._ledger.task, chunks, self._rng, urgent=urgent)
        self._referee.assign(worker, chunks)
        self._desk.publish(self._ledger, Assign(self._ledger.task, home, self.next_seq(), worker, sealed))

    def asked(self, author: bytes, assign: Assign) -> Iterable[int] | None:
        """Somebody who may has asked a worker for chunks: those to look at again, if it changes what votes are worth.

        It was we in an earlier life, a steward, or, for a steward, its creator.
        """
        self.used(author, assign.seq)
        join = self._ledger.joins.get(assign.worker)
        if join is None:
            return None
        try:
            chunks = open_assignment(self._signer, join.seal_key, assign).chunks
        except RemoteProtocolError:
            return None  # A steward sealed nonsense.
        if self._office.asks_for_us(author):
            self._referee.assign(assign.worker, chunks)
            return None
        self._entrusted.asked(author, assign.worker, chunks)
        return self._referee.look_again(chunks)

"""Which workers a task takes, and how fast (spec/ledger.md, "Admission").

a worker:  JOINED --its turn, so many a minute--> ADMITTED --its steward is revoked--> JOINED
ACQUAINTED --invited with the task----------------'         (inviting.py)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .assigning import ASSIGN_CONTEXT
from .epochs import NO_VALUE
from .errors import RemoteProtocolError
from .events import Notable
from .identity import NONCE_BYTES
from .records import Admit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import Signer
    from .ledger import Ledger

WINDOW_S = 60


class Admitting:
    """The queue at the door of one task."""

    def __init__(self, config: ProtocolConfig, signer: Signer, rng: Random, ledger: Ledger, desk: Desk) -> None:
        self._config = config
        self._signer = signer
        self._rng = rng
        self._ledger = ledger
        self._desk = desk
        self._admitted_at: list[float] = []
        self._waiting: list[bytes] = []
        self._acquaintances = desk.pace(ledger).acquaintances
        self._invited: dict[bytes, bytes] = {}
        """The seal keys of workers that were admitted before they joined."""

    def joined(self, worker: bytes) -> None:
        self._waiting.append(worker)

    def not_admitted(self) -> list[bytes]:
        """Whoever has joined, and no more than that."""
        return [worker for worker in self._ledger.joins if worker not in self._ledger.admits]

    def waits_again(self, worker: bytes) -> None:
        """Who admitted it was not entitled to."""
        if worker not in self._waiting:
            self._waiting.append(worker)

    def admit(self, now: float) -> Iterator[bytes]:
        """Admit whoever may come in now; each as it is admitted."""
        self._admitted_at = [at for at in self._admitted_at if now - at < WINDOW_S]
        while self._waiting and len(self._admitted_at) < self._config.admit_per_minute:
            worker = self._waiting.pop(0)
            if worker in self._ledger.admits or self._ledger.is_void(worker) or self._ledger.is_steward(worker):
                continue
            if not self._can_seal_to(worker):
                continue
            self._let_in(worker, self._ledger.joins[worker].anchor, now)
            self.heard(worker, now)
            yield worker

    def invite(self, is_here: Callable[[bytes], bool], now: float) -> Iterator[bytes]:
        """Admit who has just worked for the same code, before it joins; each as it is admitted.

        Not where lots are drawn: there a worker's anchor must be known before the nonce of its admission is made.
        """
        if self._ledger.manifest.epochs is None:
            self._invited = self._acquaintances.choose(is_here, self._rng, now)
        for worker in self._invited:
            self._let_in(worker, NO_VALUE, now)
            yield worker

    def heard(self, worker: bytes, now: float) -> None:
        """A worker that has joined was admitted, or its commit opened."""
        join = self._ledger.joins.get(worker)
        if join is not None and not self._ledger.is_void(worker):
            self._acquaintances.heard(worker, join.seal_key, now)

    def forget(self, worker: bytes) -> None:
        """It lied, or is silent: it is not invited again."""
        self._acquaintances.forget(worker)

    def seal_key(self, worker: bytes) -> bytes:
        """With which to seal to an admitted worker."""
        join = self._ledger.joins.get(worker)
        return self._invited[worker] if join is None else join.seal_key

    def count(self) -> int:
        """Workers that hold what it takes, and may begin."""
        return sum(worker in self._ledger.joins for worker in self._ledger.admits)

    def _let_in(self, worker: bytes, anchor: bytes, now: float) -> None:
        self._admitted_at.append(now)
        self._desk.publish(self._ledger, Admit(self._ledger.task, worker, anchor, self._rng.randbytes(16)))
        self._desk.notice(Notable.WORKER_ADMITTED, self._ledger, chunk=None, peer=worker, detail="")

    def _can_seal_to(self, worker: bytes) -> bool:
        """Whether a worker's seal key is a usable one: with a point of small order nothing could ever be assigned."""
        join, context = self._ledger.joins[worker], ASSIGN_CONTEXT + self._ledger.task
        try:
            self._signer.seal(join.seal_key, context, b"", self._rng.randbytes(NONCE_BYTES))
        except RemoteProtocolError:
            return False
        return True

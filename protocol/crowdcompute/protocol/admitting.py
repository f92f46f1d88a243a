"""Which workers a task takes, and how fast (spec/ledger.md, "Admission").

a worker:  JOINED --its turn, so many a minute--> ADMITTED --its steward is revoked--> JOINED
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .assigning import ASSIGN_CONTEXT
from .errors import RemoteProtocolError
from .events import Notable
from .identity import NONCE_BYTES
from .records import Admit

if TYPE_CHECKING:
    from collections.abc import Iterator
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
            self._admitted_at.append(now)
            anchor = self._ledger.joins[worker].anchor
            self._desk.publish(self._ledger, Admit(self._ledger.task, worker, anchor, self._rng.randbytes(16)))
            self._desk.notice(Notable.WORKER_ADMITTED, self._ledger, chunk=None, peer=worker, detail="")
            yield worker

    def _can_seal_to(self, worker: bytes) -> bool:
        """Whether a worker's seal key is a usable one: with a point of small order nothing could ever be assigned."""
        join, context = self._ledger.joins[worker], ASSIGN_CONTEXT + self._ledger.task
        try:
            self._signer.seal(join.seal_key, context, b"", self._rng.randbytes(NONCE_BYTES))
        except RemoteProtocolError:
            return False
        return True

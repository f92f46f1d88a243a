"""Whom a creator admits and asks before they have joined: who has just worked for it with the same code.

    a worker:  STRANGER --its join, or a commit that opens--> ACQUAINTED --15 s without, or convicted--> STRANGER

The task, the admission and the assignment then travel together, so that a call takes one round trip instead of three
(spec/ledger.md, "Invitations").
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

ACQUAINTANCES_MAX = 256
"""Workers remembered for one code, those heard of last."""

INVITED_MAX = 16
"""Workers that are asked at once: each costs two records, and the others join as ever."""


class _Heard(NamedTuple):
    seal_key: bytes
    at: float


class Acquaintances:
    """The workers of one code that were there lately.

    Args:
        lasts_s: For how long after it was heard of a worker counts as there. One that rests meanwhile does not say so.
    """

    def __init__(self, lasts_s: float) -> None:
        self._lasts_s = lasts_s
        self._heard: OrderedDict[bytes, _Heard] = OrderedDict()

    def heard(self, worker: bytes, seal_key: bytes, now: float) -> None:
        """A worker was admitted, or its commit opened."""
        self._heard[worker] = _Heard(seal_key, now)
        self._heard.move_to_end(worker)
        if len(self._heard) > ACQUAINTANCES_MAX:
            self._heard.popitem(last=False)

    def forget(self, worker: bytes) -> None:
        """It lied, or is silent."""
        self._heard.pop(worker, None)

    def choose(self, is_here: Callable[[bytes], bool], rng: Random, now: float) -> dict[bytes, bytes]:
        """Those to invite, by chance where they are many, and the keys to seal to them with."""
        there = [worker for worker, heard in self._heard.items() if now - heard.at < self._lasts_s and is_here(worker)]
        chosen = there if len(there) <= INVITED_MAX else rng.sample(there, INVITED_MAX)
        return {worker: self._heard[worker].seal_key for worker in chosen}

"""When a task may be closed: audits while it runs, and what is still missing when all its chunks are (auditing.py).

    the task:  RUNNING --all chunks closed--> AUDITING --enough clean audits--> CLOSED
                  ^                              |
                  '---- a lie is found: chunks reopen ----'

The creator settles chunk by chunk (creator.py) and asks here how sure it can be of the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeAlias

from .auditing import Auditor

if TYPE_CHECKING:
    from collections.abc import Set
    from random import Random

    from .ledger import Ledger
    from .referee import Referee

_STRENGTH_TOLERANCE = 1e-9
"""Sums of floats that should be equal may differ by this much."""


class TaskState(Enum):
    RUNNING = "running"
    AUDITING = "auditing"
    SETTLED = "settled"
    """A steward has nothing left to do: its creator closes the task."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Certify:
    """The audits suffice."""


@dataclass(frozen=True, slots=True)
class Confirm:
    """Have these chunks executed once more by anybody."""

    chunks: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExecuteOurselves:
    """What is missing only the creator's own executions can add."""

    chunks: tuple[int, ...]


NextStep: TypeAlias = Certify | Confirm | ExecuteOurselves


@dataclass(frozen=True, slots=True)
class Assurance:
    """What the audits so far say about the task."""

    worker_audits: int
    creator_audits: int
    bound: float
    """Upper confidence limit on the share of wrong results."""
    confidence: float


class Closing:
    """The audits of one task of ours.

    Args:
        failed: Chunks that need no audit, kept by whoever settles them: nobody gets a result of them, or, for a
            steward, the creator has closed them itself.
    """

    def __init__(self, ledger: Ledger, referee: Referee, failed: Set[int], rng: Random) -> None:
        self._ledger = ledger
        self._referee = referee
        self._failed = failed
        self._auditor = Auditor(ledger.manifest.policy, ledger.manifest.chunks, rng)
        self._vetted: dict[bytes, int] = {}  # audits drawn on a worker's chunks so far
        self._counted: dict[int, tuple[int, bool]] = {}
        self._trusted: set[int] = set()
        self._worker_audits = 0
        self._creator_audits = 0

    def agreed(self, chunk: int) -> None:
        """A chunk's votes agree: draw its audits, unless we executed it ourselves."""
        if self._referee.is_executed(chunk):
            return
        parties = self._referee.parties(chunk)
        drawn = self._auditor.agreed(chunk, min((self._vetted.get(worker, 0) for worker in parties), default=0))
        for worker in parties if drawn else ():
            self._vetted[worker] = self._vetted.get(worker, 0) + drawn

    def due(self, chunk: int) -> int:
        """Audits this chunk still needs."""
        if self._referee.is_executed(chunk):
            return 0
        return self._auditor.due(chunk, self._referee.chunk(chunk).extra)

    def account(self, chunk: int) -> None:
        """Keep the totals of uniform audits true: by workers, and by ourselves where nothing was in dispute."""
        voters = self._referee.voters(chunk)
        trusted = self._referee.has_own_result(chunk)
        if trusted:
            self._trusted.add(chunk)
        before = self._counted.get(chunk, (0, False))
        drawn = trusted and len(voters) > 1 and not self._referee.is_disowned(chunk)
        after = (self._referee.chunk(chunk).extra, drawn)
        if after != before:
            self._counted[chunk] = after
            self._worker_audits += after[0] - before[0]
            self._creator_audits += after[1] - before[1]

    def struck(self, worker: bytes) -> None:
        """A worker has a strike: it is trusted as little as a newcomer."""
        self._vetted.pop(worker, None)

    def mistaken(self) -> None:
        """An accepted result turned out wrong."""
        self._auditor.mistaken()

    def assurance(self, *, convicted: bool, all_closed: bool) -> Assurance:
        all_trusted = all_closed and self._all_trusted()
        return Assurance(
            self._worker_audits,
            self._creator_audits,
            self._auditor.bound(self._strength(), convicted=convicted, all_trusted=all_trusted),
            self._auditor.confidence(convicted=convicted),
        )

    def next_step(self, *, convicted: bool, by_workers: bool) -> NextStep:
        """What comes next; all chunks are closed. `by_workers` says whether anybody but us can audit."""
        required = self._auditor.required(convicted=convicted) - _STRENGTH_TOLERANCE
        strength = self._strength()
        fresh = not convicted or self._auditor.sampling
        if fresh and (strength >= required or self._all_trusted()):
            return Certify()
        self._auditor.chunks = self._ledger.chunks
        drawn = self._auditor.draw_more(
            strength, convicted=convicted, by_workers=by_workers, audits_of=self._audits_of, failed=self._failed
        )
        if drawn:
            return Confirm(tuple(sorted(drawn)))
        # What audits cannot show, the creator's own executions do, beginning with what nobody audited. When they do not
        # suffice either, all chunks are executed, and nothing is left to be wrong.
        missing = required - self._strength()
        left = [
            chunk
            for chunk in range(self._ledger.chunks)
            if chunk not in self._failed and not self._referee.has_own_result(chunk)
        ]
        gains = {chunk: self._auditor.gain(chunk, self._audits_of) for chunk in left}
        chunks = []
        for chunk in sorted(left, key=lambda chunk: -gains[chunk]):
            if missing <= 0:
                break
            chunks.append(chunk)
            missing -= gains[chunk]
        return ExecuteOurselves(tuple(chunks))

    # ---- inside

    def _audits_of(self, chunk: int) -> tuple[int, bool]:
        return self._referee.chunk(chunk).extra, self._referee.has_own_result(chunk)

    def _strength(self) -> float:
        return self._auditor.strength(self._worker_audits, self._creator_audits, self._audits_of)

    def _all_trusted(self) -> bool:
        """Whether we executed every chunk that has a result; a failed one has none that could be wrong."""
        return len(self._trusted | self._failed) == self._ledger.chunks

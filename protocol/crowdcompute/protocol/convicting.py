"""What lies cost: verdicts on the workers of one task (spec/ledger.md, "verdict").

a worker:  CLEAN --one wrong result--> STRUCK, its votes until then void --another--> BANNED
             '--------a commit that does not open, or equivocation------------------^
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .events import Notable
from .records import EVERYTHING, Verdict

if TYPE_CHECKING:
    from .desk import Desk
    from .ledger import Ledger
    from .lineage import Rest
    from .office import Office
    from .referee import Referee


class Convicting:
    """The verdicts of one task's creator; a steward keeps its own to itself (office.py)."""

    def __init__(self, ledger: Ledger, desk: Desk, office: Office, referee: Referee) -> None:
        self._ledger = ledger
        self._desk = desk
        self._office = office
        self._referee = referee

    def is_banned(self, worker: bytes) -> bool:
        verdict = self._office.verdicts.get(worker)
        return verdict is not None and verdict.is_ban

    def convict(self, worker: bytes, reason: str, chunk: int, commit: bytes, rest: Rest | None = None) -> Verdict:
        """Say that a worker lied, and how much of what it did that voids.

        Args:
            commit: The record that shows it, or zeros.
            rest: Its savepoint, where it is this that was false.
        """
        assert reason in ("wrong", "malformed", "equivocated")
        # Honest machines err, too: the first wrong result costs what was done until then, the second one everything.
        is_strike = reason == "wrong" and worker not in self._office.strikes
        last_seq = max(self._referee.last_seq(worker), -1 if rest is None else rest.seq)
        void_to = last_seq if is_strike else EVERYTHING
        verdict = Verdict(self._ledger.task, worker, reason, chunk, commit, void_to)  # type: ignore[arg-type]
        self._office.convict(verdict)
        self.notice(worker, chunk, "a strike" if is_strike else reason)
        return verdict

    def notice(self, worker: bytes, chunk: int, detail: str) -> None:
        self._desk.notice(Notable.WORKER_CONVICTED, self._ledger, chunk=chunk, peer=worker, detail=detail)

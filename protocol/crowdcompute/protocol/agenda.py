"""When a creator acts on what comes (creator.py).

    a task:  RESTORING --the records of an earlier life are read--> HEARING OUT --HEAR_OUT_S, had it been away--> ASKING
                                                                                          ASKING --certificate--> CLOSED

While restoring nothing follows from what is read, and while hearing out nobody is asked for anything: what we would ask
for may have been done meanwhile. A life that begins with its task is ASKING at once.
"""

from __future__ import annotations

import math

REVIEW_S = 0.5
"""How often overdue assignments are looked for: a tenth of the 5 s in which a silent worker's work must be re-run."""

HEAR_OUT_S = 5.0
"""A creator that was away asks nobody for anything for this long: what it would ask for may have been done meanwhile,
and is on its way to it. A guess; simulations/scenarios/unattended.toml."""


class Agenda:
    """What one task's creator has to look at, and when."""

    def __init__(self) -> None:
        self.is_restoring = False
        self.is_closed = False
        """The certificate is signed."""
        self.review_at: float | None = None
        """When to look for what is overdue; None before the first time."""
        self.is_stirred = True
        """Whether something has changed since we last asked."""
        self.turn_at: float | None = None
        """When to ask for what is wanted; None while nothing has changed."""
        self._asking_from = -math.inf

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing follows from what the votes say."""
        return self.is_restoring or self.is_closed

    def hear_out(self, now: float) -> None:
        """We were away."""
        self._asking_from = now + HEAR_OUT_S

    def stir(self) -> None:
        """Something has changed: there may be something to ask for, or nothing any more."""
        self.is_stirred = True

    def review_soon(self, now: float) -> None:
        """There may be something for a worker at once."""
        self.review_at = now

    def is_review_due(self, now: float) -> bool:
        return self.review_at is None or now >= self.review_at

    def reviewed(self, now: float) -> None:
        self.review_at = now + REVIEW_S

    def takes_turn(self, now: float, due_at: float) -> bool:
        """Whether to ask now for what is wanted, which may wait until `due_at`: once for all that has stirred since."""
        self.turn_at = max(self._asking_from, due_at)
        if now < self.turn_at:
            return False
        self.is_stirred, self.turn_at = False, None
        return True

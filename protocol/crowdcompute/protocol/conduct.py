"""What a neighbour may cost us: bytes by the second, and breaches until we part (spec/session.md).

a neighbour:  WELCOME --each breach: 10 points--> at the floor, or before its hello: dropped
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from .config import ProtocolConfig

BREACH_POINTS = 10.0


class Conduct:
    """Of one neighbour over one link."""

    def __init__(self, config: ProtocolConfig, now: float) -> None:
        self._config = config
        self._score = 0.0
        self._tokens = config.link_bytes_burst
        self._filled_at = now

    def charge(self, size: int, now: float) -> None:
        """Count bytes that we did not ask for.

        Raises:
            RemoteProtocolError: They are more than its share.
        """
        config = self._config
        refilled = self._tokens + (now - self._filled_at) * config.link_bytes_per_s
        self._filled_at = now
        self._tokens = min(config.link_bytes_burst, refilled) - size
        if self._tokens < 0:
            raise RemoteProtocolError("more control bytes than the link's share")

    def breach(self) -> bool:
        """It sent what the protocol forbids: whether that was once too often."""
        self._score -= BREACH_POINTS
        return self._score <= self._config.score_floor

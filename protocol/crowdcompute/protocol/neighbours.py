"""Whom to be connected with (spec/session.md, "Neighbours").

KNOWN --dial--> DIALLING --link--> LINKED
  ^                |                  |
  '---- back off --+------ closed ----'
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .config import ProtocolConfig
    from .identity import PeerId

KNOWN_MAX = 1_000
REDIAL_MAX_S = 60.0


@dataclass(slots=True)
class _Known:
    dial_at: float
    failures: int = 0
    dialling: bool = False


class Neighbours:
    """Known peers and the links to some of them; says whom to dial next."""

    def __init__(self, config: ProtocolConfig, rng: Random) -> None:
        self._config = config
        self._rng = rng
        self._known: dict[PeerId, _Known] = {}
        self._linked: set[PeerId] = set()
        self._wanted: set[PeerId] = set()

    def discovered(self, peer_ids: Iterable[PeerId], now: float) -> None:
        for peer_id in peer_ids:
            if len(self._known) < KNOWN_MAX or peer_id in self._known:
                self._known.setdefault(peer_id, _Known(now))

    def want(self, peer_id: PeerId, now: float) -> None:
        """This very peer is needed (it has a result): dial it beyond the target."""
        if peer_id not in self._linked:
            self._wanted.add(peer_id)
            self._known.setdefault(peer_id, _Known(now))

    def opened(self, peer_id: PeerId, now: float) -> bool:
        """A link is up. False when there are too many, and it should be closed."""
        self._known[peer_id] = _Known(now)
        self._wanted.discard(peer_id)
        if len(self._linked) >= self._config.neighbours_max:
            return False
        self._linked.add(peer_id)
        return True

    def closed(self, peer_id: PeerId, now: float) -> None:
        """A link is down, or a dial failed: try again later, each time twice as late."""
        self._linked.discard(peer_id)
        known = self._known.setdefault(peer_id, _Known(now))
        known.dialling = False
        pause_s = min(REDIAL_MAX_S, self._config.redial_after_s * 2.0**known.failures)
        known.failures += 1
        known.dial_at = now + pause_s * (0.5 + self._rng.random())
        # Strangers that come and go with ever new identities must not fill our memory either.
        if known.failures > 8 or len(self._known) > KNOWN_MAX:
            del self._known[peer_id]
            self._wanted.discard(peer_id)

    def dials(self, now: float) -> list[PeerId]:
        """Whom to dial now: wanted ones, and others at random until the target is reached."""
        if len(self._linked) >= self._config.neighbours_target and not self._wanted:
            return []
        ready = [
            peer_id
            for peer_id, known in self._known.items()
            if not known.dialling and known.dial_at <= now and peer_id not in self._linked
        ]
        chosen = [peer_id for peer_id in ready if peer_id in self._wanted]
        dialling = sum(known.dialling for known in self._known.values())
        missing = self._config.neighbours_target - len(self._linked) - dialling - len(chosen)
        others = [peer_id for peer_id in ready if peer_id not in self._wanted]
        if missing > 0:
            chosen += others if len(others) <= missing else self._rng.sample(others, missing)
        for peer_id in chosen:
            self._known[peer_id].dialling = True
        return chosen

    def wake_at(self) -> float | None:
        if len(self._linked) >= self._config.neighbours_target and not self._wanted:
            return None
        dialling = sum(known.dialling for known in self._known.values())
        room = len(self._linked) + dialling < self._config.neighbours_target
        return min(
            (
                known.dial_at
                for peer_id, known in self._known.items()
                if not known.dialling and peer_id not in self._linked and (room or peer_id in self._wanted)
            ),
            default=None,
        )

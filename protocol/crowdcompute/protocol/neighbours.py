"""Whom to be connected with (spec/session.md, "Neighbours").

    KNOWN --dial--> DIALLING --link--> LINKED
      ^                |                  |
      '---- back off --+------ closed ----'

A peer is dialled through a neighbour that named it, through another if that fails, and in the end through the
signaling server.

Peers that all have as many links as they want would never dial again, and two halves of a network that were cut apart
and filled their links among themselves would stay apart. So whoever lacks nothing pays a visit now and then:

    LINKED enough --a minute--> dial one peer we are not linked with --link--> leave the link of the visit before

or, as often, an older link of ours, which mixes the network. The two oldest links we dialled are never left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from .config import ProtocolConfig
    from .identity import PeerId

KNOWN_MAX = 1_000

WANTED_MAX = 1_000
WANTED_AT_ONCE = 32
"""Peers that are dialled because they have something we need: who names the makers of a thousand results can make all
of them up, and each dial is a connection in the making. As many as we may be linked with."""

REDIAL_MAX_S = 60.0

INTRODUCERS_MAX = 4
"""Neighbours remembered as having named one peer."""

FAILED_INTRODUCTIONS_MAX = 8
"""A neighbour with so many failed introductions in a row is believed no more while its link lasts."""


OURS_KEPT = 2
"""The oldest links that we dialled, never left for another: nobody else chose them (eclipse)."""

SWAP_SHARE = 0.5
"""How often a visit replaces an older link and not the one of the visit before."""


@dataclass(slots=True)
class _Known:
    dial_at: float
    failures: int = 0
    dialling: bool = False
    introducers: list[PeerId] = field(default_factory=list)
    through: PeerId | None = None
    """The neighbour by way of which it is being dialled; None: the signaling server."""


class Neighbours:
    """Known peers and the links to some of them; says whom to dial next."""

    def __init__(self, config: ProtocolConfig, rng: Random, now: float) -> None:
        self._config = config
        self._rng = rng
        self.moving = False
        """While a large blob is fetched more links are wanted: each link may be slow, and many ways carry more."""
        self._known: dict[PeerId, _Known] = {}
        self._linked: dict[PeerId, bool] = {}
        """The oldest first; whether we dialled it."""
        self._wanted: set[PeerId] = set()
        self._failed_introductions: dict[PeerId, int] = {}
        self._visit_at = self._next_visit(now)
        self._visiting: PeerId | None = None
        self._visited: PeerId | None = None
        """The link of the last visit."""

    @property
    def _target(self) -> int:
        return self._config.blob_neighbours if self.moving else self._config.neighbours_target

    @property
    def lacking(self) -> bool:
        """Whether we have fewer links than we want."""
        return len(self._linked) < self._target

    def introduces(self, peer_id: PeerId) -> bool:
        """Whether a linked neighbour's introductions are worth trying."""
        return self._failed_introductions.get(peer_id, 0) < FAILED_INTRODUCTIONS_MAX

    def is_visited(self, peer_id: PeerId) -> bool:
        """Whether this link is a visit: its neighbours may be strangers to all of ours."""
        return peer_id == self._visited

    def discovered(self, peer_ids: Iterable[PeerId], now: float) -> None:
        """The signaling server names these."""
        for peer_id in peer_ids:
            if len(self._known) < KNOWN_MAX or peer_id in self._known:
                self._known.setdefault(peer_id, _Known(now))

    def introduced(self, peer_ids: Iterable[PeerId], by: PeerId, now: float) -> bool:
        """A neighbour is linked with these. Whether any of them was not known before."""
        before = len(self._known)
        for peer_id in peer_ids:
            if peer_id in self._linked or (peer_id not in self._known and len(self._known) >= KNOWN_MAX):
                continue
            known = self._known.setdefault(peer_id, _Known(now))
            if by not in known.introducers:
                known.introducers = [*known.introducers, by][-INTRODUCERS_MAX:]
                known.dial_at = min(known.dial_at, now)
        return len(self._known) > before

    def want(self, peer_id: PeerId, now: float) -> None:
        """This very peer is needed (it has a result): dial it beyond the target, unless too many are."""
        if peer_id not in self._linked and len(self._wanted) < WANTED_MAX:
            self._wanted.add(peer_id)
            self._known.setdefault(peer_id, _Known(now))

    def opened(self, peer_id: PeerId, now: float, *, dialled: bool) -> list[PeerId] | None:
        """A link is up. Which others to close because it takes the place of one; None: too many, close this one."""
        known = self._known.setdefault(peer_id, _Known(now))
        if known.through is not None:
            self._failed_introductions.pop(known.through, None)
        self._known[peer_id] = _Known(now, introducers=known.introducers)
        self._wanted.discard(peer_id)
        if len(self._linked) >= self._config.neighbours_max:
            return None
        self._linked[peer_id] = dialled
        if peer_id != self._visiting:
            return []
        self._visiting = None
        return self._arrived(peer_id)

    def closed(self, peer_id: PeerId, now: float) -> None:
        """A link is down, or a dial failed: try the next way at once, or again later, each time twice as late."""
        self._linked.pop(peer_id, None)
        self._visiting = None if peer_id == self._visiting else self._visiting
        self._visited = None if peer_id == self._visited else self._visited
        self._failed_introductions.pop(peer_id, None)
        known = self._known.setdefault(peer_id, _Known(now))
        known.dialling = False
        if known.through is not None:
            introducer, known.through = known.through, None
            known.introducers = [other for other in known.introducers if other != introducer]
            if introducer in self._linked:
                self._failed_introductions[introducer] = self._failed_introductions.get(introducer, 0) + 1
            known.dial_at = now
            return
        pause_s = min(REDIAL_MAX_S, self._config.redial_after_s * 2.0**known.failures)
        known.failures += 1
        known.dial_at = now + pause_s * (0.5 + self._rng.random())
        # Strangers that come and go with ever new identities must not fill our memory either.
        if known.failures > 8 or len(self._known) > KNOWN_MAX:
            del self._known[peer_id]
            self._wanted.discard(peer_id)

    def dials(self, now: float) -> list[tuple[PeerId, PeerId | None]]:
        """Whom to dial now, and through whom: wanted ones, others at random until the target is reached, a visit."""
        visits = now >= self._visit_at
        if visits:
            self._visit_at = self._next_visit(now)
        if not self.lacking and not self._wanted and not visits:
            return []
        ready = [
            peer_id
            for peer_id, known in self._known.items()
            if not known.dialling and known.dial_at <= now and peer_id not in self._linked
        ]
        dialling = self._dialling()
        chosen = [peer_id for peer_id in ready if peer_id in self._wanted][: max(0, WANTED_AT_ONCE - dialling)]
        missing = self._target - len(self._linked) - dialling - len(chosen)
        others = [peer_id for peer_id in ready if peer_id not in self._wanted]
        if missing > 0:
            chosen += others if len(others) <= missing else self._rng.sample(others, missing)
        elif visits and others and not self.lacking:
            self._visiting = self._rng.choice(others)
            chosen.append(self._visiting)
        return [(peer_id, self._begin_dial(self._known[peer_id])) for peer_id in chosen]

    def _dialling(self) -> int:
        return sum(known.dialling for known in self._known.values())

    def _begin_dial(self, known: _Known) -> PeerId | None:
        ways = [peer_id for peer_id in known.introducers if peer_id in self._linked and self.introduces(peer_id)]
        known.dialling = True
        known.through = self._rng.choice(ways) if ways else None
        return known.through

    def _next_visit(self, now: float) -> float:
        return now + self._config.visit_every_s * (0.5 + self._rng.random())

    def _arrived(self, peer_id: PeerId) -> list[PeerId]:
        """A visit has become a link: leave another, unless we lack links by now."""
        before, self._visited = self._visited, peer_id
        if before is None or len(self._linked) <= self._target:
            return []
        ours = [other for other, dialled in self._linked.items() if dialled and other not in (before, peer_id)]
        swaps = len(ours) > OURS_KEPT and self._rng.random() < SWAP_SHARE
        return [self._rng.choice(ours[OURS_KEPT:]) if swaps else before]

    def wake_at(self) -> float:
        """When `dials` has something to say, if nothing happens before."""
        if not self.lacking and not self._wanted:
            return self._visit_at
        dialling = self._dialling()
        room, room_for_wanted = len(self._linked) + dialling < self._target, dialling < WANTED_AT_ONCE
        return min(
            self._visit_at,
            *(
                known.dial_at
                for peer_id, known in self._known.items()
                if not known.dialling
                and peer_id not in self._linked
                and (room_for_wanted if peer_id in self._wanted else room)
            ),
            math.inf,
        )

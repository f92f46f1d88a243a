"""How the only source of a blob shows its pieces, so that it sends none twice while others lack others
(spec/blobs.md, "Seeding").

    a piece:  UNSHOWN --to one neighbour--> SHOWN --it asks and is served--> GIVEN
                 ^-------- link closed --------'

Neighbours ask for what they are shown. Once every piece has been given once, the network can do the rest, and everybody
is shown everything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .pieces import draw, members, set_of

if TYPE_CHECKING:
    from random import Random

    from .identity import PeerId

SHOWN_FIRST = 4
SHOWN_MAX = 32
"""Pieces shown to one neighbour and not served yet. It grows by one with each served, so a fast link does not wait."""


class Seeding:
    """One blob that we have and, as far as we know, nobody else."""

    def __init__(self, count: int, rng: Random) -> None:
        self.count = count
        self._all = (1 << count) - 1
        self._rng = rng
        self._given = 0
        self._shown: dict[PeerId, int] = {}
        """By neighbour, what it was shown and lacks still."""
        self._has: dict[PeerId, int] = {}
        self._width: dict[PeerId, int] = {}

    @property
    def done(self) -> bool:
        """Whether every piece has been given."""
        return self._given == self._all

    @property
    def neighbours(self) -> list[PeerId]:
        """Those that are shown pieces."""
        return list(self._shown)

    def joined(self, peer_id: PeerId) -> None:
        """A neighbour wants all of the blob."""
        self._shown[peer_id] = self._has[peer_id] = 0
        self._width[peer_id] = SHOWN_FIRST

    def left(self, peer_id: PeerId) -> None:
        for kept in (self._shown, self._has, self._width):
            kept.pop(peer_id, None)

    def has(self, peer_id: PeerId, pieces: int) -> None:
        """A neighbour says what it has: it need not be shown that."""
        if peer_id in self._shown:
            self._has[peer_id] |= pieces & self._all
            self._shown[peer_id] &= ~pieces

    def served(self, peer_id: PeerId, index: int) -> None:
        """A piece goes to a neighbour now."""
        self._given |= 1 << index
        if peer_id in self._shown:
            self._has[peer_id] |= 1 << index
            self._shown[peer_id] &= ~(1 << index)
            self._width[peer_id] = min(SHOWN_MAX, self._width[peer_id] + 1)

    def show(self, peer_id: PeerId) -> list[int]:
        """Pieces to show to a neighbour now, besides those it was shown.

        They are such as nobody was shown; where there are none left, and it has nothing to ask for, such as others are
        slow to ask for.
        """
        if peer_id not in self._shown:
            return []
        others = 0
        for shown in self._shown.values():
            others |= shown
        lacking = self._all & ~self._given & ~self._has[peer_id] & ~self._shown[peer_id]
        room = self._width[peer_id] - len(list(members(self._shown[peer_id])))
        new: list[int] = []
        while room > len(new) and lacking:
            fresh = lacking & ~others
            if not fresh and (new or self._shown[peer_id]):
                break
            index = draw(fresh or lacking, self._rng)
            lacking &= ~(1 << index)
            others |= 1 << index
            new.append(index)
        self._shown[peer_id] |= set_of(new)
        return new

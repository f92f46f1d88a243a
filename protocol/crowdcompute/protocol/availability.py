"""Which pieces of one blob each neighbour has, and which of them are the rarest (spec/blobs.md, "Which piece").

How many neighbours have a piece is a number of few bits. Bit k of all these numbers stands in `_planes[k]`, a set of
pieces: so the rarest pieces of any set are found in as many steps as there are planes, however many pieces there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .identity import PeerId


class Availability:
    """Sets of pieces (pieces.py) by neighbour."""

    def __init__(self) -> None:
        self._has: dict[PeerId, int] = {}
        self._planes: list[int] = []

    def of(self, peer_id: PeerId) -> int:
        """What this neighbour has."""
        return self._has.get(peer_id, 0)

    def has(self, peer_id: PeerId, pieces: int) -> None:
        """This neighbour says that it has these."""
        known = self._has.get(peer_id, 0)
        self._has[peer_id] = known | pieces
        carry, place = pieces & ~known, 0
        while carry:
            if place == len(self._planes):
                self._planes.append(0)
            self._planes[place], carry = self._planes[place] ^ carry, self._planes[place] & carry
            place += 1

    def drop(self, peer_id: PeerId) -> None:
        """This neighbour has gone, or has nothing any more."""
        borrow, place = self._has.pop(peer_id, 0), 0
        while borrow:
            self._planes[place], borrow = self._planes[place] ^ borrow, ~self._planes[place] & borrow
            place += 1

    def rarest(self, pieces: int) -> int:
        """Those of a set that the fewest neighbours have."""
        for plane in reversed(self._planes):
            pieces = pieces & ~plane or pieces
        return pieces

"""One blob with a known root that we fetch piece by piece, from all neighbours that have some (spec/blobs.md).

    a piece:  LACKING --rarest, of a neighbour with room--> ASKED --its proof holds--> HERE, told to the others
                 ^---- link closed, too late ----------------'
                       a neighbour with nothing else for us is asked for it, too; who comes second is called off

How much is asked of a neighbour at a time follows from how long it takes: about what it gives in `ASK_AHEAD_S`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .availability import Availability
from .errors import RemoteProtocolError
from .frames import BlobCancel, BlobGot, BlobHave, BlobWant
from .pieces import draw, members

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from random import Random

    from .config import ProtocolConfig
    from .frames import BlobPieceFrame, Frame
    from .identity import PeerId
    from .pieces import Partial

ASK_AHEAD_S = 0.5
"""A piece should come this soon after it was asked for. Less leaves links idle on long ways, more makes asking early
for what another could give sooner."""

FIRST_WINDOW = 2
TELL_WITHIN_S = 0.1
"""What came is told to neighbours this soon, several pieces together."""

TWICE_AFTER_S = 0.5
"""A piece asked for this long ago may be asked of a second neighbour, if that has nothing else for us."""

TOLD_MAX = 256
HAVE_BYTES = 8_192


def have_frames(digest: bytes, count: int, here: int) -> Iterator[BlobHave]:
    """What is here of a blob of `count` pieces, in as few frames as hold it."""
    bits = here.to_bytes(-(-count // 8), "little")
    for start in range(0, len(bits), HAVE_BYTES):
        yield BlobHave(digest, 8 * start, bits[start : start + HAVE_BYTES])


@dataclass(slots=True)
class _Giver:
    """A neighbour that has something of the blob, or may have."""

    window: float = FIRST_WINDOW
    asked: dict[int, float] = field(default_factory=dict)
    late: bool = False


class Swarm:
    """One blob being fetched. The exchange finds the neighbours and performs the frames."""

    def __init__(self, config: ProtocolConfig, partial: Partial, rng: Random, now: float) -> None:
        self.partial = partial
        self.availability = Availability()
        self.followers: set[PeerId] = set()
        """Neighbours that are told what we get."""
        self.whole = False
        self._config = config
        self._rng = rng
        self._wanted = 0
        self._givers: dict[PeerId, _Giver] = {}
        self._once = 0
        """Pieces asked of one neighbour at least, and not late."""
        self._twice = 0
        self._asked_at: dict[int, float] = {}
        """When each of these was first asked for."""
        self._news: list[int] = []
        self._tell_at: float | None = None
        self._again_at: float | None = None
        """When a neighbour with room may be asked for what another was asked for before."""
        self._late_at: float | None = None
        """No piece is late before."""
        self._stuck_since: float | None = now

    @property
    def lacking(self) -> int:
        """What we want and do not have."""
        return self._wanted & ~self.partial.here

    def want(self, pieces: int) -> None:
        """Get these pieces besides those wanted before."""
        self._wanted |= pieces

    def want_all(self) -> None:
        """Get every piece."""
        self.whole = True
        self._wanted = (1 << self.partial.count) - 1

    # ---- what neighbours say

    def has(self, peer_id: PeerId, pieces: int) -> None:
        """A neighbour has these pieces.

        Raises:
            RemoteProtocolError: The blob has no such pieces.
        """
        if pieces >> self.partial.count:
            raise RemoteProtocolError(f"there is no piece {pieces.bit_length() - 1}: the blob has {self.partial.count}")
        self._givers.setdefault(peer_id, _Giver())
        self.availability.has(peer_id, pieces)

    def drop(self, peer_id: PeerId) -> None:
        """A neighbour has nothing for us (any more)."""
        self.availability.drop(peer_id)
        self.followers.discard(peer_id)
        if self._givers.pop(peer_id, None) is not None:
            self._recount()

    def expects(self, peer_id: PeerId, index: int) -> bool:
        """Whether this neighbour was asked for this piece, and it is not here."""
        giver = self._givers.get(peer_id)
        return giver is not None and index in giver.asked

    def received(self, peer_id: PeerId, piece: BlobPieceFrame, now: float) -> list[tuple[PeerId, Frame]]:
        """Take a piece that was asked for.

        Raises:
            RemoteProtocolError: It is not what its proof says. Nothing more is asked of this neighbour.
            NoRoom: The store is full.
        """
        giver = self._givers[peer_id]
        at = giver.asked.pop(piece.index)
        try:
            is_new = self.partial.add(piece.index, piece.data, piece.proof)
        except RemoteProtocolError:
            self.drop(peer_id)
            raise
        if giver.late:
            giver.late = False
            self._recount()
            self._late_at = now + self._config.blob_timeout_s if self._late_at is None else self._late_at
        took_s = now - at
        if took_s < ASK_AHEAD_S:
            giver.window = min(self._config.blob_window, giver.window + 1)
        elif took_s > 2 * ASK_AHEAD_S:
            giver.window = max(1.0, giver.window - 1)
        if not is_new:
            return []
        self._stuck_since = None
        self._news.append(piece.index)
        if self._tell_at is None:
            self._tell_at = now + TELL_WITHIN_S
        calls_off: list[tuple[PeerId, Frame]] = []
        for other_id, other in self._givers.items():
            if other.asked.pop(piece.index, None) is not None:
                calls_off.append((other_id, BlobCancel(self.partial.digest, (piece.index,))))
        self._once &= ~(1 << piece.index)
        self._twice &= ~(1 << piece.index)
        self._asked_at.pop(piece.index, None)
        return calls_off

    # ---- what we say

    def ask(self, now: float, peer_ids: Iterable[PeerId] | None = None) -> Iterator[tuple[PeerId, Frame]]:
        """Ask these neighbours for what they have, as far as they have room; None: every one."""
        lacking = self.lacking
        if not lacking:
            self._stuck_since = None
            return
        for peer_id in list(self._givers) if peer_ids is None else peer_ids:
            giver = self._givers.get(peer_id)
            if giver is None or giver.late or len(giver.asked) >= int(giver.window):
                continue
            offered = self.availability.of(peer_id) & lacking
            while len(giver.asked) < int(giver.window):
                index = self._next(offered, giver, now)
                if index is None:
                    break
                giver.asked[index] = now
                if self._late_at is None:
                    self._late_at = now + self._config.blob_timeout_s
                yield peer_id, BlobWant(self.partial.digest, index, 1)
        if self._stuck_since is None and not any(giver.asked for giver in self._givers.values()):
            self._stuck_since = now

    def _next(self, offered: int, giver: _Giver, now: float) -> int | None:
        fresh = offered & ~self._once
        if fresh:
            index = draw(self.availability.rarest(fresh), self._rng)
            self._once |= 1 << index
            self._asked_at[index] = now
            return index
        for index in members(offered & self._once & ~self._twice):
            allowed_at = self._asked_at[index] + TWICE_AFTER_S
            if index in giver.asked:
                continue
            if now >= allowed_at:
                self._twice |= 1 << index
                return index
            self._again_at = allowed_at if self._again_at is None else min(self._again_at, allowed_at)
        return None

    def news(self, now: float) -> Iterator[tuple[PeerId, Frame]]:
        """Tell followers what came, when it is time or all has come."""
        if self._tell_at is None or (now < self._tell_at and not self.partial.complete):
            return
        news, self._news, self._tell_at = self._news, [], None
        everything = (1 << self.partial.count) - 1
        for start in range(0, len(news), TOLD_MAX):
            frame = BlobGot(self.partial.digest, tuple(news[start : start + TOLD_MAX]))
            for peer_id in sorted(self.followers):
                if self.availability.of(peer_id) != everything:
                    yield peer_id, frame

    # ---- time

    def advance(self, now: float) -> bool:
        """Let time pass. True when nobody has had anything for us for a while."""
        timeout_s = self._config.blob_timeout_s
        if self._again_at is not None and now >= self._again_at:
            self._again_at = None
        if self._late_at is not None and now >= self._late_at:
            self._mark_late(now)
        if self._stuck_since is not None and now >= self._stuck_since + timeout_s:
            self._stuck_since = now
            return True
        return False

    def wake_at(self) -> float | None:
        stuck_at = None if self._stuck_since is None else self._stuck_since + self._config.blob_timeout_s
        due = (at for at in (self._tell_at, self._again_at, self._late_at, stuck_at) if at is not None)
        return min(due, default=None)

    # ---- inside

    def _mark_late(self, now: float) -> None:
        """Of who has not sent in time what it was asked for nothing more is asked until something comes from it.

        What it was asked for may be asked of others. If it comes all the same, it is taken.
        """
        due: list[float] = []
        for giver in self._givers.values():
            if giver.late or not giver.asked:
                continue
            late_at = next(iter(giver.asked.values())) + self._config.blob_timeout_s
            giver.late = late_at <= now
            if not giver.late:
                due.append(late_at)
        self._recount()
        self._late_at = min(due, default=None)

    def _recount(self) -> None:
        self._once = self._twice = 0
        self._asked_at.clear()
        for giver in self._givers.values():
            if not giver.late:
                for index, at in giver.asked.items():
                    self._twice |= self._once & 1 << index
                    self._once |= 1 << index
                    self._asked_at[index] = min(at, self._asked_at.get(index, at))

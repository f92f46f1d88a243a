"""Sealed results that travel between peers to be kept, apart from all other blobs (spec/ledger.md, "Custody").

    giving     what we made, and whom we ask to keep it
    keeping    what we keep for others
    reclaiming what we look for as a creator whose workers have gone

Strangers name what is here. So it has a store of its own, in memory: whoever lets something go must not take away
what a task of ours needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from .exchange import Exchange
from .frames import BlobCancel, BlobMissing, BlobPieceFrame, BlobWant, Frame, Keep, Kept
from .identity import peer_id_of
from .storage import MemoryBlobStore

if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set as AbstractSet
    from random import Random

    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import PeerId
    from .serving import Serving


class Custodial(Protocol):
    """A role's part in it."""

    def custody_frame(self, peer_id: PeerId, frame: Keep | Kept, now: float) -> None:
        """A neighbour asks us to keep a result, or answers that it does.

        Raises:
            RemoteProtocolError: What it asks for cannot be a result of this task.
        """

    def kept_arrived(self, sealed: bytes, here: bool, now: float) -> None:
        """A sealed result that somebody fetched is here, or cannot be had."""


class Custody:
    """The sealed results of one peer, and the exchange that moves them.

    Args:
        neighbours: Those that have said hello, at any time.
    """

    def __init__(
        self, config: ProtocolConfig, desk: Desk, neighbours: AbstractSet[PeerId], rng: Random, serving: Serving
    ) -> None:
        self.kept = MemoryBlobStore()
        self.promised_bytes = 0
        """Of what is kept for others and of what is on its way to us to be kept, of all tasks."""
        self._desk = desk
        self._exchange = Exchange(config, self.kept, rng, serving)
        self._neighbours = neighbours
        self._roles: dict[bytes, Custodial] = {}
        self._finished: list[tuple[bytes, bool]] = []

    def take_part(self, task: bytes, role: Custodial) -> None:
        """This role hears what concerns its task from now on."""
        self._roles[task] = role

    def leave(self, task: bytes) -> None:
        """Nothing of this task is of interest any more."""
        self._roles.pop(task, None)

    def fetch(self, sealed: bytes, size: int, providers: Sequence[bytes], now: float) -> None:
        """Get a sealed result from these peers, and from whoever is linked with us besides."""
        asked = list(map(peer_id_of, providers))
        for peer_id in asked:
            self._desk.want(peer_id)
        self.fetch_from(sealed, size, [*asked, *sorted(self._neighbours)], now)

    def fetch_from(self, sealed: bytes, size: int, providers: Sequence[PeerId], now: float) -> None:
        """Get a sealed result from these neighbours only."""
        self._meet(now)
        self._exchange.fetch(sealed, size, None, providers, now)
        self._drain(now)

    def expects(self, peer_id: PeerId, piece: BlobPieceFrame) -> bool:
        """Whether this piece was asked for to be kept."""
        return self._exchange.expects(peer_id, piece)

    def takes(self, peer_id: PeerId, frame: Frame, now: float) -> bool:
        """Apply a frame; False when it is about other blobs, or may be.

        Raises:
            RemoteProtocolError: It breaks the rules of custody, or is not what was asked for.
        """
        match frame:
            case BlobWant(sha256=sealed) | BlobCancel(sha256=sealed) if self.kept.size(sealed) is not None:
                pass
            case BlobPieceFrame() if self._exchange.expects(peer_id, frame):
                pass
            case BlobMissing():
                self._exchange.received(peer_id, frame, now)
                self._drain(now)
                return False
            case Keep() | Kept():
                role = self._roles.get(frame.task)
                if role is not None:
                    role.custody_frame(peer_id, frame, now)
                elif isinstance(frame, Keep):
                    self._desk.tell(peer_id, Kept(frame.task, frame.sha256, kept=False))
                return True
            case _:
                return False
        try:
            self._exchange.received(peer_id, frame, now)
        finally:
            self._drain(now)
        return True

    def advance(self, now: float) -> None:
        """Let time pass, hear who came and went, and tell the roles what arrived."""
        self._meet(now)
        self._exchange.advance(now)
        self._drain(now)
        while self._finished:
            sealed, here = self._finished.pop(0)
            for role in list(self._roles.values()):
                role.kept_arrived(sealed, here, now)

    def wake_at(self) -> float | None:
        return self._exchange.wake_at()

    # ---- inside

    def _meet(self, now: float) -> None:
        """See who came and went."""
        met = self._exchange.neighbours
        if met == self._neighbours:
            return
        for peer_id in sorted(met - self._neighbours):
            self._exchange.link_closed(peer_id, now)
        for peer_id in sorted(self._neighbours - met):
            self._exchange.link_opened(peer_id, now)

    def _drain(self, now: float) -> None:
        frames, finished = self._exchange.drain(now)
        for peer_id, frame in frames:
            self._desk.tell(peer_id, frame)
        self._finished += finished

"""What a peer gives: the pieces its neighbours ask for, link by link in turn, no faster than it may (spec/blobs.md).

    a piece asked for:  WAITING --its link's turn, room in the link, the cap lets it--> sent
                           '--cancelled, link closed--> forgotten

So a neighbour that asks for much delays nobody, one that does not read costs itself only, and what is still waiting
can be called back.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol, TypeAlias

from .errors import RemoteProtocolError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .config import ProtocolConfig
    from .frames import BlobPieceFrame
    from .identity import PeerId

WAITING_MAX = 512
"""Pieces one neighbour may wait for: four times what ours ask for of all blobs together."""

AHEAD_BYTES = 192 * 1024
"""Given to a link before it has drained: with what is left in it then, the 256 KiB at which a sender should pause."""

BURST_S = 0.25
"""A wake that comes late by this much costs nothing of the cap: on a busy machine event loops are no better."""


class Server(Protocol):
    """Who holds the pieces."""

    def piece(self, peer_id: PeerId, digest: bytes, index: int) -> BlobPieceFrame | None:
        """A piece, now that it is this neighbour's turn; None when it is here no more."""


_Item: TypeAlias = "tuple[Server, bytes, int]"


class Serving:
    """The waiting pieces of all links of one peer, and its one way out."""

    def __init__(self, config: ProtocolConfig) -> None:
        self._bytes_per_s = config.upload_bytes_per_s
        self._waiting: dict[PeerId, dict[_Item, None]] = {}
        self._turns: deque[PeerId] = deque()
        """Links with something waiting that are not full."""
        self._ahead: dict[PeerId, int] = {}
        self._free_at = -BURST_S
        self.given_bytes = 0
        """What was sent so far, of all blobs."""

    def cap(self, bytes_per_s: float | None, now: float) -> None:
        """Give no more than this from now on; None: as much as links take."""
        if self._bytes_per_s is not None:
            # What the last pieces still cost of the old cap, they cost of the new one.
            owed_bytes = max(0.0, self._free_at - now) * self._bytes_per_s
            self._free_at = min(self._free_at, now)
            if bytes_per_s is not None:
                self._free_at += owed_bytes / bytes_per_s
        self._bytes_per_s = bytes_per_s

    def ask(self, peer_id: PeerId, server: Server, digest: bytes, indices: Iterable[int]) -> None:
        """A neighbour asks for these pieces.

        Raises:
            RemoteProtocolError: It asks for more than anybody should. The others stay in the queue.
        """
        waiting = self._waiting.setdefault(peer_id, {})
        for index in indices:
            if len(waiting) >= WAITING_MAX:
                raise RemoteProtocolError(f"more than {WAITING_MAX} pieces asked for at a time")
            waiting[server, digest, index] = None
        self._queue(peer_id)

    def cancel(self, peer_id: PeerId, server: Server, digest: bytes, indices: Iterable[int]) -> None:
        """It needs these no more. Those already sent are on their way."""
        waiting = self._waiting.get(peer_id, {})
        for index in indices:
            waiting.pop((server, digest, index), None)

    def drained(self, peer_id: PeerId) -> None:
        """What a link was given has left, nearly all of it."""
        self._ahead.pop(peer_id, None)
        self._queue(peer_id)

    def link_closed(self, peer_id: PeerId) -> None:
        self._waiting.pop(peer_id, None)
        self._ahead.pop(peer_id, None)
        if peer_id in self._turns:
            self._turns.remove(peer_id)

    def pump(self, now: float) -> list[tuple[PeerId, BlobPieceFrame]]:
        """The pieces to send now: one a link in turn."""
        sent = []
        while self._turns and now >= self._free_at:
            peer_id = self._turns.popleft()
            waiting = self._waiting[peer_id]
            if waiting:
                item = next(iter(waiting))
                del waiting[item]
                server, digest, index = item
                frame = server.piece(peer_id, digest, index)
                if frame is not None:
                    sent.append((peer_id, frame))
                    self.given_bytes += len(frame.data)
                    self._ahead[peer_id] = self._ahead.get(peer_id, 0) + len(frame.data)
                    if self._bytes_per_s is not None:
                        busy_s = len(frame.data) / self._bytes_per_s
                        self._free_at = max(self._free_at, now - BURST_S) + busy_s
            self._queue(peer_id)
        return sent

    def wake_at(self) -> float | None:
        """When the cap lets the next piece go."""
        return self._free_at if self._turns else None

    def _queue(self, peer_id: PeerId) -> None:
        if self._ahead.get(peer_id, 0) >= AHEAD_BYTES or not self._waiting.get(peer_id):
            return
        if peer_id not in self._turns:
            self._turns.append(peer_id)

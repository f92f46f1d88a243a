"""What we keep for others: sealed results until the creator has them (spec/ledger.md, "Custody"), and savepoints.

    asked:  keep --room?--> FETCHING --here--> KEPT --chunk closed, task certified or expired--> let go
                   '--no--> refused   '--failed--> refused

We cannot read a result that we keep: it is sealed to the creator. It is in memory, apart from our own blobs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import RemoteProtocolError
from .frames import Keep, Kept
from .giving import ASKED_MAX
from .identity import SEAL_BYTES, public_key_of
from .records import STATE_BYTES_MAX

if TYPE_CHECKING:
    from .config import ProtocolConfig
    from .desk import Desk
    from .identity import PeerId
    from .ledger import Ledger
    from .records import Savepoint

KEPT_BYTES_MIN = 4_096
"""What the smallest counts as, so that a flood of small ones fills the quota before it fills the memory."""

TASKS_MIN = 2
"""One task gets this part of the room at most."""


@dataclass(frozen=True, slots=True)
class _Held:
    chunk: int
    size: int
    asker: PeerId

    @property
    def counted(self) -> int:
        return max(self.size, KEPT_BYTES_MIN)


class Keeping:
    """What one worker keeps for others of one task."""

    def __init__(self, config: ProtocolConfig, ledger: Ledger, desk: Desk) -> None:
        self._bytes = 0
        self._config = config
        self._ledger = ledger
        self._desk = desk
        self._held: dict[bytes, _Held] = {}
        self._coming: dict[bytes, _Held] = {}
        self._states: dict[tuple[bytes, int], bytes] = {}
        """Worker and chunk -> the savepoint that it told of last."""

    def asked(self, peer_id: PeerId, frame: Keep, now: float, *, willing: bool) -> None:
        """A neighbour asks us to keep a result of its own.

        Raises:
            RemoteProtocolError: No result of this task has that size, or there is no such chunk.
        """
        manifest = self._ledger.manifest
        size_max = max(manifest.limits.output_bytes + SEAL_BYTES, STATE_BYTES_MAX)
        if frame.chunk >= manifest.chunks or not SEAL_BYTES <= frame.size <= size_max:
            raise RemoteProtocolError("asked to keep what cannot be a result of this task")
        if frame.sha256 in self._held or self._ledger.is_accepted(frame.chunk):
            self._answer(peer_id, frame.sha256, kept=True)
        elif willing and self._has_room(peer_id, frame):
            held = _Held(frame.chunk, frame.size, peer_id)
            self._coming[frame.sha256] = held
            self._count(held.counted)
            self._desk.custody.fetch_from(frame.sha256, frame.size, [peer_id], now)
        else:
            self._answer(peer_id, frame.sha256, kept=False)

    def arrived(self, digest: bytes, *, here: bool) -> None:
        """What we promised to keep has come, or does not."""
        held = self._coming.pop(digest, None)
        if held is None:
            return
        self._answer(held.asker, digest, kept=here)
        if here and not self._ledger.is_closed(held.chunk) and self._ledger.certificate is None:
            self._held[digest] = held
        else:
            self._let_go(digest, held)

    def superseded(self, maker: bytes, savepoint: Savepoint) -> None:
        """A worker tells of a savepoint: nobody goes on from the one of that chunk that it told of before."""
        key = (maker, savepoint.chunk)
        former, self._states[key] = self._states.get(key), savepoint.sha256
        if former != savepoint.sha256 and former in self._held:
            self._let_go(former, self._held.pop(former))

    def keeps(self, digest: bytes) -> bool:
        """Whether we promised somebody to keep this."""
        return digest in self._held or digest in self._coming

    def release(self) -> None:
        """A checkpoint came: what is closed need not be kept any longer."""
        for digest in [digest for digest, held in self._held.items() if self._ledger.is_closed(held.chunk)]:
            self._let_go(digest, self._held.pop(digest))
        for key in [key for key in self._states if self._ledger.is_closed(key[1])]:
            del self._states[key]

    def release_all(self) -> None:
        """Nobody needs any result of the task any more. What is still on its way goes when it comes."""
        while self._held:
            self._let_go(*self._held.popitem())

    # ---- inside

    def _has_room(self, peer_id: PeerId, frame: Keep) -> bool:
        config, size = self._config, max(frame.size, KEPT_BYTES_MIN)
        # A join costs work, and a void worker's results are worth nothing.
        asker = public_key_of(peer_id)
        return (
            asker in self._ledger.joins
            and not self._ledger.is_void(asker)
            and not self._ledger.is_closed(frame.chunk)
            and frame.sha256 not in self._coming
            and self._bytes + size <= config.custody_bytes / TASKS_MIN
            and self._desk.custody.promised_bytes + size <= config.custody_bytes
            and sum(held.asker == peer_id for held in self._coming.values()) < ASKED_MAX
        )

    def _answer(self, peer_id: PeerId, digest: bytes, *, kept: bool) -> None:
        self._desk.tell(peer_id, Kept(self._ledger.task, digest, kept))

    def _let_go(self, digest: bytes, held: _Held) -> None:
        self._count(-held.counted)
        self._desk.custody.kept.discard(digest)

    def _count(self, size: int) -> None:
        self._bytes += size
        self._desk.custody.promised_bytes += size

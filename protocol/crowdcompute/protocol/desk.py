"""What a role (worker, creator) may ask of the peer it works in.

Roles decide; the peer turns their wishes into outputs. Splitting it so keeps each role free of links and frames.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .custody import Custody
    from .events import Notable
    from .frames import Frame
    from .identity import PeerId
    from .ledger import Ledger
    from .manifest import BlobRef
    from .records import Record
    from .sizing import Pace


class Desk(Protocol):
    """The peer, as its roles see it."""

    def publish(self, ledger: Ledger, record: Record) -> None:
        """Sign, save, add to the ledger and gossip one record of ours. Roles do not hear it back."""

    def follow(self, topic: bytes) -> None:
        """Take part in a topic."""

    def leave(self, topic: bytes) -> None:
        """Take no further part in a topic."""

    def synced(self, topic: bytes) -> bool:
        """Whether what neighbours hold of a topic we began to follow is here."""

    def cancel(self, job: int) -> None:
        """Nobody needs this job any more."""

    def fetch(self, digest: bytes, size: int, root: bytes | None, providers: Sequence[bytes]) -> None:
        """Get a blob, which these peers have. The role hears of it when it is here or cannot be had."""

    def fetch_pieces(self, blob: BlobRef, pieces: int) -> None:
        """Get some pieces (pieces.py) of a blob. The role hears of the blob when all it wanted of it so far is here."""

    def lacking(self, blob: BlobRef, start: int, length: int) -> int:
        """The pieces that hold these bytes of a blob and are not here."""

    def forget(self, digest: bytes) -> None:
        """Do not fetch a blob any longer."""

    def followers(self, topic: bytes) -> list[PeerId]:
        """Neighbours that take part in a topic."""

    def tell(self, peer_id: PeerId, frame: Frame) -> None:
        """Send a neighbour a frame."""

    def want(self, peer_id: PeerId) -> None:
        """Have a link with this very peer, if it can be reached."""

    def pace(self, ledger: Ledger) -> Pace:
        """What earlier tasks with the same code have taught."""

    @property
    def custody(self) -> Custody:
        """Where sealed results are that are kept for others."""

    def notice(self, what: Notable, ledger: Ledger, *, chunk: int | None, peer: bytes | None, detail: str) -> None:
        """Tell whoever watches."""

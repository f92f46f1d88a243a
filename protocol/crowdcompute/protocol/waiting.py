"""Records that came before what they rest on: they wait here, unrelayed (spec/gossip.md, "What is not passed on").

    a record:  --its author, a savepoint's maker, or its commit is unknown--> WAITING --that comes--> as if it came now
                                                                                 '--too many wait--> dropped

Nothing of what waits was checked: its author may be made up. So all of it together has bounds, whoever sent it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .lineage import rests_of
from .records import Admit, Assign, Checkpoint, Commit, Delegate, Join, Lease, Reveal, Savepoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .identity import PeerId
    from .ledger import Ledger
    from .records import Record, Signed

WAITING_MAX = 4_096
WAITING_BYTES_MAX = 16 * 1024 * 1024
"""What strangers can make us hold for nothing. A guess: some hundred commits as large as they may be."""

# Made once: it is asked for every record.
_SAID_BY_WORKERS = (Lease, Commit, Reveal, Savepoint)


def awaited_by(ledger: Ledger, signed: Signed, record: Record) -> bytes | None:
    """Whose join or admission, or which commit, has to come before a record can be taken; None when nothing has."""
    author = signed.author
    if isinstance(record, _SAID_BY_WORKERS) and not (
        ledger.is_admitted(author) or ledger.has_room_for_guest(author, len(signed.body))
    ):
        return author
    for rest in rests_of(record):
        if not ledger.is_admitted(rest.maker):
            return rest.maker
    if isinstance(record, Admit | Assign | Checkpoint):
        # Only the creator or a steward may say this; the author may be one of whom we shall hear.
        may_be_a_steward = author != ledger.manifest.creator and author in ledger.joins
        return author if may_be_a_steward and not ledger.is_steward(author) else None
    if isinstance(record, Reveal) and record.commit not in ledger.commits:
        return record.commit
    return None


class Waiting:
    """What waits, of all tasks."""

    def __init__(self) -> None:
        self._held: dict[tuple[bytes, bytes], list[tuple[PeerId, Signed]]] = {}
        """By task and what is awaited, the longest awaited first."""
        self._count = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._count

    def hold(self, source: PeerId, task: bytes, awaited: bytes, signed: Signed) -> None:
        """Keep a record until what it awaits comes."""
        self._held.setdefault((task, awaited), []).append((source, signed))
        self._count += 1
        self._bytes += len(signed.body)
        while self._count > WAITING_MAX or self._bytes > WAITING_BYTES_MAX:
            self._release(next(iter(self._held)))

    def came(self, task: bytes, signed: Signed, record: Record) -> Sequence[tuple[PeerId, Signed]]:
        """A record was taken: those that waited for it, and from whom they came. They wait no more."""
        match record:
            case Admit(worker=awaited) | Delegate(steward=awaited):
                pass
            case Join():
                awaited = signed.author
            case Commit():
                awaited = signed.record_id
            case _:
                return ()
        return self._release((task, awaited))

    def _release(self, key: tuple[bytes, bytes]) -> Sequence[tuple[PeerId, Signed]]:
        released = self._held.pop(key, ())
        self._count -= len(released)
        self._bytes -= sum(len(signed.body) for _, signed in released)
        return released

"""The signed records of a node's tasks, and the peers it remembers, in one database (database.py).

SQLAlchemy Core; synchronous, because one `save` costs less than a thread switch and back. The runtime performs
`SaveRecords` before the frames that follow it, so nothing is told to anybody that a restart could forget: a worker that
forgot what it signed could sign another commit in its place, which is equivocation. The flush costs a fifth of a
millisecond per save.
"""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from sqlalchemy import delete, select, update

from crowdcompute.protocol.codec import Bytes32, decode, encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.manifest import Manifest
from crowdcompute.protocol.records import Signed

from .database import Database, PostgresPlace
from .errors import StoreError
from .migrating import migrate
from .schema import CERTIFICATES, PEERS, RECORDS, RESULTS, TASKS, VOTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Table

PEERS_MAX = 256
"""Peers remembered per network: the last ones linked with. A guess; one that still lives is enough."""

ROWS_AT_ONCE = 1_000
"""Rows of outcomes in one call of the database: enough that the call costs nothing beside them. A guess."""

OUTCOMES: Mapping[str, Table] = {"results": RESULTS, "votes": VOTES, "certificate": CERTIFICATES}
"""The tables of what a task's records say. The records are the truth; these are for whoever asks in SQL."""


class StoredTask(NamedTuple):
    """A task whose manifest was saved. Its creator is us, or else we work for it; times are Unix seconds.

    `closed` means that the creator's certificate was saved too.
    """

    task_id: bytes
    name: str
    creator: bytes
    state: Literal["open", "closed"]
    followed_s: float
    closed_s: float | None
    manifest: Signed


class RecordStore:
    """Signed records that survive a crash, in the order they were saved.

    Use it from one thread at a time, in one process at a time (lock.py sees to that). Every method raises `StoreError`
    when the file cannot be read or written: nothing of that call was kept, everything acknowledged before was.
    """

    def __init__(self, place: Path | PostgresPlace, *, clock: Callable[[], float] = time.time) -> None:
        """Open the database, creating or migrating it; a file's folder must exist.

        Raises:
            StoreError: It is unusable, another process holds it, or a newer release wrote it.
        """
        self._clock = clock
        self._database = Database(place)
        self._transaction = self._database.transaction
        # Built once: building costs as much as executing them does.
        self._insert_record = self._database.insert(RECORDS).on_conflict_do_nothing()
        self._insert_task = self._database.insert(TASKS).on_conflict_do_nothing()
        try:
            with self._transaction() as connection:
                migrate(connection)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        self._database.close()

    def save(self, records: Sequence[Signed]) -> None:
        """Keep all of `records`, or none if it raises. What is kept already is left as it is.

        The records must be valid (`protocol.peer` hands over no others).
        """
        if not records:
            return
        now_s = self._clock()
        rows = [_row(signed) for signed in records]
        with self._transaction() as connection:
            connection.execute(self._insert_record, rows)
            for signed in records:
                if signed.kind == "manifest":
                    connection.execute(self._insert_task, _task_row(signed, now_s))
                elif signed.kind == "certificate":
                    closes = (TASKS.c.task == _task_of(signed).hex()) & (TASKS.c.creator == signed.author.hex())
                    still_open = TASKS.c.state == "open"
                    connection.execute(update(TASKS).where(closes & still_open).values(state="closed", closed_s=now_s))

    def load(self) -> list[Signed]:
        """Everything kept, in the order saved: what `RecordsRestored` wants."""
        with self._transaction() as connection:
            return self._decoded(connection.scalars(select(RECORDS.c.signed).order_by(RECORDS.c.position)))

    def load_task(self, task_id: bytes) -> list[Signed]:
        """The records of one task, its manifest included, in the order saved."""
        of_task = select(RECORDS.c.signed).where(RECORDS.c.task == task_id.hex()).order_by(RECORDS.c.position)
        with self._transaction() as connection:
            return self._decoded(connection.scalars(of_task))

    def tasks(self) -> list[StoredTask]:
        """The tasks whose manifests are kept, the first followed first."""
        manifest = (RECORDS.c.record == TASKS.c.task) & (RECORDS.c.author == TASKS.c.creator)
        rows = select(TASKS, RECORDS.c.signed).join_from(TASKS, RECORDS, manifest).order_by(RECORDS.c.position)
        with self._transaction() as connection:
            return [
                StoredTask(
                    bytes.fromhex(row.task),
                    row.name,
                    bytes.fromhex(row.creator),
                    row.state,
                    row.followed_s,
                    row.closed_s,
                    *self._decoded([row.signed]),
                )
                for row in connection.execute(rows)
            ]

    def forget(self, task_id: bytes) -> None:
        """Drop a task and all its records. Forgetting an unknown task is fine."""
        with self._transaction() as connection:
            for stored in (RECORDS, TASKS, *OUTCOMES.values()):
                connection.execute(delete(stored).where(stored.c.task == task_id.hex()))

    def keep_outcome(self, task_id: bytes, rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> dict[str, int]:
        """Put rows into tables of `OUTCOMES`, in the place of what they said of this task; how many each got."""
        counts = {}
        with self._transaction() as connection:
            for name, given in rows.items():
                stored = OUTCOMES[name]
                connection.execute(delete(stored).where(stored.c.task == task_id.hex()))
                counts[name] = _insert_all(connection, stored, given)
        return counts

    def remember_peer(self, network: str, peer_id: str, addresses: Sequence[str]) -> None:
        """A peer was linked with that can be dialled at these addresses."""
        row = {"network": network, "peer": peer_id, "addresses": " ".join(addresses), "linked_s": self._clock()}
        of_network = PEERS.c.network == network
        kept = select(PEERS.c.peer).where(of_network).order_by(PEERS.c.linked_s.desc()).limit(PEERS_MAX)
        with self._transaction() as connection:
            statement = self._database.insert(PEERS).values(row)
            changed = {name: statement.excluded[name] for name in ("addresses", "linked_s")}
            connection.execute(statement.on_conflict_do_update(index_elements=["network", "peer"], set_=changed))
            connection.execute(delete(PEERS).where(of_network & PEERS.c.peer.not_in(kept)))

    def remembered_peers(self, network: str) -> dict[str, tuple[str, ...]]:
        """Where the peers of a network can be dialled, the last linked first."""
        rows = select(PEERS).where(PEERS.c.network == network).order_by(PEERS.c.linked_s.desc())
        with self._transaction() as connection:
            return {row.peer: tuple(row.addresses.split()) for row in connection.execute(rows)}

    def _decoded(self, stored: Iterable[bytes]) -> list[Signed]:
        try:
            return [decode(signed, Signed) for signed in stored]
        except RemoteProtocolError as error:
            raise self._database.damaged(error) from error


def _insert_all(connection: Connection, stored: Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Insert any number of rows, so many at a time that memory stays flat."""
    count, waiting = 0, iter(rows)
    while batch := [dict(row) for row in islice(waiting, ROWS_AT_ONCE)]:
        connection.execute(stored.insert(), batch)
        count += len(batch)
    return count


class _Named(msgspec.Struct, array_like=True):
    """The first field of every record's body. What follows is skipped, not decoded."""

    task: Bytes32


def _task_of(signed: Signed) -> bytes:
    return signed.record_id if signed.kind == "manifest" else decode(signed.body, _Named).task


def _row(signed: Signed) -> dict[str, Any]:
    return {
        "record": signed.record_id.hex(),
        "author": signed.author.hex(),
        "task": _task_of(signed).hex(),
        "kind": signed.kind,
        "signed": encode(signed),
    }


def _task_row(signed: Signed, now_s: float) -> dict[str, Any]:
    return {
        "task": signed.record_id.hex(),
        "name": decode(signed.body, Manifest).name,
        "creator": signed.author.hex(),
        "state": "open",
        "followed_s": now_s,
    }

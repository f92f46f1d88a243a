"""The signed records of a node's tasks, and the peers it remembers, in one SQLite file.

SQLAlchemy Core over one connection that stays open; synchronous, because one `save` costs less than a thread switch
and back. The runtime performs `SaveRecords` before the frames that follow it, so nothing is told to anybody that
a restart could forget.

WAL with `synchronous=FULL`: a commit is on the disk when `save` returns, so neither kill -9 nor a power cut loses it. A
worker that forgot what it signed could sign another commit in its place, which is equivocation; the flush costs a
fifth of a millisecond per save.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from sqlalchemy import URL, NullPool, column, create_engine, delete, event, select, table, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError

from crowdcompute.protocol.codec import Bytes32, decode, encode
from crowdcompute.protocol.errors import RemoteProtocolError
from crowdcompute.protocol.manifest import Manifest
from crowdcompute.protocol.records import Signed

from .errors import StoreError
from .schema import migrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from sqlalchemy import Connection, Engine

BUSY_TIMEOUT_MS = 5_000
"""How long to wait for another program that writes the file. A backup tool takes seconds; nobody else writes it."""

_records = table(
    "records",
    *(column(name) for name in ("position", "record", "author", "task", "kind", "signed")),
)
_tasks = table(
    "tasks",
    *(column(name) for name in ("task", "name", "creator", "state", "followed_s", "closed_s")),
)
_peers = table("peers", *(column(name) for name in ("network", "peer", "addresses", "linked_s")))

PEERS_MAX = 256
"""Peers remembered per network: the last ones linked with. A guess; one that still lives is enough."""


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

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Open the database, creating or migrating it; its folder must exist.

        Raises:
            StoreError: The file is unusable, or a newer release wrote it.
        """
        self._path = path
        self._clock = clock
        self._engine = _engine(path)
        with self._failures():
            self._connection = self._engine.connect()
        try:
            with self._transaction() as connection:
                migrate(connection)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    def save(self, records: Sequence[Signed]) -> None:
        """Keep all of `records`, or none if it raises. What is kept already is left as it is.

        The records must be valid (`protocol.peer` hands over no others).
        """
        if not records:
            return
        now_s = self._clock()
        rows = [_row(signed) for signed in records]
        with self._transaction() as connection:
            connection.execute(insert(_records).on_conflict_do_nothing(), rows)
            for signed in records:
                if signed.kind == "manifest":
                    connection.execute(insert(_tasks).on_conflict_do_nothing(), _task_row(signed, now_s))
                elif signed.kind == "certificate":
                    closes = (_tasks.c.task == _task_of(signed).hex()) & (_tasks.c.creator == signed.author.hex())
                    still_open = _tasks.c.state == "open"
                    connection.execute(update(_tasks).where(closes & still_open).values(state="closed", closed_s=now_s))

    def load(self) -> list[Signed]:
        """Everything kept, in the order saved: what `RecordsRestored` wants."""
        with self._transaction() as connection:
            return self._decoded(connection.scalars(select(_records.c.signed).order_by(_records.c.position)))

    def load_task(self, task_id: bytes) -> list[Signed]:
        """The records of one task, its manifest included, in the order saved."""
        of_task = select(_records.c.signed).where(_records.c.task == task_id.hex()).order_by(_records.c.position)
        with self._transaction() as connection:
            return self._decoded(connection.scalars(of_task))

    def tasks(self) -> list[StoredTask]:
        """The tasks whose manifests are kept, the first followed first."""
        manifest = (_records.c.record == _tasks.c.task) & (_records.c.author == _tasks.c.creator)
        rows = select(_tasks, _records.c.signed).join_from(_tasks, _records, manifest).order_by(_records.c.position)
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
            for stored in (_records, _tasks):
                connection.execute(delete(stored).where(stored.c.task == task_id.hex()))

    def remember_peer(self, network: str, peer_id: str, addresses: Sequence[str]) -> None:
        """A peer was linked with that can be dialled at these addresses."""
        row = {"network": network, "peer": peer_id, "addresses": " ".join(addresses), "linked_s": self._clock()}
        of_network = _peers.c.network == network
        kept = select(_peers.c.peer).where(of_network).order_by(_peers.c.linked_s.desc()).limit(PEERS_MAX)
        with self._transaction() as connection:
            statement = insert(_peers).values(row)
            changed = {name: statement.excluded[name] for name in ("addresses", "linked_s")}
            connection.execute(statement.on_conflict_do_update(index_elements=["network", "peer"], set_=changed))
            connection.execute(delete(_peers).where(of_network & _peers.c.peer.not_in(kept)))

    def remembered_peers(self, network: str) -> dict[str, tuple[str, ...]]:
        """Where the peers of a network can be dialled, the last linked first."""
        rows = select(_peers).where(_peers.c.network == network).order_by(_peers.c.linked_s.desc())
        with self._transaction() as connection:
            return {row.peer: tuple(row.addresses.split()) for row in connection.execute(rows)}

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._failures(), self._connection.begin():
            yield self._connection

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise StoreError(_sentence(self._path, cause)) from error

    def _decoded(self, stored: Iterable[bytes]) -> list[Signed]:
        try:
            return [decode(signed, Signed) for signed in stored]
        except RemoteProtocolError as error:
            raise StoreError(_damaged(self._path, error)) from error


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


def _engine(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Left to itself, the driver begins at the first write, DEFERRED: a third of the speed (DESIGN section 8).
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _damaged(path: Path, detail: object) -> str:
    return f"{path} is damaged ({detail}): move it away and start again; the tasks it held must be joined anew"


def _sentence(path: Path, error: BaseException | None) -> str:
    """What a person should do about SQLite's error."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith("SQLITE_FULL"):
        return f"{path} cannot grow, because the disk is full: free some space and start again"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"{path} cannot be written ({error}): make its folder writable, or set CC_HOME to another one"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} is held by another program: close that program and start again"
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return _damaged(path, error)
    return f"{path} cannot be read or written ({error}): check the disk and start again"

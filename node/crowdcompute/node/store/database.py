"""Where the tables are: an SQLite file, or a schema of a Postgres server; one connection that stays open.

SQLite: WAL with `synchronous=FULL`; Postgres: `synchronous_commit=on`. So a commit is on the disk when it returns, and
neither kill -9 nor a power cut loses it.

One process at a time uses a place. The folder's lock (node/lock.py) sees to that for a file; on a Postgres server,
which machines may share, a lock of the session does, which the server frees when the process dies.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import URL, NullPool, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

WAIT_MS = 5_000
"""How long to wait for another program that holds the place: a backup tool, or our predecessor, which was just killed
and whose last statement the server still runs."""


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """A schema of a Postgres server: what one folder's `records.db` would hold."""

    url: URL
    schema: str

    @classmethod
    def parse(cls, url: str, schema: str) -> PostgresPlace:
        """What CC_STORE says.

        Raises:
            StoreError: It is no URL of a Postgres server.
        """
        try:
            parsed = make_url(url)
        except ArgumentError:
            parsed = None
        if parsed is None or parsed.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
            # Not shown: it may hold a password.
            raise StoreError(
                "CC_STORE is no URL of a Postgres server, which looks like postgresql://user@host/database"
            )
        return cls(parsed.set(drivername="postgresql+psycopg"), schema)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)


class Database:
    """One connection. Use it from one thread at a time."""

    def __init__(self, place: Path | PostgresPlace) -> None:
        """Connect, creating what is not there; the folder of a file must exist.

        Raises:
            StoreError: It cannot be reached or used, or another process holds it.
        """
        self._place = place
        self.insert = sqlite.insert if isinstance(place, Path) else postgresql.insert
        """INSERT in this database's own words, which know `on_conflict_do_nothing`."""
        self._engine = _sqlite(place) if isinstance(place, Path) else _postgres(place)
        with self._failures():
            self._connection = self._engine.connect()
        try:
            if isinstance(place, PostgresPlace):
                self._hold(place)
        except StoreError:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All that is done with the connection is kept, or nothing.

        Raises:
            StoreError: It failed; nothing was kept.
        """
        with self._failures(), self._connection.begin():
            yield self._connection

    def damaged(self, detail: object) -> StoreError:
        """What is here is not what was written."""
        return StoreError(
            f"{self._place} is damaged ({detail}): move it away and start again; the tasks it held must be joined anew"
        )

    def _hold(self, place: PostgresPlace) -> None:
        with self.transaction() as connection:
            # 55P03 if another process has it.
            connection.execute(text(f"SET LOCAL lock_timeout = {WAIT_MS}"))
            connection.execute(
                text("SELECT pg_advisory_lock(hashtext(:name))"), {"name": f"crowdcompute/{place.schema}"}
            )
            connection.execute(text(f'CREATE SCHEMA IF NOT EXISTS "{place.schema}"'))

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            if isinstance(self._place, PostgresPlace):
                raise StoreError(_postgres_sentence(self._place, cause)) from error
            name = getattr(cause, "sqlite_errorname", "")
            if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
                raise self.damaged(cause) from error
            raise StoreError(_sqlite_sentence(self._place, name, cause)) from error


def _sqlite(path: Path) -> Engine:
    engine = create_engine(URL.create("sqlite", database=str(path)), poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA busy_timeout = {WAIT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Left to itself, the driver begins at the first write, DEFERRED: a third of the speed (DESIGN section 8).
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _postgres(place: PostgresPlace) -> Engine:
    # The keepalives free the lock of a machine that vanished within a minute, where the default is two hours.
    settings = f"-c search_path={place.schema} -c synchronous_commit=on" + "".join(
        f" -c tcp_keepalives_{name}={value}" for name, value in (("idle", 30), ("interval", 10), ("count", 3))
    )
    given = place.url.query.get("options", "")
    try:
        return create_engine(
            place.url.difference_update_query(["options"]),
            poolclass=NullPool,
            connect_args={"options": f"{given if isinstance(given, str) else ' '.join(given)} {settings}"},
        )
    except (ImportError, NoSuchModuleError) as error:
        raise StoreError(
            f"Postgres needs the extra [postgres] ({error}): pip install 'crowdcompute[postgres]', or unset CC_STORE"
        ) from None


def _sqlite_sentence(path: Path, name: str, error: BaseException | None) -> str:
    """What a person should do about SQLite's error."""
    if name.startswith("SQLITE_FULL"):
        return f"{path} cannot grow, because the disk is full: free some space and start again"
    if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return f"{path} cannot be written ({error}): make its folder writable, or set CC_HOME to another one"
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"{path} is held by another program: close that program and start again"
    return f"{path} cannot be read or written ({error}): check the disk and start again"


def _postgres_sentence(place: PostgresPlace, error: BaseException | None) -> str:
    """What a person should do about Postgres's error."""
    state = getattr(error, "sqlstate", None) or ""
    detail = " ".join(str(error).split())
    if state == "55P03":
        return (
            f"another process already works with {place.schema} of {place}: stop it, or give each machine a database "
            "of its own with CC_STORE"
        )
    if state == "42501":
        return f"{place} does not let this user make tables ({detail}): GRANT CREATE ON DATABASE, or use another user"
    if state.startswith("53"):
        return f"{place} has no room left ({detail}): give the server more and start again"
    if not state or state.startswith(("08", "57")):
        # Where no connection is made, the driver hands on the server's words and not its code.
        return (
            f"{place} cannot be reached ({detail}): see that the server runs, that CC_STORE names its user, password "
            "and database, and start again"
        )
    return f"{place} cannot be read or written ({detail}): check the server and start again"

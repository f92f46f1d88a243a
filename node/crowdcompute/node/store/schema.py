"""The database's tables, and how an older database becomes a current one.

SQLite's `user_version` holds the schema's version: how many of `STEPS` the file has been through. A step is never
edited once released; a change is one more step at the end.

    records   every signed record, in the order it was saved; a manifest is its task's first
    tasks     one row per saved manifest, to list what the node knows without decoding it
    peers     native peers that were linked with, and where they can be dialled without an introduction

Keys are hex text, so that any SQLite tool shows the names which logs and commands print.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

Step = tuple[str, ...]
"""The statements that bring a database from one version to the next."""

STEPS: tuple[Step, ...] = (
    (
        # A record's id covers its body and not its author (records.py), and two workers may sign the same body.
        """
        CREATE TABLE records (
            position INTEGER PRIMARY KEY,
            record   TEXT NOT NULL,
            author   TEXT NOT NULL,
            task     TEXT NOT NULL,
            kind     TEXT NOT NULL,
            signed   BLOB NOT NULL,
            UNIQUE (record, author)
        )
        """,
        "CREATE INDEX records_of_task ON records (task)",
        """
        CREATE TABLE tasks (
            task       TEXT PRIMARY KEY,
            name       TEXT NOT NULL,
            creator    TEXT NOT NULL,
            state      TEXT NOT NULL CHECK (state IN ('open', 'closed')),
            followed_s REAL NOT NULL,
            closed_s   REAL
        )
        """,
    ),
    (
        """
        CREATE TABLE peers (
            network   TEXT NOT NULL,
            peer      TEXT NOT NULL,
            addresses TEXT NOT NULL,
            linked_s  REAL NOT NULL,
            PRIMARY KEY (network, peer)
        )
        """,
    ),
)


def migrate(connection: Connection, steps: Sequence[Step] = STEPS) -> None:
    """Bring the database to the version `len(steps)`, within the caller's transaction.

    Raises:
        StoreError: A newer release wrote this database. It is unchanged.
    """
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    if version > len(steps):
        raise StoreError(
            f"the database has schema {version}, written by a newer CrowdCompute than this one, which knows schema "
            f"{len(steps)}: upgrade CrowdCompute, or set CC_HOME to another folder"
        )
    for number, step in enumerate(steps[version:], start=version + 1):
        for statement in step:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")

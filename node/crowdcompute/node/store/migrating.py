"""How an empty or an older database becomes a current one, all in the caller's transaction.

empty --create--> HEAD                                   the tables of schema.py, at once
user_version 1 or 2 (SQLite before alembic) --stamp--> r0001 or r0002
an older revision --alembic's migrations--> HEAD
a revision that is not known here --> left alone: a newer release wrote it
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import inspect, select

from .errors import StoreError
from .schema import HEAD, METADATA, SCHEMA_STEPS, VERSION

if TYPE_CHECKING:
    from sqlalchemy import Connection

_BEFORE_ALEMBIC = {1: "r0001", 2: "r0002"}
"""SQLite's user_version -> the revision that made the same tables."""


def migrate(connection: Connection) -> None:
    """Bring the database to `HEAD`, within the caller's transaction.

    Raises:
        StoreError: A newer release wrote this database. It is unchanged.
    """
    current = connection.scalar(select(VERSION)) if inspect(connection).has_table(VERSION.name) else None
    made = _made_before_alembic(connection) if current is None else 0
    if current == HEAD:
        return
    if current is None and not made:
        _create(connection)
        return
    # A quarter of a second of CPU (m), which nobody pays whose database is current.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")))
    config.attributes["connection"] = connection
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if current is None:
        current = _BEFORE_ALEMBIC.get(made, f"of schema {made}")
        if current in known:
            command.stamp(config, current)
    if current not in known:
        raise StoreError(
            f"the database is {current}, written by a newer CrowdCompute than this one, which knows {HEAD}: upgrade "
            "CrowdCompute, or set CC_HOME or CC_STORE to another place"
        )
    command.upgrade(config, "head")


def _create(connection: Connection) -> None:
    METADATA.create_all(connection, checkfirst=False)
    connection.execute(VERSION.insert().values(version_num=HEAD))
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_STEPS}")


def _made_before_alembic(connection: Connection) -> int:
    if connection.dialect.name != "sqlite":
        return 0
    version: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    return version

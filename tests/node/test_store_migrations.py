"""Databases of earlier releases become current ones, and nothing in them is lost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from tests.postgres_server import PostgresServer

from crowdcompute.node.store import migrating
from crowdcompute.node.store.database import Database, PostgresPlace
from crowdcompute.node.store.errors import StoreError
from crowdcompute.node.store.records import RecordStore
from crowdcompute.node.store.schema import HEAD, METADATA
from crowdcompute.protocol.codec import encode

from .test_store_records import ALICE, LEDGERS, PRIMES

SCHEMA_1 = """
    CREATE TABLE records (
        position INTEGER PRIMARY KEY,
        record   TEXT NOT NULL,
        author   TEXT NOT NULL,
        task     TEXT NOT NULL,
        kind     TEXT NOT NULL,
        signed   BLOB NOT NULL,
        UNIQUE (record, author)
    );
    CREATE INDEX records_of_task ON records (task);
    CREATE TABLE tasks (
        task       TEXT PRIMARY KEY,
        name       TEXT NOT NULL,
        creator    TEXT NOT NULL,
        state      TEXT NOT NULL CHECK (state IN ('open', 'closed')),
        followed_s REAL NOT NULL,
        closed_s   REAL
    );
    PRAGMA user_version = 1;
"""
SCHEMA_2 = """
    CREATE TABLE peers (
        network   TEXT NOT NULL,
        peer      TEXT NOT NULL,
        addresses TEXT NOT NULL,
        linked_s  REAL NOT NULL,
        PRIMARY KEY (network, peer)
    );
    PRAGMA user_version = 2;
"""
"""Word for word what releases before alembic have executed."""

MIGRATIONS = str(Path(migrating.__file__).with_name("migrations"))
LEDGER = LEDGERS[PRIMES.record_id]


def old_database(path: Path, version: int) -> None:
    """A file as a node of that release has left it."""
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA_1)
    task = PRIMES.record_id.hex()
    connection.executemany(
        "INSERT INTO records (record, author, task, kind, signed) VALUES (?, ?, ?, ?, ?)",
        [(record.record_id.hex(), record.author.hex(), task, record.kind, encode(record)) for record in LEDGER],
    )
    connection.execute(
        "INSERT INTO tasks VALUES (?, 'primes', ?, 'closed', 100.25, 250.5)", (task, ALICE.public_key.hex())
    )
    if version == 2:
        connection.executescript(SCHEMA_2)
        connection.execute("INSERT INTO peers VALUES ('main', 'a', '/ip4/1 /ip6/::1', 7.5)")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("version", [1, 2])
def test_a_database_from_before_alembic_opens_with_all_that_was_in_it(tmp_path: Path, version: int) -> None:
    path = tmp_path / "records.db"
    old_database(path, version)
    for _ in range(2):
        store = RecordStore(path)
        assert store.load() == LEDGER
        assert store.tasks() == [(PRIMES.record_id, "primes", ALICE.public_key, "closed", 100.25, 250.5, PRIMES)]
        assert store.remembered_peers("main") == ({"a": ("/ip4/1", "/ip6/::1")} if version == 2 else {})
        store.close()
    with sqlite3.connect(path) as connection:
        # Which releases before alembic leave alone.
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)
    connection.close()


@pytest.mark.parametrize("version", [1, 2])
def test_an_old_file_gets_the_tables_of_a_new_one(tmp_path: Path, version: int) -> None:
    old, new = tmp_path / "old.db", tmp_path / "new.db"
    old_database(old, version)
    RecordStore(old).close()
    RecordStore(new).close()
    assert _columns(old) == _columns(new)


@pytest.mark.parametrize("server", [False, True])
def test_the_migrations_one_by_one_make_the_tables_that_are_made_at_once(
    tmp_path: Path, postgres: PostgresServer, server: bool
) -> None:
    place = postgres.place() if server else tmp_path / "records.db"
    database = Database(place)
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    with database.transaction() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    database.close()
    store = RecordStore(place)
    store.save(LEDGER)
    assert store.load() == LEDGER
    store.close()


def test_head_is_the_newest_migration() -> None:
    script = ScriptDirectory(MIGRATIONS)
    assert script.get_heads() == [HEAD]


def test_a_migration_that_fails_leaves_the_old_database(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    old_database(path, 2)
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE certificates (in_the_way TEXT)")
    connection.close()
    with pytest.raises(StoreError, match="certificates already exists"):
        RecordStore(path)
    with sqlite3.connect(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == {"records", "tasks", "peers", "certificates"}
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    connection.close()


@pytest.mark.parametrize("newer", ["PRAGMA user_version = 9", "UPDATE alembic_version SET version_num = 'r9999'"])
def test_a_newer_database_is_left_alone_with_advice_to_upgrade(tmp_path: Path, newer: str) -> None:
    path = tmp_path / "records.db"
    if "user_version" not in newer:
        RecordStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(newer)
    connection.close()
    with pytest.raises(StoreError, match="upgrade CrowdCompute"):
        RecordStore(path)


def _columns(path: Path) -> set[tuple[str, str]]:
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {(name, row[1]) for name in tables for row in connection.execute(f"PRAGMA table_info({name})")}
    connection.close()
    return found


def test_a_password_is_never_shown() -> None:
    place = PostgresPlace.parse("postgresql://cc:secret@example.org/work", "crowdcompute_node")
    assert str(place) == "postgresql+psycopg://cc:***@example.org/work"
    assert place.url.password == "secret"
    with pytest.raises(StoreError, match="looks like postgresql://") as caught:
        PostgresPlace.parse("mysql://cc:secret@example.org/work", "crowdcompute_node")
    assert "secret" not in str(caught.value)

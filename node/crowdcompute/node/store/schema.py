"""The database's tables as they are now. How they came to be: migrations/versions.

    records        every signed record, in the order it was saved; a manifest is its task's first
    tasks          one row per saved manifest, to list what the node knows without decoding it
    peers          native peers that were linked with, and where they can be dialled without an introduction
    results, votes, certificates
                   what a creator's records say, for whoever asks in SQL: `cc-task export --format tables`

Keys are hex text, so that any SQL tool shows the names which logs and commands print.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)

HEAD = "r0003"
"""The newest of the migrations: whoever finds it in a database need not import what migrates."""

SCHEMA_STEPS = 3
"""SQLite's user_version. Releases before alembic counted their steps there, two, and leave alone what counts more."""

METADATA = MetaData()

VERSION = Table(
    "alembic_version",
    METADATA,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table, as alembic makes it."""

RECORDS = Table(
    "records",
    METADATA,
    # SQLite counts by itself only in a column that is an INTEGER by that very name.
    Column("position", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("record", Text, nullable=False),
    Column("author", Text, nullable=False),
    Column("task", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("signed", LargeBinary, nullable=False),
    # A record's id covers its body and not its author (records.py), and two workers may sign the same body.
    UniqueConstraint("record", "author"),
    Index("records_of_task", "task"),
)

TASKS = Table(
    "tasks",
    METADATA,
    Column("task", Text, primary_key=True),
    # Names are for people: any number of tasks may share one.
    Column("name", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("state", Text, CheckConstraint("state IN ('open', 'closed')"), nullable=False),
    Column("followed_s", Double, nullable=False),
    Column("closed_s", Double),
)

PEERS = Table(
    "peers",
    METADATA,
    Column("network", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("addresses", Text, nullable=False),
    Column("linked_s", Double, nullable=False),
    PrimaryKeyConstraint("network", "peer"),
)

RESULTS = Table(
    "results",
    METADATA,
    Column("task", Text, nullable=False),
    Column("chunk", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("sha256", Text),
    Column("size", BigInteger, nullable=False),
    Column("votes", BigInteger, nullable=False),
    Column("reasons", Text, nullable=False),
    PrimaryKeyConstraint("task", "chunk"),
)

VOTES = Table(
    "votes",
    METADATA,
    Column("task", Text, nullable=False),
    Column("chunk", BigInteger, nullable=False),
    Column("worker", Text, nullable=False),
    Column("vote", Text, nullable=False),
    Column("sha256", Text),
    Column("agrees", Boolean),
    Column("counts", Boolean, nullable=False),
    Column("chosen", Text, nullable=False),
    Column("batch", BigInteger, nullable=False),
    PrimaryKeyConstraint("task", "chunk", "worker"),
)

CERTIFICATES = Table(
    "certificates",
    METADATA,
    Column("task", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("statement", Text, nullable=False),
    Column("chunks", BigInteger, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("failed", BigInteger, nullable=False),
    Column("cancelled", BigInteger, nullable=False),
    Column("results_root", Text, nullable=False),
    Column("executions", BigInteger, nullable=False),
    Column("worker_audits", BigInteger, nullable=False),
    Column("creator_audits", BigInteger, nullable=False),
    Column("mismatches", BigInteger, nullable=False),
    Column("convicted", BigInteger, nullable=False),
    Column("eps", Double, nullable=False),
    Column("bound", Double, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("record", Text, nullable=False),
)

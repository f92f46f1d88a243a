"""Tables of results, votes and certificates, for whoever asks in SQL."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "r0003", "r0002"


def upgrade() -> None:
    op.create_table(
        "results",
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("chunk", sa.BigInteger, nullable=False),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("votes", sa.BigInteger, nullable=False),
        sa.Column("reasons", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("task", "chunk"),
    )
    op.create_table(
        "votes",
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("chunk", sa.BigInteger, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("vote", sa.Text, nullable=False),
        sa.Column("sha256", sa.Text),
        sa.Column("agrees", sa.Boolean),
        sa.Column("counts", sa.Boolean, nullable=False),
        sa.Column("chosen", sa.Text, nullable=False),
        sa.Column("batch", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("task", "chunk", "worker"),
    )
    op.create_table(
        "certificates",
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("statement", sa.Text, nullable=False),
        *(sa.Column(count, sa.BigInteger, nullable=False) for count in ("chunks", "accepted", "failed", "cancelled")),
        sa.Column("results_root", sa.Text, nullable=False),
        *(
            sa.Column(count, sa.BigInteger, nullable=False)
            for count in ("executions", "worker_audits", "creator_audits", "mismatches", "convicted")
        ),
        *(sa.Column(share, sa.Double, nullable=False) for share in ("eps", "bound", "confidence")),
        sa.Column("record", sa.Text, nullable=False),
    )
    if op.get_bind().dialect.name == "sqlite":
        # Keeps releases from before alembic out (schema.SCHEMA_STEPS).
        op.execute("PRAGMA user_version = 3")

"""Keep records, and list tasks. Never edited, as no migration is once released: a change is one more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "r0001", None


def upgrade() -> None:
    op.create_table(
        "records",
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("record", sa.Text, nullable=False),
        sa.Column("author", sa.Text, nullable=False),
        sa.Column("task", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("signed", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("record", "author"),
    )
    op.create_index("records_of_task", "records", ["task"])
    op.create_table(
        "tasks",
        sa.Column("task", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("state", sa.Text, sa.CheckConstraint("state IN ('open', 'closed')"), nullable=False),
        sa.Column("followed_s", sa.Double, nullable=False),
        sa.Column("closed_s", sa.Double),
    )

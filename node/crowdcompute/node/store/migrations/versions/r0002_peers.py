"""Remember native peers and where they can be dialled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision, down_revision = "r0002", "r0001"


def upgrade() -> None:
    op.create_table(
        "peers",
        sa.Column("network", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("addresses", sa.Text, nullable=False),
        sa.Column("linked_s", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("network", "peer"),
    )

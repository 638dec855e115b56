"""The circuits of destinations; the first builds that had them made the table without Alembic."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """One table, unless it is there."""
    op.create_table(
        "candela_circuits",
        sa.Column("destination", sa.Text(), primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("retry_at", sa.Double()),
        sa.Column("pause", sa.Double(), nullable=False),
        sa.Column("code", sa.Text()),
        sa.Column("version", sa.Integer(), nullable=False),
        if_not_exists=True,
    )

"""The index as 0.1.0 made it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Instances and series."""
    op.create_table(
        "instances",
        sa.Column("path", sa.String(), primary_key=True),
        sa.Column("series_instance_uid", sa.String(), nullable=False),
        sa.Column("sop_class_uid", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("calling_ae", sa.String(), nullable=False),
        sa.Column("received_at", sa.Double(), nullable=False),
        sa.Column("own", sa.Boolean(), nullable=False),
    )
    op.create_index("ix_instances_series_instance_uid", "instances", ["series_instance_uid"])
    op.create_table(
        "series",
        sa.Column("series_instance_uid", sa.String(), primary_key=True),
        sa.Column("study_instance_uid", sa.String(), nullable=False),
        sa.Column("calling_ae", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("first_received", sa.Double(), nullable=False),
        sa.Column("last_received", sa.Double(), nullable=False),
        sa.Column("associations", sa.Integer(), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("expected", sa.Integer()),
        sa.Column("reason", sa.String()),
        sa.Column("completed_at", sa.String()),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("handed_digest", sa.String()),
    )

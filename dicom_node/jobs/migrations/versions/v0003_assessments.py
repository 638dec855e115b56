"""What readers say of AI answers (docs/adr/0080-assessments-are-added-never-changed.md)."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """One table; a row is added for each assessment and never changed."""
    op.create_table(
        "candela_assessments",
        sa.Column("number", sa.Integer(), primary_key=True, autoincrement=True),
        sa.Column("job_id", sa.Text(), nullable=False, index=True),
        sa.Column("study_instance_uid", sa.Text(), nullable=False, index=True),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("analysed_at", sa.Double(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("answered", sa.Text(), nullable=False),
        sa.Column("probability", sa.Double()),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("correct_class", sa.Text()),
        sa.Column("present", sa.Integer()),
        sa.Column("outline", sa.Text(), nullable=False),
        sa.Column("comment", sa.Text()),
        sa.Column("reader", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sqlite_autoincrement=True,
    )

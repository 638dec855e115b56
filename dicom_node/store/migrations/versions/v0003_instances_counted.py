"""Each series counts its instances along."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

COUNT = """
update series set instances = (
    select count(distinct sop_instance_uid) from instances
    where instances.series_instance_uid = series.series_instance_uid and not instances.own
)
"""


def upgrade() -> None:
    """The column has a default, so that an older version that steps in can still add series; it is counted at start."""
    op.add_column("series", sa.Column("instances", sa.Integer(), nullable=False, server_default="0"))
    op.execute(COUNT)

"""Each instance keeps what its header says of its place in the series: InstanceNumber, Modality, image or not."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """The columns are empty for what is there: its files are asked. An older version leaves them empty too."""
    op.add_column("instances", sa.Column("instance_number", sa.Double()))
    op.add_column("instances", sa.Column("modality", sa.String()))
    op.add_column("instances", sa.Column("image", sa.Boolean()))

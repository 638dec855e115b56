"""PostgreSQL finds the workflows of a series by the beginning of their ids, in the order of bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """An index on DBOS's table, which `engine.prepare` makes before. SQLite's own key is in that order."""
    bind = op.get_bind()
    if bind.dialect.name == "postgresql" and sa.inspect(bind).has_table("workflow_status", schema="dbos"):
        op.execute(
            'create index if not exists candela_workflow_ids on dbos.workflow_status (workflow_uuid collate "C")'
        )

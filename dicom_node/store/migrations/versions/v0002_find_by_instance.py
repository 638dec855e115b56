"""An instance is found by its SOP Instance UID, which storage commitment asks for."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """One more index."""
    op.create_index("ix_instances_sop_instance_uid", "instances", ["sop_instance_uid"], if_not_exists=True)

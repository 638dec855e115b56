"""What Alembic runs: the revisions that are missing, over the connection that `dicom_node.store.schema` gives it."""

from __future__ import annotations

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()

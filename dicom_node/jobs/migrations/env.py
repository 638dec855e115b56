"""What Alembic runs: the revisions that are missing, over the connection that `dicom_node.jobs.schema` gives it."""

from __future__ import annotations

from alembic import context

from dicom_node.jobs.schema import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], transactional_ddl=True, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()

"""Creates Candela's own tables in the engine's database or brings them up to date; see `dicom_node.jobs.migrations`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from pipeline.errors import BadSettings

MIGRATIONS: Final = "dicom_node.jobs:migrations"
VERSION_TABLE: Final = "candela_schema"
"""The name is our own, since other programs that use Alembic may share the database."""
HEAD: Final = "0003"
LOCK: Final = 0x43414E44454C41
"""Key of PostgreSQL's advisory lock: one process at a time creates tables."""


def bring_up(database: sa.Engine) -> None:
    """Create the tables, or run the missing revisions; several processes may do so at once.

    Raises
    ------
    BadSettings
        where a newer version of Candela has used the database, which then stays unchanged.
    """
    with database.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with database.connect() as connection, connection.begin():
        if database.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        else:  # the driver would begin the transaction only at the first write, too late to exclude another process
            connection.exec_driver_sql("begin immediate")
        _upgrade(connection)


def _upgrade(connection: sa.Connection) -> None:
    # Imported here, since most starts need no migration.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.attributes["connection"] = connection
    known = {item.revision for item in ScriptDirectory.from_config(config).walk_revisions()}
    if _revision(connection) not in {None, *known}:
        raise BadSettings(
            "The engine's database is of a newer version of Candela.",
            where=connection.engine.url.render_as_string(hide_password=True),
            todo="Run that version or a newer one. To go back, restore a backup from before the upgrade.",
        )
    command.upgrade(config, "head")


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(sa.text(f"select version_num from {VERSION_TABLE}")).scalar_one_or_none()  # noqa: S608
    return None if found is None else str(found)

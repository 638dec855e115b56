"""Candela's own tables in the engine's database, made or brought up to date; see `dicom_node.jobs.migrations`."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from pipeline.errors import BadSettings

MIGRATIONS: Final = "dicom_node.jobs:migrations"
VERSION_TABLE: Final = "candela_schema"
"""Of its own name: the database may be shared with others that use Alembic."""
HEAD: Final = "0001"
LOCK: Final = 0x43414E44454C41
"""Of PostgreSQL: one process at a time makes tables."""


def bring_up(database: sa.Engine) -> None:
    """Make the tables, or run the revisions that are missing; any number of processes at once.

    Raises
    ------
    BadSettings
        where a newer version of Candela has worked with the database: nothing is changed then.
    """
    with database.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with database.connect() as connection, connection.begin():
        if database.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(:key)"), {"key": LOCK})
        else:  # the driver would begin only at the first write, which another process may overtake
            connection.exec_driver_sql("begin immediate")
        _upgrade(connection)


def _upgrade(connection: sa.Connection) -> None:
    # Imported where needed: most starts find nothing to do.
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

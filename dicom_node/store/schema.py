"""Creates the tables of the series index or brings them up to date; see `dicom_node.store.migrations`.

0.1.0 kept the number 1 in ``PRAGMA user_version`` and did not use Alembic: its index counts as revision 0001. The
number stays, since it tells 0.1.0 after a downgrade whether it can use the file. A revision that 0.1.0 cannot use must
raise the number: 0.1.0 then sets the index aside and rebuilds it.
"""

from __future__ import annotations

from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect, text

from pipeline.errors import BadSettings

MIGRATIONS: Final = "dicom_node.store:migrations"
RELEASED_IN_0_1_0: Final = "0001"
USER_VERSION: Final = 1


def bring_up(connection: Connection) -> None:
    """Create the tables, or run the missing revisions, in the transaction of ``connection``.

    Raises
    ------
    BadSettings
        where a newer version of Candela has used the index, which then stays unchanged.
    sqlalchemy.exc.DatabaseError
        where the file is not an index, or is damaged.
    """
    config = Config()
    config.set_main_option("script_location", MIGRATIONS)
    config.attributes["connection"] = connection
    revision = MigrationContext.configure(connection).get_current_revision()
    known = {item.revision for item in ScriptDirectory.from_config(config).walk_revisions()}
    number = connection.execute(text("PRAGMA user_version")).scalar_one()
    if number > USER_VERSION or not (revision is None or revision in known):
        raise BadSettings(
            "The index of the store was written by a newer version of Candela.",
            where=str(connection.engine.url.database),
            todo="Run that version or a newer one. To go back, restore a backup from before the upgrade.",
        )
    if revision is None and inspect(connection).has_table("series"):
        command.stamp(config, RELEASED_IN_0_1_0)
    command.upgrade(config, "head")
    connection.execute(text(f"PRAGMA user_version = {USER_VERSION}"))

"""`candela backup` and `candela restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dicom_node.commands.common import ConfigOption, load_settings


def backup(
    folder: Annotated[Path, typer.Argument(help="A new or empty folder, on another disk than data_dir.")],
    config_file: ConfigOption = None,
) -> None:
    """Back up the store, the results and the jobs, while the node runs."""
    from dicom_node.node.backup import back_up

    made = back_up(load_settings(config_file), folder)
    typer.echo(f"{made.files} files, {made.bytes / 1e6:.1f} MB and {made.database} in {folder}")


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup.")],
    config_file: ConfigOption = None,
) -> None:
    """Restore a backup into an empty data_dir and an empty database; the node must not run."""
    from dicom_node.node.backup import restore as run

    settings = load_settings(config_file)
    made = run(settings, folder)
    typer.echo(f"{made.files} files, {made.bytes / 1e6:.1f} MB of {made.begun} in {settings.data_dir}; start the node")

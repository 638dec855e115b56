"""Options and helpers that the sub-commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from dicom_node.observability import log as observability
from dicom_node.settings.tree import Settings, load

REFUSED = 3
"""The exit code where a series was refused."""
ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Settings file; default: candela.toml in the working directory, if any."),
]


def console() -> Console:
    """The console for tables; wide where stdout is not a terminal, so that a pipe gets whole lines."""
    found = Console()
    return found if found.is_terminal else Console(width=320)


def load_settings(path: Path | None) -> Settings:
    """Load the settings, and set up this process's logging by them."""
    settings = load(path)
    observability.configure(plain_uids=settings.log_uids == "plain")
    return settings

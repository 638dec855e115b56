"""Which layout the files under data_dir have, so that an older Candela does not take them for its own; and where a file
that a job names lies after data_dir was moved.

``layout.json`` names the layout and the version that last raised it. Without it (0.1.0 wrote none) the layout is 1.
"""

from __future__ import annotations

import json
import re
from importlib import metadata
from pathlib import Path
from typing import Final

from dicom_node.store.durable import write_durably
from pipeline.errors import BadSettings

LAYOUT: Final = 1
"""Raise it when this version writes below data_dir what the version before would misread; then also read the older."""
FILE: Final = "layout.json"
BELOW: Final = re.compile(r".*/((?:store|results)/[^/]+/.+)")
"""What a path of the store or of a job's results is below data_dir."""


def check(data_dir: Path) -> None:
    """Every role does this before it touches anything below ``data_dir``.

    Raises
    ------
    BadSettings
        where a newer version of Candela has written there, or the file is no longer readable.
    """
    path = data_dir / FILE
    try:
        content = json.loads(path.read_text())
        found, by = int(content["layout"]), str(content["written_by"])
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError):
        raise BadSettings(
            "The note of which version wrote this data cannot be read.",
            where=str(path),
            todo="Restore it from a backup; or remove it, if no newer version was ever run here.",
        ) from None
    if found > LAYOUT:
        raise BadSettings(
            f"This data was written by a newer version of Candela ({by}; layout {found}, this one knows {LAYOUT}).",
            where=str(data_dir),
            todo="Run that version or a newer one. To go back, restore a backup from before the upgrade.",
        )


def claim(data_dir: Path) -> None:
    """The receiver does this, which alone writes to the store: `check`, then the note where there is none."""
    check(data_dir)
    if not (data_dir / FILE).exists():
        note = {"layout": LAYOUT, "written_by": metadata.version("candela")}
        write_durably(data_dir / FILE, json.dumps(note).encode())


def located(path: str, data_dir: Path) -> Path:
    """Where the file that a job or note calls ``path`` is now: they name files by absolute path as a rule, and data_dir
    may have been moved since, or restored elsewhere. Relative paths are below ``data_dir``.
    """
    named = data_dir / path
    below = BELOW.fullmatch(path)
    return data_dir / below[1] if below and not named.exists() else named

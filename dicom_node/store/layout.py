"""The layout of the files under data_dir, which keeps an older Candela from misreading them; and the place of a file
that a job names, after data_dir was moved.

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
"""Raise this number when the version before would misread what this one writes below data_dir; keep reading the
older."""
FILE: Final = "layout.json"
BELOW: Final = re.compile(r".*/((?:store|results)/[^/]+/.+)")
"""Matches a path of the store or of a job's results; group 1 is the part below data_dir."""


def check(data_dir: Path) -> None:
    """Check that this version may use ``data_dir``. Every role calls this before it touches anything below it.

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


def stamp(data_dir: Path) -> None:
    """`check`, then write ``layout.json`` where it is missing. Only the receiver, which writes the
    store, calls this.
    """
    check(data_dir)
    if not (data_dir / FILE).exists():
        note = {"layout": LAYOUT, "written_by": metadata.version("candela")}
        write_durably(data_dir / FILE, json.dumps(note).encode())


def located(path: str, data_dir: Path) -> Path:
    """The present place of the file that a job or note calls ``path``. Most of them name files by absolute path, and
    data_dir may have been moved or restored elsewhere since. Relative paths are below ``data_dir``.
    """
    named = data_dir / path
    below = BELOW.fullmatch(path)
    return data_dir / below[1] if below and not named.exists() else named

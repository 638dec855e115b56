"""Compares the installed packages with those that a bundle was made with.

The rule: the packages that a bundle was made with, and those that it requires, must be installed in that version or a
later one. A missing or older package is refused, since the network may need it. A later major version is accepted with
a note, since its changes are unknown. ``optional_packages_version`` is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from packaging.version import InvalidVersion, Version

from models.metadata import Packages
from pipeline.errors import BadModel

Installed = Callable[[str], str]
"""Maps a distribution's name to the installed version; raises PackageNotFoundError where it is not installed."""


def check_packages(metadata: Packages, where: Path, installed: Installed = version) -> tuple[str, ...]:
    """Notes on packages that are newer than the bundle by a major version.

    Raises
    ------
    BadModel
        naming the field, where a package is absent or older, or a version is malformed.
    """
    wanted = {
        "monai_version": ("monai", metadata.monai_version),
        "pytorch_version": ("torch", metadata.pytorch_version),
        **{
            f"required_packages_version.{name}": (name, needed)
            for name, needed in metadata.required_packages_version.items()
        },
    }
    if metadata.numpy_version:
        wanted["numpy_version"] = ("numpy", metadata.numpy_version)
    notes = []
    for field, (name, text) in wanted.items():
        needed, found = _version(text, field, where), _found(name, field, where, installed)
        if found < needed:
            raise BadModel(
                f"{field} is {needed}, and {name} {found} is installed.",
                where=str(where),
                todo=f"Install {name} {needed} or later, or use a bundle made with {found}.",
            )
        if found.major > needed.major:
            notes.append(f"The bundle was made with {name} {needed}; {found} is installed.")
    return tuple(notes)


def _version(text: str, field: str, where: Path) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise BadModel(f"{field} is no version: {text!r}.", where=str(where), todo="Correct it, e.g. 1.6.1.") from error


def _found(name: str, field: str, where: Path, installed: Installed) -> Version:
    try:
        return Version(installed(name))
    except (PackageNotFoundError, ValueError) as error:  # ValueError: an empty name
        raise BadModel(
            f"{field} is required, and the package is not installed.",
            where=str(where),
            todo=f"Install {name}, or move it to optional_packages_version if inference does not need it.",
        ) from error

"""`candela config migrate`: a settings file of 0.1 becomes one of the present form, with the same meaning."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

import typer

from dicom_node.settings.migrate import Migration, migrated
from dicom_node.settings.tree import load
from dicom_node.store.durable import write_durably
from pipeline.errors import BadSettings

SECRET = re.compile(r"""((?:password|token|key)\w*"?\s*=\s*)("[^"]*"|'[^']*')""")
"""What a check does not print."""


def run(path: Path, *, only_check: bool) -> bool:
    """Rewrite the file at ``path``, or print what that would change; False where a check found something to rewrite.

    Atomic: the file is the old one or the new one at every moment, and what it was stays as ``NAME.old``.

    Raises
    ------
    BadSettings
        where the file is not there or wrong, cannot be written, or would not mean the same.
    """
    path = path.resolve()
    old = _text(path)
    result = _migrated(path, old)
    if not result.changes:
        typer.echo(f"{path} is of the present form")
        return True
    if only_check:
        lines = difflib.unified_diff(old.splitlines(), result.text.splitlines(), str(path), f"{path}, rewritten", n=0)
        for line in lines:
            typer.echo(SECRET.sub(r'\1"**********"', line.rstrip("\n")))
        return False
    load(path)  # what is wrong with it is said about the file that its author knows
    backup = path.with_name(f"{path.name}.old")
    _write(path, backup, old, result)
    for change in result.changes:
        typer.echo(change)
    typer.echo(f"{path} is rewritten; the old file is {backup}")
    if not result.whole:
        typer.echo(f"note: its comments could not be kept; they are in {backup}", err=True)
    return True


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadSettings(
            "The settings file cannot be read.", where=str(path), todo="Check the path given to --config."
        ) from error


def _migrated(path: Path, text: str) -> Migration:
    try:
        return migrated(text)
    except ValueError as error:
        raise BadSettings(f"{error}.", where=str(path), todo="Correct it, then migrate again.") from None


def _write(path: Path, backup: Path, old: str, result: Migration) -> None:
    """Put the new file in place, unless the node would read it as something else (a variable of the old form)."""
    before = load(path)
    like = path.stat()
    trial = path.with_name(f".{path.name}.trial")
    try:
        write_durably(trial, result.text.encode(), like=like)
        try:
            after = load(trial)
        except BadSettings as error:
            raise BadSettings(
                f"With the environment's variables, the rewritten file cannot be read: {error.what}",
                where=str(path),
                todo="Rename those variables, then migrate again; nothing was written.",
            ) from None
        if before.model_dump() != after.model_dump():
            raise BadSettings(
                "The rewritten file would not mean the same; nothing was written.",
                where=str(path),
                todo="Rewrite it by hand as docs/settings.md shows.",
            )
        write_durably(backup, old.encode(), like=like)
        write_durably(path, result.text.encode(), like=like)
    except OSError as error:
        raise BadSettings(
            f"The settings file cannot be rewritten ({error.strerror}).",
            where=str(path),
            todo="Run this as a user who may write to its folder, outside of a container that mounts the file.",
        ) from error
    finally:
        trial.unlink(missing_ok=True)

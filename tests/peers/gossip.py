"""What nodes say: log lines, audit lines and databases of every node that the tests start, and what must not be there.

A peer that starts a node calls `listen` with its folder, a database server `ask`; whoever sends identifiers that are
not the phantom's calls `secret`. `overheard` is asked once, when all tests have run (tests/conftest.py).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pipeline import phantom

_HEADER: Final = phantom.Header()
SECRETS: Final = {_HEADER.patient_id, _HEADER.patient_name, "Phantom Candela", _HEADER.study_description}
"""Identifiers and texts that the tests send in data sets, and that no line may hold."""
PATTERNS: Final = ("*.log", "data/**/*.jsonl", "data/**/*.sqlite", "data/**/*.sqlite-wal")
"""Below a node's folder. Other peers, which may tell what they like, keep theirs elsewhere."""

Contents = Callable[[], Iterator[tuple[str, bytes]]]
"""What stands in a database server: where, and what."""

_folders: set[Path] = set()
_servers: list[Contents] = []
_told: list[str] = []
_said: list[str] = []


def listen(folder: Path) -> None:
    """Whatever a node writes below ``folder`` is looked at in the end."""
    _folders.add(folder)


def ask(contents: Contents) -> None:
    """What a database server holds is looked at in the end."""
    _servers.append(contents)


def ask_now(contents: Contents) -> None:
    """The same at once: it is about to be closed."""
    _servers.remove(contents)
    _told.extend(told_by(contents))


def secret(*values: str) -> None:
    """These are sent by a test and must not be told."""
    SECRETS.update(values)


def said(text: str) -> None:
    """A line that a part of the node in this process wrote."""
    _said.append(text)


def told_in(folder: Path, secrets: set[str] | None = None) -> list[str]:
    """Which secrets stand in what was written below ``folder``, and where."""
    found = []
    for path in _files(folder):
        data = path.read_bytes()
        found += [f"{value!r} in {path}" for value in secrets or SECRETS if _in(value, data)]
    return sorted(found)


def told_by(contents: Contents, secrets: set[str] | None = None) -> list[str]:
    """Which secrets stand in a database server, and where."""
    return sorted(
        f"{value!r} in {where}" for where, data in contents() for value in secrets or SECRETS if _in(value, data)
    )


def overheard() -> list[str]:
    """All secrets that were told anywhere."""
    lines = "".join(_said).encode()
    here = [f"{value!r} in a log line of this process" for value in SECRETS if _in(value, lines)]
    here += [*_told, *(line for contents in _servers for line in told_by(contents))]
    return here + [line for folder in sorted(_folders) for line in told_in(folder)]


def _in(value: str, data: bytes) -> bool:
    """Whether ``value`` is there as it is, or as JSON writes it in ASCII."""
    return value.encode() in data or json.dumps(value)[1:-1].encode() in data


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for pattern in PATTERNS:
            yield from (path for path in folder.glob(pattern) if path.is_file())

"""Rewrites the text of a settings file of 0.1 into the present form, with its comments where that can be done.

tomlkit edits the document by the same rules by which `old_form` rewrites the tree that is read. What comes out is
parsed again and compared with that tree; where the two differ, the file is written without comments.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment, InlineTable, Table, Whitespace

from dicom_node.settings.old_form import modernise

NEW_TABLES = ("peers", "routing")
"""Tables that `modernise` makes. They go before the first table of the file."""


@dataclass(frozen=True)
class Migration:
    """The text of a file in the present form, and what was rewritten. ``whole`` False: comments were lost."""

    text: str
    changes: tuple[str, ...]
    whole: bool = True


def migrated(text: str) -> Migration:
    """``text`` in the present form; itself where nothing in it is of the old form.

    Raises
    ------
    ValueError
        where it is not TOML, or a table names a peer and has an address too.
    """
    wanted = tomllib.loads(text)
    changes = tuple(modernise(wanted))
    if not changes:
        return Migration(text, ())
    edited = _edited(text)
    if edited is not None and _parsed(edited) == wanted:
        return Migration(edited, changes)
    return Migration(tomlkit.dumps(wanted), changes, whole=False)


def _edited(text: str) -> str | None:
    """``text`` as tomlkit edits it; None where it cannot, as with some tables that stand apart from each other."""
    try:
        document = tomlkit.parse(text)
        there = set(document)
        modernise(document, _table)
        _tidy(document)
        made = {name: document.pop(name) for name in NEW_TABLES if name in document and name not in there}
        return _with_front(tomlkit.dumps(document), tomlkit.dumps(made))
    except (TOMLKitError, LookupError, TypeError, AttributeError):
        return None


def _table(content: Mapping[str, Any]) -> Any:
    """A table that holds what ``content`` does; with its comments, where that is a table of the document."""
    made = tomlkit.table()
    body = content.value.body if isinstance(content, Table) else content.items()
    if isinstance(content, Table) and content.trivia.comment:
        made.comment(content.trivia.comment)
    for key, item in body:
        if key is not None:
            made.add(key, item)
        elif isinstance(item, Comment | Whitespace):
            made.add(item)
    return made


def _with_front(text: str, front: str) -> str:
    """``text`` with ``front`` before its first table and the comment above that."""
    if not front:
        return text
    lines = text.splitlines(keepends=True)
    place = next((number for number, line in enumerate(lines) if line.lstrip().startswith("[")), len(lines))
    while place and lines[place - 1].lstrip().startswith("#"):
        place -= 1
    above = "".join(lines[:place]).rstrip("\n")
    tables = re.sub(r"\n+\[", "\n\n[", front).strip("\n")
    return "".join([above, "\n\n" if above else "", tables, "\n\n", *lines[place:]])


def _tidy(table: Any) -> None:
    """Write tables in line anew: tomlkit leaves the blanks around what was taken out of them."""
    for key, item in list(table.items()):
        if isinstance(item, InlineTable):
            clean = tomlkit.inline_table()
            clean.update(item.unwrap())
            table[key] = clean
        elif isinstance(item, Mapping) and key not in {"rules", "profiles"}:
            _tidy(item)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except ValueError:
        return None

"""The phrases of reports: one TOML file for each language in ``phrases/``, all with the same keys and places."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

Phrase = str | Mapping[str, str]
"""A text with places to fill in, or two of them: ``one`` for a ``count`` of 1, and ``other``."""
FOLDER = Path(__file__).parent / "phrases"


@cache
def phrases(language: str) -> Mapping[str, Mapping[str, Phrase]]:
    """The phrases of ``language`` (a BCP 47 tag), by section and key."""
    return tomllib.loads((FOLDER / f"{language}.toml").read_text("utf-8"))


def has(section: str, key: str, language: str) -> bool:
    return key in phrases(language)[section]


def phrase(section: str, key: str, language: str, /, **values: Any) -> str:
    """The phrase with ``values`` in its places. Braces within a value mean nothing.

    Raises
    ------
    KeyError
        where there is no such phrase, or a value that it needs is missing.
    """
    found = phrases(language)[section][key]
    if not isinstance(found, str):
        found = found["one" if values["count"] == 1 else "other"]
    return _Filler(language).vformat(found, (), values)


class _Filler(string.Formatter):
    """Fills places in as the language writes numbers. The format of a list is how many of its items are named."""

    def __init__(self, language: str) -> None:
        self._language = language

    def format_field(self, value: Any, format_spec: str) -> str:
        if isinstance(value, float):
            return decimal(format(value, format_spec), self._language)
        if isinstance(value, Sequence) and not isinstance(value, str):
            named = value[: int(format_spec)] if format_spec else value
            return ", ".join(named) + (", ..." if len(named) < len(value) else "")
        return format(value, format_spec)


def decimal(figure: str, language: str) -> str:
    """``figure``, written with a decimal point, with the decimal mark of ``language``."""
    return figure.replace(".", str(phrases(language)["form"]["decimal_mark"]))

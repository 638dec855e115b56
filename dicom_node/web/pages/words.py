"""What the pages say: every text in one TOML file a language, as the reports have theirs."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any, Final

from pipeline.report.sentences import Language

TEXTS: Final = Path(__file__).parent / "texts"


def wanted_language(accepted: str, chosen: str = "", default: Language | None = None) -> Language:
    """The language of a page: the one ``chosen``, where it is one of ours; else that of our languages which the header
    Accept-Language (``accepted``, RFC 9110 section 12.5.4) weighs most; else ``default``; else English.
    """
    known = {str(language): language for language in Language}
    if chosen in known:
        return known[chosen]
    weights: dict[str, float] = {}
    for item in accepted.split(","):
        name, _, weight = item.partition(";")
        weights.setdefault(name.strip().lower().partition("-")[0], _weight(weight))
    ours = [name for name, weight in weights.items() if name in known and weight > 0]
    return known[max(ours, key=weights.__getitem__)] if ours else default or Language.ENGLISH


def say(key: str, language: Language = Language.ENGLISH, **values: Any) -> str:
    """The text ``key`` (``table.name``) with ``values`` in its places.

    Raises
    ------
    KeyError
        where there is no such text.
    """
    return texts(language)[key].format(**values)


@functools.cache
def texts(language: Language) -> dict[str, str]:
    """Every text of a language by its dotted key."""
    content = tomllib.loads((TEXTS / f"{language}.toml").read_text("utf-8"))
    return {f"{table}.{name}": text for table, rows in content.items() for name, text in rows.items()}


def _weight(parameter: str) -> float:
    """The weight of a language, 0 to 1: 1 where none is stated, 0 for a text that is no number."""
    _, stated, value = parameter.strip().partition("q=")
    try:
        return float(value) if stated else 1.0
    except ValueError:
        return 0.0

"""What the pages say: every text in one TOML file a language, as the reports have theirs."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path
from typing import Any, Final

TEXTS: Final = Path(__file__).parent / "texts"
ENGLISH: Final = "en"


def languages() -> tuple[str, ...]:
    """The languages that there are texts in (BCP 47), English first."""
    return tuple(sorted((path.stem for path in TEXTS.glob("*.toml")), key=lambda name: (name != ENGLISH, name)))


def wanted_language(accepted: str) -> str:
    """The first of our languages that the header Accept-Language names; English where it names none."""
    names = [item.partition(";")[0].strip().lower().partition("-")[0] for item in accepted.split(",")]
    known = languages()
    return next((name for name in names if name in known), ENGLISH)


def say(key: str, language: str = ENGLISH, **values: Any) -> str:
    """The text ``key`` (``table.name``) with ``values`` in its places.

    Raises
    ------
    KeyError
        where there is no such text.
    """
    return texts(language)[key].format(**values)


@functools.cache
def texts(language: str) -> dict[str, str]:
    """Every text of a language by its dotted key."""
    content = tomllib.loads((TEXTS / f"{language}.toml").read_text("utf-8"))
    return {f"{table}.{name}": text for table, rows in content.items() for name, text in rows.items()}

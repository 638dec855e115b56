"""The settings in force, one by one: value, description, and what set it. No secret is among them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from dicom_node.settings.page import value_text
from dicom_node.settings.peers import DicomPeer, Peer
from dicom_node.settings.tree import Settings
from pipeline.routing.rules import Check, Conditions, Range, Rule, Verdict, judge
from pipeline.routing.series_attributes import SeriesAttributes

NODE: Final = "node"
"""The group of the settings that are in no table."""
PREFIX: Final = "CANDELA_"
SECRET: Final = re.compile(
    r"password|passphrase|secret|token|credential|(^|_)key$|api_?key|private_?key", re.IGNORECASE
)
"""Names of settings whose text is never shown. Paths, numbers and URLs under such a name are no secrets."""
_IN_URL: Final = re.compile(r"(?<=://)\S*@")
_IN_QUERY: Final = re.compile(r"(?<=[?&])([^=&#\s]+)=[^&#\s]+")


@dataclass(frozen=True)
class Effective:
    """One setting in force. ``value``: empty for none; ``hidden``: it is set and a secret, and ``value`` is empty.

    ``source``: the environment variable that sets it, ``file``, or empty for the default.
    """

    name: str
    value: str
    hidden: bool
    description: str
    source: str


@dataclass(frozen=True)
class Group:
    """The settings of one table, such as ``receive`` or ``destinations.pacs``."""

    name: str
    settings: tuple[Effective, ...]

    @property
    def is_stated(self) -> bool:
        """Whether the file or the environment sets any of them."""
        return any(item.source for item in self.settings)


@dataclass(frozen=True)
class RuleWords:
    """A rule with its conditions in words and what holds for it with the defaults. ``left_out``: disabled
    destinations.
    """

    rule: Rule
    conditions: tuple[Check, ...]
    destinations: tuple[str, ...]
    left_out: tuple[str, ...]
    priority: str


def file_of(settings: Settings) -> Path | None:
    """The file that ``settings`` were read from."""
    found = type(settings).model_config.get("toml_file")
    return Path(found) if isinstance(found, str | Path) else None


def variables() -> tuple[str, ...]:
    """Names of the environment variables that set anything."""
    return tuple(sorted(name for name in os.environ if name.upper().startswith(PREFIX)))


def effective(settings: Settings) -> tuple[Group, ...]:
    """Every setting in force but the rules, table by table, in the order of docs/settings.md."""
    found: dict[str, list[Effective]] = {NODE: []}
    for name, field in Settings.model_fields.items():
        if name == "rules":
            continue
        value = getattr(settings, name)
        if isinstance(value, BaseModel):
            found[name] = list(_rows(value, (name,)))
        elif isinstance(value, Mapping):
            found |= {f"{name}.{key}": list(_rows(item, (name, str(key)))) for key, item in value.items()}
        else:
            found[NODE].append(_row(value, field, (name,), stated=name in settings.model_fields_set))
    return tuple(Group(name, tuple(_within(item, name) for item in rows)) for name, rows in found.items() if rows)


def rules_in_words(settings: Settings) -> tuple[RuleWords, ...]:
    """The rules in their order."""
    verdicts: tuple[Verdict, ...] = judge(settings.rules, SeriesAttributes(), settings.routing.match).verdicts
    return tuple(
        RuleWords(
            item.rule,
            item.checks,
            settings.destinations_of(item.rule),
            settings.disabled_of(item.rule),
            settings.priority_of(item.rule),
        )
        for item in verdicts
    )


def without_secrets(text: str) -> str:
    """``text`` without user and password of a URL, and without the values of its query."""
    return _IN_QUERY.sub(r"\1=…", _IN_URL.sub("…@", text)) if "://" in text else text


def _rows(table: BaseModel, path: tuple[str, ...], *, stated: bool = True) -> Iterator[Effective]:
    """The settings of ``table`` and of its inner tables. ``stated``: whether the table is written at all."""
    for name, field in type(table).model_fields.items():
        value, place = getattr(table, name), (*path, name)
        is_stated = stated and name in table.model_fields_set
        if isinstance(value, BaseModel) and not isinstance(value, DicomPeer | Peer | Range | Conditions):
            yield from _rows(value, place, stated=is_stated)
        elif isinstance(value, Mapping) and any(isinstance(item, BaseModel) for item in value.values()):
            for key, item in value.items():
                yield from _rows(item, (*place, str(key)), stated=is_stated)
        elif isinstance(value, tuple) and any(isinstance(item, BaseModel) for item in value) and not _peers(value):
            for number, item in enumerate(value, start=1):
                yield from _rows(item, (*place, str(number)), stated=is_stated)
        else:
            yield _row(value, field, place, stated=is_stated)


def _row(value: Any, field: FieldInfo, path: tuple[str, ...], *, stated: bool) -> Effective:
    hidden = _is_secret(path[-1], value)
    variable = _variable(path) if stated else ""
    return Effective(
        ".".join(path),
        "" if hidden else _text(value, field),
        hidden,
        " ".join((field.description or "").split()),
        variable or ("file" if stated else ""),
    )


def _text(value: Any, field: FieldInfo) -> str:
    if value is None or value in ((), {}, ""):
        return ""
    if isinstance(value, SecretStr):  # an empty one: others are hidden
        return ""
    if isinstance(value, Peer | DicomPeer):
        return value.name or value.ae_title
    if isinstance(value, tuple):
        return ", ".join(_text(item, field) for item in value)
    if isinstance(value, Mapping):  # such as the headers of a request
        shown = {key: "…" if _is_secret(str(key), item) else _text(item, field) for key, item in value.items()}
        return ", ".join(f"{key} = {text}" for key, text in shown.items())
    return without_secrets(value_text(value, field))


def _is_secret(name: str, value: Any) -> bool:
    if isinstance(value, SecretStr):
        return bool(value.get_secret_value())
    is_text = isinstance(value, str | tuple | Mapping) and not str(value).startswith(("http://", "https://"))
    return is_text and bool(value) and SECRET.search(name) is not None


def _peers(value: tuple[Any, ...]) -> bool:
    return all(isinstance(item, Peer | DicomPeer) for item in value)


def _within(item: Effective, group: str) -> Effective:
    """``item`` by its name within ``group``."""
    return replace(item, name=item.name.removeprefix(f"{group}."))


def _variable(path: tuple[str, ...]) -> str:
    """The environment variable that sets ``path``: its own, or that of a table around it, as JSON."""
    known = {name.upper(): (name, value) for name, value in os.environ.items()}
    for length in range(len(path), 0, -1):
        name, value = known.get(PREFIX + "__".join(path[:length]).upper(), ("", ""))
        if name and _states(value, path[length:]):
            return name
    return ""


def _states(text: str, path: tuple[str, ...]) -> bool:
    """Whether the JSON ``text`` has a value at ``path``."""
    if not path:
        return True
    try:
        found = json.loads(text)
    except ValueError:
        return False
    for key in path:
        if isinstance(found, Mapping) and key in found:
            found = found[key]
        elif isinstance(found, list) and key.isdigit() and int(key) <= len(found):
            found = found[int(key) - 1]
        else:
            return False
    return True

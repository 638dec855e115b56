"""docs/settings.md: written from the settings' types, defaults and descriptions, so that it cannot go out of date.

``python -m dicom_node.settings.page`` writes the page. The prose around the tables is in ``page.md`` beside this file,
where a line ``@table NAME ...`` stands for the rows of those groups. A group's own tables are rows of it, besides those
that another ``@table`` names.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ByteSize, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from dicom_node.settings.peers import BY_NAME
from dicom_node.settings.quantities import Days, Seconds, size_text, time_text
from dicom_node.settings.tree import Settings
from pipeline.routing.rules import Conditions, Range

TEMPLATE: Final = Path(__file__).with_name("page.md")
PAGE: Final = Path(__file__).parents[2] / "docs" / "settings.md"
WITHOUT_ROWS: Final = (Range, Conditions)
"""A range is written in line, and a group of conditions has those of ``rules.when``."""
ESSENTIAL: Final = (
    "data_dir",
    "peers.ae_title",
    "peers.host",
    "peers.port",
    "receive.host",
    "receive.allow",
    "destinations.kind",
    "destinations.peer",
    "rules.model",
    "rules.destinations",
)
"""What every installation sets."""
DEFAULTS: Final = {
    "peers.tls_name": "its `host`",
    "peers.addresses": "any",
    "peers.expected_count.peer": "this peer",
    "peers.certificates": "any",
    "peers.subjects": "any",
    "retention.committed_days": "forever",
    "audit.folder": "`audit/` in `data_dir`",
    "audit.retention_days": "forever",
    "web.hosts": "any name, and loopback names in the demo",
    "notify.receivers.trusted": "the system's",
    "notify.rules.destinations": "all",
    "notify.rules.models": "all",
    "notify.rules.classes": "all",
    "web.language": "English",
    "jobs.database_url": "SQLite in `data_dir`",
    "destinations.objects_of": "the first PACS of the rule",
    "destinations.smart.key_id": "the key's own, or its thumbprint",
    "destinations.smart.token_url": "the server states it",
    "destinations.headers": "none",
    "destinations.tls.trusted": "the system's",
    "destinations.tls.server_name": "the host",
    "profiles.objects": "the preset's",
    "profiles.transfer_syntax": "the preset's",
    "profiles.overlay_slices": "the preset's",
    "profiles.segmentation_type": "the preset's",
    "profiles.omit_empty_frames": "the preset's",
    "profiles.report_flavour": "the preset's",
    "profiles.report_title": "the preset's",
    "profiles.language": "the preset's",
    "profiles.heatmap_frame_order": "the preset's",
    "profiles.heatmap_planes": "the preset's",
    "rules.name": "the model's name",
    "rules.destinations": "`defaults.destinations`",
    "rules.priority": "`defaults.priority`",
    "rules.when.contrast": "any",
    **{
        f"rules.when.{name}": "any"
        for name in Conditions.model_fields
        if name not in {"derived", "localizer", "contrast", "image_type"}
    },
}
"""Defaults that a value does not say."""


@dataclass(frozen=True)
class Setting:
    """One setting of one kind of table. ``kind``: of a destination, remote or count; empty where there is one kind."""

    name: str
    kind: str
    default: str
    description: str


def settings(model: type[BaseModel] = Settings, prefix: str = "", kind: str = "") -> Iterator[Setting]:
    """Every setting below ``model``, by its dotted name; of tables in lists by the name of the list."""
    for field_name, field in model.model_fields.items():
        name = f"{prefix}{field_name}"
        inner = list(_models(field))
        for item in inner:
            item_kind = _kind_of(item) if len(inner) > 1 else ""
            yield from settings(item, f"{name}.", item_kind or kind)
        if not inner:
            yield Setting(
                name, kind, DEFAULTS.get(name) or _default(field), " ".join((field.description or "").split())
            )


def rows() -> dict[str, str]:
    """The table's row of every setting, by name. What kinds of one table have in common is one row."""
    found: dict[str, list[Setting]] = {}
    for item in settings():
        found.setdefault(item.name, []).append(item)
    kinds = {group: {item.kind for item in settings() if item.name.startswith(f"{group}.")} for group in _groups()}
    return {name: _row(name, items, kinds.get(name.split(".")[0], set())) for name, items in found.items()}


def page() -> str:
    """The text of docs/settings.md."""
    template, known = TEMPLATE.read_text(), rows()
    left = dict(known)
    stated = [name for line in template.splitlines() if line.startswith("@table") for name in line.split()[1:]]
    lines = []
    for line in template.splitlines():
        if not line.startswith("@table"):
            lines.append(line)
            continue
        lines += [*([""] if lines[-1] else []), "| setting | default | meaning |", "|---|---|---|"]
        for group in line.split()[1:]:
            names = ESSENTIAL if group == "essential" else _of_group(group, stated, tuple(left))
            lines += [left.pop(name) for name in names]
    if left:
        raise ValueError(f"page.md has no table for {', '.join(left)}")
    return "\n".join(lines) + "\n"


def _of_group(group: str, stated: list[str], left: tuple[str, ...]) -> list[str]:
    """Names of ``group`` that no table of a narrower group has."""
    if group == "node":
        return [name for name in left if "." not in name]
    narrower = [f"{other}." for other in stated if other.startswith(f"{group}.")]
    return [name for name in left if name.startswith(f"{group}.") and not name.startswith(tuple(narrower))]


def _row(name: str, items: list[Setting], kinds: set[str]) -> str:
    by_text: dict[str, list[str]] = {}
    by_default: dict[str, list[str]] = {}
    for item in items:
        by_text.setdefault(item.description, []).append(item.kind)
        by_default.setdefault(item.default, []).append(item.kind)
    everywhere = {item.kind for item in items} >= kinds or name.endswith(".kind")
    if name.endswith(".kind"):  # described once, in the first kind
        by_text.pop("", None)
    texts = [
        f"{_codes(of)}: {text}" if (not everywhere or len(by_text) > 1) and any(of) else text
        for text, of in by_text.items()
    ]
    stated = {text: of for text, of in by_default.items() if text}
    defaults = [f"{_codes(of)}: {text}" if len(by_default) > 1 else text for text, of in stated.items()]
    return f"| `{name}` |{' ' if defaults else ''}{'; '.join(defaults)} | {' '.join(texts)} |"


def _codes(kinds: list[str]) -> str:
    return ", ".join(f"`{kind}`" for kind in dict.fromkeys(kinds))


def _groups() -> list[str]:
    return list(Settings.model_fields)


def _kind_of(model: type[BaseModel]) -> str:
    field = model.model_fields.get("kind")
    return str(get_args(field.annotation)[0]) if field is not None else ""


def _models(field: FieldInfo) -> Iterator[type[BaseModel]]:
    """The tables that ``field`` holds; a reference to a peer is a name, not a table."""
    if BY_NAME not in tuple(metadata(field)):
        yield from _within(field.annotation)


def metadata(field: FieldInfo) -> Iterator[Any]:
    """What is noted beside the type of ``field``, and beside each type within it."""
    yield from field.metadata
    stack = [field.annotation]
    while stack:
        annotation = stack.pop()
        yield from getattr(annotation, "__metadata__", ())
        stack += get_args(annotation)


def _within(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation not in WITHOUT_ROWS:
            yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple, dict) or hasattr(annotation, "__metadata__"):
        for item in get_args(annotation):
            yield from _within(item)


def _default(field: FieldInfo) -> str:
    if field.is_required() or field.default is PydanticUndefined:
        return ""
    value = field.default
    if value is None or value == ():
        return "none"
    if value == "" or (isinstance(value, SecretStr) and not value.get_secret_value()):
        return "empty"
    return f"`{value_text(value, field)}`"


def value_text(value: Any, field: FieldInfo) -> str:
    """A value as a settings file states it, without the quotes of a text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, ByteSize):
        return size_text(value)
    if isinstance(value, float) and _is(field, Seconds):
        return time_text(value)
    if isinstance(value, float) and _is(field, Days):
        return time_text(value, 86400.0)
    if isinstance(value, tuple):
        return "[" + ", ".join(f'"{item}"' for item in value) + "]"
    return str(value.value if isinstance(value, Enum) else value)


def _is(field: FieldInfo, quantity: Any) -> bool:
    mark = get_args(quantity)[1]
    return mark in tuple(metadata(field))


def main() -> None:
    """Write the page."""
    PAGE.write_text(page())


if __name__ == "__main__":
    main()

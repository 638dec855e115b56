"""Settings files of tests: destinations and the peers that they name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def address(port: int, ae_title: str = "PACS", **more: Any) -> dict[str, Any]:
    """A peer on this machine, as `peer` of a destination or remote."""
    return {"ae_title": ae_title, "host": "127.0.0.1", "port": port, **more}


def toml_value(value: Any) -> str:
    """``value`` as TOML: JSON, besides tables, which are written in line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {toml_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(value)


def tables(group: str, content: Mapping[str, str | Mapping[str, Any]]) -> str:
    """`[group.NAME]` for each; a `peer` that is an address becomes `[peers.NAME]`."""
    lines = []
    for name, table in content.items():
        if isinstance(table, str):
            lines += [f"[{group}.{name}]", table]
            continue
        stated = dict(table)
        if isinstance(stated.get("peer"), Mapping):
            lines += [f"[peers.{json.dumps(name)}]", *_lines(stated["peer"])]
            stated["peer"] = name
        lines += [f"[{group}.{json.dumps(name)}]", *_lines(stated)]
    return "\n".join(lines)


def _lines(table: Mapping[str, Any]) -> list[str]:
    return [f"{json.dumps(key)} = {toml_value(value)}" for key, value in table.items()]

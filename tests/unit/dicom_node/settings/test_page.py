"""docs/settings.md is what the settings' types, defaults and descriptions make; nothing is missing or stands twice."""

from __future__ import annotations

import re
import types
from collections import Counter
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from dicom_node.settings import page
from dicom_node.settings.peers import DicomPeer, Peer
from dicom_node.settings.tree import Settings
from pipeline.routing.rules import Conditions, Range
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "settings.md").read_text()
ROWS = re.findall(r"^\| `([a-z0-9_.]+)` \|(.*?)\|(.*)\|$", TEXT, re.MULTILINE)


def leaves(model: type[BaseModel], prefix: str = "") -> set[str]:
    """Every setting's dotted name, found without `page`'s own walk."""
    names = set()
    for name, field in model.model_fields.items():
        inner = list(models(field.annotation))
        below = {leaf for item in inner for leaf in leaves(item, f"{prefix}{name}.")}
        names |= below or {f"{prefix}{name}"}
    return names


def models(annotation: Any) -> list[type[BaseModel]]:
    """Tables within ``annotation``; what refers to a peer has none, besides the address book itself."""
    if annotation in (Range, Conditions, DicomPeer):
        return []
    if annotation == dict[str, Peer]:
        return [Peer]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [] if annotation is Peer else [annotation]
    if get_origin(annotation) in (Union, types.UnionType, tuple, dict) or hasattr(annotation, "__metadata__"):
        return [model for item in get_args(annotation) for model in models(item)]
    return []


def test_the_page_is_up_to_date() -> None:
    """`python -m dicom_node.settings.page` writes it."""
    assert page.page() == TEXT


def test_every_setting_stands_once() -> None:
    names = Counter(name for name, *_ in ROWS if "0.1" not in name)
    stated = leaves(Settings)
    assert len(stated) > 150
    assert stated <= set(names)
    assert {name: count for name, count in names.items() if name in stated and count > 1} == {}


def test_every_setting_says_what_it_means() -> None:
    assert {item.name for item in page.settings() if not item.description} <= {
        "destinations.kind",  # described with its first kind
        "remotes.kind",
        "peers.expected_count.kind",
    }
    assert all(meaning.strip() for name, _, meaning in ROWS if name in leaves(Settings))


def test_ten_settings_come_first() -> None:
    first = TEXT[: TEXT.index("## Part 2")]
    assert len(page.ESSENTIAL) == 10
    assert [name for name, *_ in ROWS[:10]] == list(page.ESSENTIAL)
    assert all(f"| `{name}` |" in first for name in page.ESSENTIAL)


def test_no_default_in_words_is_of_a_setting_that_is_gone() -> None:
    assert set(page.DEFAULTS) <= leaves(Settings)

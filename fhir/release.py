"""The FHIR releases that a report can be written in, and how a resource is made in each."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Any

Json = dict[str, Any]
"""A resource, or a part of one, as JSON."""


class Release(StrEnum):
    """R4 is 4.0.1, R5 is 5.0.0."""

    R4 = "R4"
    R5 = "R5"

    def make(self, kind: str, /, **fields: Any) -> Json:
        """A resource of type ``kind``, checked by the release's model; fields that are None or empty are left out.

        R4 is checked with R4B models, which are R4's in everything used here; the tests hold the JSON against the
        definitions of 4.0.1.

        Raises
        ------
        ValueError
            where the model does not take the fields.
        """
        checked = _model(_LIBRARY[self], kind).model_validate(_filled(fields)).model_dump_json()
        made: Json = json.loads(checked)
        return _with_integer64_as_text(made) if self is Release.R5 else made


_LIBRARY = {Release.R4: "fhir.resources.R4B", Release.R5: "fhir.resources"}


@cache
def _model(library: str, kind: str) -> Any:
    return importlib.import_module(library).get_fhir_model_class(kind)


def _filled(value: Any) -> Any:
    """``value`` without what is None or empty: FHIR has no empty arrays, objects or strings."""
    if isinstance(value, Mapping):
        items = {key: _filled(item) for key, item in value.items()}
        return {key: item for key, item in items.items() if not _empty(item)}
    if isinstance(value, list | tuple):
        return [item for item in map(_filled, value) if not _empty(item)]
    return value


def _empty(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | dict) and not value)


def _with_integer64_as_text(value: Any) -> Any:
    """R5's Attachment.size is an integer64, which its JSON writes as a string (R5 2.6.2); fhir.resources does not."""
    if isinstance(value, dict):
        attachment = "contentType" in value and isinstance(value.get("size"), int)
        made = {key: _with_integer64_as_text(item) for key, item in value.items()}
        return made | {"size": str(value["size"])} if attachment else made
    return [_with_integer64_as_text(item) for item in value] if isinstance(value, list) else value

"""Leaves out attachments that are too large for a server: servers limit requests or elements."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any


def without_large(bundle: dict[str, Any], most: int) -> dict[str, Any]:
    """``bundle`` with attachments whose content is larger than ``most`` bytes emptied.

    Such an attachment keeps title, type, size and hash (R4, Attachment: data may be absent): the reader
    sees that the document exists, and that it is not included. The Bundle given is not changed.
    """
    if not any(_size(item) > most for item in _attachments(bundle)):
        return bundle
    lighter = copy.deepcopy(bundle)
    for item in _attachments(lighter):
        size = _size(item)
        if size > most:
            item.setdefault("size", size)
            del item["data"]
    return lighter


def _attachments(bundle: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in bundle.get("entry") or ():
        resource = entry.get("resource") or {}
        yield from resource.get("presentedForm") or ()
        content = resource.get("content")
        if isinstance(content, dict):  # Media
            yield content
        elif isinstance(content, list):  # DocumentReference
            yield from (item["attachment"] for item in content)


def _size(attachment: dict[str, Any]) -> int:
    """Bytes of the content, which is base64."""
    data = attachment.get("data") or ""
    return len(data) * 3 // 4 - data[-2:].count("=")

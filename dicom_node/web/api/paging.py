"""Cursors: where a page ended, as a text that callers hand back unread."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, time
from typing import Annotated, Any

from fastapi import Query

from dicom_node.audit import backwards as audit
from dicom_node.jobs.lookup import Submitted
from dicom_node.store.worklist import MOST, Place
from dicom_node.web.api.problems import Problem

Cursor = Annotated[str | None, Query(max_length=600, description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=MOST, description="Items of a page, at most.")]


def place_of(cursor: str | None) -> Place | None:
    """The place in the worklist. Raises Problem (400) for a text that is no cursor."""
    if cursor is None:
        return None
    at, series = _pair(cursor)
    return Place(float(at), str(series))


def cursor_of(place: Place | None) -> str | None:
    return None if place is None else _text([place.last_received, place.series_instance_uid])


def submitted_of(cursor: str | None) -> Submitted | None:
    """The place among the jobs. Raises Problem (400) for a text that is no cursor."""
    if cursor is None:
        return None
    at, job_id = _pair(cursor)
    return Submitted(int(at), str(job_id))


def cursor_of_job(place: Submitted | None) -> str | None:
    return None if place is None else _text([place.at, place.job_id])


def number_of(cursor: str | None) -> int | None:
    """The number of the last assessment of the page before. Raises Problem (400) for a text that is no cursor."""
    return None if cursor is None else int(_pair(cursor)[0])


def cursor_of_number(number: int | None) -> str | None:
    return None if number is None else _text([number, ""])


def audit_place_of(cursor: str | None) -> audit.Place | None:
    """The place in the audit trail. Raises Problem (400) for a text that is no cursor."""
    if cursor is None:
        return None
    offset, name = _pair(cursor)
    if not audit.is_file_name(name) or offset < 0:
        raise _no_cursor()
    return audit.Place(name, int(offset))


def cursor_of_audit(place: audit.Place | None) -> str | None:
    return None if place is None else _text([place.offset, place.file])


def day(value: str | None, *, end: bool = False) -> float | None:
    """A date or time in ISO 8601 as seconds since the epoch; a time without zone is UTC, a date is its beginning, or
    its ``end``. Raises Problem (400).
    """
    if not value:
        return None
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise Problem(400, "A time is ISO 8601, such as 2026-11-30 or 2026-11-30T08:00:00Z.") from None
    if len(value) == 10 and end:
        found = datetime.combine(found.date(), time.max)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _text(values: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


def _pair(cursor: str) -> tuple[float, str]:
    try:
        at, name = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if isinstance(at, int | float) and isinstance(name, str) and abs(at) < 1e15:
            return at, name
    except (ValueError, TypeError):
        pass
    raise _no_cursor()


def _no_cursor() -> Problem:
    return Problem(400, "The cursor is not one that this API gave.", todo="Begin again without a cursor.")

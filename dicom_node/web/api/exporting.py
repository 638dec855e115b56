"""Lists as files: CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final, Literal

from fastapi.responses import StreamingResponse

Form = Literal["json", "csv"]
FORMULA: Final = frozenset("=+-@\t\r\n")
"""First characters of what a spreadsheet takes for a formula."""


def file_of(name: str, form: Form, columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> StreamingResponse:
    """``rows``, each with its ``columns`` as JSON values, as a download ``name``.json or .csv that is made while it is
    sent.
    """
    headers = {"Content-Disposition": f'attachment; filename="{name}.{form}"'}
    if form == "json":
        return StreamingResponse(_json(rows), media_type="application/json", headers=headers)
    return StreamingResponse(_csv(columns, rows), media_type="text/csv; charset=utf-8", headers=headers)


def _json(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """An array, a row a line."""
    before = "["
    for row in rows:
        yield f"{before}\n{json.dumps(row, ensure_ascii=False)}"
        before = ","
    yield "\n]\n" if before == "," else "[]\n"


def _csv(columns: Iterable[str], rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """RFC 4180, with a line of names."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        yield out.getvalue()
        out.seek(0)
        out.truncate()
        writer.writerow(_cell(value) for value in row.values())
    yield out.getvalue()


def _cell(value: object) -> str:
    """A value as text; one that a spreadsheet would run as a formula begins with an apostrophe."""
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    return f"'{text}" if text[:1] in FORMULA and isinstance(value, str) else text

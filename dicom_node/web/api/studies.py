"""The worklist, studies and series."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from dicom_node.store.worklist import MOST
from dicom_node.web.api.exporting import Form, file_of
from dicom_node.web.api.paging import Cursor, Limit, cursor_of, day, place_of
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import Identity, Series, Study, StudyPage, StudyRow, StudyState
from dicom_node.web.auth.gate import Here, Reads
from dicom_node.web.auth.principal import Principal, Scope
from dicom_node.web.context import Context
from dicom_node.web.reading import StudyQuery
from pipeline.findings.model import Outcome

router = APIRouter(tags=["studies"])

EXPORTED_MOST: Final = 100_000
"""Studies of one file."""
COLUMNS: Final = (
    "study_instance_uid",
    "state",
    "priority",
    "received_at",
    "modalities",
    "series",
    "instances",
    "calling_ae",
    "outcome",
    "headline",
    "suggested_class",
    "probability",
    "refusal_code",
    "answers",
    "destinations",
    "deliveries",
    "failures",
)
"""What a file says of each study, before patient and study."""

Text = Annotated[str, Query(max_length=128, description="UID, or a whole PatientID or AccessionNumber.")]
Since = Annotated[str | None, Query(max_length=40, description="Received at or after this date or time (ISO 8601).")]
Until = Annotated[str | None, Query(max_length=40, description="Received before this time, or on this day or before.")]
Name = Annotated[str | None, Query(max_length=64)]


def _wanted(
    who: Reads,
    q: Text = "",
    state: StudyState | None = None,
    outcome: Outcome | None = None,
    modality: Name = None,
    calling_ae: Name = None,
    destination: Name = None,
    since: Since = None,
    until: Until = None,
    order: Literal["newest", "oldest"] = "newest",
) -> StudyQuery:
    """The filters of the worklist, which its export shares."""
    return StudyQuery(
        text=q,
        state=state,
        outcome=outcome,
        modality=modality,
        calling_ae=calling_ae,
        destination=destination,
        since=day(since),
        until=day(until, end=True),
        identified=who.may(Scope.IDENTITY),
        oldest_first=order == "oldest",
    )


Wanted = Annotated[StudyQuery, Depends(_wanted)]


@router.get("/studies")
def list_studies(
    here: Here,
    who: Reads,
    query: Wanted,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> StudyPage:
    return study_page(here, who, query, cursor, limit)


def study_page(here: Context, who: Principal, query: StudyQuery, cursor: str | None, limit: int) -> StudyPage:
    """A page of the worklist, for API and pages. The audit trail records what is shown before it is."""
    first = here.reader.first(query) if query.plain and cursor is None else ()
    without = [row.study_instance_uid for row in first]
    if cursor is not None and query.plain:  # what stood first on the first page does not come again
        without = [row.study_instance_uid for row in here.reader.first(query)]
    rows, following = here.reader.page(query, after=place_of(cursor), limit=limit, without=without)
    here.seen.studies(who, "worklist", [row.study_instance_uid for row in (*first, *rows)])
    return StudyPage(first=first, items=rows, next=cursor_of(following))


@router.get("/studies/export", response_class=StreamingResponse)
def export_studies(
    here: Here,
    who: Reads,
    query: Wanted,
    form: Annotated[Form, Query(alias="format")] = "csv",
) -> StreamingResponse:
    """The worklist as one file, at most 100,000 studies; patient and study only for those who may see
    them. The audit trail names every study of it.
    """
    columns = (*COLUMNS, *(Identity.model_fields if query.identified else ()))
    rows = (_line(row, columns) for row in _every(here, who, query))
    first = list(islice(rows, 1))  # what cannot be read or audited is refused before the file begins
    return file_of("worklist", form, columns, chain(first, rows))


def _every(here: Context, who: Principal, query: StudyQuery) -> Iterator[StudyRow]:
    """The studies, recorded page by page before they are sent."""
    place, left = None, EXPORTED_MOST
    while left > 0:
        rows, place = here.reader.page(query, after=place, limit=min(MOST, left))
        if rows:
            here.seen.listed(who, "worklist exported", [row.study_instance_uid for row in rows])
        yield from rows
        left -= len(rows)
        if place is None:
            return


def _line(row: StudyRow, columns: Iterable[str]) -> dict[str, Any]:
    """A study as one flat row; of several values those are joined by a blank."""
    values = row.model_dump(mode="json")
    answer, identity = values.pop("answer") or {}, values.pop("identity") or {}
    deliveries = " ".join(f"{state}={count}" for state, count in sorted(values.pop("deliveries").items()))
    joined = {name: " ".join(values[name]) for name in ("modalities", "destinations", "failures")}
    known = {**answer, **values, **joined, "deliveries": deliveries, **identity}
    return {name: known.get(name) for name in columns}


@router.get("/studies/{study_instance_uid}")
def show_study(here: Here, who: Reads, study_instance_uid: str) -> Study:
    return study_of(here, who, study_instance_uid)


def study_of(here: Context, who: Principal, study_instance_uid: str) -> Study:
    """A study, recorded as seen. Raises Problem (404)."""
    study = here.reader.study(study_instance_uid, identified=who.may(Scope.IDENTITY))
    if study is None:
        raise Problem(404, "The store has no such study.", code="NO_SUCH_STUDY")
    here.seen.studies(who, "study", [study_instance_uid])
    return study


@router.get("/series/{series_instance_uid}")
def show_series(here: Here, who: Reads, series_instance_uid: str) -> Series:
    series = here.reader.series(series_instance_uid, identified=who.may(Scope.IDENTITY))
    if series is None:
        raise Problem(404, "The store has no such series.", code="NO_SUCH_SERIES")
    here.seen.studies(who, "series", [series.study_instance_uid])
    return series

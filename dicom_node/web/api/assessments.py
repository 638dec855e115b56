"""Readers' assessments of AI answers: stored, listed, counted, exported."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from dicom_node.jobs import assessments
from dicom_node.jobs.assessments import AssessmentQuery
from dicom_node.web.api.exporting import Form, file_of
from dicom_node.web.api.jobs import seen_job
from dicom_node.web.api.paging import Cursor, Limit, cursor_of_number, day, number_of
from dicom_node.web.api.schemas import Value
from dicom_node.web.assessing import NewAssessment, assessment
from dicom_node.web.auth.gate import Assesses, Here, Reads
from dicom_node.web.auth.principal import Principal, Scope
from dicom_node.web.context import Context
from dicom_node.web.documents import send
from dicom_node.web.figures import Figures, figures
from pipeline.findings.model import Outcome
from pipeline.report.assessment import Outline, Verdict

router = APIRouter(tags=["assessments"])

Name = Annotated[str | None, Query(max_length=128)]


class Assessment(Value):
    """One reader's assessment of one answer."""

    number: int
    """Ascending in the order in which assessments were stored."""
    job_id: str
    study_instance_uid: str
    series_instance_uid: str
    model: str
    model_version: str
    analysed_at: datetime
    outcome: Outcome
    """The AI answer as it was when the reader assessed it, with `answered` and `probability`."""
    answered: str
    """The class of the answer; empty where it names none."""
    probability: float | None
    verdict: Verdict
    correct_class: str | None
    """A class of the model, `none`, `other`, or null where the reader names none."""
    present: bool | None
    """Whether, by the reader, what the model looks for is present; null where the assessment does not tell."""
    outline: Outline
    comment: str | None
    """Empty where the reader wrote none. Null for those who may not see patient identity, which a comment may hold, and
    where it was purged with the results."""
    reader: str
    at: datetime


class AssessmentPage(Value):
    """A page of assessments, the newest first."""

    items: tuple[Assessment, ...]
    next: str | None


def _wanted(
    model: Name = None,
    verdict: Verdict | None = None,
    reader: Name = None,
    study: Name = None,
    since: Name = None,
    until: Name = None,
    standing: Annotated[bool, Query(description="Only the newest assessment of each job.")] = False,
) -> AssessmentQuery:
    """The filters of the list, which its export shares. Raises Problem (400) where a time cannot be read."""
    return AssessmentQuery(
        study=study,
        model=model,
        verdict=verdict,
        reader=reader,
        since=day(since),
        until=day(until, end=True),
        standing=standing,
    )


Wanted = Annotated[AssessmentQuery, Depends(_wanted)]


@router.get("/jobs/{job_id}/assessments")
def of_job(here: Here, who: Reads, job_id: str) -> list[Assessment]:
    """Every assessment of a job, the newest first; corrections stand before what they correct."""
    seen_job(here, who, "assessments", job_id)
    return assessments_of(here, who, job_id)


def assessments_of(here: Context, who: Principal, job_id: str) -> list[Assessment]:
    """Every assessment of a job, as ``who`` may see them."""
    return [shown(here, item, who) for item in here.assessments.every(AssessmentQuery(job_id=job_id))]


@router.post("/jobs/{job_id}/assessments", status_code=201)
def assess(here: Here, who: Assesses, job_id: str, said: NewAssessment) -> Assessment:
    """Store an assessment. A further one of the same reader corrects the one before, which stays in the history."""
    detail = here.jobs.show(job_id)
    made = assessment(here, detail, said, reader=who.name, at=datetime.now(UTC))
    here.seen.did(who, "answer assessed", study=detail.job.study_instance_uid, job=job_id)
    stored = here.assessments.add(made, said.comment, here.reader.summaries.folder(detail.job))
    if here.settings.web.send_assessments:
        send(here, detail, stored.number)
    return shown(here, stored, who)


@router.get("/assessments")
def list_assessments(
    here: Here,
    who: Reads,
    query: Wanted,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AssessmentPage:
    found = here.assessments.page(query, before=number_of(cursor), limit=limit + 1)
    items = found[:limit]
    here.seen.studies(who, "assessments", dict.fromkeys(item.study_instance_uid for item in items))
    following = items[-1].number if len(found) > limit else None
    return AssessmentPage(items=tuple(shown(here, item, who) for item in items), next=cursor_of_number(following))


@router.get("/assessments/figures")
def show_figures(here: Here, _: Reads, model: Name = None, since: Name = None, until: Name = None) -> Figures:
    """Confusion, share accepted, false alarms and calibration, by the newest assessment of each job."""
    query = AssessmentQuery(model=model, since=day(since), until=day(until, end=True), standing=True)
    return figures(here.assessments.every(query), here.settings.zone)


@router.get("/assessments/export", response_class=StreamingResponse)
def export(
    here: Here,
    who: Reads,
    query: Wanted,
    form: Annotated[Form, Query(alias="format")] = "csv",
) -> StreamingResponse:
    """All assessments as one file. Each download is recorded."""
    here.seen.did(who, "assessments exported")
    rows = (shown(here, item, who).model_dump(mode="json") for item in here.assessments.every(query))
    return file_of("assessments", form, Assessment.model_fields, rows)


def shown(here: Context, item: assessments.Assessment, who: Principal) -> Assessment:
    """An assessment as ``who`` may see it."""
    values = {
        **vars(item),
        "analysed_at": datetime.fromtimestamp(item.analysed_at, UTC),
        "at": datetime.fromtimestamp(item.at, UTC),
        "comment": here.assessments.comment_of(item) if who.may(Scope.IDENTITY) else None,
    }
    return Assessment(**values)

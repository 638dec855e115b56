"""An assessment for other systems: as DICOM structured report, and as FHIR Observation."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Annotated, Literal

import pydicom
from fastapi import APIRouter, Query, Response
from pydicom.dataset import Dataset

from dicom_node.jobs.assessments import Assessment, AssessmentQuery
from dicom_node.jobs.status import JobDetail
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.results import DICOM, FHIR
from dicom_node.web.auth.gate import Here, Identifies
from dicom_node.web.auth.principal import Principal
from dicom_node.web.context import Context
from pipeline.reading.files import UNREADABLE
from pipeline.report.assessment import StatedAssessment
from pipeline.report.content import ReportContent
from pipeline.report.stored import FILENAME, from_json

router = APIRouter(tags=["assessments"])


@router.get("/jobs/{job_id}/assessments/{number}/dicom")
def as_dicom(here: Here, who: Identifies, job_id: str, number: int) -> Response:
    """The assessment as a DICOM file: Comprehensive SR, TID 1500. Each download is recorded."""
    from pipeline.results.sr import assessment  # noqa: PLC0415  (highdicom takes a second to import)

    detail = here.jobs.show(job_id)
    said, content = _stated(here, detail, number), _content(here, detail)
    made = assessment.build(content, _header(here, detail), said)
    _record(here, who, detail, "assessment (DICOM)")
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return _file(out.getvalue(), DICOM, f"assessment-{number}.dcm")


@router.get("/jobs/{job_id}/assessments/{number}/fhir")
def as_fhir(
    here: Here,
    who: Identifies,
    job_id: str,
    number: int,
    release: Annotated[Literal["R4", "R5"], Query(description="FHIR release.")] = "R4",
) -> Response:
    """The assessment as a FHIR transaction Bundle of one Observation. Each download is recorded."""
    from fhir.bundle import assessment  # noqa: PLC0415  (fhir.resources takes a second to import)
    from fhir.release import Release  # noqa: PLC0415

    detail = here.jobs.show(job_id)
    said, content = _stated(here, detail, number), _content(here, detail)
    bundle = assessment.build(content, said, release=Release(release))
    _record(here, who, detail, "assessment (FHIR)")
    return _file(json.dumps(bundle, ensure_ascii=False).encode(), FHIR, f"assessment-{number}.json")


def _stated(here: Context, detail: JobDetail, number: int) -> StatedAssessment:
    """An assessment of the job, with the one that it corrects. Raises Problem (404)."""
    every = tuple(here.assessments.every(AssessmentQuery(job_id=detail.job.job_id)))
    item = next((item for item in every if item.number == number), None)
    if item is None:
        raise Problem(404, "The job has no such assessment.", code="NO_SUCH_ASSESSMENT")
    before = next((other for other in every if other.reader == item.reader and other.number < number), None)
    return _as_stated(here, item, None if before is None else _as_stated(here, before))


def _as_stated(here: Context, item: Assessment, corrects: StatedAssessment | None = None) -> StatedAssessment:
    return StatedAssessment(
        number=item.number,
        verdict=item.verdict,
        correct_class=item.correct_class,
        present=item.present,
        outline=item.outline,
        comment=here.assessments.comment_of(item) or "",
        reader=item.reader,
        at=datetime.fromtimestamp(item.at, here.settings.zone or UTC),
        corrects=corrects,
    )


def _content(here: Context, detail: JobDetail) -> ReportContent:
    path = here.reader.summaries.folder(detail.job) / FILENAME
    if not path.is_file():
        raise _purged()
    return from_json(path.read_bytes(), where=str(path))


def _header(here: Context, detail: JobDetail) -> Dataset:
    """Patient and study, as a result of the run names them."""
    folder = here.reader.summaries.folder(detail.job)
    for item in here.reader.summaries.of(detail).get("objects", ()):
        try:
            return pydicom.dcmread(folder / item["file"], stop_before_pixels=True)
        except (*UNREADABLE, OSError):
            continue
    raise _purged()


def _purged() -> Problem:
    return Problem(
        404,
        "The job's results, which name patient and study, are no longer on this disk.",
        code="NO_SUCH_RESULT",
        todo="The assessment itself is in GET /assessments.",
    )


def _record(here: Context, who: Principal, detail: JobDetail, what: str) -> None:
    job = detail.job
    here.seen.exported(who, what, job.study_instance_uid, job.series_instance_uid, job.job_id)


def _file(content: bytes, media_type: str, name: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})

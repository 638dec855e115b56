"""An assessment for other systems: as DICOM structured report, and as FHIR Observation."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from dicom_node.jobs.status import JobDetail
from dicom_node.web import documents
from dicom_node.web.api.results import DICOM, FHIR
from dicom_node.web.auth.gate import Here, Identifies
from dicom_node.web.auth.principal import Principal
from dicom_node.web.context import Context

router = APIRouter(tags=["assessments"])


@router.get("/jobs/{job_id}/assessments/{number}/dicom")
def as_dicom(here: Here, who: Identifies, job_id: str, number: int) -> Response:
    """The assessment as a DICOM file: Comprehensive SR, TID 1500. Each download is recorded."""
    detail = here.jobs.show(job_id)
    made = documents.as_dicom(here, detail, number)
    _record(here, who, detail, "assessment (DICOM)")
    return _file(made, DICOM, f"assessment-{number}.dcm")


@router.get("/jobs/{job_id}/assessments/{number}/fhir")
def as_fhir(
    here: Here,
    who: Identifies,
    job_id: str,
    number: int,
    release: Annotated[Literal["R4", "R5"], Query(description="FHIR release.")] = "R4",
) -> Response:
    """The assessment as a FHIR transaction Bundle of one Observation. Each download is recorded."""
    detail = here.jobs.show(job_id)
    made = documents.as_fhir(here, detail, number, release)
    _record(here, who, detail, "assessment (FHIR)")
    return _file(made, FHIR, f"assessment-{number}.json")


def _record(here: Context, who: Principal, detail: JobDetail, what: str) -> None:
    job = detail.job
    here.seen.exported(who, what, job.study_instance_uid, job.series_instance_uid, job.job_id)


def _file(content: bytes, media_type: str, name: str) -> Response:
    return Response(content, media_type=media_type, headers={"Content-Disposition": f'attachment; filename="{name}"'})

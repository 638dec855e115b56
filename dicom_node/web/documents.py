"""An assessment for other systems: as DICOM structured report, and as FHIR Bundle; made when asked for, or sent."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Final, Literal

import pydicom
from pydicom.dataset import Dataset

from dicom_node.deliver.senders import privacy, takes
from dicom_node.jobs.assessments import Assessment, AssessmentQuery
from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.outcome import ASSESSMENT, WITHDRAWALS, ResultRef
from dicom_node.jobs.status import DeliveryState, JobDetail
from dicom_node.settings.destinations import FhirDestination
from dicom_node.store.durable import write_durably
from dicom_node.web.api.problems import Problem
from dicom_node.web.context import Context
from pipeline.errors import OutOfResources
from pipeline.reading.files import UNREADABLE
from pipeline.report.assessment import StatedAssessment
from pipeline.report.content import ReportContent
from pipeline.report.stored import FILENAME, from_json

FOLDER: Final = "assessments"
"""Folder of the documents that are sent, in a job's folder."""


def as_dicom(here: Context, detail: JobDetail, number: int) -> bytes:
    """The assessment as a DICOM file: Comprehensive SR, TID 1500. Raises Problem (404)."""
    from pipeline.results.sr import assessment  # noqa: PLC0415  (highdicom takes a second to import)

    made = assessment.build(_content(here, detail), _header(here, detail), _stated(here, detail, number))
    out = io.BytesIO()
    made.save_as(out, enforce_file_format=True)
    return out.getvalue()


def as_fhir(here: Context, detail: JobDetail, number: int, release: Literal["R4", "R5"]) -> bytes:
    """The assessment as a FHIR transaction Bundle of one Observation (JSON). Raises Problem (404)."""
    from fhir.bundle import assessment  # noqa: PLC0415  (fhir.resources takes a second to import)
    from fhir.release import Release  # noqa: PLC0415

    bundle = assessment.build(_content(here, detail), _stated(here, detail, number), release=Release(release))
    return json.dumps(bundle, ensure_ascii=False).encode()


def send(here: Context, detail: JobDetail, number: int) -> None:
    """Queue the assessment for each destination that has received results of the job and takes one of its forms.

    Raises
    ------
    Problem
        404 where the job's results are no longer on this disk.
    OutOfResources
        where a document cannot be written.
    """
    done = {row.destination for row in detail.deliveries if _has_arrived(row.state, row.result)}
    for name in sorted(done):
        target = here.settings.destinations.get(name)
        if target is None or privacy(target) is not None:  # the reader's words may name the patient
            continue
        if isinstance(target, FhirDestination):
            made = as_fhir(here, detail, number, target.release)
            _queue(here, detail, "fhir", f"{number}.{target.release}.json", made, name)
        elif takes(target, "dicom"):
            made = as_dicom(here, detail, number)
            _queue(here, detail, "dicom", f"{number}.dcm", made, name)


def _has_arrived(state: DeliveryState, result: str) -> bool:
    return state is DeliveryState.DELIVERED and result not in WITHDRAWALS


def _queue(
    here: Context, detail: JobDetail, kind: Literal["dicom", "fhir"], filename: str, made: bytes, destination: str
) -> None:
    path = here.reader.summaries.folder(detail.job) / FOLDER / filename
    try:
        path.parent.mkdir(exist_ok=True)
        write_durably(path, made)
    except OSError as error:
        raise OutOfResources(f"The assessment could not be written ({error.strerror}).") from error
    result = ResultRef(f"{ASSESSMENT}-{filename.partition('.')[0]}", kind, (str(path),))
    here.jobs.send(DeliveryJob(detail.job, result, destination))


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

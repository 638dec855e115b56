"""The worklist and the page of a study."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from dicom_node.jobs import status
from dicom_node.jobs.circuits import CircuitState
from dicom_node.web.api.assessments import assessments_of
from dicom_node.web.api.jobs import findings_of
from dicom_node.web.api.paging import Cursor, day
from dicom_node.web.api.results import results_of
from dicom_node.web.api.schemas import JobDetail, StudyRow, StudyState
from dicom_node.web.api.studies import study_of, study_page
from dicom_node.web.assessing import choices, negative_class
from dicom_node.web.auth.gate import Here, Reads
from dicom_node.web.auth.principal import Principal, Scope
from dicom_node.web.context import Context
from dicom_node.web.pages.answers import words_of
from dicom_node.web.pages.render import language_of, page
from dicom_node.web.reading import StudyQuery
from pipeline.findings.model import Outcome
from pipeline.report.sentences import Language

router = APIRouter()
PAGE = 50
OLDEST = "oldest"
Word = Annotated[str, Query(max_length=128)]


@router.get("/")
def worklist(
    request: Request,
    here: Here,
    who: Reads,
    q: Word = "",
    state: Word = "",
    outcome: Word = "",
    modality: Word = "",
    destination: Word = "",
    since: Word = "",
    until: Word = "",
    order: Word = "",
    cursor: Cursor = None,
) -> Response:
    """The worklist. Filters stand in the URL; a value that is none of the choices counts as none."""
    query = StudyQuery(
        text=q,
        state=StudyState(state) if state in {*StudyState} else None,
        outcome=Outcome(outcome) if outcome in {*Outcome} else None,
        modality=modality or None,
        destination=destination or None,
        since=day(since),
        until=day(until, end=True),
        identified=who.may(Scope.IDENTITY),
        oldest_first=order == OLDEST,
    )
    chosen = {
        "q": q,
        "state": state,
        "outcome": outcome,
        "modality": modality,
        "destination": destination,
        "since": since,
        "until": until,
        "order": OLDEST if query.oldest_first else "",
    }
    found = study_page(here, who, query, cursor, PAGE)
    return page(
        request,
        "worklist.html",
        who,
        found=found,
        chosen=chosen,
        wanted={**chosen, "order": "", "state": query.state, "outcome": query.outcome},
        filtered=not replace(query, oldest_first=False).plain,
        cursor=cursor,
        states=list(StudyState),
        outcomes=list(Outcome),
        modalities=here.studies.modalities(),
        destinations=list(here.settings.destinations),
        overview=_overview(here, found.first if query.plain and cursor is None else None),
        receive=here.settings.receive,
    )


def _overview(here: Context, first: tuple[StudyRow, ...] | None) -> dict[str, object]:
    """What a glance must tell: failures, work, destinations that cannot be reached."""
    rows = here.jobs.destinations()
    down = [
        row.name
        for row in rows
        if row.target.enabled and (row.circuit.failures or row.circuit.state is not CircuitState.CLOSED)
    ]
    failed = here.reader.first(StudyQuery()) if first is None else first
    return {
        "failed": sum(row.state is StudyState.FAILED for row in failed),
        "working": len(here.jobs.lookup.with_status(status.ACTIVE)),
        "down": down,
    }


@router.get("/studies/{study_instance_uid}")
def study(request: Request, here: Here, who: Reads, study_instance_uid: str) -> Response:
    """A study: what happened and why, what was found, what can be done."""
    found = study_of(here, who, study_instance_uid)
    read = [item for item in found.all_series if any(job.model and job.attempts for job in item.jobs)]
    language = language_of(request)
    details = {job.job_id: _shown(here, who, job, language) for item in found.all_series for job in item.jobs}
    return page(
        request,
        "study.html",
        who,
        study=found,
        read=read or list(found.all_series[:1]),
        others=[item for item in found.all_series if item not in read] if read else list(found.all_series[1:]),
        details=details,
        viewers=[(viewer.name, viewer.of(study_instance_uid)) for viewer in here.settings.web.viewers],
    )


def _shown(here: Context, who: Principal, job: JobDetail, language: Language) -> dict[str, object]:
    """The findings and files of a job, and what readers said of its answer."""
    engine_job = here.jobs.show(job.job_id)
    results = results_of(here, engine_job)
    summary = here.reader.summaries.of(engine_job)
    has_findings = job.answer is not None and job.answer.refusal_code is None and job.results
    findings = findings_of(here, engine_job) if has_findings else None
    folder = here.reader.summaries.folder(engine_job.job)
    return {
        "findings": findings,
        "words": words_of(job, folder, findings.caveats if findings else (), language),
        "choices": choices(summary, negative_class(here, summary)) if has_findings else (),
        "assessments": assessments_of(here, who, job.job_id),
        "pictures": [item for item in results if item.media_type == "image/png"],
        "files": [item for item in results if item.media_type != "image/png"],
    }

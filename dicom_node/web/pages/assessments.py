"""The page of assessments, and the way from a job to its form."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from dicom_node.jobs.assessments import AssessmentQuery
from dicom_node.web.api.assessments import shown
from dicom_node.web.api.paging import day
from dicom_node.web.auth.gate import Here, Reads
from dicom_node.web.figures import figures
from dicom_node.web.pages.render import page

router = APIRouter()
NEWEST = 50
Word = Annotated[str, Query(max_length=128)]


@router.get("/assessments")
def assessments(
    request: Request, here: Here, who: Reads, model: Word = "", since: Word = "", until: Word = ""
) -> Response:
    """Figures of what was judged, and the newest assessments. The filter stands in the URL."""
    query = AssessmentQuery(model=model or None, since=day(since), until=day(until, end=True), standing=True)
    newest = here.assessments.page(query, limit=NEWEST)
    here.seen.studies(who, "assessments", dict.fromkeys(item.study_instance_uid for item in newest))
    return page(
        request,
        "assessments.html",
        who,
        figures=figures(here.assessments.every(query), here.settings.zone),
        newest=[shown(here, item, who) for item in newest],
        models=here.assessments.models(),
        chosen={"model": model, "since": since, "until": until},
    )


@router.get("/jobs/{job_id}/assessment")
def form(here: Here, _: Reads, job_id: str) -> Response:
    """To the form on the page of the study. A report links here, so that its URL holds the id of a job alone."""
    job = here.jobs.show(job_id).job
    place = job_id.replace(":", "-").replace(".", "-")
    return RedirectResponse(f"/studies/{job.study_instance_uid}#assess-{place}", 303)

"""Jobs: their list, history and findings; retry, cancel, discard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from dicom_node.jobs.status import JobDetail as EngineJob
from dicom_node.jobs.status import JobState
from dicom_node.web.api.paging import Cursor, Limit, cursor_of_job, submitted_of
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import Done, Findings, JobDetail, JobPage, Region
from dicom_node.web.auth.gate import Here, Operates, Reads
from dicom_node.web.auth.principal import Principal
from dicom_node.web.context import Context
from dicom_node.web.reading import JobQuery
from pipeline.findings.model import Outcome

router = APIRouter(tags=["jobs"])
Name = Annotated[str | None, Query(max_length=64)]


@router.get("/jobs")
def list_jobs(
    here: Here,
    who: Reads,
    state: JobState | None = None,
    outcome: Outcome | None = None,
    model: Name = None,
    rule: Name = None,
    destination: Name = None,
    series: Name = None,
    order: Annotated[Literal["newest", "oldest"], Query(description="Newest or oldest submitted first.")] = "newest",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> JobPage:
    query = JobQuery(state, outcome, model, rule, destination, series, oldest_first=order == "oldest")
    rows, following = here.reader.jobs(query, after=submitted_of(cursor), limit=limit)
    here.seen.studies(who, "jobs", dict.fromkeys(row.study_instance_uid for row in rows))
    return JobPage(items=rows, next=cursor_of_job(following))


@router.get("/jobs/{job_id}")
def show_job(here: Here, who: Reads, job_id: str) -> JobDetail:
    return here.reader.viewed(seen_job(here, who, "job", job_id))


def seen_job(here: Context, who: Principal, what: str, job_id: str) -> EngineJob:
    """A job, recorded as seen. Raises NoSuchJob."""
    detail = here.jobs.show(job_id)
    here.seen.job(who, what, detail.job.study_instance_uid, detail.job.series_instance_uid, job_id)
    return detail


@router.get("/jobs/{job_id}/findings")
def findings(here: Here, who: Reads, job_id: str) -> Findings:
    """What the model found, with probabilities and measurements. 404 where no model read the series."""
    return findings_of(here, seen_job(here, who, "findings", job_id))


def findings_of(here: Context, detail: EngineJob) -> Findings:
    """The findings of a job. Raises Problem (404)."""
    summary = here.reader.summaries.of(detail)
    if "statement" not in summary:
        raise Problem(404, "The job has no findings.", code="NO_FINDINGS", todo="The job's state says why.")
    return findings_in(summary, detail.job.job_id)


def findings_in(summary: dict[str, Any], name: str) -> Findings:
    """The findings that a summary.json states; ``name`` is the id of its job or analysis."""
    texts = [item["text"] if isinstance(item, dict) else item for item in summary.get("caveats", ())]
    return Findings(
        job_id=name,
        outcome=Outcome(summary["outcome"]),
        statement=summary["statement"],
        predicted_class=summary.get("predicted_class"),
        probabilities=summary.get("probabilities", {}),
        suggested=tuple(summary.get("suggested", ())),
        regions=tuple(
            Region(
                tracking_id=item["tracking_id"],
                label=item["label"],
                measurements=item["measurements"],
                slices=tuple(item.get("slices", ())),
            )
            for item in summary.get("regions", summary.get("lesions", ()))
        ),
        quantities=summary.get("quantities", {}),
        caveats=tuple(map(str, texts)),
        model=summary["model"],
        disclaimer=summary["disclaimer"],
    )


@router.post("/jobs/{job_id}/retry")
def retry(here: Here, who: Operates, job_id: str) -> Done:
    """Give the dead, cancelled or discarded parts of a job a new round of attempts."""
    _about_to(here, who, "job retried", job_id)
    again = here.jobs.retry(job_id)
    parts = ["the reading"] if again.reading else []
    parts += [f"{result} to {destination}" for result, destination in again.deliveries]
    return Done(text=f"Tried again: {', '.join(parts)}." if parts else "Nothing of this job waits for a retry.")


@router.post("/jobs/{job_id}/cancel")
def cancel(here: Here, who: Operates, job_id: str) -> Done:
    """Stop the remaining work of a job."""
    _about_to(here, who, "job cancelled", job_id)
    stopped = here.jobs.cancel(job_id)
    text = f"Stopped: {stopped.stopped}."
    if stopped.delivered:
        text += f" Delivered before: {len(stopped.delivered)}."
    if stopped.in_flight:
        text += f" On their way, and may arrive: {len(stopped.in_flight)}."
    return Done(text=text)


@router.post("/jobs/{job_id}/discard")
def discard(here: Here, who: Operates, job_id: str) -> Done:
    """Discard the dead letters of a job, which then wait for nobody."""
    _about_to(here, who, "job discarded", job_id)
    given_up = here.jobs.discard(job_id)
    number = given_up.reading + len(given_up.deliveries)
    return Done(text=f"Discarded: {number}." if number else "This job has no dead letter.")


def _about_to(here: Context, who: Principal, what: str, job_id: str) -> None:
    """Record an action before it takes place. Raises NoSuchJob."""
    detail = here.jobs.show(job_id)
    here.seen.did(who, what, study=detail.job.study_instance_uid, job=job_id)

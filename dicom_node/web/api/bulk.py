"""One action on the jobs of many studies: those that are named, or all that a filter of the worklist finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field, model_validator

from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.store.worklist import MOST, Place
from dicom_node.web.api.jobs import cancel, discard, retry
from dicom_node.web.api.paging import day
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import Done, StudyState, Value
from dicom_node.web.auth.gate import Here, Operates
from dicom_node.web.auth.principal import Principal, Scope
from dicom_node.web.context import Context
from dicom_node.web.reading import StudyQuery
from pipeline.errors import CandelaError
from pipeline.findings.model import Outcome

router = APIRouter(tags=["jobs"])

STUDIES_MOST: Final = 200
"""Studies of one action."""
PAGES_MOST: Final = 40
"""Pages of the worklist that are looked through for them."""
_RUNNING: Final = frozenset({JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.DELIVERING, JobState.HELD})
_ENDED: Final = frozenset({JobState.CANCELLED, JobState.DISCARDED})
Action = Literal["retry", "cancel", "discard"]
CALLED: Final[dict[Action, Callable[[Context, Principal, str], Done]]] = {
    "retry": retry,
    "cancel": cancel,
    "discard": discard,
}
Text = Annotated[str, Field(max_length=128)]


class Filter(Value):
    """A filter of the worklist, as `GET /studies` takes it."""

    model_config = ConfigDict(extra="forbid")

    q: Text = ""
    state: StudyState | None = None
    outcome: Outcome | None = None
    modality: Text | None = None
    calling_ae: Text | None = None
    destination: Text | None = None
    since: Text | None = None
    until: Text | None = None

    def query(self, *, identified: bool) -> StudyQuery:
        """The query of the worklist. Raises Problem (400)."""
        values = self.model_dump(exclude={"q", "since", "until"})
        since, until = day(self.since), day(self.until, end=True)
        return StudyQuery(text=self.q, since=since, until=until, identified=identified, **values)


class BulkAction(Value):
    """What is to be done with the jobs of ``studies`` (Study Instance UIDs), or of those that ``filter`` finds; one of
    the two. ``confirmed`` is the number of jobs that the answer without it has named: the action takes place only
    where it still holds.
    """

    model_config = ConfigDict(extra="forbid")

    action: Action
    studies: Annotated[tuple[Text, ...], Field(max_length=STUDIES_MOST)] = ()
    filter: Filter | None = None
    confirmed: Annotated[int | None, Field(ge=0)] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> BulkAction:
        if bool(self.studies) == (self.filter is not None):
            raise ValueError("give studies or filter, one of the two")
        return self


class NotDone(Value):
    """A job on which the action failed."""

    job_id: str
    study_instance_uid: str
    code: str
    text: str


class BulkDone(Value):
    """``studies`` and ``jobs`` that the action applies to; ``more`` where the filter finds further studies, which one
    action does not reach. ``done`` is None before the action is confirmed, ``failed`` lists the jobs that it failed on.
    """

    action: Action
    studies: int
    jobs: int
    more: bool
    done: int | None = None
    failed: tuple[NotDone, ...] = ()
    text: str


@router.post("/jobs/actions", responses={409: {"description": "Other jobs than were confirmed."}})
def act_on_many(here: Here, who: Operates, asked: BulkAction) -> BulkDone:
    """Retry, cancel or discard the jobs of at most 200 studies. First without `confirmed`: the answer says how many
    jobs that would be, and nothing is done. Each job is audited, and a failure of one stops no other.
    """
    studies, more = _studies(here, who, asked)
    jobs = [job for job in _jobs(here, studies) if _applies(asked.action, job)]
    reached = len({job.job.study_instance_uid for job in jobs})
    found = {"action": asked.action, "studies": reached, "jobs": len(jobs), "more": more}
    if asked.confirmed is None:
        return BulkDone(text=f"{asked.action.capitalize()}: {len(jobs)} jobs of {reached} studies.", **found)
    if asked.confirmed != len(jobs):
        what = f"There are {len(jobs)} such jobs now, not {asked.confirmed}: nothing was done."
        raise Problem(409, what, code="CHANGED_MEANWHILE", todo="Look at the list again, then confirm.")
    failed = tuple(item for job in jobs if (item := _tried(here, who, asked.action, job)) is not None)
    text = f"{asked.action.capitalize()}: {len(jobs) - len(failed)} of {len(jobs)} jobs."
    if failed:
        text += f" Failed: {len(failed)} ({', '.join(sorted({item.code for item in failed}))})."
    return BulkDone(done=len(jobs) - len(failed), failed=failed, text=text, **found)


def _studies(here: Context, who: Principal, asked: BulkAction) -> tuple[tuple[str, ...], bool]:
    """The studies, and whether a filter finds more than one action reaches."""
    if asked.filter is None:
        return tuple(dict.fromkeys(asked.studies)), False
    query = asked.filter.query(identified=who.may(Scope.IDENTITY))
    if query.plain:
        raise Problem(422, "The filter finds every study.", code="NO_FILTER", todo="Name at least one condition.")
    found: list[str] = []
    place: Place | None = None
    for _ in range(PAGES_MOST):
        rows, place = here.reader.page(query, after=place, limit=min(MOST, STUDIES_MOST))
        found += [row.study_instance_uid for row in rows]
        if place is None or len(found) >= STUDIES_MOST:
            break
    return tuple(found[:STUDIES_MOST]), place is not None or len(found) > STUDIES_MOST


def _jobs(here: Context, studies: tuple[str, ...]) -> list[JobDetail]:
    series = [item.record.series_instance_uid for uid in studies for item in here.studies.study(uid)]
    found = here.jobs.of_several(series)
    return [job for uid in series for job in found[uid]]


def _applies(action: Action, job: JobDetail) -> bool:
    if action == "cancel":
        return job.state in _RUNNING
    return bool(job.dead_letters) or (action == "retry" and job.state in _ENDED)


def _tried(here: Context, who: Principal, action: Action, job: JobDetail) -> NotDone | None:
    """Act on one job; what failed, if it did."""
    try:
        CALLED[action](here, who, job.job.job_id)
    except CandelaError as error:
        return NotDone(
            job_id=job.job.job_id, study_instance_uid=job.job.study_instance_uid, code=error.code, text=str(error)
        )
    return None

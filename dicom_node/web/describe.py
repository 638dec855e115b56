"""Jobs and series as the API and the pages show them: a job's answer, its history, the state of a study."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dicom_node.jobs import status
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import WITHDRAWALS
from dicom_node.jobs.outcome import Failure as EngineFailure
from dicom_node.jobs.status import DeliveryRow, DeliveryState, JobState
from dicom_node.store.layout import located
from dicom_node.store.series_index import SeriesState
from dicom_node.web.api.schemas import Answer, Delivery, Event, Failure, Job, JobDetail, Series, StudyState
from dicom_node.web.recent import Recent
from pipeline.caveats import CaveatCode
from pipeline.errors import NotRouted
from pipeline.findings.model import Outcome

GRAVEST: Final = (Outcome.FINDING, Outcome.INDETERMINATE, Outcome.REFUSED, Outcome.MEASURED, Outcome.NO_FINDING)
"""Which answer of several stands in a study's line."""
_OF_JOB: Final = {
    JobState.DEAD: StudyState.FAILED,
    JobState.RUNNING: StudyState.READING,
    JobState.QUEUED: StudyState.QUEUED,
    JobState.RETRYING: StudyState.QUEUED,
    JobState.DELIVERING: StudyState.DELIVERING,
    JobState.HELD: StudyState.HELD,
    JobState.CANCELLED: StudyState.CANCELLED,
    JobState.WITHDRAWN: StudyState.WITHDRAWN,
}
_FIRST: Final = (
    StudyState.FAILED,
    StudyState.RECEIVING,
    StudyState.READING,
    StudyState.QUEUED,
    StudyState.DELIVERING,
    StudyState.HELD,
    StudyState.WAITING,
)
"""The states of which one decides for the study, the first of them that a series or job has."""
_LAST: Final = (
    StudyState.DONE,
    StudyState.REFUSED,
    StudyState.WITHDRAWN,
    StudyState.CANCELLED,
    StudyState.NOT_ROUTED,
)
_SUMMARIES: Final = 2000
_ENDED: Final = {
    DeliveryState.DELIVERED: ("delivered", "done"),
    DeliveryState.DEAD: ("delivery_dead", "failed"),
    DeliveryState.CANCELLED: ("delivery_cancelled", ""),
    DeliveryState.DISCARDED: ("delivery_discarded", ""),
    DeliveryState.SUPERSEDED: ("delivery_superseded", ""),
    DeliveryState.HELD: ("delivery_held", "waiting"),
    DeliveryState.PENDING: ("delivery_pending", "waiting"),
    DeliveryState.RUNNING: ("delivery_running", "waiting"),
    DeliveryState.RETRYING: ("delivery_retrying", "waiting"),
}


class Summaries:
    """The summary.json files of jobs below ``data_dir``, the last ones kept in memory."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._read: Recent[tuple[str, int], dict[str, Any]] = Recent(_SUMMARIES, lambda key: _json(Path(key[0])))

    def folder(self, job: SeriesJob) -> Path:
        """The folder of a job's manifest and results."""
        return located(job.manifest, self._data_dir).parent

    def of(self, detail: status.JobDetail) -> dict[str, Any]:
        """The summary of a job; empty where there is none or it was removed."""
        if detail.result is None or detail.result.summary is None:
            return {}
        path = located(detail.result.summary, self._data_dir)
        try:
            changed = path.stat().st_mtime_ns
        except OSError:
            return {}
        return self._read.get((str(path), changed)) or {}


def job_view(detail: status.JobDetail, summary: dict[str, Any]) -> JobDetail:
    """A job with its history; ``summary`` is its summary.json, empty where there is none."""
    job = detail.job
    return JobDetail(
        job_id=job.job_id,
        series_instance_uid=job.series_instance_uid,
        study_instance_uid=job.study_instance_uid,
        state=detail.state,
        priority=job.priority,
        revision=job.revision,
        instances=job.instances,
        calling_ae=job.calling_ae,
        rule=job.rule,
        model=job.model,
        submitted_at=detail.submitted_at,
        updated_at=detail.updated_at,
        completed_at=_instant(job.completed_at),
        completion=job.completion,
        selection=job.selection,
        answer=_answer(detail, summary),
        attempts=detail.reading.attempts,
        next_try=detail.reading.next_try,
        failure=_failure(detail.reading.last_failure),
        deliveries=tuple(map(_delivery, detail.deliveries)),
        dead_letters=detail.dead_letters,
        withdrawn=any(row.result in WITHDRAWALS for row in detail.deliveries),
        results=len(summary.get("objects", ())),
        timeline=tuple(sorted(_timeline(detail), key=lambda event: event.at)),
    )


def study_state(series: Iterable[Series]) -> StudyState:
    """The state of a study."""
    found = {state for item in series for state in _states(item)}
    return next((state for state in (*_FIRST, *_LAST) if state in found), StudyState.WAITING)


def gravest(jobs: Iterable[Job]) -> Answer | None:
    """The answer for a study's line: of the newest revision of each series and model that was not withdrawn, the
    gravest.
    """
    newest: dict[tuple[str, str | None], Job] = {}
    for job in jobs:
        if job.answer is not None and job.model is not None and not job.withdrawn:
            newest[job.series_instance_uid, job.model] = job
    answers = [job.answer for job in newest.values() if job.answer is not None]
    if not answers:
        return None
    return min(answers, key=lambda one: (GRAVEST.index(one.outcome), -(one.probability or 0.0)))


def deliveries_of(jobs: Iterable[Job]) -> dict[DeliveryState, int]:
    """Number of deliveries by state."""
    return dict(Counter(row.state for job in jobs for row in job.deliveries))


def failure_codes(jobs: Iterable[Job]) -> tuple[str, ...]:
    """Codes of the failures of what is not yet done."""
    open_ends = (DeliveryState.DEAD, DeliveryState.RETRYING)
    codes = [job.failure.code for job in jobs if job.failure and job.state in (JobState.DEAD, JobState.RETRYING)]
    codes += [row.failure.code for job in jobs for row in job.deliveries if row.failure and row.state in open_ends]
    return tuple(dict.fromkeys(codes))


def _states(series: Series) -> Iterator[StudyState]:
    if series.state is SeriesState.RECEIVING:
        yield StudyState.RECEIVING
    elif not series.jobs:
        yield StudyState.WAITING
    for job in series.jobs:
        if job.state in _OF_JOB:
            yield _OF_JOB[job.state]
        elif job.answer is not None and job.answer.refusal_code == NotRouted.code:
            yield StudyState.NOT_ROUTED
        elif job.answer is not None and job.answer.outcome is Outcome.REFUSED:
            yield StudyState.REFUSED
        elif job.state not in status.RECORDS:
            yield StudyState.DONE


def _answer(detail: status.JobDetail, summary: dict[str, Any]) -> Answer | None:
    outcome, result = detail.outcome, detail.result
    if outcome is None or result is None:
        return None
    if outcome is Outcome.REFUSED:
        reason = result.refusal or detail.job.refusal or ""
        code = result.refusal_code or ""
        return Answer(outcome=outcome, headline=code, statement=reason, refusal_code=code)
    statement = str(summary.get("statement", ""))
    if outcome is Outcome.INDETERMINATE:  # the class that is likeliest by a little is no answer
        return Answer(outcome=outcome, headline="indeterminate", statement=statement)
    suggested = summary.get("predicted_class")
    share = summary.get("probabilities", {}).get(suggested) if suggested else None
    headline = str(suggested).replace("_", " ") if suggested else statement
    codes = {item.get("code") for item in summary.get("caveats", ()) if isinstance(item, dict)}
    uncertain = CaveatCode.LESION_KIND_UNCERTAIN in codes
    return Answer(
        outcome=outcome,
        headline=headline,
        statement=statement,
        suggested_class=str(suggested) if suggested else None,
        probability=share,
        kind_uncertain=uncertain,
    )


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery(
        result=row.result,
        destination=row.destination,
        state=row.state,
        attempts=row.tries.attempts,
        updated_at=row.tries.updated_at,
        next_try=row.tries.next_try,
        receipt=row.receipt,
        failure=_failure(row.tries.last_failure) if row.state is not DeliveryState.DELIVERED else None,
    )


def _failure(failure: EngineFailure | None) -> Failure | None:
    return Failure(code=failure.code, text=failure.text, details=failure.details) if failure else None


def _timeline(detail: status.JobDetail) -> Iterator[Event]:
    """What happened to a job after its series was received, and why."""
    job = detail.job
    complete = _instant(job.completed_at)
    if complete is not None:
        values = {"reason": job.completion, "instances": str(job.instances), "revision": str(job.revision)}
        yield Event(at=complete, what="completed", values=values)
    submitted = max(detail.submitted_at, complete or detail.submitted_at)  # the engine's clock has whole milliseconds
    yield Event(at=submitted, **_routed(job))
    if detail.state not in status.RECORDS and job.refusal_code is None:
        yield from _read(detail)
    yield from _sent(detail.deliveries)


def _sent(rows: Iterable[DeliveryRow]) -> Iterator[Event]:
    """The deliveries, those of one destination that ended alike together."""
    groups: dict[tuple[str, DeliveryState, str], list[DeliveryRow]] = {}
    for row in rows:
        failure = row.tries.last_failure if row.state is not DeliveryState.DELIVERED else None
        groups.setdefault(
            (row.destination, row.state, f"{failure.code}: {failure.text}" if failure else ""), []
        ).append(row)
    for (destination, ended, text), alike in groups.items():
        what, state = _ENDED[ended]
        values = {
            "results": ", ".join(row.result for row in alike),
            "destination": destination,
            "attempts": str(max(row.tries.attempts for row in alike)),
            "text": text,
        }
        yield Event(at=max(row.tries.updated_at for row in alike), what=what, values=values, state=state)


def _routed(job: SeriesJob) -> dict[str, Any]:
    values = {"rule": job.rule or "", "model": job.model or "", "text": job.selection or job.refusal or ""}
    if job.companion_of is not None:
        return {"what": "companion", "values": values}
    if job.refusal_code is not None:
        return {"what": "not_read", "values": {**values, "code": job.refusal_code}}
    return {"what": "chosen" if job.selection else "routed", "values": values}


def _read(detail: status.JobDetail) -> Iterator[Event]:
    tries = detail.reading
    failure = tries.last_failure
    values = {"attempts": str(tries.attempts), "text": f"{failure.code}: {failure.text}" if failure else ""}
    if detail.result is not None:
        refused = detail.result.outcome is Outcome.REFUSED
        text = detail.result.refusal or ""
        about = {"outcome": str(detail.result.outcome), "code": detail.result.refusal_code or "", "text": text}
        yield Event(at=tries.updated_at, what="refused" if refused else "read", values=about, state="done")
    elif detail.state is JobState.RUNNING:
        yield Event(at=tries.updated_at, what="reading", values=values, state="waiting")
    elif detail.state is JobState.RETRYING:
        yield Event(at=tries.updated_at, what="reading_failed", values=values, state="waiting")
    elif detail.state is JobState.DEAD:
        yield Event(at=tries.updated_at, what="reading_dead", values=values, state="failed")
    elif detail.state in (JobState.CANCELLED, JobState.DISCARDED):
        yield Event(at=tries.updated_at, what=f"reading_{detail.state}", values=values)


def _instant(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None

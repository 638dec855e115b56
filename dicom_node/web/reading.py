"""Reads the worklist, studies and jobs from store and engine, and puts them together.

Nothing is kept beside them but what files say: headers and summaries, in memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from dicom_node.jobs import status
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.lookup import Submitted
from dicom_node.jobs.status import JobState
from dicom_node.settings.tree import Settings
from dicom_node.store.series_index import SeriesState
from dicom_node.store.worklist import ListedSeries, ListedStudy, Place, StudyFilter, StudyList
from dicom_node.web import describe
from dicom_node.web.api.schemas import JobDetail, Series, Study, StudyRow, StudyState
from dicom_node.web.identities import Identities
from pipeline.findings.model import Outcome
from pipeline.reading.validation import is_uid

CHUNK: Final = 100
BUDGET: Final = 500
"""Studies or jobs that one page looks through for a filter that no index answers; the next page goes on from there."""
FIRST: Final = 25
"""Studies that stand before all others, at most."""
STAT_HOURS: Final = 24
"""How long a STAT study stands first."""
_ACTIVE: Final = frozenset({StudyState.QUEUED, StudyState.READING, StudyState.DELIVERING, StudyState.HELD})
_BY_STATUS: Final[dict[JobState, tuple[str, ...]]] = {
    JobState.DEAD: status.DEAD,
    **dict.fromkeys(
        (JobState.QUEUED, JobState.RUNNING, JobState.RETRYING, JobState.DELIVERING, JobState.HELD), status.ACTIVE
    ),
    **dict.fromkeys((JobState.CANCELLED, JobState.DISCARDED), ("CANCELLED",)),
}
"""Which of DBOS's states a job in such a state has in one of its workflows; other states are looked for."""


@dataclass(frozen=True)
class StudyQuery:
    """What the worklist is asked for; all that are set must hold.

    ``text`` is the UID of a study or series, or, with ``identified``, a whole PatientID or AccessionNumber.
    ``since`` and ``until`` in seconds since the epoch. ``identified``: patient and study are shown.
    ``oldest_first``: in the order of reception.
    """

    text: str = ""
    state: StudyState | None = None
    outcome: Outcome | None = None
    modality: str | None = None
    calling_ae: str | None = None
    destination: str | None = None
    since: float | None = None
    until: float | None = None
    identified: bool = False
    oldest_first: bool = False

    @property
    def plain(self) -> bool:
        """Whether nothing limits the list."""
        return self == StudyQuery(identified=self.identified)


@dataclass(frozen=True)
class JobQuery:
    """Which jobs are listed; all that are set must hold."""

    state: JobState | None = None
    outcome: Outcome | None = None
    model: str | None = None
    rule: str | None = None
    destination: str | None = None
    series: str | None = None
    oldest_first: bool = False


class Reader:
    """The worklist of one installation. Threads may share it. Raises PeerUnavailable and OutOfResources where the
    engine's database or the index cannot be read now.
    """

    def __init__(
        self, settings: Settings, jobs: JobsClient, studies: StudyList, clock: Callable[[], float] = time.time
    ) -> None:
        self._jobs, self._studies, self._clock = jobs, studies, clock
        self.identities = Identities(studies)
        self.summaries = describe.Summaries(settings.data_dir)

    def first(self, query: StudyQuery) -> tuple[StudyRow, ...]:
        """Studies that stand before all others: STAT ones of the last day first, then those that failed."""
        since = round((self._clock() - STAT_HOURS * 3600) * 1000)
        stat = self._series_with(self._jobs.lookup.with_priority("stat", since))
        dead = self._series_with(self._jobs.lookup.with_status(status.DEAD))
        found = [*self._some(query, stat, lambda row: row.priority == "stat")]
        known = {row.study_instance_uid for row in found}
        failed = self._some(query, dead, lambda row: row.state is StudyState.FAILED)
        return (*found, *(row for row in failed if row.study_instance_uid not in known))

    def page(
        self, query: StudyQuery, *, after: Place | None, limit: int, without: Iterable[str] = ()
    ) -> tuple[tuple[StudyRow, ...], Place | None]:
        """At most ``limit`` studies behind ``after``, and where the next page begins; None at the end."""
        wanted = self._filter(query, tuple(without))
        if wanted is None:
            return (), None
        rows: list[StudyRow] = []
        place, looked = after, 0
        by_index = query.state is None and query.outcome is None and query.destination is None
        while True:
            size = limit + 1 if by_index else CHUNK
            listed = self._studies.page(wanted, after=place, limit=size, oldest_first=query.oldest_first)
            views = self._rows(listed, query)
            for item, row in zip(listed, views, strict=True):
                if _fits(row, query):
                    if len(rows) == limit:
                        return tuple(rows), place
                    rows.append(row)
                place, looked = item.place, looked + 1
            if by_index or len(listed) < CHUNK:
                return tuple(rows), None
            if looked >= BUDGET:
                return tuple(rows), place

    def study(self, study_instance_uid: str, *, identified: bool) -> Study | None:
        """A study with the history of its series; None where neither the store nor a job has it."""
        listed = self._studies.study(study_instance_uid)
        if not listed:
            return None
        jobs = self._jobs.of_several([item.record.series_instance_uid for item in listed])
        series = tuple(self._series(item, jobs, identified=identified) for item in listed)
        row = self._row(study_instance_uid, series, identified=identified)
        return Study(**{name: getattr(row, name) for name in StudyRow.model_fields}, all_series=series)

    def series(self, series_instance_uid: str, *, identified: bool) -> Series | None:
        """A series with its jobs; None where the store does not have it."""
        listed = self._studies.series(series_instance_uid)
        if listed is None:
            return None
        return self._series(listed, self._jobs.of_several([series_instance_uid]), identified=identified)

    def job(self, job_id: str) -> JobDetail:
        """A job with its history. Raises NoSuchJob."""
        return self.viewed(self._jobs.show(job_id))

    def viewed(self, detail: status.JobDetail) -> JobDetail:
        return describe.job_view(detail, self.summaries.of(detail))

    def jobs(
        self, query: JobQuery, *, after: Submitted | None, limit: int
    ) -> tuple[tuple[JobDetail, ...], Submitted | None]:
        """At most ``limit`` jobs behind ``after``, and where the next page begins; None at the end."""
        among = self._among(query)
        rows: list[JobDetail] = []
        place, looked = after, 0
        while True:
            found = self._jobs.lookup.newest(behind=place, limit=CHUNK, among=among, oldest_first=query.oldest_first)
            details = {item.job.job_id: item for item in self._jobs.several(one.job_id for one in found)}
            for one in found:
                detail = details.get(one.job_id)
                if detail is not None and _matches(detail, query):
                    if len(rows) == limit:
                        return tuple(rows), place
                    rows.append(self.viewed(detail))
                place, looked = one, looked + 1
            if len(found) < CHUNK:
                return tuple(rows), None
            if looked >= BUDGET:
                return tuple(rows), place

    def _among(self, query: JobQuery) -> tuple[str, ...] | None:
        """Ids of all jobs that may match, where an index of the engine's database tells them."""
        if query.series is not None:
            return tuple(item.job.job_id for item in self._jobs.of_series(query.series))
        statuses = _BY_STATUS.get(query.state) if query.state else None
        return self._jobs.lookup.with_status(statuses) if statuses else None

    def _filter(self, query: StudyQuery, without: tuple[str, ...]) -> StudyFilter | None:
        """What the index is asked for; None where nothing can match."""
        wanted = StudyFilter(
            without=without,
            state=SeriesState.RECEIVING if query.state is StudyState.RECEIVING else None,
            modality=query.modality,
            calling_ae=query.calling_ae,
            since=query.since,
            until=query.until,
        )
        if query.state is StudyState.FAILED:
            wanted = replace(wanted, series=self._series_with(self._jobs.lookup.with_status(status.DEAD)))
        elif query.state in _ACTIVE:
            wanted = replace(wanted, series=self._series_with(self._jobs.lookup.with_status(status.ACTIVE)))
        if text := query.text.strip():
            studies = self._found(text, identified=query.identified)
            wanted = replace(wanted, studies=studies)
            if not studies:
                return None
        return wanted

    def _found(self, text: str, *, identified: bool) -> tuple[str, ...]:
        """The studies that a search finds: by UID, or by a whole patient ID or accession number."""
        found: list[str] = []
        if is_uid(text):
            found = [text, *self._studies.studies_of([text]).values()]
        if identified:
            found += self._studies.found_by(text)
        return tuple(dict.fromkeys(found))

    def _some(
        self, query: StudyQuery, series: tuple[str, ...], holds: Callable[[StudyRow], bool]
    ) -> tuple[StudyRow, ...]:
        """The newest studies of ``series`` for which ``holds``."""
        if not series:
            return ()
        listed = self._studies.page(StudyFilter(series=series), limit=CHUNK)
        return tuple(row for row in self._rows(listed, query) if holds(row))[:FIRST]

    def _rows(self, listed: tuple[ListedStudy, ...], query: StudyQuery) -> list[StudyRow]:
        every = [item.record.series_instance_uid for study in listed for item in study.series]
        jobs = self._jobs.of_several(every)
        made = []
        for study in listed:
            series = tuple(self._series(item, jobs, identified=False) for item in study.series)
            made.append(self._row(study.study_instance_uid, series, identified=query.identified))
        return made

    def _row(self, study: str, series: tuple[Series, ...], *, identified: bool) -> StudyRow:
        jobs = [job for item in series for job in item.jobs]
        last = max(series, key=lambda item: item.last_received)
        answers = {(job.series_instance_uid, job.model) for job in jobs if job.answer and job.model}
        return StudyRow(
            study_instance_uid=study,
            state=describe.study_state(series),
            priority="stat" if any(job.priority == "stat" for job in jobs) else "routine",
            received_at=last.last_received,
            modalities=tuple(dict.fromkeys(item.modality for item in series if item.modality)),
            series=len(series),
            instances=sum(item.instances for item in series),
            calling_ae=last.calling_ae,
            identity=self.identities.of(last.series_instance_uid) if identified else None,
            answer=describe.gravest(jobs),
            answers=len(answers),
            destinations=tuple(sorted({row.destination for job in jobs for row in job.deliveries})),
            deliveries=describe.deliveries_of(jobs),
            failures=describe.failure_codes(jobs),
        )

    def _series(self, item: ListedSeries, jobs: dict[str, tuple[status.JobDetail, ...]], *, identified: bool) -> Series:
        record = item.record
        uid = record.series_instance_uid
        return Series(
            series_instance_uid=uid,
            study_instance_uid=record.study_instance_uid,
            state=record.state,
            modality=item.modality,
            description=self.identities.description(uid) if identified else None,
            instances=record.instances,
            expected=record.expected,
            calling_ae=record.calling_ae,
            first_received=datetime.fromtimestamp(record.first_received, UTC),
            last_received=datetime.fromtimestamp(record.last_received, UTC),
            revision=record.revision,
            reason=record.reason,
            jobs=tuple(self.viewed(detail) for detail in jobs.get(uid, ())),
        )

    def _series_with(self, job_ids: Iterable[str]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name.partition(":")[0] for name in job_ids))


def _fits(row: StudyRow, query: StudyQuery) -> bool:
    return (
        (query.state is None or row.state is query.state)
        and (query.outcome is None or (row.answer is not None and row.answer.outcome is query.outcome))
        and (query.destination is None or query.destination in row.destinations)
    )


def _matches(detail: status.JobDetail, query: JobQuery) -> bool:
    job = detail.job
    return (
        (query.state is None or detail.state is query.state)
        and (query.outcome is None or detail.outcome is query.outcome)
        and (query.model is None or job.model == query.model)
        and (query.rule is None or job.rule == query.rule)
        and (query.destination is None or query.destination in job.destinations)
    )

"""What the API answers with; the pages show the same values. Times are UTC, ISO 8601."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from dicom_node.jobs.status import DeliveryState, JobState
from dicom_node.store.series_index import SeriesState
from dicom_node.web.analyses import AnalysisState
from pipeline.findings.model import Outcome
from pipeline.routing.rules import Priority


class Value(BaseModel):
    """Base of all of them."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class StudyState(StrEnum):
    """The state of a study: the one of its series and jobs that most wants attention."""

    FAILED = "failed"
    """A job or delivery is a dead letter: somebody must act."""
    RECEIVING = "receiving"
    WAITING = "waiting"
    """All series are complete; a rule waits for the whole study."""
    QUEUED = "queued"
    READING = "reading"
    DELIVERING = "delivering"
    HELD = "held"
    """An answer without a finding is held while further instances may come."""
    DONE = "done"
    REFUSED = "refused"
    """A model refused the series; the reason is with the job."""
    NOT_ROUTED = "not_routed"
    """No rule gives any series to a model."""
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"
    """The results were withdrawn: their answer counts no more."""


class Identity(Value):
    """Patient and study as the header of one instance names them; shown only to those who may see it."""

    patient_name: str
    patient_id: str
    birth_date: str
    sex: str
    accession_number: str
    study_date: str
    study_description: str


class Answer(Value):
    """What a model answered, or why it did not."""

    outcome: Outcome
    headline: str
    """A few words: the class suggested, or the sentence of the report."""
    statement: str
    suggested_class: str | None = None
    """The class suggested, as the model names it; None where the answer is no class."""
    probability: float | None = None
    """Of the class suggested, 0 to 1; None for models that give none."""
    kind_uncertain: bool = False
    """Whether the model is sure of a lesion only: the class is the likeliest of several, and no report codes it."""
    refusal_code: str | None = None


class Failure(Value):
    """Why an attempt failed, without patient data."""

    code: str
    text: str
    details: tuple[str, ...] = ()


class Delivery(Value):
    """One result for one destination."""

    result: str
    destination: str
    state: DeliveryState
    attempts: int
    updated_at: datetime
    next_try: datetime | None = None
    receipt: str | None = None
    failure: Failure | None = None


class Event(Value):
    """One line of a timeline: what happened, and why."""

    at: datetime
    what: str
    """Key of the sentence, such as `completed`."""
    values: dict[str, str] = Field(default_factory=dict)
    state: str = ""
    """`failed`, `waiting` or `done`, for its colour."""


class Job(Value):
    """One revision of a series for one model."""

    job_id: str
    series_instance_uid: str
    study_instance_uid: str
    state: JobState
    priority: Priority
    revision: int
    instances: int
    calling_ae: str
    rule: str | None
    model: str | None
    submitted_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    completion: str
    """Why the series counted as complete."""
    selection: str | None
    """Why this series of its study was chosen, or not."""
    answer: Answer | None
    attempts: int
    next_try: datetime | None
    failure: Failure | None
    deliveries: tuple[Delivery, ...]
    dead_letters: int
    withdrawn: bool
    """Whether its results were withdrawn, or are being withdrawn: the answer counts no more."""
    results: int
    """Number of results; `GET .../results` lists them."""


class JobDetail(Job):
    """A job with its history and findings."""

    timeline: tuple[Event, ...]


class Series(Value):
    """A series in the store."""

    series_instance_uid: str
    study_instance_uid: str
    state: SeriesState
    modality: str
    description: str | None
    """SeriesDescription, for those who may see it."""
    instances: int
    expected: int | None
    calling_ae: str
    first_received: datetime
    last_received: datetime
    revision: int
    reason: str | None
    jobs: tuple[JobDetail, ...]


class StudyRow(Value):
    """A line of the worklist."""

    study_instance_uid: str
    state: StudyState
    priority: Priority
    received_at: datetime
    modalities: tuple[str, ...]
    series: int
    instances: int
    calling_ae: str
    identity: Identity | None
    answer: Answer | None
    """The gravest answer of the study's models."""
    answers: int
    """Number of series and models that have one."""
    destinations: tuple[str, ...]
    deliveries: dict[DeliveryState, int]
    failures: tuple[str, ...]
    """Codes of what failed or awaits another attempt, without repetition."""


class Study(StudyRow):
    """A study with its series, their jobs and their history."""

    all_series: tuple[Series, ...]


class StudyPage(Value):
    """A page of the worklist. ``first``: studies that failed or are STAT, on the first page without filters."""

    first: tuple[StudyRow, ...]
    items: tuple[StudyRow, ...]
    next: str | None
    """Cursor of the next page."""


class JobPage(Value):
    """A page of jobs."""

    items: tuple[Job, ...]
    next: str | None


class Region(Value):
    """One outlined region. ``measurements``: by name, value and UCUM unit."""

    tracking_id: str
    label: str
    measurements: dict[str, dict[str, float | str]]
    slices: tuple[int, ...] = ()


class Findings(Value):
    """What the model found, as the results state it. ``job_id`` is that of the job, or of the analysis of an upload."""

    job_id: str
    outcome: Outcome
    statement: str
    predicted_class: str | None
    probabilities: dict[str, float]
    suggested: tuple[str, ...]
    regions: tuple[Region, ...]
    quantities: dict[str, dict[str, float | str]]
    caveats: tuple[str, ...]
    model: dict[str, str]
    disclaimer: str


class Result(Value):
    """A file of a job's results. ``href`` downloads it."""

    name: str
    role: str
    media_type: str
    bytes: int
    href: str


class AnalysisView(Value):
    """An uploaded series. ``stage`` is what the reading does now, ``ahead`` counts the uploads that are read before
    it. ``code`` and ``text`` say why it was refused or failed. The node removes it at ``expires``.
    """

    analysis_id: str
    state: AnalysisState
    by: str
    at: datetime
    files: int
    model: str | None
    stage: str
    ahead: int
    code: str
    text: str
    ended: datetime | None
    expires: datetime
    findings: Findings | None = None
    results: tuple[Result, ...] = ()


class Destination(Value):
    """A destination and its queue."""

    name: str
    kind: str
    address: str
    enabled: bool
    comment: str
    contact: str
    circuit: str
    """`closed`: deliveries flow. `open`: none is tried. `half_open`: one at a time is tried."""
    failures: int
    last_code: str | None
    since: datetime | None
    retry_at: datetime | None
    waiting: int
    sending: int
    last_success: datetime | None


class DestinationTest(Value):
    """What a test of a destination found."""

    name: str
    works: bool
    text: str
    seconds: float


class Model(Value):
    """An installed model."""

    name: str
    title: str
    version: str
    kind: str
    digest: str
    rules: tuple[str, ...]
    """Names of the rules that give it series."""


class ModelDetail(Model):
    """A model with its card and measured figures."""

    card: str
    """Markdown."""
    evaluation: dict[str, object] | None
    """The bundle's `docs/evaluation.json`, where it has one."""
    plots: tuple[str, ...]
    """Names of its plots, for `GET .../plots/NAME`."""


class RuleCheck(Value):
    """One condition of a rule on the header."""

    condition: str
    wanted: str
    found: str
    holds: bool
    reason: str


class RuleVerdict(Value):
    """What one rule makes of the header."""

    rule: str
    model: str
    taken: bool
    reason: str
    checks: tuple[RuleCheck, ...]


class DryRun(Value):
    """What the rules would make of a series with this header. Nothing is stored."""

    taken: tuple[str, ...]
    verdicts: tuple[RuleVerdict, ...]


class Interval(Value):
    """Work that began in one interval."""

    begin: datetime
    series: int
    deliveries: int
    failed: int


class Statistics(Value):
    """Numbers of the present, and of the last hours."""

    series_stored: int
    waiting: int
    failed: int
    hours: int
    intervals: tuple[Interval, ...]


class Who(Value):
    """The principal of the request."""

    name: str
    kind: str
    scopes: tuple[str, ...]


class AccountView(Value):
    """An account, without its password."""

    name: str
    role: str
    created: str


class TokenView(Value):
    """An API token, without what it is."""

    name: str
    scopes: tuple[str, ...]
    created: str
    expires: str | None


class Done(Value):
    """What an action did: one short sentence."""

    text: str


class AuditParty(Value):
    """A machine or a user in the audit trail."""

    name: str = ""
    kind: str = ""
    address: str = ""


class AuditLine(Value):
    """A line of the audit trail ([audit.md](audit.md))."""

    time: datetime
    activity: str
    """Code of DICOM CID 400."""
    meaning: str
    action: str
    outcome: int
    reason: str
    source: AuditParty
    destination: AuditParty
    what: str
    count: int | None
    studies: tuple[str, ...]
    series: tuple[str, ...]
    job: str | None


class AuditPage(Value):
    """A page of the audit trail, newest first."""

    items: tuple[AuditLine, ...]
    next: str | None

"""Dispatch of a complete series to jobs: routing, selection within a study, the manifest on disk, job ids."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import structlog
from pydicom.dataset import Dataset

from dicom_node.completion.channels import as_one, reasons, record_digest, refuse_parts, revision_of
from dicom_node.completion.rules import CompleteSeries
from dicom_node.completion.studies import Assignment, NotedSeries, StudyNotes
from dicom_node.jobs.job import SeriesJob
from dicom_node.observability.log import uid
from dicom_node.settings.tree import Settings
from dicom_node.store.durable import sync_folder, write_durably
from dicom_node.store.layout import located
from dicom_node.store.manifest import StoredInstance, manifest_text
from dicom_node.store.series_header import read_header, read_identity, representative_of
from dicom_node.store.study_series import other_series
from models import registry
from models.registry import RegisteredModel
from pipeline.errors import CandelaError, MixedPatients, NotChosen, Refused, UnsupportedModality
from pipeline.findings.identity import job_id
from pipeline.patient.subject import refuse_mixed_study
from pipeline.reading.attributes import text
from pipeline.routing.channels import Choice, choose_channels
from pipeline.routing.rules import judge
from pipeline.routing.selection import Candidate, PassedOver, Selection, choose
from pipeline.routing.series_attributes import SeriesAttributes, describe
from pipeline.routing.study_views import choose_views

log = structlog.get_logger("candela.dispatch")
UNROUTED = "none"
"""Replaces the model's digest in the id of a job for a series that no rule takes."""
MIXED = "mixed-"
"""Precedes the model's digest in a job's id where another series of the study names another patient."""
NOT_CHOSEN = "not-"
"""Precedes the model's digest in a job's id where the model reads another series of the study."""
COMPANION = "for-"
"""Precedes a digest in a job's id where another job reads the series as one of its channels."""


class Rejections(Protocol):
    """Rejection notes and the images that they reject; implemented by `dicom_node.jobs.rejections.Rejections`."""

    def apply(self, instances: Sequence[StoredInstance], calling_ae: str, /) -> Refused | None:
        """Apply the rejection notes among ``instances``, durably. Returns what to record, None without a note."""

    def refusal_of(self, series_instance_uid: str, instances: Sequence[StoredInstance], /) -> Refused | None:
        """The refusal to read ``instances``, of which some were rejected before; None where none was."""


class Dispatch:
    """Queues the jobs of each complete series. Idempotent: dispatching a revision twice makes the same jobs.

    A series that a rule with ``per_study`` takes is noted; `decide` makes its jobs once the study is quiet
    (`dicom_node.completion.study_watch`). ``submit`` is `JobsClient.submit`. ``rejections`` applies the rejection notes
    among what is received; without it they are objects like any others. Runs in the receiver, which loads no
    network: it knows a model's name, digest and contract.
    """

    def __init__(
        self, settings: Settings, submit: Callable[[SeriesJob], bool], rejections: Rejections | None = None
    ) -> None:
        self._settings = settings
        self._submit = submit
        self._rejections = rejections
        self._notes = StudyNotes(settings.studies_dir)

    def __call__(self, series: CompleteSeries) -> None:
        """Queue or note ``series`` for each model that reads it; durable when this returns.

        Raises
        ------
        CandelaError, OSError
            where the database or disk fails, or the rule's model is unknown; call again later.
        """
        if self._rejections is not None and (note := self._rejections.apply(series.instances, series.calling_ae)):
            self._queue(series, UNROUTED, refusal=(note.code, str(note)))
            return
        found = representative_of(series.instances)
        header = found.header
        routing = judge(self._settings.rules, _attributes(header, series, found.images), self._settings.routing.match)
        awaiting = []
        mixed = self._mixed(series, header) if routing.taken else None
        for rule in routing.taken:
            if disabled := self._settings.disabled_of(rule):
                log.warning("destinations_disabled", rule=rule.name, destinations=",".join(disabled))
            destinations, priority = self._settings.destinations_of(rule), self._settings.priority_of(rule)
            assignment = Assignment(rule.name, rule.model, destinations, priority)
            if mixed is not None:
                self._refuse_mixed(series, assignment, mixed)
            elif rule.per_study:
                awaiting.append(assignment)
            else:
                digest = registry.get(rule.model, self._settings.models.folders).digest
                self._queue(series, digest, assignment=assignment)
        if not routing.taken:
            refusal = routing.refusal()
            self._queue(series, UNROUTED, refusal=(refusal.code, str(refusal)))
        if awaiting:
            self._notes.keep(NotedSeries(series, found.path, tuple(awaiting), found.images))
            log.info("series_awaits_its_study", series=uid(series.series_instance_uid), revision=series.revision)
        else:
            self._notes.forget(series)

    def _mixed(self, series: CompleteSeries, header: Dataset) -> MixedPatients | None:
        """The refusal of ``series`` if another stored series of its study names another patient (ADR 47)."""
        others = other_series(self._settings, series.study_instance_uid, series.series_instance_uid)
        try:
            refuse_mixed_study(header, {uid: read_identity(path) for uid, path in others.items() if path.is_file()})
        except MixedPatients as error:
            return error
        return None

    def _refuse_mixed(self, series: CompleteSeries, assignment: Assignment, mixed: MixedPatients) -> None:
        entry = registry.get(assignment.model, self._settings.models.folders)
        # An operator's choice of the patient has one series read, which is not enough where a model reads several.
        readable = not entry.channel_names
        refusal = (mixed.code, str(mixed))
        self._queue(series, f"{MIXED}{entry.digest}", assignment=assignment, refusal=refusal, readable=readable)

    def undecided(self) -> Collection[str]:
        """Study Instance UIDs of the studies that await selection."""
        return self._notes.undecided

    def decide(self, study_instance_uid: str, /) -> None:
        """Queue, for each model, the series of the study that suits it best, and record why the others are not read.

        For a model that reads several series as channels, one job reads those that fill them. A series that was chosen
        before a better one arrived keeps its job and results.

        Raises
        ------
        CandelaError, OSError
            as `__call__`; all other jobs of the study are queued.
        """
        noted = self._notes.of(study_instance_uid)
        failures: list[CandelaError] = []
        for model in sorted({assignment.model for item in noted for assignment in item.assignments}):
            try:
                self._decide(model, {item.series.series_instance_uid: item for item in noted if item.assignment(model)})
            except CandelaError as error:  # one missing model must not block the others
                failures.append(error)
        if failures:
            raise failures[0]
        self._notes.decided(study_instance_uid)

    def _decide(self, model: str, noted: dict[str, NotedSeries]) -> None:
        entry = registry.get(model, self._settings.models.folders)
        for name, item in list(noted.items()):
            mixed = self._mixed(item.series, read_header(item.header))
            if mixed is not None:  # the other series arrived between noting and selection
                self._refuse_mixed(noted.pop(name).series, _assignment(item, model), mixed)
        if not noted:
            return
        if entry.channel_names:
            self._decide_channels(entry, noted)
            return
        choice = choose([_candidate(item) for item in noted.values()], entry.takes)
        if choice.chosen is not None:
            item = noted[choice.chosen.series_instance_uid]
            self._queue(item.series, entry.digest, assignment=_assignment(item, model), selection=choice.reason)
        for passed in choice.passed_over:
            item = noted[passed.candidate.series_instance_uid]
            refusal = _why_not(passed, choice, model)
            self._queue(item.series, f"{NOT_CHOSEN}{entry.digest}", assignment=item.assignment(model), refusal=refusal)
        log.info("study_decided", model=model, series=len(noted), chosen=choice.chosen is not None)

    def _decide_channels(self, entry: RegisteredModel, noted: dict[str, NotedSeries]) -> None:
        """Queue one job for the series that fill the channels, after a record for each other series that names it."""
        try:
            choices = self._choices(entry, noted)
            chosen = [(choice, noted[choice.candidate.series_instance_uid].series) for choice in choices]
            refuse_parts(chosen)
        except Refused as refusal:
            for item in noted.values():
                self._record(item, entry, refusal)
            log.info("study_decided", model=entry.name, series=len(noted), chosen=False)
            return
        (_, first), *others = chosen
        every = [series for _, series in chosen]
        name = _job_id(every, entry.digest)
        for choice, series in others:
            fills = NotChosen(
                f"The series is channel {choice.channel.name} of model {entry.name}: job {name} reads it."
            )
            self._record(noted[series.series_instance_uid], entry, fills, (name, choice.channel.name))
        for item in (item for item in noted.values() if item.series not in every):
            self._record(item, entry, NotChosen(f"Model {entry.name} reads other series of the study as its channels."))
        self._queue(
            replace(as_one(every), revision=revision_of(self._folder(name), first.series_instance_uid)),
            entry.digest,
            assignment=_assignment(noted[first.series_instance_uid], entry.name),
            selection=reasons(chosen),
            companions=[(choice.channel.name, series) for choice, series in others],
        )
        log.info("study_decided", model=entry.name, series=len(noted), chosen=True)

    def _choices(self, entry: RegisteredModel, noted: dict[str, NotedSeries]) -> tuple[Choice, ...]:
        """The series that fill the channels; those of radiographs by the header of every image."""
        if not entry.view_rules:
            return choose_channels([_candidate(item) for item in noted.values()], entry.channels, entry.check)
        held = [(_candidate(item), self._headers(item, entry)) for item in noted.values()]
        return choose_views(held, entry.view_rules, entry.check)

    def _headers(self, item: NotedSeries, entry: RegisteredModel) -> tuple[Dataset, ...]:
        """The header of each image; none of a series of another modality, which may be long."""
        try:
            entry.check(read_header(item.header))
        except UnsupportedModality:
            return ()
        except Refused:  # of this image, perhaps not of the others
            pass
        paths = (located(one.path, self._settings.data_dir) for one in item.series.instances)
        return tuple(read_header(path) for path in paths)

    def _record(
        self, item: NotedSeries, entry: RegisteredModel, reason: Refused, companion_of: tuple[str, str] | None = None
    ) -> None:
        """Record why no job of its own reads a series of a study of which ``entry`` reads several; ``companion_of``:
        the job that reads it, and the channel that it fills there.
        """
        self._queue(
            item.series,
            record_digest(NOT_CHOSEN if companion_of is None else COMPANION, entry.digest, str(reason)),
            assignment=_assignment(item, entry.name),
            refusal=(reason.code, str(reason)),
            companion_of=companion_of,
        )

    def _folder(self, name: str) -> Path:
        """The folder of the results of the job ``name``."""
        return self._settings.results_dir / name.replace(":", "_")

    def _queue(
        self,
        series: CompleteSeries,
        digest: str,
        *,
        assignment: Assignment | None = None,
        refusal: tuple[str, str] | None = None,
        selection: str | None = None,
        readable: bool = True,
        companions: Sequence[tuple[str, CompleteSeries]] = (),
        companion_of: tuple[str, str] | None = None,
    ) -> None:
        """Queue a job for ``assignment``, or one that records the ``refusal`` (code and text).

        ``readable``: whether an operator may have a series read that was refused for naming two patients.
        ``companions``: as in `SeriesJob`; ``companion_of``: as in `_record`.
        """
        name = _job_id([series, *(item for _, item in companions)], digest)
        folder = self._folder(name)
        refusal = refusal or self._rejected([series, *(item for _, item in companions)])
        read = refusal is None or (refusal[0] == MixedPatients.code and readable)
        job = SeriesJob(
            job_id=name,
            series_instance_uid=series.series_instance_uid,
            study_instance_uid=series.study_instance_uid,
            revision=series.revision,
            manifest=str(self._write_manifest(folder, series)),
            instances=len(series.instances),
            calling_ae=series.calling_ae,
            completion=series.reason,
            completed_at=series.completed_at.isoformat(),
            rule=assignment.rule if assignment else None,
            model=assignment.model if assignment and read else None,
            destinations=assignment.destinations if assignment else (),
            priority=assignment.priority if assignment else "routine",
            refusal_code=refusal[0] if refusal else None,
            refusal=refusal[1] if refusal else None,
            selection=selection,
            expected=series.expected,
            silence=series.silence,
            companions=tuple(
                (channel, str(self._write_manifest(folder, item, f"manifest-{number}.json")))
                for number, (channel, item) in enumerate(companions, start=2)
            ),
            companion_of=companion_of[0] if companion_of else None,
            channel=companion_of[1] if companion_of else None,
        )
        new = self._submit(job)
        log.info(
            "series_dispatched",
            series=uid(series.series_instance_uid),
            revision=series.revision,
            instances=len(series.instances),
            rule=job.rule or "none",
            refusal=job.refusal_code or "none",
            new=new,
        )

    def _rejected(self, every: Sequence[CompleteSeries]) -> tuple[str, str] | None:
        """Code and text of the refusal to read ``every`` where images of them were rejected before; None without."""
        if self._rejections is None:
            return None
        found = (self._rejections.refusal_of(one.series_instance_uid, one.instances) for one in every)
        return next(((refusal.code, str(refusal)) for refusal in found if refusal), None)

    @staticmethod
    def _write_manifest(folder: Path, series: CompleteSeries, filename: str = "manifest.json") -> Path:
        """Write the list of the revision's files into the folder that will hold the results."""
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
        path = (folder / filename).absolute()
        if not path.exists():
            write_durably(path, manifest_text(series.instances, series.earlier, series.shared).encode())
        return path


def _job_id(series: Sequence[CompleteSeries], digest: str) -> str:
    """The id of a job for the first of ``series`` that reads all of them."""
    uids = (item.sop_instance_uid for one in series for item in one.instances)
    return job_id(series[0].series_instance_uid, uids, digest)


def _attributes(header: Dataset, series: CompleteSeries, images: int) -> SeriesAttributes:
    called = text(getattr(header, "file_meta", Dataset()), "ReceivingApplicationEntityTitle")
    return describe(header, instances=images, calling_ae=series.calling_ae, called_ae=called)


def _assignment(noted: NotedSeries, model: str) -> Assignment:
    assignment = noted.assignment(model)
    assert assignment is not None, "only series that a rule gives to the model are chosen from"
    return assignment


def _candidate(noted: NotedSeries) -> Candidate:
    header = read_header(noted.header)
    return Candidate(noted.series.series_instance_uid, header, _attributes(header, noted.series, noted.images))


def _why_not(passed: PassedOver, choice: Selection, model: str) -> tuple[str, str]:
    """Refusal code and text: the model reads another series, or none of the study."""
    if choice.chosen is None and passed.code is not None:
        return passed.code, f"Model {model} reads no series of the study: {passed.reason}"
    error = NotChosen(f"Model {model} reads one series of the study: {passed.reason}.")
    return error.code, str(error)

"""The content of a report: one typed value that structured report, FHIR, HL7 v2, HTML and PDF are rendered from.

It holds what a report says and of whom, without pixels but for the key picture. It is settled when the series is read,
and stored with the results (`pipeline.report.stored`). FHIR and HL7 v2 are rendered from it at delivery, since each
destination has its own form and language.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import ClassVar
from zoneinfo import ZoneInfo

from pydantic import ConfigDict

from pipeline.findings.codes import Code
from pipeline.findings.identity import RunIdentity, derived_uid
from pipeline.findings.model import ModelIdentity, Outcome
from pipeline.patient.source_values import cleaned
from pipeline.patient.subject import reconcile
from pipeline.reading.files import Series
from pipeline.report.findings import Refusal, ReportedFindings
from pipeline.report.key_image import Picture
from pipeline.report.patient_study import (
    Patient,
    SourceSeries,
    Study,
    acquired,
    acquired_local,
    patient_of,
    procedure_of,
    series_of,
    study_of,
)


@dataclass(frozen=True)
class ObjectReference:
    """A reference to one DICOM object of the run.

    ``role`` is the kind of the object (`pipeline.results.profile.ObjectKind`); ``pacs`` names the PACS that get it.
    """

    role: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    pacs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ReportContent:
    """The content of one run's report.

    ``acquired`` is when the images were acquired (ISO 8601, a day or an instant with its zone), None if unknown;
    ``recorded`` is when the series was read, with its time zone; ``picture`` is the key picture, if there is one.

    ``pacs`` are the names of the PACS that get results of the run, in the rule's order. It is None for `candela
    process` and for runs of earlier versions: their reports list all ``objects``. Otherwise a report lists the objects
    of one PACS (`listed_for`).

    ``companions`` are the other series that the model read as channels; regions lie on the images of ``source``.

    ``acquired_local`` is the time of ``acquired`` on the modality's clock, where its zone is unknown
    (`pipeline.report.patient_study.acquired_local`); `in_zone` makes an instant of it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    patient: Patient
    study: Study
    source: SourceSeries
    acquired: str | None
    findings: ReportedFindings
    run: RunIdentity
    objects: tuple[ObjectReference, ...]
    picture: Picture | None
    recorded: datetime
    pacs: tuple[str, ...] | None = None
    companions: tuple[SourceSeries, ...] = ()
    acquired_local: str | None = None

    def in_zone(self, zone: ZoneInfo | None) -> ReportContent:
        """The content with its times in the site's ``zone``; None, where it is unknown, leaves it as it is.

        A clock time that the zone has twice or never, in the nights when clocks change, stays without a zone.
        """
        if zone is None:
            return self
        told = replace(self, recorded=self.recorded.astimezone(zone))
        if self.acquired_local is None:
            return told
        local = datetime.fromisoformat(self.acquired_local).replace(tzinfo=zone)
        offset = local.utcoffset()
        if offset is None or offset != local.replace(fold=1).utcoffset() or offset % timedelta(minutes=1):
            return told
        return replace(told, acquired=local.isoformat(), acquired_local=None)

    def listed_for(self, pacs: str | None = None) -> ReportContent:
        """The content with the objects that the PACS called ``pacs`` gets; None means the first PACS, if there is one.

        A picture whose overlay that PACS does not get has a UID of its own, since it leads to no object.
        """
        if self.pacs is None:
            return self
        name = pacs if pacs is not None else next(iter(self.pacs), None)
        objects = tuple(item for item in self.objects if name in item.pacs)
        picture = self.picture
        if picture is not None and picture.sop_instance_uid not in {item.sop_instance_uid for item in objects}:
            picture = replace(picture, sop_instance_uid=self.run.uid("key picture"))
        return replace(self, objects=objects, picture=picture)

    @property
    def procedure(self) -> Code:
        """The code of the procedure that the report is about."""
        return procedure_of(self.study, self.source.modality, self.findings.model, self.findings.outcome)

    def lasting_uid(self, *what: str) -> str:
        """A UID that stays the same over all revisions of the series and all versions of the model, but not when an
        operator chooses another patient for the series.
        """
        chosen = self.run.chosen
        return derived_uid("lasting", self.source.uid, self.findings.model.name, *chosen, *what, root=self.run.root)

    def objects_with(self, role: str) -> tuple[ObjectReference, ...]:
        """The objects with this role."""
        return tuple(item for item in self.objects if item.role == role)


def content_of_refusal(
    series: Series,
    refusal: Refusal,
    model: ModelIdentity,
    run: RunIdentity,
    *,
    recorded: datetime,
    revision: int = 1,
    companions: Sequence[Series] = (),
) -> ReportContent:
    """The report content of a series that ``model`` refused; of a study, with the ``companions`` of its channels.

    Raises
    ------
    MixedPatients, MixedStudies
        where the images of all series do not name one patient and study to report to (`pipeline.patient.subject`).
    BadIdentity
        where no report could name the patient (`pipeline.patient.source_values`).
    ValueError
        where ``recorded`` has no time zone.
    """
    subject = reconcile([ds for one in (series, *companions) for ds in one.datasets], run.identity_from)
    (header,), identity, caveats = cleaned((series.header,), subject.header)
    others = [(one, cleaned((one.header,), subject.header)[0]) for one in companions]
    return ReportContent(
        patient=patient_of(identity),
        study=study_of(identity),
        source=replace(series_of((header,)), instances=len(set(series.sop_instance_uids))),
        companions=tuple(replace(series_of(first), instances=len(set(one.sop_instance_uids))) for one, first in others),
        acquired=acquired(header),
        acquired_local=acquired_local(header),
        findings=ReportedFindings(
            Outcome.REFUSED, model, caveats=(*subject.caveats, *caveats), revision=revision, refusal=refusal
        ),
        run=run,
        objects=(),
        picture=None,
        recorded=whole_seconds(recorded),
    )


def whole_seconds(recorded: datetime) -> datetime:
    """``recorded`` without fractions of a second; ValueError where it has no time zone."""
    if recorded.tzinfo is None:
        raise ValueError("recorded needs a time zone")
    return recorded.replace(microsecond=0)

"""What a report says and of whom, without pixels: kept with a run's results as ``findings.json``.

Reports for people are built from it at delivery, since each destination has its own form (FHIR release, HL7 v2) and
language; what they say is settled when the series is read, so that every resend says the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from pipeline.errors import Broken
from pipeline.findings.identity import UNNUMBERED, RunIdentity, derived_uid
from pipeline.findings.model import Findings, ModelIdentity, Outcome
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned
from pipeline.patient.subject import reconcile
from pipeline.reading.files import Series
from pipeline.report.answer import Answer, Refusal
from pipeline.report.key_image import Picture, key_picture
from pipeline.report.patient_study import Patient, SourceSeries, Study, acquired, patient_of, series_of, study_of
from pipeline.report.sentences import Language, caveat_of
from pipeline.results.result_object import ResultObject

FILENAME = "findings.json"


def page_filename(language: Language) -> str:
    """Name of the run's page (PDF) in ``language``, beside `FILENAME`."""
    return "report.pdf" if language is Language.ENGLISH else f"report.{language}.pdf"


@dataclass(frozen=True)
class MadeObject:
    """One DICOM object of the run.

    ``role`` as in `pipeline.results.result_object.ResultObject`; ``pacs`` names those that get it.
    """

    role: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    pacs: tuple[str, ...] = ()

    @classmethod
    def of(cls, item: ResultObject, pacs: Mapping[str, str]) -> MadeObject:
        """``pacs``: the profile of each, by name."""
        ds = item.dataset
        number = ds.get("SeriesNumber")
        return cls(
            role=item.role,
            sop_class_uid=str(ds.SOPClassUID),
            sop_instance_uid=str(ds.SOPInstanceUID),
            series_instance_uid=str(ds.SeriesInstanceUID),
            modality=str(ds.Modality),
            series_number=None if number is None else int(number),
            series_description=str(ds.get("SeriesDescription") or ""),
            pacs=tuple(name for name, profile in pacs.items() if profile in item.profiles),
        )


@dataclass(frozen=True)
class ReportFacts:
    """One run's report.

    ``acquired`` is when the images were acquired (ISO 8601, a day or an instant with its zone), None where unknown;
    ``recorded`` when the series was read, with its time zone; ``picture`` the key picture, where one was made.

    ``pacs`` are the names of the PACS that get results of the run, in the rule's order; None where ``objects`` are
    simply those that were made (`candela process`, and runs of earlier versions). A report lists objects of one PACS:
    `listed_for`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    patient: Patient
    study: Study
    source: SourceSeries
    acquired: str | None
    answer: Answer
    run: RunIdentity
    objects: tuple[MadeObject, ...]
    picture: Picture | None
    recorded: datetime
    pacs: tuple[str, ...] | None = None

    def listed_for(self, pacs: str | None = None) -> ReportFacts:
        """The facts with the objects that the PACS called ``pacs`` gets; None: the first one, where there is one.

        A picture whose overlay no such PACS has gets an identifier of its own, since it leads to no object.
        """
        if self.pacs is None:
            return self
        name = pacs if pacs is not None else next(iter(self.pacs), None)
        objects = tuple(item for item in self.objects if name in item.pacs)
        picture = self.picture
        if picture is not None and picture.sop_instance_uid not in {item.sop_instance_uid for item in objects}:
            picture = replace(picture, sop_instance_uid=self.run.uid("key picture"))
        return replace(self, objects=objects, picture=picture)

    def lasting_uid(self, *what: str) -> str:
        """UID of something that stays the same over all revisions of the series and all versions of the model; not over
        the choice of an operator whose series it is.
        """
        chosen = self.run.chosen
        return derived_uid("lasting", self.source.uid, self.answer.model.name, *chosen, *what, root=self.run.root)

    def made(self, role: str) -> tuple[MadeObject, ...]:
        """The objects with this role."""
        return tuple(item for item in self.objects if item.role == role)


def facts(
    volume: Volume,
    findings: Findings,
    run: RunIdentity,
    objects: tuple[ResultObject, ...],
    *,
    recorded: datetime,
    revision: int = 1,
    pacs: Mapping[str, str] | None = None,
) -> ReportFacts:
    """The facts of a series that was read. ``recorded`` is the instant at which it was, with a time zone; ``pacs`` the
    profile of each PACS that gets results, by name, in the rule's order.

    Raises
    ------
    ValueError
        where ``recorded`` has no time zone.
    """
    return ReportFacts(
        patient=patient_of(volume.identity),
        study=study_of(volume.identity),
        source=series_of(volume.sources),
        acquired=acquired(volume.sources[0]),
        answer=Answer.of(findings, revision),
        run=run,
        objects=tuple(MadeObject.of(item, pacs or {}) for item in objects),
        picture=key_picture(objects),
        recorded=_whole_seconds(recorded),
        pacs=None if pacs is None else tuple(pacs),
    )


def facts_of_refusal(
    series: Series, refusal: Refusal, model: ModelIdentity, run: RunIdentity, *, recorded: datetime, revision: int = 1
) -> ReportFacts:
    """The facts of a series that ``model`` refused.

    Raises
    ------
    MixedPatients, MixedStudies
        where the images do not name one patient and study to report to (`pipeline.patient.subject`).
    BadIdentity
        where no report could name the patient (`pipeline.patient.source_values`).
    ValueError
        as in `facts`.
    """
    subject = reconcile(series.datasets, run.identity_from)
    (header,), identity, caveats = cleaned((series.header,), subject.header)
    return ReportFacts(
        patient=patient_of(identity),
        study=study_of(identity),
        source=replace(series_of((header,)), instances=len(set(series.sop_instance_uids))),
        acquired=acquired(header),
        answer=Answer(Outcome.REFUSED, model, caveats=(*subject.caveats, *caveats), revision=revision, refusal=refusal),
        run=run,
        objects=(),
        picture=None,
        recorded=_whole_seconds(recorded),
    )


def to_json(content: ReportFacts) -> bytes:
    return _adapter().dump_json(content, indent=1)


def from_json(data: bytes, *, where: str = "") -> ReportFacts:
    """The facts that `to_json` wrote, in this release or an earlier one.

    Raises
    ------
    Broken
        where ``data`` is something else; ``where`` names the file in the error.
    """
    try:
        return _adapter().validate_json(json.dumps(_up_to_date(json.loads(data))))
    except ValueError as error:  # pydantic's ValidationError is one, and so is what json raises
        count = error.error_count() if isinstance(error, ValidationError) else 1
        raise Broken(
            f"The stored findings cannot be read ({count} errors).",
            where=where,
            todo="Read the series again: `candela jobs retry`.",
        ) from None


def _up_to_date(content: Any) -> Any:
    """``content`` as this release writes it.

    Release 0.1.0 built results under no revision, and its UIDs stay so. It stored caveats as English sentences.
    """
    run = content.get("run") if isinstance(content, dict) else None
    if isinstance(run, dict):
        run.setdefault("results_revision", UNNUMBERED)
        run["predecessors"] = [
            {"instances": item, "results_revision": UNNUMBERED} if isinstance(item, str) else item
            for item in run.get("predecessors", ())
        ]
    answer = content.get("answer") if isinstance(content, dict) else None
    if isinstance(answer, dict):
        answer["caveats"] = [
            asdict(caveat_of(item)) if isinstance(item, str) else item for item in answer.get("caveats", ())
        ]
    return content


def _adapter() -> TypeAdapter[ReportFacts]:
    return TypeAdapter(ReportFacts)


def _whole_seconds(recorded: datetime) -> datetime:
    if recorded.tzinfo is None:
        raise ValueError("recorded needs a time zone")
    return recorded.replace(microsecond=0)

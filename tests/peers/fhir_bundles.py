"""Transaction Bundles of phantom series, as a run of the pipeline makes them."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydicom.dataset import Dataset

from fhir import report
from fhir.release import Release
from fhir.server.stored import objects
from pipeline import phantom
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.model import Outcome
from pipeline.reading.files import Series
from pipeline.report import sentences
from pipeline.report.content import ReportContent, content_of_refusal
from pipeline.report.findings import Refusal
from pipeline.report.patient_study import acquired, acquired_local, patient_of, series_of, study_of
from pipeline.report.sentences import Language
from pipeline.report.stored import to_json
from pipeline.results.provenance import ResultContext
from pipeline.results.reported import report_content
from tests.conformance import synthetic

RECORDED = datetime(2026, 1, 5, 11, 30, tzinfo=UTC)
READ = (Outcome.FINDING, Outcome.NO_FINDING, Outcome.INDETERMINATE)
ISSUER_OID = "1.2.276.0.99"
PATIENT_SYSTEM = f"urn:oid:{ISSUER_OID}"


def series(key: str = "fhir", **attributes: Any) -> tuple[Dataset, ...]:
    """A small phantom whose issuer is an OID; ``key`` makes it another study, ``attributes`` replace header values."""
    header = phantom.Header(key=f"fhir/{key}", patient_id=f"PHANTOM-{key}", accession_number=f"ACC-{key}")
    made = phantom.head_phantom(slices=8, matrix=64, header=header)
    for ds in made:
        ds.IssuerOfPatientID = ISSUER_OID
        for name, value in attributes.items():
            setattr(ds, name, value)
    return made


def context_of(outcome: Outcome, key: str = "", root: str | None = None, **attributes: Any) -> ResultContext:
    made = series(key or str(outcome), **attributes)
    mask = phantom.lesion_mask(made) if outcome is Outcome.FINDING else None
    return synthetic.context_of(made, mask, outcome, root)


@functools.cache
def plain_content(outcome: Outcome, root: str | None = None) -> ReportContent:
    """What one run with all of its DICOM results says."""
    context = context_of(outcome, root=root)
    return report_content(context, synthetic.build_all(context), recorded=RECORDED)


def content_of(
    outcome: Outcome, key: str = "", root: str | None = None, *, revision: int = 1, **attributes: Any
) -> ReportContent:
    """`plain_content` of another study (``key``), header or revision, without drawing its pictures anew."""
    told = plain_content(outcome, root)
    if not (key or attributes or revision > 1):
        return told
    headers = series(key or str(outcome), **attributes)
    extra = [f"late {number}" for number in range(1, revision)]
    uids = [*(str(ds.SOPInstanceUID) for ds in headers), *extra]
    run = RunIdentity(str(headers[0].SeriesInstanceUID), instances_digest(uids), told.run.model_digest, root)

    def moved(uid: str) -> str:
        return run.uid("moved", uid)

    objects = tuple(
        replace(
            item, sop_instance_uid=moved(item.sop_instance_uid), series_instance_uid=moved(item.series_instance_uid)
        )
        for item in told.objects
    )
    lesions = tuple(
        replace(lesion, tracking_uid=run.uid("lesion", lesion.tracking_id)) for lesion in told.findings.regions
    )
    return replace(
        told,
        patient=patient_of(headers[0]),
        study=study_of(headers[0]),
        source=series_of(headers),
        acquired=acquired(headers[0]),
        acquired_local=acquired_local(headers[0]),
        findings=replace(told.findings, regions=lesions, revision=revision),
        run=run,
        objects=objects,
        picture=told.picture and replace(told.picture, sop_instance_uid=moved(told.picture.sop_instance_uid)),
        recorded=RECORDED + timedelta(hours=revision - 1),
    )


def refusal_of(key: str, code: str = "MISSING_SLICES", *, revision: int = 1) -> ReportContent:
    """What is told of a series that was refused."""
    headers = series(key)
    run = RunIdentity(
        str(headers[0].SeriesInstanceUID), instances_digest([code, f"{revision}"]), synthetic.MODEL.digest
    )
    refusal = Refusal(code, "Slices 3 to 5 are missing.")
    recorded = RECORDED + timedelta(hours=revision - 1)
    return content_of_refusal(Series(headers), refusal, synthetic.MODEL, run, recorded=recorded, revision=revision)


def bundle_of(
    outcome: Outcome,
    key: str = "",
    root: str | None = None,
    release: Release = Release.R4,
    language: Language = Language.ENGLISH,
    **attributes: Any,
) -> dict[str, Any]:
    """The Bundle of one run."""
    return report.build(content_of(outcome, key, root, **attributes), release=release, language=language)


plain_bundle = functools.cache(bundle_of)
"""`bundle_of` for tests that only read the Bundle."""


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The Bundle's resources of type ``kind``."""
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Every Reference that has a type."""
    return (item for item in objects(value) if "type" in item and ("reference" in item or "identifier" in item))


def without_sides(content: ReportContent) -> ReportContent:
    """``content`` as a version says it that told no side of a lesion."""
    regions = tuple(replace(item, side=None) for item in content.findings.regions)
    return replace(content, findings=replace(content.findings, regions=regions))


def as_earlier(content: ReportContent) -> dict[str, Any]:
    """``content`` as a version before this one stored it in ``findings.json``."""
    made: dict[str, Any] = json.loads(to_json(content))
    made["study"] = {key: made["study"][key] for key in ("uid", "started", "description", "accession")}
    del made["acquired_local"]
    answer = made["answer"] = made.pop("findings")
    answer["regions"] = [
        {
            "tracking_id": lesion["tracking_id"],
            "tracking_uid": lesion["tracking_uid"],
            "label": lesion["label"],
            **{
                {"volume": "volume_mm3", "long_axis": "long_axis_mm", "short_axis": "short_axis_mm"}.get(
                    item["name"], item["name"]
                ): item["value"]
                for item in lesion["measurements"]
            },
        }
        for lesion in answer.pop("regions")
    ]
    answer["caveats"] = [sentences.caveat(item) for item in content.findings.caveats]
    return made

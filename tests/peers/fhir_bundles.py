"""Transaction Bundles of phantom series, as a run of the pipeline makes them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pydicom.dataset import Dataset

from fhir import report
from pipeline import phantom
from pipeline.findings import Outcome
from pipeline.results import overlay, segmentation
from pipeline.results import report as structured_report
from pipeline.results.provenance import ResultContext
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


def bundle_of(outcome: Outcome, key: str = "", root: str | None = None, **attributes: Any) -> dict[str, Any]:
    """The Bundle of one run with all of its DICOM results."""
    context = context_of(outcome, key, root, **attributes)
    overlays, segmentations = overlay.build(context), segmentation.build(context)
    reports = structured_report.build(context, segmentations, overlays)
    objects = (*overlays, *segmentations, *reports)
    return report.build(context.volume, context.findings, context.run, objects, recorded=RECORDED)


plain_bundle = functools.cache(bundle_of)
"""`bundle_of` for tests that only read the Bundle."""


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The Bundle's resources of type ``kind``."""
    return [entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == kind]


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Every Reference that has a type."""
    if isinstance(value, dict):
        if "type" in value and ("reference" in value or "identifier" in value):
            yield value
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)

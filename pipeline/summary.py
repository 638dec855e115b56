"""The content of summary.json, for a run and for a refusal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from pipeline.findings.measurements import Measurement
from pipeline.findings.model import Outcome
from pipeline.report import sentences
from pipeline.results.result_object import ResultObject
from pipeline.results.wording import DISCLAIMER

if TYPE_CHECKING:  # a refusal is written without importing what a run needs
    from pipeline.process import Processed


def summary(processed: Processed) -> dict[str, Any]:
    """The content of summary.json for a series that was read."""
    findings = processed.findings
    return {
        "series_instance_uid": processed.series_instance_uid,
        "instances_digest": processed.run.instances,
        "expected_instances": processed.run.expected,
        "predecessors": [item.instances for item in processed.run.predecessors],
        "results_revision": processed.run.results_revision,
        "began": processed.run.began,
        "identity_from": processed.run.identity_from,
        "kind": str(findings.model.kind),
        "outcome": str(findings.outcome),
        "statement": sentences.statement(processed.content.findings),
        "predicted_class": findings.predicted_class,
        "probabilities": {item.name: round(item.probability, 4) for item in findings.probabilities},
        "regions": [
            {
                "tracking_id": region.tracking_id,
                "tracking_uid": region.tracking_uid,
                "label": region.label,
                "measurements": _measured(region.measurements),
                "slices": list(region.slices),
            }
            for region in findings.regions
        ],
        "suggested": list(findings.suggested),
        "quantities": _measured(findings.quantities),
        "caveats": [
            {"code": str(item.code), "values": dict(item.values), "text": sentences.caveat(item)}
            for item in findings.caveats
        ],
        "model": {
            "name": findings.model.name,
            "version": findings.model.version,
            "digest": findings.model.digest,
        },
        "objects": [_described(item) for item in processed.objects],
        "timings": processed.timings,
        "disclaimer": f"{DISCLAIMER}.",
    }


def refusal_summary(
    series_instance_uid: str | None, code: str, reason: str, page: tuple[ResultObject, ...] = ()
) -> dict[str, Any]:
    """The content of summary.json for a series that was refused; ``series_instance_uid`` None where none was read.

    ``page``: the objects that say so, where a destination wants them.
    """
    return {
        "series_instance_uid": series_instance_uid,
        "outcome": str(Outcome.REFUSED),
        "code": code,
        "reason": reason,
        "objects": [_described(item) for item in page],
    }


def _measured(items: Iterable[Measurement]) -> dict[str, dict[str, Any]]:
    """By name: the value, with as many digits as every result gives, and its UCUM unit."""
    return {item.name: {"value": round(item.value, item.digits), "unit": item.unit.value} for item in items}


def _described(item: ResultObject) -> dict[str, Any]:
    return {
        "file": item.filename,
        "role": item.role,
        "sop_class": item.dataset.SOPClassUID.name,
        "sop_class_uid": str(item.dataset.SOPClassUID),
        "sop_instance_uid": str(item.dataset.SOPInstanceUID),
        "profiles": list(item.profiles),
    }

"""The content of summary.json, for a run and for a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
        "identity_from": processed.run.identity_from,
        "outcome": str(findings.outcome),
        "predicted_class": findings.predicted_class,
        "probabilities": {item.name: round(item.probability, 4) for item in findings.probabilities},
        "lesions": [
            {
                "tracking_id": lesion.tracking_id,
                "tracking_uid": lesion.tracking_uid,
                "label": lesion.label,
                "volume_mm3": round(lesion.volume_mm3, 1),
                "long_axis_mm": round(lesion.long_axis.length_mm, 1),
                "short_axis_mm": round(lesion.short_axis.length_mm, 1),
                "slices": list(lesion.slices),
            }
            for lesion in findings.lesions
        ],
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


def _described(item: ResultObject) -> dict[str, Any]:
    return {
        "file": item.filename,
        "role": item.role,
        "sop_class": item.dataset.SOPClassUID.name,
        "sop_class_uid": str(item.dataset.SOPClassUID),
        "sop_instance_uid": str(item.dataset.SOPInstanceUID),
        "profiles": list(item.profiles),
    }

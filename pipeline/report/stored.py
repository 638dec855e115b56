"""The report content as a file beside a run's results (``report.json``), also as earlier versions wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from pipeline.errors import Broken
from pipeline.findings import codes
from pipeline.findings.codes import Code
from pipeline.findings.identity import UNNUMBERED
from pipeline.report.content import ReportContent
from pipeline.report.sentences import Language, caveat_of

FILENAME: Final = "report.json"
EARLIER_FILENAME: Final = "findings.json"
"""The name of the file in stores of earlier versions."""

EARLIER_MEASUREMENTS: Final[tuple[tuple[str, str, Code, Code, Code | None], ...]] = (
    ("volume_mm3", "volume", codes.VOLUME, codes.CUBIC_MILLIMETER, None),
    ("long_axis_mm", "long_axis", codes.LONG_AXIS, codes.MILLIMETER, None),
    ("short_axis_mm", "short_axis", codes.SHORT_AXIS, codes.MILLIMETER, None),
    ("mean_intensity", "mean_intensity", codes.MR_SIGNAL_INTENSITY, codes.ARBITRARY_UNIT, codes.MEAN),
)
"""Key in a file of an earlier version, name, code, unit and derivation of each measurement of a lesion."""


def page_filename(language: Language) -> str:
    """Name of the run's page (PDF) in ``language``, beside `FILENAME`."""
    return "report.pdf" if language is Language.ENGLISH else f"report.{language}.pdf"


def stored_in(files: Iterable[Path]) -> Path | None:
    """The file with the report content among ``files`` of a delivery; None where a run left a FHIR Bundle alone.

    A delivery that an earlier version queued names `EARLIER_FILENAME`. Where the series was read again since, this
    version has replaced that file by `FILENAME`.
    """
    for path in files:
        if path.name == FILENAME:
            return path
        if path.name == EARLIER_FILENAME:
            return path if path.is_file() else path.with_name(FILENAME)
    return None


def to_json(content: ReportContent) -> bytes:
    return _adapter().dump_json(content, indent=1)


def from_json(data: bytes, *, where: str = "") -> ReportContent:
    """The content that `to_json` wrote, in this version or an earlier one.

    Raises
    ------
    Broken
        where ``data`` is something else; ``where`` names the file in the error.
    """
    try:
        return _adapter().validate_json(json.dumps(_up_to_date(json.loads(data))))
    except (ValueError, KeyError) as error:  # pydantic's ValidationError is a ValueError, and so is what json raises
        count = error.error_count() if isinstance(error, ValidationError) else 1
        raise Broken(
            f"The stored report content cannot be read ({count} errors).",
            where=where,
            todo="Read the series again: `candela jobs retry`.",
        ) from None


def _up_to_date(content: Any) -> Any:
    """``content`` as this version writes it.

    Release 0.1.0 built results under no revision, and its UIDs stay so. It called the findings ``answer``, stored
    caveats as English sentences and measurements without their codes. Release 0.2.0 called the regions ``lesions``.
    """
    if not isinstance(content, dict):
        return content
    run = content.get("run")
    if isinstance(run, dict):
        run.setdefault("results_revision", UNNUMBERED)
        run["predecessors"] = [
            {"instances": item, "results_revision": UNNUMBERED} if isinstance(item, str) else item
            for item in run.get("predecessors", ())
        ]
    answer = content.pop("answer", None)
    if isinstance(answer, dict):
        regions = [_region(item) for item in answer.pop("regions", ())]
        caveats = [asdict(caveat_of(item)) if isinstance(item, str) else item for item in answer.pop("caveats", ())]
        content["findings"] = {**answer, "regions": regions, "caveats": caveats}
    findings = content.get("findings")
    if isinstance(findings, dict) and "lesions" in findings:
        findings["regions"] = findings.pop("lesions")
    return content


def _region(region: dict[str, Any]) -> dict[str, Any]:
    measurements = [
        {
            "name": name,
            "code": asdict(code),
            "value": region[key],
            "unit": asdict(unit),
            "derivation": None if derivation is None else asdict(derivation),
        }
        for key, name, code, unit, derivation in EARLIER_MEASUREMENTS
    ]
    return {
        "tracking_id": region["tracking_id"],
        "tracking_uid": region["tracking_uid"],
        "label": region["label"],
        "measurements": measurements,
    }


@cache
def _adapter() -> TypeAdapter[ReportContent]:
    return TypeAdapter(ReportContent)

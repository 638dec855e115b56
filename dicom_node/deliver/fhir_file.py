"""The report as a file: a FHIR R4 Bundle in English, for folders and for `candela process`."""

from __future__ import annotations

import json
from typing import Final

from pipeline.report.content import ReportContent

BUNDLE: Final = "fhir-bundle.json"


def fhir_file(content: ReportContent, pdf: bytes | None) -> bytes:
    """The transaction Bundle; ``pdf`` is the run's page in English, if the run made one. Same content, same bytes."""
    from fhir.report import build  # noqa: PLC0415 - fhir.resources takes long to import, and not every sender needs it

    return json.dumps(build(content.listed_for(), pdf=pdf), indent=1, ensure_ascii=False).encode()

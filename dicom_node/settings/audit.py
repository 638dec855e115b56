"""Settings of the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from dicom_node.settings.base import Section
from dicom_node.settings.quantities import days_of


class Audit(Section):
    """The audit trail: what was received, who read it and what was sent. It is always written."""

    folder: Path | None = None
    """Folder of the audit files, one file a day."""
    retention_days: Annotated[int, BeforeValidator(days_of), Field(ge=1)] | None = None
    """Number of days to keep audit files."""
    repository: str | None = None
    """Name of the FHIR destination that gets each record as an AuditEvent."""
    uids: Literal["plain", "hashed"] = "plain"
    """How records name study, series and job: by UID (`plain`), or by 12 hexadecimal digits of its SHA-256
    (`hashed`)."""

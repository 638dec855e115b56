"""Settings of the audit trail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from dicom_node.settings.base import Section


class Audit(Section):
    """The trail of what came, who read it and what left. It is always written.

    ``folder`` None: ``audit/`` in the data folder. ``retention_days`` None: kept for ever. ``uids``: whether study,
    series and job are named by their UIDs or by a hash of them. ``repository``: name of the FHIR destination that gets
    each line as an AuditEvent.
    """

    folder: Path | None = None
    retention_days: Annotated[int, Field(ge=1)] | None = None
    repository: str | None = None
    uids: Literal["plain", "hashed"] = "plain"

"""The audit trail, for administrators. Reading it is recorded in it."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Query

from dicom_node.audit.backwards import AuditFilter, newest
from dicom_node.web.api.paging import Cursor, Limit, audit_place_of, cursor_of_audit
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import AuditLine, AuditPage, AuditParty
from dicom_node.web.auth.gate import Administers, Here
from dicom_node.web.auth.principal import Principal
from dicom_node.web.context import Context

router = APIRouter(tags=["audit"])


@router.get("/audit")
def list_audit(
    here: Here,
    who: Administers,
    activity: Annotated[str, Query(max_length=16, description="Code of DICOM CID 400, such as 110106.")] = "",
    user: Annotated[str, Query(max_length=128, description="Name of either party, regardless of case.")] = "",
    day: Annotated[str, Query(max_length=10, description="A day (UTC), such as 2026-11-30.")] = "",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AuditPage:
    """The lines of the audit trail, newest first. A page may be short, even empty, before the end."""
    return audit_page(here, who, AuditFilter(activity, user.strip(), day_of(day)), cursor, limit)


def audit_page(here: Context, who: Principal, wanted: AuditFilter, cursor: str | None, limit: int) -> AuditPage:
    """A page of the trail. That ``who`` reads it is recorded once an hour, and before it is read."""
    place = audit_place_of(cursor)
    here.seen.trail_read(who, "audit trail")
    found, following = newest(here.settings.audit_dir, wanted, place, limit)
    return AuditPage(items=tuple(map(_line, found)), next=cursor_of_audit(following))


def day_of(value: str) -> date | None:
    """The day that a filter names. Raises Problem (400)."""
    try:
        return date.fromisoformat(value) if value else None
    except ValueError:
        raise Problem(400, "A day is ISO 8601, such as 2026-11-30.") from None


def _line(record: dict[str, Any]) -> AuditLine:
    return AuditLine(
        time=record["time"],
        activity=record["activity"].get("code", ""),
        meaning=record["activity"].get("meaning", ""),
        action=record.get("action", ""),
        outcome=record.get("outcome", 0),
        reason=record.get("reason", ""),
        source=AuditParty(**record["source"]),
        destination=AuditParty(**record["destination"]),
        what=record.get("what", ""),
        count=record.get("count"),
        studies=tuple(record.get("studies", ())),
        series=tuple(record.get("series", ())),
        job=record.get("job"),
    )

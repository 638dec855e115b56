"""The pages for administrators: the settings in force, and the audit trail."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from dicom_node.audit.backwards import AuditFilter
from dicom_node.audit.trail import Activity
from dicom_node.settings.effective import effective, file_of, rules_in_words, variables
from dicom_node.web.api.audit import audit_page, day_of
from dicom_node.web.api.paging import Cursor
from dicom_node.web.auth.gate import Administers, Here
from dicom_node.web.pages.render import page

router = APIRouter()
PAGE = 50
Word = Annotated[str, Query(max_length=128)]


@router.get("/settings")
def settings(request: Request, here: Here, who: Administers) -> Response:
    """The settings in force, what set them, and the rules in words. Secrets are no part of it."""
    here.seen.did(who, "settings shown")
    return page(
        request,
        "settings.html",
        who,
        groups=effective(here.settings),
        rules=rules_in_words(here.settings),
        matching=here.settings.routing.match,
        file=file_of(here.settings),
        variables=variables(),
    )


@router.get("/audit")
def audit(
    request: Request,
    here: Here,
    who: Administers,
    activity: Word = "",
    user: Word = "",
    day: Word = "",
    cursor: Cursor = None,
) -> Response:
    """The audit trail, newest first. The filter stands in the URL."""
    wanted = AuditFilter(activity, user.strip(), day_of(day))
    return page(
        request,
        "audit.html",
        who,
        found=audit_page(here, who, wanted, cursor, PAGE),
        activities=[item.value[0] for item in Activity],
        chosen={"activity": activity, "user": user, "day": day},
        cursor=cursor,
    )

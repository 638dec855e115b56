"""The pages on which people upload a series and look at the answer."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from dicom_node.web.analyses import ACTIVE
from dicom_node.web.api import analyses
from dicom_node.web.api.models import models_of
from dicom_node.web.auth.gate import Here, Operates
from dicom_node.web.pages.answers import answered
from dicom_node.web.pages.render import language_of, page

router = APIRouter()


@router.get("/try")
def form(request: Request, here: Here, who: Operates) -> Response:
    """The form, and the uploads that the node still has."""
    known = analyses.list_analyses(here, who)
    web = here.settings.web
    return page(
        request,
        "try.html",
        who,
        analyses=known,
        busy=any(item.state in ACTIVE for item in known),
        models=models_of(here),
        rules=here.settings.rules,
        most=int(web.upload_most),
        hours=f"{web.upload_kept / 3600:g}",
    )


@router.get("/try/{analysis_id}")
def show(request: Request, here: Here, who: Operates, analysis_id: str) -> Response:
    """Progress and answer of one upload."""
    item = analyses.show_analysis(here, who, analysis_id)
    folder, found, language = here.analyses.results(analysis_id), item.findings, language_of(request)
    return page(
        request,
        "analysis.html",
        who,
        item=item,
        words=answered(found.statement, folder, found.caveats, language) if found else None,
        pictures=[one for one in item.results if one.media_type == "image/png"],
        files=[one for one in item.results if one.media_type != "image/png"],
    )

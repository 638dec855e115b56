"""Series that are uploaded to be read: upload, progress, answer, files, removal."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from dicom_node.web.analyses import UPLOAD, Analysis, AnalysisState
from dicom_node.web.api.jobs import findings_in
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.results import PREVIEWS, file_response, files_in
from dicom_node.web.api.schemas import AnalysisView, Done, Result
from dicom_node.web.auth.gate import Here, Identifies, Operates
from dicom_node.web.auth.principal import Principal
from dicom_node.web.context import Context
from dicom_node.web.unpacking import unpack
from dicom_node.web.uploading import receive_form
from models import registry

router = APIRouter(tags=["analyses"])

UNPACKED: Final = 4
"""How often ``web.upload_most`` an archive may unpack to."""
SERIES: Final = "series"
FORM: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "A DICOM file, or a zip archive of one series."},
        "model": {"type": "string", "description": "The model that reads it; by default the rules choose."},
    },
}


@router.post(
    "/analyses",
    status_code=202,
    responses={413: {"description": "Too large."}, 415: {"description": "Neither DICOM nor zip."}},
    openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": FORM}}}},
)
async def upload(request: Request, response: Response, here: Here, who: Operates) -> AnalysisView:
    """Upload one series to be read. It is kept apart from the store and delivered to nobody. `Location` has its
    address, where state and answer are; the node removes the images once they are read, and the answer after
    `web.upload_kept`.
    """
    with here.analyses.place() as folder:
        fields = await receive_form(request, folder / UPLOAD, int(here.settings.web.upload_most))
        model = fields.get("model") or None
        if model is not None:
            await run_in_threadpool(registry.get, model, here.settings.models.folders)
        made = await run_in_threadpool(_begun, here, who, folder, model)
    response.headers["Location"] = f"/api/v1/analyses/{made.analysis_id}"
    return view(here, made)


def _begun(here: Context, who: Principal, folder: Path, model: str | None) -> Analysis:
    """Unpack, audit and queue the upload in ``folder``. Raises Problem."""
    most = int(here.settings.web.upload_most) * UNPACKED
    files = unpack(folder / UPLOAD, folder / SERIES, most)
    here.seen.did(who, "series uploaded to be read", job=folder.name)
    return here.analyses.begin(folder, who.name, files, model)


@router.get("/analyses")
def list_analyses(here: Here, _: Operates) -> list[AnalysisView]:
    """The uploads that the node still has, the newest first, without their answers."""
    return [view(here, item, whole=False) for item in here.analyses.all()]


@router.get("/analyses/{analysis_id}")
def show_analysis(here: Here, _: Operates, analysis_id: str) -> AnalysisView:
    """State and answer of an upload."""
    return view(here, found(here, analysis_id))


@router.delete("/analyses/{analysis_id}")
def remove_analysis(here: Here, who: Operates, analysis_id: str) -> Done:
    """Remove an upload with its answer, at once; a reading is ended."""
    found(here, analysis_id)
    here.seen.did(who, "uploaded series removed", job=analysis_id)
    here.analyses.remove(analysis_id)
    return Done(text="Removed.")


@router.get("/analyses/{analysis_id}/pictures/{name}")
def analysis_picture(here: Here, _: Operates, analysis_id: str, name: str, request: Request) -> Response:
    """A picture (PNG) of an overlay page. Pages name no patient."""
    known = {item.name for item in _files(here, found(here, analysis_id)) if item.media_type == "image/png"}
    if name not in known:
        raise Problem(404, "The analysis has no such picture.", code="NO_SUCH_RESULT")
    return file_response(here.analyses.results(analysis_id) / PREVIEWS / name, "image/png", request, cache=True)


@router.get("/analyses/{analysis_id}/results/{name}")
def download_analysis(here: Here, who: Identifies, analysis_id: str, name: str, request: Request) -> Response:
    """A result as a file. Each download is recorded."""
    known = {item.name: item for item in _files(here, found(here, analysis_id)) if item.media_type != "image/png"}
    if name not in known:
        raise Problem(404, "The analysis has no such result.", code="NO_SUCH_RESULT")
    series = _summary(here, analysis_id).get("series_instance_uid") or ""
    here.seen.exported(who, known[name].role, "", series, analysis_id)
    path = here.analyses.results(analysis_id) / name
    return file_response(path, known[name].media_type, request, download=True)


def found(here: Context, analysis_id: str) -> Analysis:
    """An analysis. Raises Problem (404)."""
    item = here.analyses.find(analysis_id)
    if item is None:
        todo = "The node removes uploads after web.upload_kept."
        raise Problem(404, "There is no such analysis, or no longer.", code="NO_SUCH_ANALYSIS", todo=todo)
    return item


def view(here: Context, item: Analysis, *, whole: bool = True) -> AnalysisView:
    """An analysis as it is shown; ``whole`` with its answer."""
    summary = _summary(here, item.analysis_id) if whole and item.state is AnalysisState.DONE else {}
    return AnalysisView(
        analysis_id=item.analysis_id,
        state=item.state,
        by=item.by,
        at=datetime.fromtimestamp(item.at, UTC),
        files=item.files,
        model=item.model,
        stage=item.stage,
        ahead=here.analyses.ahead(item.analysis_id),
        code=item.code,
        text=item.text,
        ended=datetime.fromtimestamp(item.ended, UTC) if item.ended is not None else None,
        expires=datetime.fromtimestamp(here.analyses.expires(item), UTC),
        findings=findings_in(summary, item.analysis_id) if "statement" in summary else None,
        results=tuple(_files(here, item)) if whole else (),
    )


def _files(here: Context, item: Analysis) -> list[Result]:
    if item.state not in (AnalysisState.DONE, AnalysisState.REFUSED):
        return []
    base = f"/api/v1/analyses/{item.analysis_id}"
    return list(files_in(here.analyses.results(item.analysis_id), _summary(here, item.analysis_id), base))


def _summary(here: Context, analysis_id: str) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((here.analyses.results(analysis_id) / "summary.json").read_text())
    except (OSError, ValueError):
        return {}
    return content

"""Results: DICOM objects, pictures, PDF, FHIR."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import FileResponse

from dicom_node.jobs.status import JobDetail as EngineJob
from dicom_node.web.api.jobs import seen_job
from dicom_node.web.api.problems import Problem
from dicom_node.web.api.schemas import Result
from dicom_node.web.auth.gate import Here, Identifies, Reads
from dicom_node.web.context import Context
from pipeline.report.sentences import Language
from pipeline.report.stored import FILENAME, from_json, page_filename

router = APIRouter(tags=["results"])

DICOM: Final = "application/dicom"
FHIR: Final = "application/fhir+json"
PREVIEWS: Final = "previews"
BUNDLE: Final = "fhir-bundle.json"


@router.get("/jobs/{job_id}/results")
def list_results(here: Here, who: Reads, job_id: str) -> list[Result]:
    """The files of a job's results, pictures first."""
    return results_of(here, seen_job(here, who, "results", job_id))


def results_of(here: Context, detail: EngineJob) -> list[Result]:
    """The files of a job's results."""
    return list(_results(here, detail))


@router.get("/jobs/{job_id}/pictures/{name}")
def picture(here: Here, who: Reads, job_id: str, name: str, request: Request) -> Response:
    """A picture (PNG) of an overlay page. Pages name no patient, so that everybody may see them."""
    detail = seen_job(here, who, "pictures", job_id)
    known = {item.name: item for item in _results(here, detail) if item.media_type == "image/png"}
    if name not in known:
        raise Problem(404, "The job has no such picture.", code="NO_SUCH_RESULT")
    path = here.reader.summaries.folder(detail.job) / PREVIEWS / name
    return file_response(path, "image/png", request, cache=True)


@router.get("/jobs/{job_id}/results/{name}")
def download(here: Here, who: Identifies, job_id: str, name: str, request: Request) -> Response:
    """A result as a file. Each download is recorded."""
    detail = here.jobs.show(job_id)
    known = {item.name: item for item in _results(here, detail)}
    if name not in known or known[name].media_type == "image/png":
        raise Problem(404, "The job has no such result.", code="NO_SUCH_RESULT")
    job = detail.job
    here.seen.exported(who, known[name].role, job.study_instance_uid, job.series_instance_uid, job_id)
    return file_response(here.reader.summaries.folder(job) / name, known[name].media_type, request, download=True)


@router.get("/jobs/{job_id}/fhir")
def fhir(
    here: Here,
    who: Identifies,
    job_id: str,
    release: Annotated[Literal["R4", "R5"], Query(description="FHIR release.")] = "R4",
    language: Annotated[Language, Query(description="Language of the report.")] = Language.ENGLISH,
) -> Response:
    """The report as a FHIR transaction Bundle, built from the stored content as a delivery builds it."""
    from fhir.release import Release  # noqa: PLC0415  (fhir.resources takes a second to import)
    from fhir.report import build  # noqa: PLC0415

    detail = here.jobs.show(job_id)
    folder = here.reader.summaries.folder(detail.job)
    path = folder / FILENAME
    if not path.is_file():
        raise Problem(404, "The job has no report.", code="NO_SUCH_RESULT")
    here.seen.exported(who, "FHIR report", detail.job.study_instance_uid, detail.job.series_instance_uid, job_id)
    content = from_json(path.read_bytes(), where=str(path)).in_zone(here.settings.zone).listed_for()
    page = folder / page_filename(language)
    bundle = build(
        content,
        release=Release(release),
        language=language,
        pdf=page.read_bytes() if page.is_file() else None,
        pdf_language=language,
    )
    headers = {"Content-Disposition": f'attachment; filename="{BUNDLE}"'}
    return Response(json.dumps(bundle, ensure_ascii=False).encode(), media_type=FHIR, headers=headers)


def _results(here: Context, detail: EngineJob) -> Iterator[Result]:
    base = f"/api/v1/jobs/{quote(detail.job.job_id, safe=':')}"
    return files_in(here.reader.summaries.folder(detail.job), here.reader.summaries.of(detail), base)


def files_in(folder: Path, summary: dict[str, Any], base: str) -> Iterator[Result]:
    """The files of the results in ``folder``, pictures first; ``base`` is the URL below which they are."""
    objects = [(item["role"], folder / item["file"]) for item in summary.get("objects", ())]
    for role, path in objects:
        drawn = folder / PREVIEWS / f"{path.stem}.png"
        if drawn.is_file():
            yield _result(drawn, role, "image/png", f"{base}/pictures/{quote(drawn.name)}")
    for role, path in objects:
        if path.is_file():
            yield _result(path, role, DICOM, f"{base}/results/{quote(path.name)}")
    for language in Language:
        page = folder / page_filename(language)
        if page.is_file():
            yield _result(page, f"report ({language})", "application/pdf", f"{base}/results/{quote(page.name)}")
    report = folder / FILENAME
    if report.is_file():
        yield _result(report, "report content", "application/json", f"{base}/results/{quote(report.name)}")


def _result(path: Path, role: str, media_type: str, href: str) -> Result:
    return Result(name=path.name, role=role, media_type=media_type, bytes=path.stat().st_size, href=href)


def file_response(
    path: Path, media_type: str, request: Request, *, download: bool = False, cache: bool = False
) -> Response:
    """The file, or 304 where the caller has it. Raises Problem (404)."""
    if not path.is_file():
        raise Problem(404, "The result is no longer on this disk.", code="NO_SUCH_RESULT")
    found = path.stat()
    tag = f'"{found.st_mtime_ns:x}-{found.st_size:x}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=300" if cache else "no-store"}
    if tag in {item.strip() for item in request.headers.get("if-none-match", "").split(",")}:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=media_type, headers=headers, filename=path.name if download else None)

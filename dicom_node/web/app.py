"""The web application: API, pages, assets, and the guard around them."""

from __future__ import annotations

from importlib import metadata

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from dicom_node.web import assets
from dicom_node.web.api import (
    analyses,
    assessment_documents,
    assessments,
    audit,
    bulk,
    destinations,
    jobs,
    models,
    node,
    problems,
    results,
    studies,
)
from dicom_node.web.context import Context
from dicom_node.web.pages import administration, login, others, trying, worklist
from dicom_node.web.pages import assessments as assessments_pages
from dicom_node.web.pages.errors import or_page
from dicom_node.web.security import Guard
from pipeline.errors import CandelaError

DESCRIPTION = """What happens in a Candela node, and why. Authorise with `Authorization: Bearer TOKEN`
(`candela web tokens add`). Errors are problem details (RFC 9457)."""
PROBLEM = {"description": "Problem details", "content": {problems.MEDIA_TYPE: {}}}

ROOMS = (studies, bulk, jobs, results, assessments, assessment_documents, analyses, destinations, models, audit)


def web_app(context: Context) -> FastAPI:
    """The ASGI application on ``context``."""
    app = FastAPI(
        title="Candela",
        version=metadata.version("candela"),
        description=DESCRIPTION,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        responses={401: PROBLEM, 403: PROBLEM, 404: PROBLEM, 422: PROBLEM, 503: PROBLEM},
    )
    app.state.context = context
    app.add_exception_handler(CandelaError, or_page(problems.on_candela_error))
    app.add_exception_handler(HTTPException, or_page(problems.on_http_error))
    app.add_exception_handler(RequestValidationError, or_page(problems.on_invalid))
    api = APIRouter(prefix="/api/v1")
    for part in (
        node.health,
        node.router,
        *(room.router for room in ROOMS),
    ):
        api.include_router(part)
    app.include_router(api)
    for room in (login, worklist, trying, assessments_pages, others, administration):
        app.include_router(room.router, include_in_schema=False)
    app.mount("/assets", assets.app)
    app.add_middleware(Guard, web=context.settings.web)
    return app

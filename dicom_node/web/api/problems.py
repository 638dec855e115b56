"""Errors as problem details (RFC 9457), each with Candela's stable code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from dicom_node.jobs.client import NoSuchJob
from pipeline.errors import BadModel, BadSettings, CandelaError, OutOfResources, PeerUnavailable, Refused, Rejected

MEDIA_TYPE: Final = "application/problem+json"
STATUS: Final[tuple[tuple[type[CandelaError], int], ...]] = (
    (NoSuchJob, 404),
    (BadModel, 404),
    (PeerUnavailable, 503),
    (OutOfResources, 503),
    (Refused, 422),
    (Rejected, 502),
    (BadSettings, 500),
)


class Problem(CandelaError):
    """A request that the API cannot answer as asked. ``status`` is the HTTP status."""

    code = "BAD_REQUEST"
    remedy = "Correct the request as the message says; docs/dashboard.md lists each endpoint."

    def __init__(
        self, status: int, what: str, *, code: str = "", todo: str = "", headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(what, todo=todo)
        self.status, self.headers = status, headers
        if code:
            self.code = code


def status_of(error: CandelaError) -> int:
    """The HTTP status for an error of ours."""
    if isinstance(error, Problem):
        return error.status
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def problem(
    status: int, title: str, *, code: str = "", headers: dict[str, str] | None = None, **more: Any
) -> JSONResponse:
    """A problem-details response."""
    content = {"type": f"urn:candela:error:{code}" if code else "about:blank", "title": title, "status": status, **more}
    if code:
        content["code"] = code
    return JSONResponse(content, status, headers=headers, media_type=MEDIA_TYPE)


async def on_candela_error(_: Request, error: Exception) -> JSONResponse:
    """A typed error of ours."""
    assert isinstance(error, CandelaError), "registered for this type"
    headers = error.headers if isinstance(error, Problem) else None
    return problem(status_of(error), error.what, code=error.code, detail=str(error), headers=headers)


async def on_http_error(_: Request, error: Exception) -> JSONResponse:
    """An error of the framework: no such page, wrong method."""
    assert isinstance(error, HTTPException), "registered for this type"
    title = HTTPStatus(error.status_code).phrase
    return problem(error.status_code, title, headers=dict(error.headers or {}))


async def on_invalid(_: Request, error: Exception) -> JSONResponse:
    """A parameter or body of another form than the API's; the values are not repeated."""
    assert isinstance(error, RequestValidationError), "registered for this type"
    errors = [{"pointer": "/".join(map(str, item["loc"])), "detail": item["msg"]} for item in error.errors()]
    return problem(422, "The request is not valid.", code="INVALID_REQUEST", errors=errors)

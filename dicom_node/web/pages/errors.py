"""Errors where a person looks at a page: the login, or a page that says what happened."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse
from starlette.exceptions import HTTPException

from dicom_node.web.api.problems import status_of
from dicom_node.web.pages.render import page
from pipeline.errors import CandelaError

Handler = Callable[[Request, Exception], Awaitable[Response]]


def or_page(handler: Handler) -> Handler:
    """``handler`` for requests to the API; a page for all others."""

    async def handle(request: Request, error: Exception) -> Response:
        if request.url.path.startswith("/api/"):
            return await handler(request, error)
        status, text, code = _told(error)
        if status == 401:
            return _to_login(request)
        # Messages of errors are English, as those of the API.
        return page(request, "error.html", None, status=status, text=text, code=code)

    return handle


def _told(error: Exception) -> tuple[int, str, str]:
    """Status, text and code of an error; no text where nothing more is known than that there is no such page."""
    if isinstance(error, CandelaError):
        return status_of(error), str(error), error.code
    if isinstance(error, RequestValidationError):
        return 422, "", "INVALID_REQUEST"
    assert isinstance(error, HTTPException), "what the application handles"
    return error.status_code, "", ""


def _to_login(request: Request) -> Response:
    """To the login, and back afterwards. htmx would put the login into the page, so it is told to go there."""
    hx = request.headers.get("hx-request")
    back = request.headers.get("hx-current-url", "") if hx else str(request.url)
    address = f"/login?next={quote(_local(back))}"
    return Response(headers={"HX-Redirect": address}) if hx else RedirectResponse(address, 303)


def _local(address: str) -> str:
    """Path and query of an address."""
    rest = address.split("://", 1)[-1]
    return rest[rest.find("/") :] if "/" in rest else "/"

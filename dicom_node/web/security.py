"""Middleware: headers that bind browsers, names under which the dashboard answers, and the size of requests."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request

from dicom_node.jobs.outcome import Failure
from dicom_node.settings.web import Web, is_loopback
from dicom_node.web.api.problems import problem

log = structlog.get_logger("candela.web")

BODY_MOST: Final = 8 << 20
"""Bytes of a request but an upload: the header of a series is the largest thing that anybody sends."""
UPLOADS: Final = "/api/v1/analyses"
FORM_MOST: Final = 64 << 10
"""Bytes of a form around the file that is uploaded."""
READ_AHEAD: Final = 2 << 20
"""Bytes that come before an endpoint, which reads a body in pieces, has counted them and can refuse the rest."""
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Guard:
    """Wraps the application: refuses wrong names and long bodies before it, adds headers behind it."""

    def __init__(self, app: App, web: Web) -> None:
        self._app, self._web = app, web

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        secure, begun = scope.get("scheme") == "https", False

        async def send_guarded(message: MutableMapping[str, Any]) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _add_headers(MutableHeaders(scope=message), secure=secure)
            await send(message)

        most = self._body_most(scope)
        refused = self._refused(headers, most)
        if refused is not None:
            status, title = refused
            await problem(status, title, code="BAD_REQUEST")(scope, receive, send_guarded)
            return
        try:
            await self._app(scope, _bounded(receive, most + READ_AHEAD), send_guarded)
        except Exception as error:  # noqa: BLE001  (an exception's message may quote a data set: only its place is logged)
            failure = Failure.of(error)
            log.error("request_failed", code=failure.code, error=type(error).__name__, trace=failure.trace)  # noqa: TRY400
            if not begun:
                await problem(500, "The node failed.", code=failure.code)(scope, receive, send_guarded)

    def _body_most(self, scope: Scope) -> int:
        """Bytes that a request may have."""
        is_upload = scope["method"] == "POST" and scope["path"] == UPLOADS
        return int(self._web.upload_most) + FORM_MOST if is_upload else BODY_MOST

    def _refused(self, headers: Headers, most: int) -> tuple[int, str] | None:
        if not answers_to(headers.get("host", ""), self._web):
            return 421, "The dashboard does not answer to this name: web.hosts lists its names."
        length = headers.get("content-length", "0")
        if not length.isdigit() or int(length) > most:
            return 413, f"The request is too large: at most {most / (1 << 20):.3g} MiB."
        return None


def answers_to(host: str, web: Web) -> bool:
    """Whether the dashboard answers to the Host header ``host``: what a page of another site makes a browser send after
    it has changed its own address (DNS rebinding) is none of its names.
    """
    name = (urlsplit(f"//{host}").hostname or "") if _well_formed(host) else ""
    if not name:
        return False
    if is_loopback(name) or name == web.host.lower():
        return True
    return name in {item.lower() for item in web.hosts} or not (web.hosts or web.demo)


def same_origin(request: Request) -> bool:
    """Whether an unsafe request comes from a page of the dashboard, or from no browser.

    Browsers state Sec-Fetch-Site, older ones at least Origin with a POST.
    """
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == request.headers.get("host", "")


def _well_formed(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").port is not None or True
    except ValueError:
        return False


def _add_headers(headers: MutableHeaders, *, secure: bool) -> None:
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    headers.setdefault("Cache-Control", "no-store")
    if secure:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


def _bounded(receive: Receive, most: int) -> Receive:
    """``receive``, which ends the request where a body without a stated length grows too long."""
    got = 0

    async def receive_bounded() -> MutableMapping[str, Any]:
        nonlocal got
        message = await receive()
        if message["type"] == "http.request":
            got += len(message.get("body", b""))
            if got > most:
                return {"type": "http.disconnect"}
        return message

    return receive_bounded

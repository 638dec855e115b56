"""Style and script, and htmx from its wheel: nothing is fetched from elsewhere, nothing is built."""

from __future__ import annotations

import functools
import hashlib
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

HTMX: Final = ("django-js-lib-htmx", "js_lib_htmx/static/htmx/htmx.min.js")
"""The distribution that holds htmx, and the file in it (ADR 75)."""
TYPES: Final = {
    "candela.css": "text/css; charset=utf-8",
    "candela.js": "text/javascript; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
    "htmx.js": "text/javascript; charset=utf-8",
}


@functools.cache
def content(name: str) -> bytes:
    """The bytes of an asset of `TYPES`."""
    if name == "htmx.js":
        return Path(str(metadata.distribution(HTMX[0]).locate_file(HTMX[1]))).read_bytes()
    return files(__name__).joinpath(name).read_bytes()


@functools.cache
def version(name: str) -> str:
    """A text that changes with the asset."""
    return hashlib.sha256(content(name)).hexdigest()[:12]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Serves the assets, to anybody: they say nothing about the node. Browsers keep them until they change."""
    request = Request(scope)
    name = request.url.path.rpartition("/")[2]
    if name not in TYPES:
        await PlainTextResponse("no such asset", 404)(scope, receive, send)
        return
    headers = {"Cache-Control": "public, max-age=31536000, immutable", "ETag": f'"{version(name)}"'}
    await Response(content(name), media_type=TYPES[name], headers=headers)(scope, receive, send)

"""The OHIF viewer's ready build on a free loopback port, in front of an Orthanc.

``python -m tools.ohif --orthanc URL --port N`` runs it in the foreground; `start_ohif` runs it in a thread.
OHIF is a page that asks a DICOMweb server by itself. It is served with the headers that let it share memory between
its workers, and Orthanc's DICOMweb is under the same origin, so that the browser allows access to it.
"""

from __future__ import annotations

import argparse
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import uvicorn
from filelock import FileLock
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

FOLDER = Path(__file__).parents[1] / "tests" / "peers" / "viewer"
BUILD = FOLDER / "node_modules" / "@ohif" / "app" / "dist"
ISOLATED = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
}
KEPT = {"Cache-Control": "max-age=3600"}
"""For files whose names hold a digest of their content."""
FRESH = {"Cache-Control": "no-store"}
HOP_BY_HOP = {"connection", "content-encoding", "content-length", "host", "keep-alive", "transfer-encoding"}
STARTS_WITHIN = 30.0
"""Seconds."""


class NoOhif(RuntimeError):
    """npm or OHIF's build is missing."""


def ensure_installed() -> None:
    """Install OHIF's build with ``npm ci`` where it is not (50 MB to fetch, 204 MB on disk); one process at a time.

    Raises
    ------
    NoOhif
        where npm is missing or fails.
    """
    with FileLock(FOLDER / ".install.lock"):
        if installed():
            return
        if shutil.which("npm") is None:
            raise NoOhif("The OHIF viewer is fetched by npm, which is not on the PATH.")
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise NoOhif(f"npm ci failed in {FOLDER}: {done.stderr.strip()[-500:]}")


def installed() -> bool:
    """Whether the build of the locked version is there: npm writes its own copy of the lock last."""
    written = FOLDER / "node_modules" / ".package-lock.json"
    newer = written.is_file() and written.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime
    return newer and (BUILD / "index.html").is_file()


def application(orthanc_url: str) -> Starlette:
    """OHIF's files, and ``orthanc_url``'s DICOMweb under /dicom-web and /wado."""
    client = httpx.AsyncClient(base_url=orthanc_url, trust_env=False, timeout=60)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with client:
            yield

    async def dicomweb(request: Request) -> Response:
        return await _forward(request, client)

    routes = [
        Route("/dicom-web/{path:path}", dicomweb, methods=["GET", "POST"]),
        Route("/wado", dicomweb),
        Route("/{path:path}", _file),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


async def _file(request: Request) -> Response:
    """A file of the build; every other path is one of the page's own, which it reads from its address."""
    name = request.path_params["path"]
    if name == "app-config.js":
        return FileResponse(FOLDER / name, headers=ISOLATED | FRESH)
    path = (BUILD / name).resolve()
    if not path.is_relative_to(BUILD.resolve()):
        return PlainTextResponse("not here", status_code=404)
    if path.is_file() and path.suffix in {".js", ".wasm", ".css", ".woff2"} and ".bundle." in path.name:
        return FileResponse(path, headers=ISOLATED | KEPT)
    return FileResponse(path if path.is_file() else BUILD / "index.html", headers=ISOLATED | FRESH)


async def _forward(request: Request, client: httpx.AsyncClient) -> Response:
    """Forward a request to Orthanc, with corrections that Orthanc 1.10 needs.

    It does not decode values of a query (``%2C`` for a comma), makes the addresses in its answers from ``Forwarded``,
    and asked for an instance without a transfer syntax it would decompress it, which it cannot always.
    """
    query = request.url.query.replace("%2C", ",").replace("%2F", "/")
    headers = {key: value for key, value in request.headers.items() if key.lower() not in HOP_BY_HOP}
    headers["forwarded"] = f"host={request.headers['host']};proto={request.url.scheme}"
    headers["accept-encoding"] = "identity"
    accept = headers.get("accept", "")
    if accept.replace('"', "").endswith("application/dicom"):
        headers["accept"] = f"{accept}; transfer-syntax=*"
    target = request.url.path + (f"?{query}" if query else "")
    asked = client.build_request(request.method, target, headers=headers, content=await request.body())
    try:
        answer = await client.send(asked, stream=True)
    except httpx.HTTPError as error:
        return PlainTextResponse(f"Orthanc does not answer: {error!r}", status_code=502, headers=ISOLATED)
    kept = {key: value for key, value in answer.headers.items() if key.lower() not in HOP_BY_HOP}
    return StreamingResponse(
        answer.aiter_raw(), answer.status_code, {**kept, **ISOLATED}, background=BackgroundTask(answer.aclose)
    )


@contextmanager
def start_ohif(orthanc_url: str) -> Iterator[str]:
    """OHIF's base URL, without a slash at the end; stopped at the end.

    Raises
    ------
    NoOhif
        where its build cannot be installed.
    """
    ensure_installed()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = _server(orthanc_url)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        deadline = time.monotonic() + STARTS_WITHIN
        while not server.started:
            if time.monotonic() > deadline or not thread.is_alive():
                raise NoOhif("The server of the OHIF viewer did not start.")
            time.sleep(0.02)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


def _server(orthanc_url: str, port: int = 0) -> uvicorn.Server:
    config = uvicorn.Config(
        application(orthanc_url), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=2
    )
    return uvicorn.Server(config)


def main() -> None:
    """Serve until a signal ends this process."""
    parser = argparse.ArgumentParser(description="The OHIF viewer in front of an Orthanc, on loopback.")
    parser.add_argument("--orthanc", required=True, help="base URL of Orthanc, such as http://127.0.0.1:8042")
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    ensure_installed()
    _server(arguments.orthanc, arguments.port).run()


if __name__ == "__main__":
    main()

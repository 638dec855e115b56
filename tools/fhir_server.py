"""A real FHIR R4 server on a free loopback port: tests/peers/fhir/server.mjs under Node.js.

``python -m tools.fhir_server --port N`` runs it in the foreground and prints its base URL.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

import httpx
from filelock import FileLock

FOLDER = Path(__file__).parents[1] / "tests" / "peers" / "fhir"
STARTS_WITHIN = 90.0
"""Seconds: the R4 definitions are read at the start, 3 s on an idle core."""


class NoFhirServer(RuntimeError):
    """Node.js, npm or the server's packages are missing."""


@dataclass(frozen=True)
class FhirServer:
    """A running server. ``url`` is its base, without a slash at the end."""

    url: str
    process: subprocess.Popen[str]

    def stop(self) -> None:
        """Terminate the process and wait for its end."""
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(timeout=10)

    def get(self, path: str, **params: str) -> dict:
        """The resource or searchset at ``path``."""
        response = httpx.get(f"{self.url}/{path}", params=params, trust_env=False, timeout=30)
        response.raise_for_status()
        return response.json()

    def post(self, resource: dict) -> dict:
        """Create ``resource``; as the server stored it."""
        response = httpx.post(f"{self.url}/{resource['resourceType']}", json=resource, trust_env=False, timeout=30)
        response.raise_for_status()
        return response.json()

    def put(self, resource: dict) -> dict:
        """Update ``resource``; as the server stored it."""
        place = f"{self.url}/{resource['resourceType']}/{resource['id']}"
        response = httpx.put(place, json=resource, trust_env=False, timeout=30)
        response.raise_for_status()
        return response.json()

    def count(self, kind: str, **params: str) -> int:
        """How many resources of type ``kind`` a search finds."""
        return self.get(kind, **params, _count="1")["total"]


def ensure_installed() -> None:
    """Install the server's packages with ``npm ci`` where they are missing; one process at a time.

    Raises
    ------
    NoFhirServer
        where Node.js or npm is missing, or npm fails.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise NoFhirServer("The FHIR test server needs Node.js 20 and npm; they are not on the PATH.")
    with FileLock(FOLDER / ".install.lock"):
        if _installed():
            return
        command = ["npm", "ci", "--no-audit", "--no-fund", "--loglevel=error"]
        done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise NoFhirServer(f"npm ci failed in {FOLDER}: {done.stderr.strip()[-500:]}")


def _installed() -> bool:
    """npm writes its own copy of the lock last; older than ours, it is of another set of packages."""
    written = FOLDER / "node_modules" / ".package-lock.json"
    return written.is_file() and written.stat().st_mtime >= (FOLDER / "package-lock.json").stat().st_mtime


@contextmanager
def running_fhir_server(port: int = 0) -> Iterator[FhirServer]:
    """A running server, stopped at the end.

    Raises
    ------
    NoFhirServer
        as `ensure_installed`.
    """
    ensure_installed()
    process = subprocess.Popen(_command(port), stdout=subprocess.PIPE, stderr=None, text=True)
    server = FhirServer(_base_url(process), process)
    try:
        yield server
    finally:
        server.stop()


def _base_url(process: subprocess.Popen[str]) -> str:
    """The line that the server prints when it listens."""
    lines: Queue[str] = Queue()
    out = process.stdout
    assert out is not None

    def read() -> None:
        for line in out:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    try:
        url = lines.get(timeout=STARTS_WITHIN).strip()
    except Empty:
        url = ""
    if not url:
        process.kill()
        raise RuntimeError(f"The FHIR server did not start (exit status {process.wait(timeout=10)}).")
    return url


def _command(port: int) -> list[str]:
    return [shutil.which("node") or "node", str(FOLDER / "server.mjs"), "--port", str(port)]


def main() -> None:
    """Become the server: a signal to this process reaches it, and nothing is left behind."""
    parser = argparse.ArgumentParser(description="A FHIR R4 server in memory, for tests and the demo.")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    port = parser.parse_args().port
    try:
        ensure_installed()
    except NoFhirServer as error:
        sys.exit(str(error))
    command = _command(port)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()

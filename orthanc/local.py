"""A private Orthanc on this machine, with the configuration that ships, for the demo and the tests.

The program is Debian's. Nothing is installed, and no service is touched. HTTP is open to this machine only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from orthanc.client import OrthancClient
from pipeline.errors import PeerUnavailable, Rejected, Retryable

CONFIG = Path(__file__).parent / "config"
SCRIPT = Path(__file__).parent / "plugins" / "candela_route.py"
PLUGINS = Path("/usr/share/orthanc/plugins")
NEEDED = {
    "orthanc-python": "libOrthancPython.so",
    "orthanc-dicomweb": "libOrthancDicomWeb.so",
    "orthanc-gdcm": "libOrthancGdcm.so",
}
"""Debian package and the plugin that it brings."""
STARTS_WITHIN = 60.0
STOPS_WITHIN = 30.0


def program() -> str | None:
    """Path of the Orthanc program, or None; /usr/sbin is not on every user's PATH."""
    return shutil.which("Orthanc") or shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin")


def missing_packages() -> tuple[str, ...]:
    """The missing Debian packages that `LocalOrthanc` needs."""
    found = () if program() else ("orthanc",)
    return (*found, *(package for package, file in NEEDED.items() if not (PLUGINS / file).exists()))


@dataclass
class LocalOrthanc:
    """One Orthanc whose data are in ``folder``. A context manager; `stop` and `start` may follow each other.

    ``http_port`` and ``dicom_port`` must be free. ``candela_port`` and ``candela_ae`` are where stable series go;
    ``stable_age`` in seconds. ``plugins`` False leaves out DICOMweb, GDCM and the routing. ``extra`` are further
    top-level settings of Orthanc, none of which may be in the shipped files; ``environment`` sets the variables that
    those files name. ``configuration`` is the folder of those files.
    """

    folder: Path
    http_port: int
    dicom_port: int
    candela_port: int
    candela_ae: str = "CANDELA"
    ae_title: str = "ORTHANC"
    stable_age: int = 1
    plugins: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    configuration: Path = CONFIG
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def log(self) -> Path:
        """Orthanc's log, which may name patients."""
        return self.folder / "orthanc.log"

    def client(self) -> OrthancClient:
        return OrthancClient(self.url)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start Orthanc and wait until it answers.

        Raises
        ------
        PeerUnavailable
            where packages are missing, or it does not answer within a minute; the error names its log.
        """
        lacking = missing_packages() if self.plugins else ()
        orthanc = program()
        if orthanc is None or lacking:
            raise PeerUnavailable(
                "Orthanc is not installed completely.", todo=f"apt-get install {' '.join(missing_packages())}"
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "db").mkdir(exist_ok=True)
        deadline = time.monotonic() + STARTS_WITHIN
        while True:
            with self.log.open("ab") as log:
                self.process = subprocess.Popen(  # noqa: S603 our own arguments
                    [orthanc, str(self._folder_to_read())],
                    env={**os.environ, **self._variables(), **self.environment},
                    cwd=self.folder,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
            if self._answers(deadline):
                return
            self.stop()
            # one that is still stopping holds the database and the ports for some seconds
            if time.monotonic() > deadline or not self._is_locked():
                raise PeerUnavailable("Orthanc does not start.", where=str(self.log), todo="Read the end of its log.")
            time.sleep(1)

    def stop(self) -> None:
        """Stop it in order (some seconds), or kill it where it does not stop."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(STOPS_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def kill(self) -> None:
        """Kill it at once, like a power cut."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self, deadline: float) -> bool:
        assert self.process is not None
        with self.client() as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    client.modalities()
                except Retryable:
                    time.sleep(0.1)
                except Rejected:  # it asks for a password, so it runs
                    return True
                else:
                    return True
        return False

    def _is_locked(self) -> bool:
        end = self.log.read_bytes()[-4000:]
        return b"locked" in end or b"already in use" in end

    def _variables(self) -> dict[str, str]:
        nothing = self.folder / "no-plugins"
        nothing.mkdir(exist_ok=True)
        return {
            "ORTHANC_STORAGE": str(self.folder / "db"),
            "ORTHANC_HTTP_PORT": str(self.http_port),
            "ORTHANC_DICOM_PORT": str(self.dicom_port),
            "ORTHANC_AET": self.ae_title,
            "ORTHANC_STABLE_AGE": str(self.stable_age),
            "ORTHANC_CANDELA_PORT": str(self.candela_port),
            "ORTHANC_CANDELA_AET": self.candela_ae,
            "ORTHANC_CANDELA_SCRIPT": str(SCRIPT),
            "ORTHANC_PLUGINS": str(PLUGINS if self.plugins else nothing),
            "PYTHONDONTWRITEBYTECODE": "1",  # the script's folder may belong to someone else
        }

    def _folder_to_read(self) -> Path:
        """The configuration, or a copy with ``extra`` beside it: Orthanc takes one folder."""
        if not self.extra:
            return self.configuration
        copy = self.folder / "config"
        shutil.copytree(self.configuration, copy, dirs_exist_ok=True)
        (copy / "extra.json").write_text(json.dumps(dict(self.extra)))
        return copy

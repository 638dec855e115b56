"""Series that people upload to be read: kept apart from the store, delivered to nobody, removed after a while.

A program of its own reads each (`dicom_node.inference.aside`), one at a time: this process loads no model. Each
analysis is a folder with ``analysis.json``, ``series/`` until it is read, and ``results/``.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

import structlog

from dicom_node.settings.tree import Settings
from dicom_node.store.disk import Disk
from dicom_node.store.durable import write_durably
from dicom_node.web.api.problems import Problem

log = structlog.get_logger("candela.web")

STATE: Final = "analysis.json"
SERIES: Final = "series"
RESULTS: Final = "results"
UPLOAD: Final = "upload"
LOCK: Final = "lock"
ID: Final = re.compile(r"[A-Za-z0-9_-]{22}")
WAITING_MOST: Final = 8
"""Uploads that wait for their turn or are being uploaded."""
SWEEP_EVERY: Final = 60.0


class AnalysisState(StrEnum):
    """Where an analysis is."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


ACTIVE: Final = frozenset({AnalysisState.QUEUED, AnalysisState.RUNNING})


@dataclass(frozen=True)
class Analysis:
    """One uploaded series. ``by`` is the account or token, times in seconds since the epoch, ``stage`` what the
    reading does now, ``files`` the DICOM files of the upload. ``code`` and ``text`` say why it was refused or failed.
    """

    analysis_id: str
    by: str
    at: float
    files: int
    model: str | None = None
    state: AnalysisState = AnalysisState.QUEUED
    stage: str = ""
    code: str = ""
    text: str = ""
    ended: float | None = None


Command = Callable[[Path, Path, str | None], list[str]]


class Analyses:
    """The uploads of one installation. Threads share it. ``config`` is the settings file of this process."""

    def __init__(
        self,
        settings: Settings,
        config: Path | None = None,
        *,
        command: Command | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._web, self._clock = settings.uploads_dir, settings.web, clock
        self._disk = Disk(settings.data_dir, settings.retention)
        self._limit = settings.jobs.reading_timeout
        self._config = config
        self._command = command or self._aside
        self._changed = threading.Condition()
        self._waiting: deque[str] = deque()
        self._taking = 0
        self._locks: dict[str, IO[bytes]] = {}
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Begin to read what is uploaded, and to remove what is old, in a thread of this process."""
        threading.Thread(target=self._run, name="analyses", daemon=True).start()

    @contextlib.contextmanager
    def place(self) -> Iterator[Path]:
        """A new folder for an upload, which is removed unless `begin` has taken it over.

        Raises
        ------
        Problem
            503 where too many wait, or the disk is full.
        """
        with self._changed:
            if len(self._waiting) + self._taking >= WAITING_MOST:
                raise Problem(503, "Too many uploads wait.", code="BUSY", headers={"Retry-After": "60"})
            if not self._disk.has_room:
                raise Problem(503, "The node's disk is full.", code="OUT_OF_RESOURCES")
            self._taking += 1
        folder = self._folder / secrets.token_urlsafe(16)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700)
            self._locks[folder.name] = _locked(folder)
            yield folder
        finally:
            with self._changed:
                self._taking -= 1
            if not (folder / STATE).is_file():
                self._remove(folder)

    def begin(self, folder: Path, by: str, files: int, model: str | None) -> Analysis:
        """Queue the series in ``folder``, a `place`."""
        made = Analysis(folder.name, by, self._clock(), files, model)
        self._write(made)
        with self._changed:
            self._waiting.append(made.analysis_id)
            self._changed.notify()
        return made

    def all(self) -> tuple[Analysis, ...]:
        """Every analysis, the newest first."""
        found = (self.find(path.parent.name) for path in self._folder.glob(f"*/{STATE}"))
        return tuple(sorted((item for item in found if item), key=lambda item: -item.at))

    def find(self, analysis_id: str) -> Analysis | None:
        """An analysis; None where there is none, or no longer."""
        if not ID.fullmatch(analysis_id):
            return None
        try:
            content = json.loads((self._folder / analysis_id / STATE).read_text())
        except (OSError, ValueError):
            return None
        return Analysis(**{**content, "state": AnalysisState(content["state"])})

    def results(self, analysis_id: str) -> Path:
        """The folder of the results."""
        return self._folder / analysis_id / RESULTS

    def ahead(self, analysis_id: str) -> int:
        """How many analyses of this process wait before this one."""
        with self._changed:
            return self._waiting.index(analysis_id) if analysis_id in self._waiting else 0

    def expires(self, item: Analysis) -> float:
        """When the answer is removed, in seconds since the epoch."""
        return (item.ended or item.at) + self._web.upload_kept

    def remove(self, analysis_id: str) -> None:
        """Remove an analysis with all its files; a running one is ended."""
        with self._changed:
            if analysis_id in self._waiting:
                self._waiting.remove(analysis_id)
            child = self._children.get(analysis_id)
            (self._folder / analysis_id / STATE).unlink(missing_ok=True)  # what ends is not written any more
        if child is not None:
            child.kill()
        else:
            self._remove(self._folder / analysis_id)

    def sweep(self) -> None:
        """Remove what is old, and end what another process left."""
        for folder in self._folder.glob("*"):
            item = self.find(folder.name)
            if folder.name in self._locks:
                continue
            if item is None or (item.state not in ACTIVE and self.expires(item) < self._clock()):
                if item is not None or time.time() - folder.stat().st_mtime > self._web.upload_kept:
                    self._remove(folder)
            elif item.state in ACTIVE:
                self._interrupted(folder, item)

    def step(self) -> bool:
        """Read the next series that waits; False where none does."""
        with self._changed:
            if not self._waiting:
                return False
            item = self.find(self._waiting.popleft())
        if item is not None:
            self._read(item)
        return True

    def _run(self) -> None:
        swept = -SWEEP_EVERY
        while True:
            try:
                if time.monotonic() - swept >= SWEEP_EVERY:
                    swept = time.monotonic()
                    self.sweep()
                if not self.step():
                    with self._changed:
                        self._changed.wait_for(lambda: bool(self._waiting), SWEEP_EVERY)
            except OSError as error:
                log.error("analysis_failed", error=type(error).__name__)  # noqa: TRY400  (a path may be in the message)
                time.sleep(1)

    def _read(self, item: Analysis) -> None:
        """Read one series, whatever comes of it."""
        folder = self._folder / item.analysis_id
        item = replace(item, state=AnalysisState.RUNNING)
        self._write(item)
        command = self._command(folder / SERIES, folder / RESULTS, item.model)
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)  # noqa: S603  (our own program)
        with self._changed:
            self._children[item.analysis_id] = child
        timer = threading.Timer(self._limit, child.kill)
        timer.daemon = True
        timer.start()
        last: dict[str, Any] = {}
        try:
            assert child.stdout is not None, "asked for"
            for said in _said(child.stdout):
                last = said
                if "stage" in said:
                    item = replace(item, stage=str(said["stage"]))
                    self._write(item)
            child.wait()
        finally:
            timer.cancel()
            child.kill()
            with self._changed:
                del self._children[item.analysis_id]
            shutil.rmtree(folder / SERIES, ignore_errors=True)
            self._write(replace(item, stage="", ended=self._clock(), **_end(last, folder)))
            if self.find(item.analysis_id) is None:
                self._remove(folder)
            elif (lock := self._locks.pop(item.analysis_id, None)) is not None:
                lock.close()
        log.info("analysis_ended", status=child.returncode, code=last.get("code") or last.get("failed"))

    def _aside(self, series: Path, results: Path, model: str | None) -> list[str]:
        options = [*(("--config", str(self._config)) if self._config else ()), *(("--model", model) if model else ())]
        program = [sys.executable, "-m", "dicom_node.inference.aside", str(series), str(results)]
        return [*program, "--parent", str(os.getpid()), *options]

    def _interrupted(self, folder: Path, item: Analysis) -> None:
        try:
            lock = _locked(folder)
        except BlockingIOError:
            return  # another dashboard on the same data reads it
        text = "The dashboard stopped before the series was read. Upload it again."
        with lock:
            shutil.rmtree(folder / SERIES, ignore_errors=True)
            ended = self._clock()
            self._put(replace(item, state=AnalysisState.FAILED, ended=ended, code="INTERRUPTED", text=text))

    def _write(self, item: Analysis) -> None:
        """Write the state, unless the analysis was removed meanwhile."""
        with self._changed:
            if item.state is AnalysisState.QUEUED or (self._folder / item.analysis_id / STATE).is_file():
                self._put(item)

    def _put(self, item: Analysis) -> None:
        write_durably(self._folder / item.analysis_id / STATE, json.dumps(asdict(item)).encode())

    def _remove(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        if (lock := self._locks.pop(folder.name, None)) is not None:
            lock.close()


def _end(last: dict[str, Any], folder: Path) -> dict[str, Any]:
    """State, code and text by the last line of the program. Its texts name files by their place below ``folder``."""
    if "outcome" in last:
        try:
            summary = json.loads((folder / RESULTS / "summary.json").read_text())
        except (OSError, ValueError):
            summary = {}
        if summary.get("outcome") == "refused":
            reason = str(summary["reason"]).replace(f"{folder}{os.sep}", "")
            return {"state": AnalysisState.REFUSED, "code": summary["code"], "text": reason}
        if summary:
            return {"state": AnalysisState.DONE}
    code, text = last.get("failed"), str(last.get("text", "")).replace(f"{folder}{os.sep}", "")
    todo = "The reading ended without an answer. The node's log says more."
    return {"state": AnalysisState.FAILED, "code": code or "BROKEN", "text": text or todo}


def _said(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON objects among the lines; libraries print as well."""
    for line in stream:
        with contextlib.suppress(ValueError):
            found = json.loads(line)
            if isinstance(found, dict):
                yield found


def _locked(folder: Path) -> IO[bytes]:
    """The lock of whoever reads the series in ``folder``. Raises BlockingIOError where another process has it."""
    file = (folder / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        file.close()
        raise
    return file

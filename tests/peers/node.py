"""`candela serve` in another process, as an administrator runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from pydicom.dataset import Dataset

from dicom_node.deliver.dimse import DimseSender
from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.tree import Settings, load
from pipeline import phantom
from tests.conftest import ROOT
from tests.peers import gossip
from tests.peers.ports import free_port
from tests.peers.settings_text import address, tables

OVER = frozenset({JobState.DONE, JobState.DEAD, JobState.CANCELLED, JobState.SUPERSEDED})

QUICK = "negative_hold = 1\nnegative_hold_counted = 1"


class Node:
    """One installation in ``folder``; `start`, `kill` and `stop` may follow each other.

    ``destinations`` are tables by name (see `settings_text.tables`), ``peers`` is the text of further peers' tables,
    ``allow`` names those that may send besides MODALITY, ``completion`` are lines of that table that say how long
    negative answers are held, ``web`` are lines of [web]. Every MR series goes to the brain model and all destinations.
    """

    def __init__(
        self,
        folder: Path,
        destinations: Mapping[str, str | Mapping[str, Any]],
        *,
        port: int | None = None,
        peers: str = "",
        allow: Sequence[str] = (),
        completion: str = QUICK,
        web: str = "",
        delivery_tries: int = 60,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "node.log"
        self.config = folder / "candela.toml"
        folder.mkdir(parents=True, exist_ok=True)
        gossip.listen(folder)
        self.config.write_text(f"""
data_dir = "{folder / "data"}"
[receive]
port = {self.port}
allow = {json.dumps(["modality", *allow])}
[peers.modality]
ae_title = "MODALITY"
{peers}
[completion]
quiet_after_release = 0.5
quiet_time = 5
plausible_part = 1
{completion}
[jobs]
backoff_first = 0.5
backoff_most = 1.0
tries = 60
delivery_tries = {delivery_tries}
circuit_first = 1.0
circuit_most = 2.0
poll_interval = 0.25
dead_worker_grace = 2
[web]
{web}
{tables("destinations", destinations)}
[[rules]]
name = "brain MRI"
when = {{modality = ["MR"]}}
model = "brain_mri_tumor"
destinations = {json.dumps(list(destinations))}
""")
        self.settings: Settings = load(self.config)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: JobsClient | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start `candela serve` and wait until it answers C-ECHO."""
        engine.prepare(self.settings)
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "dicom_node.cli", "serve", "--config", str(self.config)]
            environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder, env=environment)
        self.until(self._echoes, "candela serve answers C-ECHO", seconds=240)

    def kill(self) -> None:
        """kill -9 of the supervisor: its children die with it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int:
        """SIGTERM; the exit status."""
        if self._client is not None:
            self._client.close()
            self._client = None
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        self._process = None
        return status

    def send(self, datasets: Iterable[Dataset], *, calling: str = "MODALITY") -> str:
        """C-STORE ``datasets`` to the node; the receipt."""
        files = tuple(phantom.save(datasets, self.folder / "outgoing" / f"{time.monotonic_ns()}"))
        target = DicomDestination(kind="dicom", peer=DicomPeer(ae_title="CANDELA", host="127.0.0.1", port=self.port))
        return DimseSender(target, calling).send(files)

    def jobs(self) -> tuple[JobDetail, ...]:
        if self._client is None:
            self._client = JobsClient(self.settings)
        return self._client.list(limit=1000)

    def wait_for_jobs(self, count: int, *, seconds: float = 120) -> tuple[JobDetail, ...]:
        """The jobs, once ``count`` of them have ended."""
        self.until(lambda: sum(job.state in OVER for job in self.jobs()) >= count, f"{count} jobs end", seconds=seconds)
        return self.jobs()

    def until(self, holds: Callable[[], bool], what: str, *, seconds: float = 60) -> None:
        """Wait until ``holds()``; an assertion with the node's log where it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert self._process is None or self._process.poll() is None, f"the node ended:\n{self.tail()}"
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{self.tail()}\n{self._states()}"
            time.sleep(0.2)

    def candela(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line with this installation's settings."""
        command = [sys.executable, "-m", "dicom_node.cli", *arguments, "--config", str(self.config)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )

    def tail(self) -> str:
        return self.log.read_text()[-3000:] if self.log.exists() else ""

    def summary(self, job: JobDetail) -> dict[str, Any]:
        assert job.result is not None
        assert job.result.summary is not None
        content: dict[str, Any] = json.loads(Path(job.result.summary).read_text())
        return content

    def _echoes(self) -> bool:
        from pynetdicom.sop_class import Verification

        from dicom_node.network.requestor import Requestor

        ae = Requestor("MODALITY")
        ae.add_requested_context(Verification)
        ae.connection_timeout = 1
        assoc = ae.associate("127.0.0.1", self.port, ae_title="CANDELA")
        if assoc.is_established:
            assoc.release()
            return True
        return False

    def _states(self) -> str:
        return "\n".join(
            f"{job.job.job_id} {job.state} {[(d.result, d.destination, str(d.state)) for d in job.deliveries]}"
            for job in self.jobs()
        )


def dicom_destination(port: int) -> dict[str, Any]:
    """The table of a PACS on this machine."""
    return {"kind": "dicom", "peer": address(port)}


def fhir_destination(url: str) -> str:
    """The TOML table of a FHIR server."""
    return f'kind = "fhir"\nurl = "{url}"'

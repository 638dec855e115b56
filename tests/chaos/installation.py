"""`candela serve` with everything around it, and every way in which it may be hurt."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

import httpx
from pynetdicom.sop_class import Verification

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.network.requestor import Requestor
from dicom_node.settings.tree import load
from pipeline.errors import CandelaError
from tests.peers import gossip
from tests.peers.fhir_server import FhirServer
from tests.peers.http import HttpPeer
from tests.peers.pacs import Pacs
from tests.peers.ports import free_port
from tests.peers.postgres import PostgresServer
from tests.peers.proxy import FaultProxy
from tests.peers.settings_text import address, tables, toml_value
from tests.peers.tiny_bundle import bright_spots

ROOT: Final = Path(__file__).parents[2]
OVER: Final = (JobState.DONE, JobState.DEAD, JobState.CANCELLED, JobState.DISCARDED, JobState.SUPERSEDED)
ROLES: Final = ("receiver", "infer", "deliver")


class Installation:
    """A node on SQLite or PostgreSQL, its PACS, FHIR server and folder, each behind a proxy that can harm.

    Senders connect to ``to_node``. ``data`` is the node's data folder. ``extra`` are further destinations, ``peers``
    who may call besides the senders; ``wallclock`` is the library that lets the node's clock jump.
    """

    def __init__(
        self,
        folder: Path,
        *,
        postgres: PostgresServer | None,
        fhir: FhirServer | HttpPeer | None,
        wallclock: Path | None = None,
        seed: int = 0,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
        peers: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        gossip.listen(folder)
        self.data = folder / "data"
        self.archive = folder / "archive"
        self.archive.mkdir(parents=True, exist_ok=True)
        self.data.mkdir(parents=True, exist_ok=True)
        self.postgres = postgres
        self.fhir = fhir
        self.pacs = Pacs()
        self._wallclock = wallclock
        self._clock = folder / "clock"
        self.clock_jumps(0)
        self.port, self.metrics_port = free_port(), free_port()
        self.to_node = FaultProxy(self.port, seed=seed)
        self.to_pacs = FaultProxy(self.pacs.port, seed=seed + 1)
        self.to_fhir = FaultProxy(httpx.URL(fhir.url).port or 80, seed=seed + 2) if fhir else None
        self.config = folder / "candela.toml"
        self._database_url = postgres.new_database() if postgres else None
        bright_spots(folder / "models")
        self._write_config(extra or {}, peers)
        self.settings = load(self.config)
        self._process: subprocess.Popen[bytes] | None = None
        self.second: subprocess.Popen[bytes] | None = None
        self._log = (folder / "node.log").open("ab")

    def _write_config(self, extra: Mapping[str, Mapping[str, Any]], peers: Sequence[str]) -> None:
        destinations: dict[str, dict[str, Any]] = {
            "pacs": {"kind": "dicom", "peer": address(self.to_pacs.port), "timeout": 8.0},
            "archive": {"kind": "folder", "path": str(self.archive)},
        }
        if self.fhir and self.to_fhir:
            path = httpx.URL(self.fhir.url).path
            url = f"http://127.0.0.1:{self.to_fhir.port}{path}"
            destinations["ehr"] = {"kind": "fhir", "url": url, "timeout": 8.0}
        destinations |= {name: dict(table) for name, table in extra.items()}
        jobs: dict[str, Any] = {
            "tries": 60, "delivery_tries": 100, "backoff_first": 0.3, "backoff_most": 2.0, "circuit_first": 1.0,
            "circuit_most": 2.0, "poll_interval": 0.2, "dead_worker_grace": 2.0, "reading_timeout": 900.0,
        }  # fmt: skip
        if self._database_url:
            jobs["database_url"] = self._database_url
        groups = {
            "receive": {"port": self.port, "network_timeout": 8.0, "allow": ["MODALITY", *peers]},
            "metrics": {"port": self.metrics_port},
            "completion": {
                "quiet_after_release": 0.5,
                "quiet_time": 6.0,
                "plausible_part": 1,
                "quiet_most": 6.0,
                "negative_hold": 1.0,
            },
            "models": {"folders": [str(self.folder / "models")]},
            "jobs": jobs,
        }
        lines = [f"data_dir = {json.dumps(str(self.data))}"]
        for name, table in groups.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {toml_value(value)}" for key, value in table.items()]
        lines.append(tables("destinations", destinations))
        for name in ("MODALITY", *peers):
            lines += [f"[peers.{name}]", f"ae_title = {json.dumps(name)}"]
        lines += ["[[rules]]", 'name = "all MR"']
        lines += ['when = {modality = ["MR"]}', 'model = "bright_spots"']
        lines.append(f"destinations = {json.dumps(list(destinations))}")
        self.config.write_text("\n".join(lines) + "\n")

    def __enter__(self) -> Self:
        self.pacs.start()
        for proxy in (self.to_node, self.to_pacs, self.to_fhir):
            if proxy:
                proxy.__enter__()
        self.start()
        try:
            self.until(self.echoes, 900, "the node answers C-ECHO")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.second and self.second.poll() is None:
            self.second.kill()
            self.second.wait()
        self.kill_everything()
        for proxy in (self.to_node, self.to_pacs, self.to_fhir):
            if proxy:
                proxy.__exit__()
        self.pacs.stop()
        self._log.close()

    @property
    def backend(self) -> str:
        return "PostgreSQL" if self.postgres else "SQLite"

    def start(self) -> None:
        """Start `candela serve`, as systemd would after a crash; returns at once."""
        self._process = self._candela("serve")

    def start_second(self) -> None:
        """A second worker of all queues on the same database, as on another machine."""
        self.second = self._candela("worker", "--queues", "infer,deliver")

    def _candela(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        if self._wallclock:
            environment |= {"LD_PRELOAD": str(self._wallclock), "CHAOS_WALLCLOCK": str(self._clock)}
        command = [sys.executable, "-m", "dicom_node.cli", *arguments, "--config", str(self.config)]
        return subprocess.Popen(command, stdout=self._log, stderr=self._log, cwd=self.folder, env=environment)

    # --- what is done to it -------------------------------------------------------------------------------------

    def kill_role(self, role: str) -> bool:
        """kill -9 of one child of the supervisor; False where it is not there just now."""
        pid = self._children().get(role)
        if pid is None:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return True

    def kill_supervisor(self) -> None:
        """kill -9 of `candela serve`: the kernel ends its children. It is started again."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self.start()

    def kill_everything(self) -> None:
        """kill -9 of the children and of the supervisor, in this order, as fast as can be."""
        if self._process is None:
            return
        for pid in self._children().values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.kill()
        self._process.wait()

    def restart_postgres(self) -> None:
        """Stop PostgreSQL at once, and start it again."""
        assert self.postgres is not None
        self.postgres.stop()
        self.postgres.start()

    def clock_jumps(self, seconds: int) -> None:
        """Set the wall clock of the node's processes off by so much, from now on."""
        self._clock.write_text(f"{seconds:+d}\n")

    def _children(self) -> dict[str, int]:
        assert self._process is not None
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError, IndexError):
                if int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1]) != self._process.pid:
                    continue
                words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
                role = next((name for name in ROLES if name in words), None)
                if role:
                    found[role] = int(entry.name)
        return found

    # --- what is seen of it -------------------------------------------------------------------------------------

    def jobs(self) -> tuple[JobDetail, ...]:
        with JobsClient(self.settings) as client:
            return client.list(limit=100_000)

    def metrics(self) -> str:
        """What Prometheus would get."""
        return httpx.get(f"http://127.0.0.1:{self.metrics_port}/metrics", trust_env=False).text

    def waiting_for(self, destination: str) -> int:
        """How many results wait for a destination."""
        with JobsClient(self.settings) as client:
            return next(row.waiting for row in client.destinations() if row.name == destination)

    def retry_dead(self) -> int:
        """What an operator does in the end: retry the dead letters; how many there were."""
        with JobsClient(self.settings) as client:
            dead = client.list(limit=100_000, state=JobState.DEAD)
            for job in dead:
                client.retry(job.job.job_id)
        return len(dead)

    def drained(self, series: set[str]) -> bool:
        """Whether each of ``series`` has a job and every job has ended."""
        try:
            jobs = self.jobs()
        except CandelaError:
            return False
        return series <= {job.job.series_instance_uid for job in jobs} and all(job.state in OVER for job in jobs)

    def reports(self) -> Counter[str] | None:
        """How often each DiagnosticReport identifier is at the FHIR server."""
        if not isinstance(self.fhir, FhirServer):
            return None
        found: Counter[str] = Counter()
        for offset in range(0, 1 << 20, 200):
            page = self.fhir.get("DiagnosticReport", _count="200", _offset=str(offset))
            entries = page.get("entry", [])
            found.update(entry["resource"]["identifier"][0]["value"] for entry in entries)
            if len(entries) < 200:
                return found
        raise AssertionError("too many reports")

    def echoes(self) -> bool:
        ae = Requestor("MODALITY")
        ae.add_requested_context(Verification)
        ae.connection_timeout = 1
        assoc = ae.associate("127.0.0.1", self.port, ae_title="CANDELA")
        if not assoc.is_established:
            return False
        assoc.release()
        return True

    def drained_of(self, series: set[str], patience: float) -> None:
        """Wait until each of ``series`` has a job and every job has ended; it may take as long as something goes on."""
        self.until(
            lambda: self.drained(series),
            patience,
            "the node has done everything",
            lambda: sum(self.pacs.stored.values()),
        )

    def until(
        self, holds: Callable[[], bool], seconds: float, what: str, progress: Callable[[], object] = lambda: None
    ) -> None:
        """Wait until ``holds()``, for ``seconds`` after ``progress()`` last changed."""
        deadline, before = time.monotonic() + seconds, progress()
        while not holds():
            if (now := progress()) != before:
                deadline, before = time.monotonic() + seconds, now
            if time.monotonic() > deadline:
                tail = (self.folder / "node.log").read_text(errors="replace")[-4000:]
                raise AssertionError(f"not within {seconds:.0f} s: {what}\n{tail}")
            time.sleep(0.5)

    def at_work(self) -> bool:
        """Whether every process of the node that was started last is ready, by its log."""
        lines = (self.folder / "node.log").read_text(errors="replace").splitlines()
        ready: dict[str, bool] = {}
        for line in lines:
            for role in ROLES:
                if line.startswith(f"role={role} ") and "event=role_started" in line:
                    ready[role] = False
                elif line.startswith(f"queues={role} ") and "event=worker_started" in line:
                    ready[role] = True
            if "event=listening" in line:
                ready["receiver"] = True
        return len(ready) == len(ROLES) and all(ready.values())

    def prepare(self) -> None:
        engine.prepare(self.settings)

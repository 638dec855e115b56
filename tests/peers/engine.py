"""A node's durable half for tests: settings, a client, and real worker processes that can be killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.status import JobDetail, JobState
from dicom_node.settings import tree as node_settings
from pipeline.findings.identity import derived_uid, job_id
from tests.peers import engine_worker, gossip
from tests.peers.pacs import Pacs
from tests.peers.settings_text import address, tables, toml_value

ROOT = Path(__file__).parents[2]

FORKING = multiprocessing.get_context("forkserver")
"""Workers are forks of a process that has imported what they need: two seconds of processor time less each."""
FORKING.set_forkserver_preload(["tests.peers.engine_worker"])

both_databases = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
"""For a test of what the two databases do in different ways: others have PostgreSQL in scripts/nightly alone."""


class Worker:
    """A worker process of its own, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, config: Path, queues: str, log: Path) -> None:
        self._process = FORKING.Process(target=engine_worker.forked, args=(str(config), queues, str(log)))
        self._process.start()

    def send_signal(self, number: signal.Signals) -> None:
        if self._process.is_alive() and self._process.pid is not None:
            os.kill(self._process.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def poll(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        self._process.join(seconds)
        status = self.poll()
        assert status is not None, f"the worker did not end within {seconds} s"
        return status


class Node:
    """``destinations`` are tables of candela.toml, ``completion`` is another; ``jobs`` overrides its [jobs]."""

    def __init__(
        self,
        folder: Path,
        database_url: str | None = None,
        destinations: dict[str, dict[str, Any]] | None = None,
        *,
        completion: dict[str, Any] | None = None,
        **jobs: Any,
    ) -> None:
        self.folder = folder
        self._completion = completion or {}
        gossip.listen(folder)
        self.config = folder / "candela.toml"
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._database_url = database_url
        self._jobs = {"tries": 4, "backoff_first": 0.2, "poll_interval": 0.1, "dead_worker_grace": 2.0, **jobs}
        self._jobs = {"delivery_tries": self._jobs["tries"], "circuit_first": 1.0, "circuit_most": 2.0, **self._jobs}
        self.workers: list[Worker] = []
        self.configure(destinations or {"archive": {"kind": "folder", "path": str(folder / "archive")}})
        engine.prepare(self.settings)
        self.client = JobsClient(self.settings)

    def configure(self, destinations: dict[str, dict[str, Any]]) -> None:
        """(Re)write candela.toml; workers read it when they start."""
        jobs = {**self._jobs, **({"database_url": self._database_url} if self._database_url else {})}
        lines = [f"data_dir = {toml_value(str(self.data_dir))}", "[jobs]"]
        lines += [f"{key} = {toml_value(value)}" for key, value in jobs.items()]
        lines.append("[completion]")
        lines += [f"{key} = {toml_value(value)}" for key, value in self._completion.items()]
        lines.append(tables("destinations", destinations))
        self.config.write_text("\n".join(lines) + "\n")
        self.settings = node_settings.load(self.config)

    def job(self, name: str = "1", rule: str = "plain", priority: str = "routine", **changes: Any) -> SeriesJob:
        """A job that the scripted reader handles by ``rule``."""
        series = derived_uid("test series", name)
        values: dict[str, Any] = {
            "job_id": job_id(series, [derived_uid(name, "instance")], "0" * 64),
            "series_instance_uid": series,
            "study_instance_uid": derived_uid("test study", name),
            "revision": 1,
            "manifest": "manifest.json",
            "instances": 1,
            "calling_ae": "SCANNER",
            "completion": "released",
            "completed_at": "2026-11-21T08:00:00+00:00",
            "rule": rule,
            "model": "brain_mri_tumor",
            "destinations": tuple(self.settings.destinations),
            "priority": priority,
        }
        return SeriesJob(**{**values, **changes})

    def start(self, queues: str = "infer,deliver") -> Worker:
        """A worker process, its log in ``workers.log``."""
        self.workers.append(Worker(self.config, queues, self.folder / "workers.log"))
        return self.workers[-1]

    def close(self) -> None:
        self.client.close()
        for worker in self.workers:
            if worker.poll() is None:
                worker.send_signal(signal.SIGKILL)
            worker.wait()

    @property
    def log(self) -> str:
        """What the workers wrote."""
        path = self.folder / "workers.log"
        return path.read_text() if path.exists() else ""

    @property
    def effects(self) -> list[tuple[str, str]]:
        """(begin or end, job id) of each reading, in order."""
        path = self.data_dir / "effects"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(what, name) for what, name, _ in (line.split() for line in lines)]

    def count(self, what: str) -> Counter[str]:
        """How often each job's reading began or ended."""
        return Counter(name for effect, name in self.effects if effect == what)

    def wait(self, until: Callable[[], Any], seconds: float = 120) -> None:
        """Wait until ``until`` is true; fails with the workers' log."""
        deadline = time.monotonic() + seconds
        while not until():
            if time.monotonic() > deadline:
                raise AssertionError(f"did not happen within {seconds} s; the workers say:\n{self.log}")
            time.sleep(0.05)

    def wait_for(self, job: SeriesJob, state: JobState, seconds: float = 120) -> JobDetail:
        """Wait until ``job`` is in ``state``; its detail."""
        try:
            self.wait(lambda: self.client.show(job.job_id).state is state, seconds)
        except AssertionError as error:
            raise AssertionError(f"{self.client.show(job.job_id)}\n{error}") from None
        return self.client.show(job.job_id)


MakeNode = Callable[..., Node]


def pacs_table(pacs: Pacs | int, **more: Any) -> dict[str, Any]:
    """A destination's settings: the PACS, or whatever listens on that port."""
    port = pacs if isinstance(pacs, int) else pacs.port
    return {"kind": "dicom", "peer": address(port), "timeout": 5.0, **more}

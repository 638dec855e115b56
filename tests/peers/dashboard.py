"""An installation for the dashboard: series in the store, jobs in the engine, and clients that are logged in.

No worker runs: a job's outcome and its deliveries are written as a worker's end would leave them.
"""

from __future__ import annotations

import asyncio
import io
import json
import sqlite3
import time
from collections.abc import Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

import pydicom
from fastapi import FastAPI
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian
from starlette.testclient import TestClient

from dicom_node.jobs import engine
from dicom_node.jobs.client import JobsClient
from dicom_node.jobs.delivery import DeliveryJob
from dicom_node.jobs.job import SeriesJob
from dicom_node.jobs.outcome import ResultRef, SeriesResult
from dicom_node.settings.tree import Settings, load
from dicom_node.settings.web import Role
from dicom_node.store.header import read_header
from dicom_node.store.instance_store import AETitles, Dispatched, InstanceStore
from dicom_node.store.manifest import manifest_text
from dicom_node.store.series_index import Arrival, SeriesIndex
from dicom_node.store.study_series import INDEX
from dicom_node.web.app import web_app
from dicom_node.web.auth.principal import Scope
from dicom_node.web.context import Context, open_context
from pipeline import phantom
from pipeline.findings.identity import instances_digest, job_id
from pipeline.findings.model import Outcome
from pipeline.routing.rules import Priority
from tests.peers import gossip
from tests.peers.settings_text import tables

Result = TypeVar("Result")

PASSWORD = "four plain words here"
DIGEST = "0" * 64
PNG = bytes.fromhex("89504e470d0a1a0a")


class Dashboard:
    """One installation in ``folder``. ``web`` are lines of the table [web], ``destinations`` tables by name."""

    def __init__(self, folder: Path, web: str = "", destinations: dict[str, Any] | None = None) -> None:
        self.folder = folder
        gossip.listen(folder)
        config = folder / "candela.toml"
        folder.mkdir(parents=True, exist_ok=True)
        archive = {"archive": {"kind": "folder", "path": str(folder / "archive")}}
        config.write_text(f"""
data_dir = "{folder / "data"}"
[web]
{web}
{tables("destinations", archive if destinations is None else destinations)}
[[rules]]
name = "brain MRI"
when = {{modality = ["MR"]}}
model = "brain_mri_tumor"
""")
        self.config = config
        self.settings: Settings = load(config)
        self.settings.data_dir.mkdir(parents=True)
        engine.prepare(self.settings)
        self.jobs = JobsClient(self.settings)
        self.store = InstanceStore(self.settings.store_dir, time.time)
        self.index = SeriesIndex(self.settings.data_dir / INDEX)
        self.context: Context = open_context(self.settings, self.jobs)
        self.app: FastAPI = web_app(self.context)

    def close(self) -> None:
        self.store.close()
        self.index.close()
        self.jobs.close()

    def client(self, role: Role | None = None, *, token: tuple[Scope, ...] | None = None) -> TestClient:
        """A client with a login of ``role``, an API token, or nothing; it follows no redirect."""
        headers = {}
        if token is not None:
            name = "-".join(token) or "none"
            known = {item.name for item in self.context.accounts.tokens()}
            if name in known:
                self.context.accounts.revoke_token(name)
            headers["Authorization"] = f"Bearer {self.context.accounts.make_token(name, token, None)}"
        client = TestClient(self.app, "http://localhost", headers=headers, follow_redirects=False)
        if role is not None:
            if self.context.accounts.account(role) is None:
                self.context.accounts.add(role, PASSWORD, role)
            account = self.context.accounts.account(role)
            assert account is not None
            session = self.context.sessions.begin(account.name, account.stamp)
            client.cookies.set("candela", session)
            found = self.context.sessions.find(session)
            assert found is not None
            client.headers["X-CSRF-Token"] = found.csrf
        return client

    def receive(self, datasets: Iterable[Dataset], *, complete: bool = True) -> tuple[Dataset, ...]:
        """Put the instances into store and index, as the receiver does."""
        kept = tuple(datasets)
        arrivals = []
        for ds in kept:
            encoded = _encoded(ds)
            header = read_header(encoded, ExplicitVRLittleEndian)
            stored = self.store.put(encoded, header, ExplicitVRLittleEndian, AETitles("MODALITY", "CANDELA"))
            arrivals.append(Arrival(stored, own=False))
        self.index.add(arrivals)
        if complete:
            digest = instances_digest(ds.SOPInstanceUID for ds in kept)
            dispatched = Dispatched(1, digest, "quiet for 1.0 s", "2026-11-30T08:00:00+00:00")
            self.index.set_dispatched(str(kept[0].SeriesInstanceUID), dispatched)
        return kept

    def series(self, key: str, *, complete: bool = True, modality: str = "MR", **header: str) -> tuple[Dataset, ...]:
        """A small series of a study of its own in the store."""
        made = phantom.head_phantom(slices=2, matrix=16, header=phantom.Header(key=key, **header))
        gossip.secret(*(value for value in header.values() if len(value) > 4))
        for ds in made:
            ds.Modality = modality
        return self.receive(made, complete=complete)

    def job(
        self, series: tuple[Dataset, ...], priority: Priority = "routine", model: str = "brain_mri_tumor", **more: Any
    ) -> SeriesJob:
        """A job for ``series``, queued."""
        uids = [str(ds.SOPInstanceUID) for ds in series]
        name = job_id(str(series[0].SeriesInstanceUID), uids, DIGEST)
        folder = self.settings.results_dir / name.replace(":", "_")
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_text(manifest_text(()))
        values: dict[str, Any] = {
            "job_id": name,
            "series_instance_uid": str(series[0].SeriesInstanceUID),
            "study_instance_uid": str(series[0].StudyInstanceUID),
            "revision": 1,
            "manifest": str(folder / "manifest.json"),
            "instances": len(series),
            "calling_ae": "MODALITY",
            "completion": "quiet for 1.0 s",
            "completed_at": "2026-11-30T08:00:00+00:00",
            "rule": "brain MRI",
            "model": model,
            "destinations": tuple(self.settings.destinations),
            "priority": priority,
        }
        job = SeriesJob(**{**values, **more})
        assert self.jobs.submit(job)
        return job

    def read(
        self,
        job: SeriesJob,
        outcome: Outcome = Outcome.FINDING,
        *,
        probability: float = 0.93,
        predicted: str = "glioma",
        caveat: str = "X",
    ) -> SeriesResult:
        """The end of a reading: summary, one object with its picture, and one delivery a destination, queued."""
        folder = Path(job.manifest).parent
        (folder / "previews").mkdir()
        (folder / "previews" / "overlay-1.png").write_bytes(PNG)
        (folder / "overlay-1.dcm").write_bytes(b"DICM")
        summary = {
            "outcome": str(outcome),
            "statement": f"The algorithm suggests glioma (model probability {probability}).",
            "predicted_class": predicted,
            "probabilities": {
                predicted: probability,
                "glioma" if predicted == "no_tumor" else "no_tumor": round(1 - probability, 4),
            },
            "regions": [],
            "caveats": [{"code": caveat, "values": {}, "text": "A note."}],
            "model": {"name": "brain_mri_tumor", "version": "1", "digest": DIGEST},
            "objects": [{"file": "overlay-1.dcm", "role": "overlay"}],
            "disclaimer": "Not for diagnosis.",
        }
        (folder / "summary.json").write_text(json.dumps(summary))
        overlay = ResultRef("overlay", "dicom", (str(folder / "overlay-1.dcm"),))
        result = SeriesResult(outcome, str(folder / "summary.json"), (overlay,))
        self._end(job.job_id, {"state": "done", "result": result.to_dict()})
        for destination in job.destinations:
            item = DeliveryJob(job, overlay, destination)
            options = engine.delivery_options(job, "overlay", destination, 1, self.settings.destinations)
            self.jobs._client.enqueue(options, item.to_dict(), 1, 3)
        return result

    def refuse(self, job: SeriesJob, code: str, reason: str) -> None:
        """The end of a reading that was refused."""
        result = SeriesResult(Outcome.REFUSED, refusal_code=code, refusal=reason)
        self._end(job.job_id, {"state": "done", "result": result.to_dict()})

    def delivered(self, job: SeriesJob, destination: str = "archive") -> None:
        """The delivery of a job's overlay succeeds."""
        self._end(engine.delivery_id(job.job_id, "overlay", destination, 1), {"state": "done", "receipt": "1 written"})

    def dead(self, job: SeriesJob, destination: str = "archive") -> None:
        """The delivery of a job's overlay fails for good."""
        data = {"code": "PEER_UNAVAILABLE", "text": "The PACS does not answer.", "again": False, "retry_after": None}
        error = {"name": "DeadLetter", "message": "", "code": 0, "data": {**data, "trace": "", "details": []}}
        self._set(engine.delivery_id(job.job_id, "overlay", destination, 1), "ERROR", "error", error)

    def _end(self, workflow: str, output: dict[str, Any]) -> None:
        self._set(workflow, "SUCCESS", "output", output)

    def _set(self, workflow: str, status: str, column: str, value: dict[str, Any]) -> None:
        now = round(time.time() * 1000)
        file = engine.sqlite_file(self.settings)
        assert file is not None
        with closing(sqlite3.connect(file, timeout=30)) as database, database:
            done = database.execute(
                f"update workflow_status set status = ?, {column} = ?, updated_at = ?, started_at_epoch_ms = ?"
                " where workflow_uuid = ?",
                (status, json.dumps(value), now, now, workflow),
            )
            assert done.rowcount == 1


def header_of(ds: Dataset) -> bytes:
    """A DICOM file of ``ds`` without pixels."""
    short = pydicom.dcmread(io.BytesIO(phantom_bytes(ds)), stop_before_pixels=True)
    return phantom_bytes(short)


def phantom_bytes(ds: Dataset) -> bytes:
    out = io.BytesIO()
    ds.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _encoded(ds: Dataset) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, False
    write_dataset(out, ds)
    return out.getvalue()


def completed(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """What ``coroutine`` returns, run in a thread of its own: a browser of another test keeps a loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()

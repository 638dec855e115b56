"""A DICOMweb destination in the node: the queue, retries and circuit of every other, and Orthanc as the PACS."""

from __future__ import annotations

import json
import signal
import threading
from collections import Counter, defaultdict
from pathlib import Path

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.deliver.dicomweb import DicomWebSender
from dicom_node.jobs.circuits import CircuitState
from dicom_node.jobs.status import DeliveryState, JobState
from dicom_node.settings.destinations import DicomWebDestination
from pipeline.findings.identity import derived_uid
from pipeline.results.build import build
from pipeline.results.profile import PRESETS
from tests.conformance.synthetic import phantom_context
from tests.peers.engine import MakeNode
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.orthanc import running_orthanc
from tests.peers.ports import free_port
from tests.peers.stow import datasets_of, files_of, response, takes_all


def test_orthanc_takes_results_and_still_has_them(tmp_path: Path) -> None:
    """The `archive` profile, RLE included, arrives as it is; what Orthanc has lost goes again, and nothing else."""
    results = tmp_path / "results"
    results.mkdir()
    files = []
    for item in build(phantom_context(slices=6, matrix=48), {"archive": PRESETS["archive"]}):
        files.append(results / item.filename)
        item.dataset.save_as(files[-1], enforce_file_format=True)
    with running_orthanc(tmp_path / "orthanc", candela_port=free_port()) as orthanc:
        to = DicomWebDestination(kind="dicomweb", url=f"{orthanc.url}/dicom-web")
        sender, count = DicomWebSender(to, tmp_path / "locks"), len(files)
        assert sender.send(tuple(files)) == f"{count} instances stored, 0x0000"
        assert sender.send(tuple(files)) == f"{count} sent earlier"
        with httpx.Client(base_url=orthanc.url, trust_env=False) as rest:
            held = {name: rest.get(f"/instances/{name}/file").content for name in rest.get("/instances").json()}
            got = {str(ds.SOPInstanceUID): ds for ds in (dcmread(DicomBytesIO(data)) for data in held.values())}
            assert len(got) == count
            for ds in map(dcmread, files):
                there = got[str(ds.SOPInstanceUID)]
                assert there.file_meta.TransferSyntaxUID == ds.file_meta.TransferSyntaxUID
                assert "PixelData" not in ds or np.array_equal(there.pixel_array, ds.pixel_array)
            rest.delete(f"/instances/{next(iter(held))}").raise_for_status()
        assert sender.send(tuple(files)) == f"1 instance stored, 0x0000; {count - 1} sent earlier"
        assert sum(orthanc.series().values()) == count


@pytest.mark.slow
def test_results_survive_a_kill_a_busy_server_and_a_refusal(make_node: MakeNode) -> None:
    """The worker is killed after the server stored an instance and before it knew; then the server is busy and fails.
    Each instance arrives, one of them twice with the same bytes. What the server refuses is a dead letter, which an
    operator retries.
    """
    busy = [Reply(503, None, {"Retry-After": "1"}), Reply(503), Reply(500)]
    held: dict[str, set[bytes]] = defaultdict(set)
    posts: Counter[str] = Counter()
    refused: set[str] = set()
    killed = threading.Event()

    def answer(asked: Asked) -> Reply:
        if asked.method == "GET":
            return Reply(404)
        (ds,), (file,) = datasets_of(asked), files_of(asked)
        name = str(ds.SOPInstanceUID)
        if name in refused:
            return response(409, failed={name: 0xA900})
        if killed.is_set() and busy:
            return busy.pop()
        held[name].add(file)
        posts[name] += 1
        if not killed.is_set():
            killed.set()
            node.workers[0].send_signal(signal.SIGKILL)
        return takes_all(asked)

    with HttpPeer(answer) as peer:
        url = f"{peer.url}/dicom-web"
        node = make_node({"web": {"kind": "dicomweb", "url": url}}, tries=9, circuit_failures=5, backoff_first=0.1)
        job = node.job()
        overlays = {derived_uid(job.job_id, name) for name in ("overlay-1", "overlay-2")}
        report = derived_uid(job.job_id, "report")
        refused.add(report)
        node.client.submit(job)
        node.start()
        node.wait(killed.is_set)
        node.workers[0].wait(10)
        node.start()
        expected = {"overlay": DeliveryState.DELIVERED, "report": DeliveryState.DEAD}
        node.wait(lambda: {row.result: row.state for row in node.client.show(job.job_id).deliveries} == expected)
        assert "0xA900" in str(node.client.show(job.job_id).deliveries)
        assert not busy
        assert sorted(posts.values()) == [1, 2]
        (row,) = node.client.destinations()
        assert (row.kind, row.circuit.state) == ("dicomweb", CircuitState.CLOSED)
        refused.clear()
        listed = CliRunner().invoke(app, ["destinations", "list", "--config", str(node.config)])
        assert "dicomweb" in listed.output
        retried = CliRunner().invoke(app, ["jobs", "retry", job.job_id, "--config", str(node.config)])
        assert retried.exit_code == 0, retried.output
        node.wait_for(job, JobState.DONE)
    assert set(held) == {*overlays, report}
    assert {len(files) for files in held.values()} == {1}
    lines = [json.loads(line) for path in (node.data_dir / "audit").iterdir() for line in path.read_text().splitlines()]
    parties = [line["destination"] for line in lines if line.get("destination", {}).get("name") == "web"]
    assert parties
    assert all(party["address"] == url for party in parties)


def test_the_settings_are_checked(tmp_path: Path) -> None:
    """`candela config check`: secrets, certificates and contradictions, before the first result is sent."""
    config = tmp_path / "candela.toml"

    def said(text: str) -> str:
        config.write_text(f'data_dir = "{tmp_path}"\n[destinations.web]\nkind = "dicomweb"\n{text}\n')
        found = CliRunner().invoke(app, ["config", "check", "--config", str(config)])
        return f"{found.exit_code} {found.output} {found.exception}"

    https = 'url = "https://pacs.example/dicom-web"\n'
    assert "settings are valid" in said(https + 'profile = "archive"')
    assert "there is no profile 'x'" in said(https + 'profile = "x"')
    assert "url" in said('url = "pacs.example"')
    assert "clear text" in said('url = "http://pacs.example"\nbearer_token = "x"')
    assert "secret cannot be read" in said(https + f'bearer_token_file = "{tmp_path}/none"')
    oauth2 = 'oauth2 = {token_url = "https://login.example/t", client_id = "a"'
    assert "client_secret or client_secret_file" in said(https + oauth2 + "}")
    assert "secret cannot be read" in said(https + oauth2 + f', client_secret_file = "{tmp_path}/none"}}')
    assert "give one of bearer_token and oauth2" in said(https + oauth2 + ', client_secret = "b"}\nbearer_token = "x"')
    assert "username and password go together" in said(https + 'username = "x"')
    assert "certificate" in said(https + f'tls = {{certificate = "{tmp_path}/none", key = "{tmp_path}/none"}}')
    assert "Authorization is set by the node" in said(https + 'headers = {Authorization = "x"}')

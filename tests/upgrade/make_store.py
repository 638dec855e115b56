"""Make what a node of the release that is checked out leaves behind when it is killed, as an archive for the tests.

``python -m tests.upgrade.make_store tests/upgrade/store-0.1.0.tar.xz``, in a checkout of that release, once per release
(0.1.0 had no such file: it was copied there). Three series: one was read, and its results wait for a PACS that does not
answer; one waits to be read; one is not complete.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from dicom_node.deliver.dimse import DimseSender
from dicom_node.jobs.client import JobsClient
from dicom_node.settings.destinations import DicomDestination
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.tree import load
from pipeline import phantom

PORT, NOWHERE = 11_912, 11_913
SERIES = ("read", "queued", "incomplete")
CONFIG = """
data_dir = "{data}"
[peers.modality]
ae_title = "MODALITY"
[peers.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = {nowhere}
[receive]
port = {port}
allow = ["modality"]
[completion]
quiet_after_release = {quiet}
quiet_time = {quiet}
[jobs]
backoff_first = 120
backoff_most = 120
[destinations.pacs]
kind = "dicom"
peer = "pacs"
[[rules]]
name = "brain MRI"
when = {{modality = ["MR"]}}
model = "brain_mri_tumor"
destinations = ["pacs"]
"""


def series(name: str) -> tuple[phantom.Dataset, ...]:
    """The phantom that the archive holds under ``name``."""
    return phantom.head_phantom(slices=6, matrix=64, header=phantom.Header(key=f"upgrade/{name}"))


def main(archive: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    config = folder / "candela.toml"

    def start(role: str, quiet: float) -> subprocess.Popen[bytes]:
        text = CONFIG.format(data=folder / "data", port=PORT, nowhere=NOWHERE, quiet=quiet)
        config.write_text(text)
        return subprocess.Popen([sys.executable, "-m", "dicom_node.cli", role, "--config", str(config)])

    def send(name: str) -> None:
        files = tuple(phantom.save(series(name), folder / name))
        target = DicomDestination(kind="dicom", peer=DicomPeer(ae_title="CANDELA", host="127.0.0.1", port=PORT))
        until(lambda: sent(DimseSender(target, "MODALITY"), files))

    def jobs() -> list:
        with JobsClient(load(config)) as client:
            return list(client.list())

    node = start("serve", 0.5)
    send("read")
    until(
        lambda: any(
            job.deliveries and all(item.receipt or item.tries.last_failure for item in job.deliveries) for job in jobs()
        )
    )
    node.kill()
    node.wait()
    time.sleep(3)  # its children end with it
    node = start("receiver", 0.5)
    send("queued")
    until(lambda: len(jobs()) == 2)
    node.kill()
    node.wait()
    node = start("receiver", 3600)
    send("incomplete")
    node.kill()
    node.wait()
    with tarfile.open(archive, "w:xz") as file:
        for path in sorted((folder / "data").rglob("*")):
            if path.is_file() and path.suffix not in {".png", ".html"}:
                file.add(path, path.relative_to(folder))
    print(json.dumps([job.job.job_id for job in jobs()]), archive.stat().st_size)


def sent(sender: DimseSender, files: tuple[Path, ...]) -> bool:
    try:
        sender.send(files)
    except Exception as error:  # noqa: BLE001  (the receiver is not up yet)
        print(error)
        return False
    return True


def until(holds: Callable[[], bool], seconds: float = 900) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute())

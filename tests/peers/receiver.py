"""The receiver alone, in this process or in one of its own that may be killed, and senders for it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from dicom_node.completion.monitor import ExpectedCount
from dicom_node.completion.rules import CompleteSeries
from dicom_node.network.requestor import Requestor
from dicom_node.node.receiver import Receiver
from dicom_node.observability import log as observability
from dicom_node.retention.purge import Deliveries
from dicom_node.settings.access import Metrics, Retention, Tls
from dicom_node.settings.peers import Peer
from dicom_node.settings.receive import Completion, Receive, Stow
from dicom_node.settings.tree import Settings
from dicom_node.store.disk import Disk
from pipeline.findings.own_results import is_own_result
from tests.peers import gossip
from tests.peers.ports import free_port

ROOT = Path(__file__).parents[2]
CALLING = "MODALITY"
CALLED = "CANDELA"
QUICK = Completion(quiet_after_release=0.3, quiet_time=2.0, count_timeout=2.0, plausible_part=1)


class Node:
    """A receiver whose complete series are kept in ``taken``."""

    def __init__(
        self,
        folder: Path,
        *,
        counts: Mapping[str, ExpectedCount] | None = None,
        completion: Completion | None = None,
        tls: Tls | None = None,
        metrics: Metrics | None = None,
        retention: Retention | None = None,
        deliveries: Deliveries | None = None,
        **receive: object,
    ) -> None:
        gossip.listen(folder)
        peers = (Peer(ae_title=CALLING), Peer(ae_title="SECOND"))
        settings = Settings(
            data_dir=folder / "data",
            receive=Receive(**{"port": free_port(), "allow": peers, **receive}),
            completion=completion or QUICK,
            tls=tls,
            metrics=metrics or Metrics(),
            retention=retention or Retention(),
        )
        self._set_up(settings, counts or {}, deliveries)

    @classmethod
    def of(cls, settings: Settings) -> Node:
        """One with these settings."""
        node = cls.__new__(cls)
        node._set_up(settings, {}, None)
        return node

    def _set_up(self, settings: Settings, counts: Mapping[str, ExpectedCount], deliveries: Deliveries | None) -> None:
        self.taken: list[CompleteSeries] = []
        self._changed = threading.Condition()
        self.settings = settings
        self.port = settings.receive.port
        self.receiver = Receiver(settings, self._take, counts, is_own_result, deliveries=deliveries)

    @contextmanager
    def running(self) -> Iterator[Node]:
        """Started, and stopped at the end."""
        self.receiver.start()
        try:
            yield self
        finally:
            self.receiver.stop(grace=1)

    def set_retention(self, retention: Retention) -> None:
        """Other watermarks from now on: tests cannot fill the disk."""
        disk = Disk(self.settings.data_dir, retention)
        self.receiver._admission._has_room = lambda: disk.has_room

    def _take(self, series: CompleteSeries) -> None:
        with self._changed:
            self.taken.append(series)
            self._changed.notify_all()

    def wait(self, count: int = 1, seconds: float = 20) -> list[CompleteSeries]:
        """The series dispatched, once there are ``count``."""
        with self._changed:
            done = self._changed.wait_for(lambda: len(self.taken) >= count, seconds)
            assert done, f"{len(self.taken)} of {count} series complete: {self.receiver.counters}"
            return list(self.taken)

    def stored(self) -> dict[str, Path]:
        """Every stored file by SOP Instance UID (first versions)."""
        return {path.stem: path for path in self.settings.store_dir.glob("*/*.dcm")}

    def temporary(self) -> list[Path]:
        """What is half written."""
        return list((self.settings.store_dir / ".incoming").iterdir())


@contextmanager
def running_receiver(folder: Path, **options: object) -> Iterator[Node]:
    """A receiver in this process."""
    with Node(folder, **options).running() as node:  # type: ignore[arg-type]
        yield node


@contextmanager
def association(
    port: int,
    contexts: Iterable[tuple[str, str]],
    *,
    calling: str = CALLING,
    called: str = CALLED,
    handlers: list[tuple[evt.EventType, Callable[..., object]]] | None = None,
) -> Iterator[Association]:
    """A pynetdicom sender's association; (SOP class, transfer syntax) for each context. Released at the end."""
    ae = Requestor(calling)
    for sop_class, syntax in dict.fromkeys(contexts):
        ae.add_requested_context(sop_class, syntax)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = 20
    assoc = ae.associate("127.0.0.1", port, ae_title=called, evt_handlers=handlers or [])
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def context_of(ds: Dataset) -> tuple[str, str]:
    """(SOP class, transfer syntax) of a data set with file meta."""
    return str(ds.SOPClassUID), str(ds.file_meta.TransferSyntaxUID)


def send(port: int, datasets: Iterable[Dataset], **options: str) -> list[int]:
    """C-STORE ``datasets`` over one association; the statuses."""
    datasets = tuple(datasets)
    with association(port, map(context_of, datasets), **options) as assoc:  # type: ignore[arg-type]
        assert assoc.is_established
        return [int(assoc.send_c_store(ds).Status) for ds in datasets]


def send_bytes(port: int, sop_class: str, sop_instance: str, encoded: bytes, syntax: str) -> int:
    """C-STORE arbitrary bytes as a data set; the status."""
    from io import BytesIO

    from pynetdicom.dimse_primitives import C_STORE

    request = C_STORE()
    request.MessageID = 1
    request.AffectedSOPClassUID = UID(sop_class)
    request.AffectedSOPInstanceUID = UID(sop_instance)
    request.Priority = 2
    request.DataSet = BytesIO(encoded)
    with association(port, [(sop_class, syntax)]) as assoc:
        assert assoc.is_established
        context = build_context(sop_class, syntax)
        context_id = next(c.context_id for c in assoc.accepted_contexts if c.abstract_syntax == context.abstract_syntax)
        assoc._reactor_checkpoint.clear()
        while not assoc._is_paused:
            time.sleep(0.01)
        assoc.dimse.send_msg(request, context_id)
        _, response = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        assert response is not None
        return int(response.Status)


class Process:
    """`Receiver` in a process of its own: `kill` is kill -9. Each dispatch is a line of ``taken.jsonl``."""

    def __init__(self, folder: Path, stow_port: int = 0) -> None:
        self.folder = folder
        self.port = free_port()
        self.stow_port = stow_port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "tests.peers.receiver", str(self.folder), str(self.port), str(self.stow_port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def store(self) -> Path:
        return self.folder / "data" / "store"

    def taken(self) -> list[dict[str, object]]:
        path = self.folder / "taken.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def wait(self, count: int, seconds: float = 30) -> list[dict[str, object]]:
        deadline = time.monotonic() + seconds
        while len(self.taken()) < count:
            assert time.monotonic() < deadline, "the series did not complete"
            time.sleep(0.05)
        return self.taken()


def main(folder: Path, port: int, stow_port: int) -> None:
    observability.configure()
    settings = Settings(
        data_dir=folder / "data",
        receive=Receive(port=port, accept_any_peer=True, stow=Stow(port=stow_port) if stow_port else None),
        completion=Completion(quiet_after_release=0.3, quiet_time=2.0, plausible_part=1),
    )

    def take(series: CompleteSeries) -> None:
        line = {
            "series": series.series_instance_uid,
            "revision": series.revision,
            "reason": series.reason,
            "instances": [[item.path, item.sop_instance_uid, item.sha256] for item in series.instances],
        }
        with (folder / "taken.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    Receiver(settings, take, {}, is_own_result).start()
    print("ready", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

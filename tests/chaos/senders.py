"""Modalities that behave as modalities do: they send a series again until every instance was acknowledged."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from dicom_node.network.requestor import Requestor
from pipeline import phantom
from tests.chaos.ledger import Ledger
from tests.peers.dcmtk import storescu
from tests.peers.proxy import FaultProxy, Harm

TIMEOUT: Final = 8
"""Seconds that a sender waits for an answer."""
SENT: Final = re.compile(r"I: Sending file: (?P<path>.+)")
SUCCESS: Final = "I: Received Store Response (Success)"


def make_series(number: int, *, slices: int, matrix: int) -> tuple[Dataset, ...]:
    """A series of a study of its own; each number has its own noise, so no two are alike."""
    header = phantom.Header(key=f"chaos/{number}", patient_id=f"CHAOS-{number}", accession_number=f"CHAOS-{number}")
    return phantom.head_phantom(slices=slices, matrix=matrix, seed=number, header=header)


class Senders:
    """So many threads that send ``series``, each by dcmtk's storescu or by pynetdicom, through ``proxy``."""

    def __init__(
        self, series: Sequence[tuple[Dataset, ...]], proxy: FaultProxy, ledger: Ledger, work: Path, *, seed: int
    ) -> None:
        self._waiting = list(enumerate(series))[::-1]
        self._proxy = proxy
        self._ledger = ledger
        self._work = work
        self._chance = random.Random(seed)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.attempts = 0

    def start(self, count: int, pause: Callable[[], float]) -> None:
        """Begin; each thread waits for ``pause()`` seconds between series."""
        for number in range(count):
            thread = threading.Thread(target=self._work_off, args=(pause,), name=f"sender-{number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @property
    def finished(self) -> bool:
        return not any(thread.is_alive() for thread in self._threads)

    def stop(self) -> None:
        """Begin no further series; what was begun is sent to its end."""
        with self._lock:
            self._waiting.clear()

    def abandon(self) -> None:
        """Give up."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT)

    def _work_off(self, pause: Callable[[], float]) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    return
                number, series = self._waiting.pop()
                by_dcmtk = self._chance.random() < 0.5
            left = list(series)
            while left and not self._stop.is_set():
                send = self._storescu if by_dcmtk else self._pynetdicom
                done = send(number, left)
                left = [ds for ds in left if ds.SOPInstanceUID not in done]
                with self._lock:
                    self.attempts += 1
                if left:
                    self._stop.wait(0.5)
            if self._stop.wait(pause()):
                return

    def _pynetdicom(self, _number: int, series: list[Dataset]) -> set[str]:
        ae = Requestor("MODALITY")
        ae.add_requested_context(series[0].SOPClassUID, series[0].file_meta.TransferSyntaxUID)
        ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = TIMEOUT
        assoc = ae.associate("127.0.0.1", self._proxy.port, ae_title="CANDELA")
        done: set[str] = set()
        if not assoc.is_established:
            return done
        for ds in series:
            clean = self._clean()
            if not assoc.is_established:
                break
            try:
                status = assoc.send_c_store(ds)
            except (RuntimeError, ValueError):  # the association went between the look and the call
                break
            if status.get("Status") != 0x0000:
                break
            self._ledger.acknowledged(ds, tainted=not (clean and self._clean()))
            done.add(ds.SOPInstanceUID)
        if assoc.is_established:
            assoc.release()
        return done

    def _storescu(self, number: int, series: list[Dataset]) -> set[str]:
        folder = self._work / f"series-{number}"
        files = {str(path): ds for path, ds in zip(phantom.save(series, folder), series, strict=True)}
        clean = self._clean()
        sent = storescu(
            map(Path, files), self._proxy.port, "-nh", "-to", str(TIMEOUT), "-ta", str(TIMEOUT), "-td", str(TIMEOUT)
        )
        clean = clean and self._clean()
        done: set[str] = set()
        current = None
        for line in sent.stdout.splitlines():
            if match := SENT.match(line):
                current = match["path"].strip()
            elif line.startswith(SUCCESS) and current in files:
                self._ledger.acknowledged(files[current], tainted=not clean)
                done.add(files[current].SOPInstanceUID)
        return done

    def _clean(self) -> bool:
        return self._proxy.harm is not Harm.GARBLE

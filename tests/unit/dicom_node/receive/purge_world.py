"""A store with one series and the results of its jobs, and a purge of it that dies at any step.

``python -m tests.unit.dicom_node.receive.purge_world FOLDER OUTCOME`` prints how `campaign` went: a process of its own,
since one that has loaded torch takes ten times as long to fork.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.observability.counters import Counters
from dicom_node.retention.purge import Purger
from dicom_node.retention.results_aside import ResultsAside
from dicom_node.settings.access import Retention
from dicom_node.store.disk import Disk
from dicom_node.store.header import read_header
from dicom_node.store.instance_store import AETitles, InstanceStore
from dicom_node.store.series_index import SeriesRecord, SeriesState
from pipeline import phantom

SERIES = phantom.head_phantom(slices=3, matrix=16, header=phantom.Header(key="purge crash"))
NAME = str(SERIES[0].SeriesInstanceUID)
RECORD = SeriesRecord(NAME, "1.2", "A", SeriesState.DISPATCHED, 0, 0, 1, True, None, "", "", 1, "")
JOBS = ("one", "two")
FILES = {"manifest.json": b"m", "lineage.json": b"l", "report.dcm": b"r"}


@dataclass
class World:
    """A store with one series and the results of its two jobs, under ``folder``."""

    folder: Path
    commit_in_between: bool = False
    delivered: list[bool] = field(default_factory=lambda: [True, True])

    def __post_init__(self) -> None:
        store = InstanceStore(self.folder / "store")
        for ds in SERIES:
            encoded = encoded_of(ds)
            store.put(encoded, read_header(encoded, ExplicitVRLittleEndian), ExplicitVRLittleEndian, AETitles("A", "B"))
        store.close()
        for job in JOBS:
            (self.results / f"{NAME}_{job}").mkdir(parents=True)
            for name, data in FILES.items():
                (self.results / f"{NAME}_{job}" / name).write_bytes(data)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def purge(self, store: InstanceStore) -> int:
        """One look at what may go."""
        answers = iter(self.delivered)

        def deliveries(_series: SeriesRecord, /) -> tuple[Path, ...] | None:
            folders = tuple(self.results / f"{NAME}_{job}" for job in JOBS)
            return folders if next(answers) else None

        paths = tuple(path for _, path in store.paths())
        index: Any = SimpleNamespace(settled=lambda _: [RECORD], paths=lambda _: paths, series=lambda _: RECORD)
        told: list[object] = []

        def purged(*about: object) -> None:
            told.append(about)

        monitor: Any = SimpleNamespace(purged=purged)
        if self.commit_in_between:  # the store says no: it has committed itself since it was looked at
            store.committed_at = lambda _, first=[None]: first.pop() if first else 1e18  # type: ignore[method-assign]
        retention = Retention(keep_days=0)
        purger = Purger(
            retention,
            Disk(self.folder, retention),
            store,
            index,
            monitor,
            deliveries,
            ResultsAside(self.results),
            Counters(),
            clock=lambda: 1e12,
        )
        return purger.purge()

    def restarted(self) -> bool:
        """Whether the series is there after another start, and whole; everything else is gone, and whole files are."""
        store = InstanceStore(self.folder / "store")
        ResultsAside(self.results).sweep(store.has)
        files = len(list(store.paths()))
        store.close()
        found = {
            path.name: {file.name: file.read_bytes() for file in path.iterdir()}
            for path in self.results.iterdir()
            if path.name != ".purging"
        }
        leftovers = [path for place in (self.results, self.folder / "store") for path in place.glob(".purging/*")]
        assert leftovers == []
        assert files in (0, len(SERIES))
        assert found == ({f"{NAME}_{job}": FILES for job in JOBS} if files else {})
        return files > 0


def encoded_of(ds: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, ds)
    return buffer.getvalue()


def killed_at(step: int, act: Callable[[], object]) -> bool:
    """Do ``act`` in a child process that dies, as by SIGKILL, before file operation number ``step``; whether it did."""
    pid = os.fork()
    if pid == 0:
        try:
            steps = itertools.count(1)
            for module, name in (
                (os, "rename"), (os, "unlink"), (os, "rmdir"), (os, "fsync"), (Path, "mkdir"),
            ):  # fmt: skip
                original = getattr(module, name)

                def counted(*arguments: Any, original: Any = original, **more: Any) -> Any:
                    if next(steps) == step:
                        os._exit(9)
                    return original(*arguments, **more)

                setattr(module, name, counted)
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9


def campaign(folder: Path, outcome: str) -> dict[str, Any]:
    """Purges killed before each operation on files, and killed again at each step of the start that follows.

    ``outcome`` is whether the series goes. The answer has the number of steps, and whether the series stayed after any.
    """
    stays = set()
    for step in itertools.count(1):
        world = World(
            folder / f"{step}",
            commit_in_between=outcome == "store says no",
            delivered=[True, outcome != "jobs say no"],
        )
        died = killed_at(step, lambda world=world: world.purge(InstanceStore(world.folder / "store")))
        for again in range(1, 6):
            if not killed_at(again, world.restarted):
                break
        stays.add(world.restarted())
        shutil.rmtree(world.folder)
        if not died:
            return {"steps": step, "stays": sorted(stays)}
    raise AssertionError("unreachable")


if __name__ == "__main__":
    print(json.dumps(campaign(Path(sys.argv[1]), sys.argv[2])))

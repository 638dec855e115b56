"""A purge that is killed at any step: the series is there with every manifest, or nothing of it is."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
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
        return purger.look()

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


@pytest.mark.parametrize("outcome", ["goes", "store says no", "jobs say no"])
def test_a_purge_killed_at_any_step_loses_no_manifest(tmp_path: Path, outcome: str) -> None:
    """Killed before each operation on files; then killed again at each step of the start that follows."""
    stays, ended = set(), False
    for step in itertools.count(1):
        world = World(
            tmp_path / f"{step}",
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
            ended = True
            break
    assert ended
    assert step > 8
    assert stays == ({True, False} if outcome == "goes" else {True})


def test_what_the_store_keeps_keeps_its_results(tmp_path: Path) -> None:
    """Also where the jobs say no only when they are asked again: an operator has retried one."""
    for number, world in enumerate(
        (World(tmp_path / "a", commit_in_between=True), World(tmp_path / "b", delivered=[True, False]))
    ):
        store = InstanceStore(world.folder / "store")
        assert world.purge(store) == 0, number
        store.close()
        assert world.restarted()


def test_a_job_folder_made_anew_gets_back_what_it_lacks(tmp_path: Path) -> None:
    """A dispatch may write a manifest where the results of the same job were, while those are aside."""
    world = World(tmp_path)
    aside = ResultsAside(world.results)
    folder = world.results / f"{NAME}_one"
    aside.move(NAME, [folder, world.results / "gone already"])
    assert not folder.exists()
    folder.mkdir()
    (folder / "manifest.json").write_bytes(b"newer")
    aside.put_back(NAME)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {**FILES, "manifest.json": b"newer"}


def test_a_series_that_came_again_gets_nothing_of_the_purged_one(tmp_path: Path) -> None:
    """Killed while the purged series' results were deleted, after its first instance had been sent again."""
    world = World(tmp_path)
    aside = ResultsAside(world.results)
    aside.move(NAME, [world.results / f"{NAME}_{job}" for job in JOBS])
    aside.commit(NAME)
    next(world.results.glob(".purging/gone-*/*/manifest.json")).unlink()
    store = InstanceStore(world.folder / "store")
    assert store.has(NAME)
    ResultsAside(world.results).sweep(store.has)
    store.close()
    assert [path.name for path in world.results.iterdir()] == [".purging"]
    assert not list(world.results.glob(".purging/*"))

"""A purge that is killed at any step: the series is there with every manifest, or nothing of it is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.retention.results_aside import ResultsAside
from dicom_node.store.instance_store import InstanceStore
from tests.conftest import ROOT
from tests.forms import short
from tests.unit.dicom_node.receive.purge_world import FILES, JOBS, NAME, World


@pytest.mark.parametrize("outcome", short(["goes", "store says no", "jobs say no"], "goes"))
def test_a_purge_killed_at_any_step_loses_no_manifest(tmp_path: Path, outcome: str) -> None:
    """Killed before each operation on files; then killed again at each step of the start that follows."""
    command = [sys.executable, "-m", "tests.unit.dicom_node.receive.purge_world", str(tmp_path), outcome]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["steps"] > 8
    assert found["stays"] == ([False, True] if outcome == "goes" else [True])


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

"""`candela config migrate`: the file means the same, keeps its comments, and is never half written."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from typer.testing import CliRunner

from dicom_node.commands import migrate as command
from dicom_node.commands.config import app
from dicom_node.settings import migrate
from dicom_node.settings.migrate import migrated
from dicom_node.settings.tree import load
from pipeline.errors import BadSettings
from tests.conftest import ROOT
from tests.unit.dicom_node.settings.old_files import meant, old_trees, read, toml

OLD_FILES = sorted((Path(__file__).parent / "files_of_0_1").glob("*.toml"))
EVERYTHING = next(path for path in OLD_FILES if path.stem == "everything").read_text()


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    return path


def run(path: Path, *options: str):
    return CliRunner().invoke(app, ["migrate", "--config", str(path), *options])


@pytest.mark.parametrize("old", OLD_FILES, ids=lambda path: path.stem)
def test_the_examples_of_0_1_mean_the_same_afterwards(tmp_path: Path, old: Path) -> None:
    """And every comment is there still."""
    path = written(tmp_path, old.read_text())
    before = load(path).model_dump()
    assert run(path).exit_code == 0
    text = path.read_text()
    assert load(path).model_dump() == before
    assert read(load(path)) == meant(tomllib.loads(old.read_text()))
    comments = [line.split("#", 1)[1].strip() for line in old.read_text().splitlines() if "#" in line]
    gone = {"only TLS", "no port without TLS", "Orthanc's"}  # of lines that are gone themselves
    assert [item for item in comments if item not in text and item not in gone] == []
    assert "[[receive.peers]]" not in text
    assert (tmp_path / "candela.toml.old").read_text() == old.read_text()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("path", [ROOT / "deploy" / "candela.toml"], ids=lambda path: path.name)
def test_the_examples_of_this_version_need_no_migration(path: Path) -> None:
    assert migrated(path.read_text()).changes == ()


@given(tree=old_trees())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_old_file_means_the_same_afterwards(tmp_path: Path, tree: dict) -> None:
    text = toml(tree)
    result = migrated(text)
    path = written(tmp_path, result.text)
    assert read(load(path)) == meant(tree)
    assert result.whole
    again = migrated(result.text)
    assert (again.text, again.changes) == (result.text, ())


def test_a_second_run_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING)
    run(path)
    first = path.read_text()
    assert "present form" in run(path).output
    assert path.read_text() == first
    assert (tmp_path / "candela.toml.old").read_text() == EVERYTHING


def test_a_check_prints_and_writes_nothing(tmp_path: Path) -> None:
    """Exit code 1 says that there is something to do; no secret is printed."""
    secret = 'expected_count = {kind = "orthanc", url = "http://h", username = "u", password = "hush-hush"}'
    path = written(tmp_path, EVERYTHING.replace("tls = true", f"tls = true\n{secret}"))
    before = path.read_text()
    result = run(path, "--check")
    assert result.exit_code == 1
    assert "+[peers.orthanc]" in result.output
    assert "-[[receive.peers]]" in result.output
    assert "hush-hush" not in result.output
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]
    run(path)
    assert run(path, "--check").exit_code == 0


def test_a_file_that_only_its_owner_reads_stays_so(tmp_path: Path) -> None:
    path = written(tmp_path, EVERYTHING)
    path.chmod(0o600)
    run(path)
    assert {stat.S_IMODE(item.stat().st_mode) for item in tmp_path.iterdir()} == {0o600}


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    path = written(tmp_path / "etc", EVERYTHING)
    link = tmp_path / "candela.toml"
    link.symlink_to(path)
    run(link)
    assert link.is_symlink()
    assert migrated(path.read_text()).changes == ()


def test_comments_that_cannot_be_kept_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "_edited", lambda _: None)
    path = written(tmp_path, EVERYTHING)
    before = load(path).model_dump()
    assert "comments could not be kept" in run(path).output
    assert load(path).model_dump() == before


def test_an_edit_that_would_change_the_meaning_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    right = migrate._edited
    monkeypatch.setattr(migrate, "_edited", lambda text: (right(text) or "").replace("4242", "4243"))
    path = written(tmp_path, EVERYTHING)
    before = load(path).model_dump()
    run(path)
    assert load(path).model_dump() == before


def test_a_variable_of_the_old_form_is_named_and_nothing_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDELA_DESTINATIONS__PACS__PORT", "4300")
    path = written(tmp_path, EVERYTHING)
    with pytest.raises(BadSettings, match=r"destinations\.pacs names peer.*Rename those variables"):
        command.run(path, only_check=False)
    assert path.read_text() == EVERYTHING
    assert list(tmp_path.iterdir()) == [path]


def test_a_crash_leaves_the_old_file_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever rename does not happen."""
    for failing in range(3):
        path = written(tmp_path, EVERYTHING)
        calls = iter(range(9))
        rename = Path.replace

        def broken(self: Path, target: Path, calls=calls, failing=failing, rename=rename) -> Path:
            if next(calls) == failing:
                raise OSError(28, os.strerror(28))
            return rename(self, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", broken)
            with pytest.raises(BadSettings, match="No space left"):
                command.run(path, only_check=False)
        assert path.read_text() == EVERYTHING
        assert not list(tmp_path.glob(".*"))


def test_a_file_that_is_wrong_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "[receive\n")
    with pytest.raises(BadSettings):
        command.run(path, only_check=False)
    with pytest.raises(BadSettings, match="cannot be read"):
        command.run(tmp_path / "nowhere.toml", only_check=False)

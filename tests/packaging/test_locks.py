"""The locks name everything that is installed, by version and hash, and the bill of materials tells it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

ENTRY = re.compile(r"([a-z0-9-]+)==([^\s\\]+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)\n")
RUNTIME, TEST, TORCH = "requirements.lock", "requirements-test.lock", "requirements-torch.lock"
MEND = "run scripts/lock"


def entries(lock: str) -> dict[str, str]:
    """Version by name of a lock's entries, which must be all that it holds besides comments."""
    text = re.sub(r"^#.*\n", "", (ROOT / lock).read_text(), flags=re.MULTILINE)
    assert not ENTRY.sub("", text), f"{lock} has lines without hashes: {MEND}"
    return {name: version for name, version, _ in ENTRY.findall(text)}


def torch() -> str:
    (line,) = [line for line in (ROOT / TORCH).read_text().splitlines() if not line.startswith("#")]
    return line


def needs(name: str, extras: frozenset[str] = frozenset()) -> Iterator[Requirement]:
    """What an installed package needs on this Python."""
    for text in metadata.requires(name) or ():
        item = Requirement(text)
        if item.marker is None or any(item.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield item


def test_every_line_has_hashes_and_torch_alone_has_none() -> None:
    """No package is in both locks; torch, whose build is the machine's choice, is in neither."""
    runtime, test = entries(RUNTIME), entries(TEST)
    assert runtime
    assert test
    assert not set(runtime) & set(test)
    assert "torch" not in {*runtime, *test}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert torch() in project["dependencies"]


@pytest.mark.parametrize("extra", ["", "test"])
def test_what_pyproject_asks_for_is_locked_with_all_that_it_needs(extra: str) -> None:
    """The locks are installed without dependencies, so that nothing may be missing from them."""
    pins = {**entries(RUNTIME), **(entries(TEST) if extra else {}), "torch": torch().partition("==")[2]}
    waiting, seen = [Requirement(f"candela[{extra}]" if extra else "candela")], set()
    while waiting:
        item = waiting.pop()
        for need in needs(item.name, frozenset(item.extras)):
            name = canonicalize_name(need.name)
            assert name in pins, f"{need} of {item.name} is not locked: {MEND}"
            assert need.specifier.contains(pins[name], prereleases=True), f"{need} of {item.name}: {MEND}"
            if (key := (name, *sorted(need.extras))) not in seen:
                seen.add(key)
                waiting.append(need)
    assert len(seen) > 50


def test_what_is_installed_here_is_what_is_locked() -> None:
    """These tests run on the versions that are shipped."""
    pins = {**entries(RUNTIME), **entries(TEST)}
    assert {name: metadata.version(name) for name in pins} == pins


@pytest.mark.parametrize("file", ["scripts/setup", "Dockerfile"])
def test_the_locks_are_installed_by_hash_and_without_dependencies(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "--no-deps --require-hashes" in text
    assert TORCH in text


def test_pip_refuses_a_package_that_is_not_the_one_locked(tmp_path: Path) -> None:
    """By the options that scripts/setup gives it: another file under the locked name and version is not installed."""
    project = tmp_path / "other"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "iniconfig"\nversion = "9.9"\n')
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(project)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    lock = tmp_path / "lock"
    lock.write_text(f"iniconfig==9.9 --hash=sha256:{'0' * 64}\n")
    options = ["--no-deps", "--require-hashes", "--no-index", "--find-links", str(tmp_path), "-r", str(lock)]
    command = [sys.executable, "-m", "pip", "install", "--target", str(tmp_path / "there"), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "there").exists()


def test_the_bill_of_materials_tells_what_is_locked(tmp_path: Path) -> None:
    """Valid CycloneDX: every runtime package with hashes and licence, none of the tests', and the model's weights."""
    bills = []
    for name in ("first.json", "second.json"):
        command = [sys.executable, "-m", "scripts.sbom", str(tmp_path / name)]
        environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        bills.append((tmp_path / name).read_text())
    assert bills[0] == bills[1]
    bill = json.loads(bills[0])
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "candela"
    kinds = {component["bom-ref"]: component for component in bill["components"]}
    packages = {item["name"]: item for item in kinds.values() if item["type"] == "library"}
    assert {name: item["version"] for name, item in packages.items() if name != "torch"} == entries(RUNTIME)
    assert all(item["hashes"] for name, item in packages.items() if name != "torch")
    assert [name for name, item in packages.items() if not item.get("licenses")] == []
    model = kinds["model:brain_mri_tumor"]
    assert model["type"] == "machine-learning-model"
    assert len(model["hashes"][0]["content"]) == 64
    graph = {item["ref"]: set(item.get("dependsOn", ())) for item in bill["dependencies"]}
    assert {"model:brain_mri_tumor", f"torch=={torch().partition('==')[2]}"} <= graph["candela"]
    assert set().union(*graph.values()) <= set(kinds)

"""The program of scripts/lock: resolve pyproject.toml by pip, and write each version with the hashes of its files.

Needs pypi-simple and packaging; the first argument is a folder to work in.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PathDistribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from pypi_simple import DistributionPackage, PyPISimple

ROOT = Path(__file__).parent.parent
RUNTIME, TEST, TORCH = (
    ROOT / name for name in ("requirements.lock", "requirements-test.lock", "requirements-torch.lock")
)
BUILD = "setuptools>=77"
"""Builds Candela itself, without isolation, and torch needs it: locked with the rest."""
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", re.MULTILINE)
OURS = re.compile(r"any|(many|musl)?linux.*_(x86_64|aarch64)")
"""Platforms whose wheels are locked: Linux on x86-64 and ARM."""
OLDEST = 11
"""CPython 3.11, as requires-python says: wheels for older ones are left out."""
HEAD = "# {what}\n# Written by scripts/lock from pyproject.toml. A line added by hand gets its hashes there.\n"

Pins = Mapping[str, str]
"""Version by normalised name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path)
    parser.add_argument("--upgrade", action="store_true", help="take the newest version of everything")
    options = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [Requirement(text) for text in project["dependencies"]]
    tests = [Requirement(text) for text in project["optional-dependencies"]["test"]]
    (torch,) = (item for item in wanted if item.name == "torch")

    resolver = Resolver(options.work, torch)
    kept = {} if options.upgrade else allowed(locked(RUNTIME, TEST), [*wanted, *tests])
    found = resolver.resolve([*wanted, *tests, Requirement(BUILD)], kept)
    needed = closure([*wanted, Requirement(BUILD)], {**found, "torch": resolver.torch})
    runtime = {name: item.version for name, item in found.items() if name in needed}
    only_tests = {name: item.version for name, item in found.items() if name not in needed}

    what = "Installed last and by itself, without hashes: which build it is, CPU or CUDA, is the machine's choice."
    TORCH.write_text(HEAD.format(what=what) + f"{torch.name}{torch.specifier}\n")
    with PyPISimple() as index:
        write(RUNTIME, "Every version that Candela runs on, besides torch.", runtime, index)
        write(TEST, "What the tests and checks need besides requirements.lock.", only_tests, index)
    print(f"{len(runtime)} packages in {RUNTIME.name}, {len(only_tests)} more in {TEST.name}")


def locked(*files: Path) -> Pins:
    """The present pins of the locks."""
    found = (pin for file in files if file.exists() for pin in PIN.findall(file.read_text()))
    return {canonicalize_name(name): version for name, version in found}


def allowed(pins: Pins, wanted: Iterable[Requirement]) -> Pins:
    """Those of ``pins`` that pyproject.toml does not forbid."""
    limits = {canonicalize_name(item.name): item.specifier for item in wanted}
    return {
        name: version
        for name, version in pins.items()
        if name != "torch" and (name not in limits or limits[name].contains(version, prereleases=True))
    }


@dataclass(frozen=True)
class Found:
    """A package that pip chose: its version and requirements (Requires-Dist)."""

    version: str
    needs: tuple[str, ...]


class Resolver:
    """pip for an environment with only the metadata of torch, copied from the project's own."""

    def __init__(self, work: Path, torch: Requirement) -> None:
        self._folder = work / "resolve"
        self._work = work
        venv.create(self._folder, with_pip=False)
        (site,) = self._folder.glob("lib/python*/site-packages")
        known = [*ROOT.glob(".venv/lib/python*/site-packages/torch-*.dist-info")]
        versions = [path.name.removeprefix("torch-").removesuffix(".dist-info") for path in known]
        if len(known) != 1 or not torch.specifier.contains(versions[0]):
            sys.exit(f".venv holds torch {versions}, pyproject.toml wants {torch.specifier}: run scripts/setup first")
        shutil.copytree(known[0], site / known[0].name)
        self.torch = Found(versions[0], tuple(PathDistribution(known[0]).requires or ()))

    def resolve(self, wanted: Iterable[Requirement], kept: Mapping[str, str]) -> dict[str, Found]:
        """What pip would install for ``wanted`` besides torch, ``kept`` at their versions; by normalised name."""
        constraints, report = self._work / "constraints.txt", self._work / "report.json"
        constraints.write_text("".join(f"{name}=={version}\n" for name, version in kept.items()))
        command = [sys.executable, "-m", "pip", "--python", self._folder / "bin" / "python", "install", "--quiet"]
        command += ["--disable-pip-version-check", "--dry-run", "--report", report, "--constraint", constraints]
        command += [str(item) for item in wanted]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
            sys.exit("\n".join([*lines, "Does a locked version stand in the way? scripts/lock --upgrade"]))
        chosen = (item["metadata"] for item in json.loads(report.read_text())["install"])
        return {
            canonicalize_name(item["name"]): Found(item["version"], tuple(item.get("requires_dist", ())))
            for item in chosen
        }


def closure(wanted: Iterable[Requirement], found: Mapping[str, Found]) -> set[str]:
    """The names of ``wanted`` and of all that they need on this Python."""
    seen: set[tuple[str, str]] = set()
    waiting = list(wanted)
    while waiting:
        item = waiting.pop()
        name = canonicalize_name(item.name)
        for extra in {"", *item.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                needs = (Requirement(text) for text in found[name].needs)
                waiting += [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
    return {name for name, _ in seen}


def write(file: Path, what: str, pins: Pins, index: PyPISimple) -> None:
    entries = (entry(name, version, index) for name, version in sorted(pins.items()))
    file.write_text(HEAD.format(what=what) + "".join(entries))


def entry(name: str, version: str, index: PyPISimple) -> str:
    """``name==version`` and the hashes of its wheels for our platforms; of its source where there is no such wheel."""
    files = [item for item in index.get_project_page(name).packages if _is(item, version)]
    wheels = [item for item in files if item.package_type == "wheel" and _fits(item.filename)]
    sources = [item for item in files if item.package_type == "sdist"]
    hashes = sorted({item.digests["sha256"] for item in wheels or sources})
    if not hashes:
        sys.exit(f"the index has no file of {name} {version} for our platforms")
    return " \\\n".join([f"{name}=={version}", *(f"    --hash=sha256:{digest}" for digest in hashes)]) + "\n"


def _is(item: DistributionPackage, version: str) -> bool:
    try:
        return item.version is not None and Version(item.version) == Version(version)
    except InvalidVersion:  # of long ago
        return False


def _fits(filename: str) -> bool:
    """Whether a wheel can be installed on Linux by CPython 3.11 or newer."""
    return any(
        OURS.fullmatch(tag.platform) and _is_new(tag.interpreter, tag.abi) for tag in parse_wheel_filename(filename)[3]
    )


def _is_new(interpreter: str, abi: str) -> bool:
    minor = re.fullmatch(r"cp3(\d+)", interpreter)
    if minor is None:
        return interpreter.startswith("py3")
    return abi == "abi3" or (int(minor[1]) >= OLDEST and abi == interpreter)


if __name__ == "__main__":
    main()

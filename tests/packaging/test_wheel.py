"""The wheel, not the checkout: what a user installs holds what it needs and nothing else, and imports.

PyPI's ``fhir.resources`` installs a package that is called ``fhir``, as ours is. Both must be importable from one
environment, wherever Python is started.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TREES = ("dicom_node", "fhir", "models", "orthanc", "pipeline")
IMPORTS = """
import sys
import pipeline.report.sentences
import fhir.report, fhir.server.client, fhir.resources.R4B, fhir.resources.R4B.observation
import dicom_node.cli, pipeline.process, orthanc
print(fhir.report.__file__)
print(fhir.resources.__file__)
print(dicom_node.__file__)
fhir.resources.R4B.get_fhir_model_class("Patient")(active=True)
fhir.bundle.page._environment.get_template("report.html")
[pipeline.report.sentences.unread(language) for language in pipeline.report.sentences.Language]
"""


@dataclass(frozen=True)
class Installed:
    """A virtual environment that holds the wheel, and sees the dependencies but not the editable install."""

    wheel: Path
    folder: Path

    @property
    def site_packages(self) -> Path:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        return self.folder / "lib" / version / "site-packages"

    def run(self, *command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "CANDELA_"))}
        program = str(self.folder / "bin" / command[0])
        return subprocess.run(
            [program, *command[1:]], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, check=False
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources, so that nothing of an earlier build and no file of the checkout is in it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in (*TREES, "tests"):
        unwanted = shutil.ignore_patterns("__pycache__", "node_modules", "*.log")
        shutil.copytree(ROOT / name, source / name, ignore=unwanted)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The dependencies come by a .pth file, whose folder's own .pth files (the editable install) are not read."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
    venv = Installed(wheel, folder)
    command = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--no-deps"]
    done = subprocess.run(
        [*command, "--no-index", "--quiet", str(wheel)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    (venv.site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    yield venv
    shutil.rmtree(folder)


def test_the_wheel_holds_what_it_needs_and_no_tests(wheel: Path) -> None:
    """Weights, configurations, templates and the licence; neither tests nor scripts nor the training data."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == set(TREES)
    assert "fhir/bundle/templates/report.html" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any("test" in Path(name).name for name in names if name.endswith(".py"))


@pytest.mark.parametrize("folder", ["orthanc", "models", "pipeline"])
def test_every_data_file_is_in_the_wheel(wheel: Path, folder: str) -> None:
    """What git keeps beside the code (configuration, plugins, weights, cards, phrases) travels with it."""
    names = set(zipfile.ZipFile(wheel).namelist())
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    kept = {line for line in listed.stdout.splitlines() if not line.endswith((".md", ".gitignore"))}
    assert kept
    assert not kept - names


def test_the_brain_model_is_in_the_wheel(wheel: Path) -> None:
    """Without its weights and configuration the node could read nothing."""
    bundle = "models/bundles/brain_mri_tumor"
    names = [name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(f"{bundle}/")]
    assert f"{bundle}/configs/metadata.json" in names
    assert any(name.startswith(f"{bundle}/models/") and name.endswith(".safetensors") for name in names)


@pytest.mark.parametrize(
    "inside", [True, pytest.param(False, marks=pytest.mark.nightly)], ids=["inside the checkout", "outside of it"]
)
def test_both_fhir_packages_import(installed: Installed, tmp_path: Path, inside: bool) -> None:
    """Ours and PyPI's, also where the checkout's own fhir folder comes first on the path."""
    done = installed.run("python", "-c", IMPORTS, cwd=ROOT if inside else tmp_path)
    assert done.returncode == 0, done.stderr
    ours, resources, node = (Path(line) for line in done.stdout.splitlines())
    home = ROOT if inside else installed.site_packages
    assert ours == home / "fhir" / "report.py"
    assert node == home / "dicom_node" / "__init__.py"
    assert resources == Path(sysconfig.get_path("purelib")) / "fhir" / "resources" / "__init__.py"


def test_the_console_script_runs(installed: Installed, tmp_path: Path) -> None:
    """``candela --help`` from the wheel, in a folder that holds nothing."""
    done = installed.run("candela", "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "process" in done.stdout


def test_our_package_extends_its_path_and_does_nothing_else() -> None:
    """Any other line would run, or not, depending on which ``fhir`` is found first; `resources` is PyPI's name."""
    lines = (ROOT / "fhir" / "__init__.py").read_text("utf-8").split('"""')[2].split("\n")
    assert [line for line in lines if line] == [
        "from pkgutil import extend_path",
        "__path__ = extend_path(__path__, __name__)",
    ]
    assert not list((ROOT / "fhir").glob("resources*"))

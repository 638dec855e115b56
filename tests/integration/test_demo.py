"""The demo, as a newcomer sees it: it ends well, and what it says is there is there."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import phantom
from tests.conftest import ROOT
from tests.peers.orthanc import require_orthanc
from tools.fhir_server import ensure_installed

pytestmark = pytest.mark.slow
WITHOUT_ORTHANC = """
import runpy, sys
import orthanc.local
orthanc.local.missing_packages = lambda: ("orthanc", "orthanc-python")
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def demo(*arguments: str, without_orthanc: bool = False) -> subprocess.CompletedProcess[str]:
    """Run scripts/demo.py, which scripts/demo runs once the environment is there."""
    script = str(ROOT / "scripts" / "demo.py")
    start = ["-c", WITHOUT_ORTHANC, script] if without_orthanc else [script]
    command = [sys.executable, *start, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=400, check=False)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300", "OMP_NUM_THREADS": "1"}


def kept(*arguments: str) -> tuple[str, int]:
    """What scripts/demo.py --keep says until all is running, and its exit code once it was asked to end."""
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), "--keep", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        said = []
        for line in process.stdout:
            said.append(line)
            if "everything keeps running" in line:
                process.terminate()
    return "".join(said), process.returncode


def running_with(words: str) -> list[str]:
    """The command lines of processes that name ``words``."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if words in line]


def test_the_demo_shows_the_whole_way(tmp_path: Path) -> None:
    """From Orthanc to Candela and back: reason, answer, five kinds of results beside the images, report, pictures.

    What --keep leaves running ends with it.
    """
    require_orthanc()
    ensure_installed()
    said, code = kept("--out", str(tmp_path / "demo"))
    assert code == 128 + signal.SIGTERM, said
    assert running_with(str(tmp_path)) == [], "what the demo started ends with it"
    assert "phantom" in said
    assert "reason: expected count 24 reached (Orthanc)" in said
    assert "not for diagnosis" in said
    assert set(re.findall(r"^Orthanc: (\w+)", said, re.MULTILINE)) == {"MR", "OT", "SEG", "SR", "DOC", "KO"}
    assert re.search(r"FHIR: http://\S+/DiagnosticReport/\S+ \(preliminary\)", said)
    for picture in re.findall(r"^Picture: (\S+\.png)", said, re.MULTILINE):
        assert (ROOT / picture).is_file()
    (page,) = re.findall(r"^Dashboard: (http://127\.0\.0\.1:\d+/studies/[\d.]+)$", said, re.MULTILINE)
    assert page.split("/studies")[0] in said.split("where to look")[0], "its address is known from the start"
    assert "Traceback" not in (tmp_path / "demo" / "candela.log").read_text()


@pytest.mark.nightly
def test_without_orthanc_it_says_so_and_does_the_rest(tmp_path: Path) -> None:
    """A series of one's own, sent by the demo itself; results in a folder."""
    phantom.save(phantom.head_phantom(slices=8, matrix=96), tmp_path / "mine")
    ran = demo("--out", str(tmp_path / "demo"), "--series", str(tmp_path / "mine"), without_orthanc=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "not here (needs orthanc orthanc-python)" in ran.stdout
    assert "8 instances from" in ran.stdout
    assert list((tmp_path / "demo" / "delivered").rglob("report.dcm"))


def test_a_series_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    """Nothing is started for it; exit code 3 and the reason."""
    (tmp_path / "mine").mkdir()
    ran = demo("--out", str(tmp_path / "demo"), "--series", str(tmp_path / "mine"))
    assert ran.returncode == 3
    assert "no file here" in ran.stdout


def test_other_peoples_files_are_left_alone(tmp_path: Path) -> None:
    """--out is emptied only where an earlier demo made it."""
    (tmp_path / "thesis.txt").write_text("mine")
    ran = demo("--out", str(tmp_path))
    assert ran.returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

"""`scripts/gallery`: pages of one's own series as pictures in a README, without the report that names the patient."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import phantom
from tests.conftest import ROOT


@pytest.mark.nightly
def test_a_gallery_of_own_series_shows_pages_and_names_nobody(tmp_path: Path) -> None:
    """A series that is read and one that is refused: each has its pages; no PDF, no name; a second run replaces all."""
    header = phantom.Header(patient_name="Secret^Name", patient_id="PID-4711", key="gallery")
    whole = phantom.head_phantom(slices=12, matrix=64, header=header)
    phantom.save(whole, tmp_path / "whole")
    phantom.save(whole[:5] + whole[6:], tmp_path / "gap")
    out = tmp_path / "gallery"
    command = [sys.executable, str(ROOT / "scripts" / "gallery.py"), "--out", str(out), "--pages", "2"]
    for _ in range(2):
        done = subprocess.run(
            [*command, str(tmp_path / "whole"), str(tmp_path / "gap")],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
    text = (out / "README.md").read_text()
    assert "MISSING_SLICES" in text
    assert "not for diagnosis" in text
    shown = sorted(path.name for path in out.iterdir())
    assert {"README.md", "series-1-1.png", "series-2-1.png"} <= set(shown)
    assert len(shown) <= 4
    assert all(name in text for name in shown if name.endswith(".png"))
    for secret in ("Secret", "Name^", "4711"):
        assert secret not in text

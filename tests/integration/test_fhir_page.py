"""The HTML report in a browser: one sheet of paper, whatever was found."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from fhir.bundle import page
from pipeline.caveats import free_text
from pipeline.findings.model import Findings, Outcome
from pipeline.results.reported import report_content
from pipeline.results.sc import overlay
from tests.peers.fhir_bundles import RECORDED, context_of

LONG = (
    "The series lies outside of what the model was validated on, in a way that takes more than one line to tell. " * 2
)


def print_to_pdf(html: bytes, folder: Path) -> bytes:
    """The page as Chromium prints it."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("Chromium is not here: apt-get install chromium")
    source, target = folder / "report.html", folder / "report.pdf"
    source.write_bytes(html)
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    options += ["--disable-background-networking", "--disable-component-update", f"--user-data-dir={folder / 'user'}"]
    command = [program, *options, "--no-pdf-header-footer", f"--print-to-pdf={target}", source.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target.read_bytes()


def many_regions(findings: Findings) -> Findings:
    lesions = [replace(findings.regions[0], tracking_id=f"Lesion {number}") for number in range(1, 13)]
    return replace(findings, regions=tuple(lesions), caveats=(free_text(LONG), free_text(LONG)))


@pytest.mark.parametrize("outcome", [Outcome.FINDING, Outcome.NO_FINDING])
def test_the_report_is_one_printed_page(outcome: Outcome, tmp_path: Path) -> None:
    """Also with a dozen regions, long caveats, long names and the key picture."""
    made = context_of(outcome, "page", PatientName=f"{'Lang' * 15}^{'Name' * 15}", StudyDescription="MR " * 20)
    findings = many_regions(made.findings) if made.findings.regions else made.findings
    told = report_content(replace(made, findings=findings), overlay.build(made), recorded=RECORDED)
    printed = print_to_pdf(page.html(told), tmp_path)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1

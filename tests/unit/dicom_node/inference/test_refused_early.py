"""What the headers of a series refuse is refused before torch, MONAI, scipy or highdicom are loaded."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from models import registry
from pipeline import phantom
from pipeline.errors import Refused
from pipeline.reading.files import Series
from pipeline.routing.preflight import preflight

PROGRAM = """
import sys
from dicom_node.cli import main
for path, out, *options in {runs}:
    sys.argv = ["candela", "process", path, "--out", out, *options]
    try:
        main()
    except SystemExit as stop:
        assert stop.code == 3, stop.code
    heavy = {{"torch", "monai", "scipy", "skimage", "highdicom", "sqlalchemy", "dbos", "pynetdicom"}}
    print(*sorted(heavy & set(sys.modules)) or ["nothing"])
"""

MR = uid.MRImageStorage
CASES: dict[str, tuple[dict[str, object], str]] = {
    "an ultrasound": ({"Modality": "US", "SOPClassUID": uid.UltrasoundImageStorage}, "UNSUPPORTED_MODALITY"),
    "a private class": ({"SOPClassUID": "1.3.46.670589.11.0.0.12.1"}, "NOT_VOLUME"),
    "T2": ({"RepetitionTime": 5000, "EchoTime": 100, "SeriesDescription": "T2 TSE"}, "UNSUPPORTED_PROTOCOL"),
    "a knee": ({"BodyPartExamined": "KNEE"}, "UNSUPPORTED_PROTOCOL"),
    "an ultrasound of two patients and a private class": (
        {"Modality": "US", "SOPClassUID": "1.2.3", "PatientID": "ANOTHER"},
        "UNSUPPORTED_MODALITY",
    ),
}


def made(values: dict[str, object]) -> list[Dataset]:
    datasets = [copy.deepcopy(ds) for ds in phantom.head_phantom(slices=3, matrix=16)]
    for index, ds in enumerate(datasets):
        for keyword, value in values.items():
            if keyword != "PatientID" or index == 0:
                setattr(ds, keyword, value)
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    return datasets


@pytest.mark.parametrize("case", CASES)
def test_the_headers_are_asked_in_order(case: str) -> None:
    """Modality and protocol first, then the class, by the bundle's contract alone."""
    values, code = CASES[case]
    with pytest.raises(Refused) as caught:
        preflight(Series(tuple(made(values))), registry.get("brain_mri_tumor").check)
    assert caught.value.code == code


def _runs(folder: Path, options: Callable[[str], list[str]]) -> list[list[str]]:
    runs = []
    for number, (case, (values, _)) in enumerate(CASES.items()):
        phantom.save(made(values), folder / f"in{number}")
        runs.append([str(folder / f"in{number}"), str(folder / f"out{number}"), *options(case)])
    return runs


def _run(runs: list[list[str]]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(runs=runs)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split("\n")[: len(runs)]


def test_a_refused_series_loads_neither_a_network_nor_a_database(tmp_path: Path) -> None:
    """`candela process` of what the headers refuse imports what reading headers needs, no more."""
    assert _run(_runs(tmp_path, lambda _case: [])) == ["nothing"] * len(CASES)
    for number, (_, code) in enumerate(CASES.values()):
        summary = json.loads((tmp_path / f"out{number}" / "summary.json").read_text())
        assert summary["code"] == code
        assert "route" not in summary["reason"].lower()  # the command line has no rules to correct


def test_a_refusal_page_is_made_without_the_model(tmp_path: Path) -> None:
    """highdicom may draw the page; torch and MONAI have no part in it."""
    (loaded,) = _run(_runs(tmp_path, lambda _case: ["--refusal-page"])[:1])
    assert not {"torch", "monai", "sqlalchemy", "dbos", "pynetdicom"} & set(loaded.split())
    summary = json.loads((tmp_path / "out0" / "summary.json").read_text())
    assert [item["role"] for item in summary["objects"]] == ["refusal"]

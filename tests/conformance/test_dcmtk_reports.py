"""dcmtk, which knows nothing of us, reads every report and key object selection: as text and as XML."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.findings.model import Outcome
from pipeline.reading.files import read_path
from pipeline.results.profile import Profile, ReportFlavour
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import build_all, context_of, file_bytes, phantom_context
from tests.forms import short
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks
from tests.unit.pipeline.results.test_provenance import NAMES, with_raw

FLAVOURS: tuple[ReportFlavour, ...] = ("volumetric", "planar", "both")


def documents(
    context: ResultContext, folder: Path, flavour: ReportFlavour = "volumetric"
) -> Iterator[tuple[Path, Dataset]]:
    """Report and selection of ``context`` as files."""
    profile = Profile(objects=("segmentation", "report", "keyobjects"), report_flavour=flavour)
    for item in build_all(context, profile):
        if item.role != "segmentation":
            path = folder / item.filename
            path.write_bytes(file_bytes(item.dataset))
            yield path, item.dataset


def run(*command: object) -> str:
    """Standard output of one of dcmtk's tools, which must neither fail nor report an error."""
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"{command[0]} is not installed (Debian package dcmtk)")
    done = subprocess.run([str(part) for part in command], capture_output=True, check=True)
    assert not [line for line in done.stderr.decode(errors="replace").splitlines() if line.startswith(("E:", "F:"))]
    return done.stdout.decode(errors="surrogateescape")


def items(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from items(item)


@pytest.mark.parametrize("flavour", short(FLAVOURS, "both"))
@pytest.mark.parametrize("name", short(["one voxel", "border", "forty"], "one voxel", "border"))
def test_the_whole_tree_is_read(name: str, flavour: ReportFlavour, tmp_path: Path) -> None:
    """Every number, outline and reference of the content is in the XML, none besides; dsrdump prints each number."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    for path, ds in documents(context, tmp_path, flavour):
        tree = ET.fromstring(run("dsr2xml", path))
        assert tree.tag == "report"
        for kind in ("NUM", "SCOORD", "IMAGE", "COMPOSITE", "CONTAINER"):
            expected = sum(item.ValueType == kind for item in items(ds)) + (kind == "CONTAINER")
            found = tree.findall(f".//content//{kind.lower()}") + tree.findall(f".//content/{kind.lower()}")
            assert len({id(element) for element in found}) == expected, kind
        assert run("dsrdump", path).count("NUM:(") == sum(item.ValueType == "NUM" for item in items(ds))


@pytest.mark.parametrize("outcome", [Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_documents_without_a_lesion_are_read(outcome: Outcome, tmp_path: Path) -> None:
    for path, _ in documents(phantom_context(outcome=outcome, slices=12), tmp_path):
        assert ET.fromstring(run("dsr2xml", path)).tag == "report"
        assert "not for diagnosis" in run("dsrdump", "+Pl", path)


@pytest.mark.parametrize("kind", ["Latin-1", "UTF-8", "Japanese, ISO 2022", "Korean, ISO 2022"])
def test_the_patients_name_is_read_as_it_was_written(kind: str, tmp_path: Path) -> None:
    """dcmtk finds the same bytes as the name in the report as in the source image."""
    character_sets, name, identifier, description = (value + b" " * (len(value) % 2) for value in NAMES[kind])
    values = {0x00100010: name, 0x00100020: identifier, 0x00081030: description}
    source = with_raw(tmp_path / "series", character_sets, values)
    context = context_of(read_path(source).datasets)
    image = run("dcmdump", "+P", "PatientName", min(source.iterdir()))
    assert "[" in image
    for path, _ in documents(context, tmp_path):
        assert run("dcmdump", "+P", "PatientName", path) == image

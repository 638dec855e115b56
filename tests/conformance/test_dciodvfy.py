"""Every result object satisfies the validators that the field has: dciodvfy, and dcmtk's reader of reports."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pydicom.tag import Tag

from pipeline import phantom
from pipeline.errors import MissingSlices
from pipeline.findings.model import Outcome
from pipeline.reading.files import read_path
from pipeline.results.profile import KINDS, Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.sc import refusal
from tests.conformance.synthetic import EVERYTHING, MODEL, UNDRAWN, build_all, context_of, file_bytes, phantom_context
from tests.forms import short
from tests.odd_values import element
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks
from tests.unit.pipeline.results.test_procedure import SKULL, item_of, request_of
from tests.unit.pipeline.results.test_source_images import LAYOUTS, with_frames


def tool(name: str) -> str:
    """Path of a validator, or a skip that says how to get it."""
    found = shutil.which(name)
    if found is None:
        package = {"dciodvfy": "dicom3tools", "dsrdump": "dcmtk"}[name]
        pytest.skip(f"{name} is not installed (Debian package {package})")
    return found


def save(context: ResultContext, folder: Path, profile: Profile | None = None) -> list[Path]:
    """The results of ``context`` in files: every kind but the overlay, if ``profile`` does not say otherwise."""
    paths = []
    for item in build_all(context, profile or Profile(objects=UNDRAWN)):
        paths.append(folder / item.filename)
        paths[-1].write_bytes(file_bytes(item.dataset))
    return paths


def errors(path: Path) -> list[str]:
    """dciodvfy's error lines for one file."""
    done = subprocess.run(
        [tool("dciodvfy"), "-new", str(path)], capture_output=True, text=True, errors="replace", check=False
    )
    lines = done.stderr.splitlines()
    assert lines, "dciodvfy said nothing"
    return [line for line in lines if line.startswith("Error")]


@pytest.mark.parametrize("plane", short(["axial", "coronal", "sagittal"], "sagittal"))
def test_no_errors_in_any_plane(plane: phantom.Plane, tmp_path: Path) -> None:
    """Overlay, segmentation and report of a finding, in each plane of acquisition."""
    paths = save(phantom_context(plane), tmp_path, EVERYTHING)
    assert {path.name.split("-")[0].split(".")[0] for path in paths} == set(KINDS)
    assert {path.name: errors(path) for path in paths} == {path.name: [] for path in paths}


@pytest.mark.parametrize("outcome", [Outcome.NO_FINDING, Outcome.INDETERMINATE])
def test_no_errors_without_a_finding(outcome: Outcome, tmp_path: Path) -> None:
    """A summary page and a report that say so, and the heat map of an answer that is not reliable."""
    paths = save(phantom_context(outcome=outcome), tmp_path, EVERYTHING)
    shown = ["heatmap.dcm"] if outcome is Outcome.INDETERMINATE else []
    assert [path.name for path in paths] == ["overlay-001.dcm", "report.dcm", *shown, "document.dcm", "keyobjects.dcm"]
    assert [line for path in paths for line in errors(path)] == []


@pytest.mark.parametrize("name", short(awkward_masks(), "one voxel", "border"))
def test_no_errors_for_awkward_masks(name: str, tmp_path: Path) -> None:
    """One voxel, first and last slice, the border, forty lesions."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    paths = save(context, tmp_path)
    assert [line for path in paths for line in errors(path)] == []


@pytest.mark.parametrize("name", LAYOUTS)
def test_no_errors_for_frames_of_multi_frame_objects(name: str, tmp_path: Path) -> None:
    """References to frames: of a whole object, of a part of one, of several."""
    paths = save(with_frames(*LAYOUTS[name]), tmp_path)
    assert [line for path in paths for line in errors(path)] == []


WEIRD = {
    "no frame of reference": {"FrameOfReferenceUID": None},
    "no patient, no dates": dict.fromkeys(("PatientID", "PatientName", "StudyDate", "StudyTime", "PatientSex")),
    "empty strings": dict.fromkeys(("PatientID", "PatientName", "AccessionNumber", "StudyDescription"), ""),
    "no body part": {"BodyPartExamined": None},
    "no thickness": {"SliceThickness": None},
    "carets": {"PatientName": "A^B^C^D^E=イ^ロ=い^ろ"},
}


@pytest.mark.parametrize("name", WEIRD)
def test_no_errors_for_sources_that_lack_things(name: str, tmp_path: Path) -> None:
    """What a source lacks is empty or derived, and the results are valid all the same."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    mask = phantom.lesion_mask(datasets)
    for ds in datasets:
        for keyword, value in WEIRD[name].items():
            if value is None:
                del ds[keyword]
            else:
                setattr(ds, keyword, value)
    paths = save(context_of(datasets, mask), tmp_path)
    assert [line for path in paths for line in errors(path)] == []


def test_no_errors_where_bad_values_were_left_out(tmp_path: Path) -> None:
    """Dates, times, numbers, codes and texts that no result may repeat: every object is valid without them."""
    bad = {
        **dict.fromkeys(("StudyDate", "SeriesDate", "ContentDate", "PatientBirthDate"), b"00000000"),
        **dict.fromkeys(("StudyTime", "ContentTime"), b"256060"),
        "TimezoneOffsetFromUTC": b"+9999 ",
        "SeriesNumber": b"99999999999 ",
        "BodyPartExamined": b"KOPF/HALS ",
        "PatientSex": b"? ",
        "PatientName": b"A\0B ",
        "ReferringPhysicianName": b"X" * 300,
        "AccessionNumber": b"A\x07B ",
        "StudyID": b"Y" * 300,
        "StudyDescription": b"HEAD\\TRIAL",
        "SpecificCharacterSet": b"ISO_IR 999",
        "LossyImageCompression": b"YES ",
        "SliceThickness": b"-1",
    }
    datasets = phantom.head_phantom(slices=12, matrix=64)
    mask = phantom.lesion_mask(datasets)
    for ds in datasets:
        for keyword, value in bad.items():
            ds[Tag(keyword)] = element(keyword, value)
        place = b"\\".join(f"{float(number):.20f}".encode() for number in ds.ImagePositionPatient)
        ds[Tag("ImagePositionPatient")] = element("ImagePositionPatient", place)
    paths = save(context_of(datasets, mask), tmp_path, EVERYTHING)
    assert {path.name: errors(path) for path in paths} == {path.name: [] for path in paths}


def test_a_sources_own_faults_are_the_only_ones(tmp_path: Path) -> None:
    """A name of 70 characters, an illegal UID and an unknown sex are carried as they are: they are the patient's.

    The results name them as the source does, since otherwise they would belong to nobody; every error is about them.
    """
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        datasets = phantom.head_phantom(slices=12, matrix=64)
        mask = phantom.lesion_mask(datasets)
        for ds in datasets:
            ds.PatientName, ds.StudyInstanceUID = "X" * 70, "0.0.1.02"
        paths = save(context_of(datasets, mask), tmp_path)
    for path in paths:
        found = errors(path)
        assert found
        assert [line for line in found if "PatientName" not in line and "StudyInstanceUID" not in line] == []


def test_no_errors_with_the_procedure_and_the_request_of_the_study(tmp_path: Path) -> None:
    """In the character set of the source."""
    code = item_of(SKULL)
    request = request_of(code, RequestedProcedureID="RP7", RequestedProcedureDescription="Schädel mit KM")
    datasets = phantom.head_phantom(slices=4, matrix=32)
    for ds in datasets:
        ds.ProcedureCodeSequence, ds.RequestAttributesSequence = [code], [request]
    paths = save(context_of(datasets), tmp_path)
    assert {path.name: errors(path) for path in paths} == {path.name: [] for path in paths}


def test_no_errors_for_the_page_of_a_refusal(tmp_path: Path) -> None:
    """It has no picture of the patient and no geometry, and is a valid image all the same."""
    reason = MissingSlices("2 slices are missing.", where="after slice 4", todo="Send the series again.")
    (item,) = refusal.build(phantom.head_phantom(slices=3, matrix=16), reason, MODEL)
    path = tmp_path / item.filename
    path.write_bytes(file_bytes(item.dataset))
    assert errors(path) == []


def test_the_validator_can_fail(tmp_path: Path) -> None:
    """A broken object is reported: the silence above means something."""
    (path, *_) = save(phantom_context(slices=12), tmp_path)
    import pydicom

    ds = pydicom.dcmread(path)
    del ds.Modality
    ds.save_as(path)
    assert errors(path)


LONG = pytest.param("uih_umr770_t1_sag", marks=pytest.mark.nightly)  # 160 slices of 512²


@pytest.mark.parametrize("folder", ["siemens_prisma_t1_sag_2d_HFS", LONG])
def test_no_errors_on_series_as_scanners_wrote_them(folder: str, real_data: Path, tmp_path: Path) -> None:
    """Real headers, with made findings."""
    datasets = read_path(real_data / "dicom" / folder).datasets
    shape = (len(datasets), datasets[0].Rows, datasets[0].Columns)
    import numpy as np

    mask = np.zeros(shape, bool)
    middle = tuple(size // 2 for size in shape)
    mask[middle[0] - 2 : middle[0] + 2, middle[1] - 9 : middle[1] + 9, middle[2] - 5 : middle[2] + 12] = True
    paths = save(context_of(datasets, mask), tmp_path)
    assert [line for path in paths for line in errors(path)] == []


def test_dcmtk_reads_the_report(tmp_path: Path) -> None:
    """dsrdump accepts the content tree and shows the measurements."""
    save(phantom_context(), tmp_path)
    done = subprocess.run([tool("dsrdump"), str(tmp_path / "report.dcm")], capture_output=True, text=True, check=True)
    assert "Comprehensive 3D SR Document" in done.stdout
    assert 'NUM:(,,"Volume")' in done.stdout
    assert "UNVERIFIED" in done.stdout
    assert not [line for line in done.stderr.splitlines() if line.startswith("E:")]

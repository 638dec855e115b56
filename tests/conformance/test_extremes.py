"""Very long, very large and very small series, odd masks and odd headers: valid objects of every kind, or a refusal."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.errors import InvalidHeader, MissingSlices, Refused
from pipeline.findings.identity import derived_uid
from pipeline.findings.model import BoolArray, Outcome
from pipeline.reading.files import read_path
from pipeline.results.profile import KINDS, PRESETS, Profile, ReportFlavour
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import UNDRAWN, build_all, context_of, file_bytes
from tests.conformance.test_dciodvfy import errors
from tests.conformance.test_templates import faults_of, selection_faults
from tests.forms import short
from tests.shapes import with_pixels
from tests.unit.pipeline.results.seg.test_segmentation import awkward_masks, mask_in_source_grid


def faults(context: ResultContext, folder: Path, profile: Profile | None = None) -> list[str]:
    """What dciodvfy and the templates object to in the results of ``context``.

    The first overlay speaks for all; None is every kind but those, which tests of their own look at.
    """
    found = []
    for item in build_all(context, profile or Profile(objects=UNDRAWN)):
        if item.role == "overlay" and not item.filename.endswith("-001.dcm"):
            continue
        path = folder / item.filename
        path.write_bytes(file_bytes(item.dataset))
        found += [f"{item.filename}: {line}" for line in errors(path)]
        found += faults_of(item.dataset) if item.role == "report" else []
        found += selection_faults(item.dataset) if item.role == "keyobjects" else []
    return found


def long_series(slices: int, matrix: int) -> tuple[Dataset, ...]:
    """``slices`` images of noise, 1 mm apart."""
    noise = np.random.default_rng(0).integers(0, 1200, (slices, matrix, matrix))
    header = phantom.Header(key=f"long/{slices}/{matrix}")
    return phantom.series_from_arrays(noise, plane="axial", pixel_spacing=2.0, slice_spacing=1.0, header=header)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("slices", short([100, 200, 4000], 100))
@pytest.mark.parametrize("touched", short(["few", "all"], "all"))
def test_long_series(touched: str, slices: int, tmp_path: Path) -> None:
    """A lesion in few slices, and one through all: every object is valid, and the outline is where it was."""
    datasets = long_series(slices, 16)
    mask = np.zeros((slices, 16, 16), bool)
    mask[slices // 2 : slices // 2 + 10 if touched == "few" else slices, 4:9, 5:9] = True
    mask[: slices // 2 if touched == "all" else 0, 4:9, 5:9] = True
    context = context_of(datasets, mask)
    assert faults(context, tmp_path) == []
    built = hd.seg.segread(tmp_path / "segmentation.dcm")  # building it again would take minutes
    assert np.array_equal(mask_in_source_grid(built, context, 1), mask)


@pytest.mark.nightly
def test_images_of_four_thousand_pixels_square(tmp_path: Path) -> None:
    """A ragged outline of tens of thousands of corners included."""
    small = phantom.head_phantom(slices=3, matrix=64)
    datasets = [with_pixels(ds, np.tile(ds.pixel_array, (64, 64)), PixelSpacing=[0.06, 0.06]) for ds in small]
    mask = np.zeros((3, 4096, 4096), bool)
    mask[1, 1000:1400, 1000:3000] = np.random.default_rng(0).random((400, 2000)) < 0.02
    mask[1, 1400:2000, 1000:3000] = True
    mask[1, 1380:1400, 1000:3000:2] = True
    largest = context_of(datasets, _largest(mask))
    assert faults(largest, tmp_path, Profile(objects=UNDRAWN, report_flavour="both")) == []


def _largest(mask: BoolArray) -> BoolArray:
    """The largest region of ``mask``, so that the specks around it make no lesions of their own."""
    from scipy.ndimage import label

    labels, _ = label(mask, structure=np.ones((3, 3, 3)))
    return labels == np.bincount(labels.ravel())[1:].argmax() + 1


@pytest.mark.parametrize("matrix", short([8, 64], 8))
def test_small_images(matrix: int, tmp_path: Path) -> None:
    """64² is what some scanners send; 8² shows that nothing here counts on more."""
    mask = np.zeros((6, matrix, matrix), bool)
    mask[2:4, 2:5, 3:6] = True
    context = context_of(phantom.head_phantom(slices=6, matrix=matrix), mask)
    for name, profile in PRESETS.items():
        assert faults(context, tmp_path, profile) == [], name


@pytest.mark.parametrize("flavour", short(["planar", "both"], "both"))
@pytest.mark.parametrize("name", short(awkward_masks(), "first slice"))
def test_awkward_masks_in_every_flavour_and_form(name: str, flavour: ReportFlavour, tmp_path: Path) -> None:
    """One voxel, first and last slice, the border, forty lesions; with empty frames, and as occupancies."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), awkward_masks()[name])
    profile = Profile(objects=UNDRAWN, report_flavour=flavour, omit_empty_frames=False, segmentation_type="FRACTIONAL")
    assert faults(context, tmp_path, profile) == []


def test_a_finding_without_an_outline(tmp_path: Path) -> None:
    """An empty mask: no segmentation and no presentation state, and everything else says what was found."""
    context = context_of(phantom.head_phantom(slices=12, matrix=64), None, Outcome.FINDING)
    roles = {item.role for item in build_all(context, Profile(objects=UNDRAWN))}
    assert roles == {"report", "heatmap", "document", "keyobjects"}
    for flavour in ("volumetric", "planar", "both"):
        assert faults(context, tmp_path, Profile(objects=UNDRAWN, report_flavour=flavour)) == []


def without(*keywords: str) -> Callable[[Dataset], None]:
    def change(ds: Dataset) -> None:
        for keyword in keywords:
            ds.pop(keyword, None)

    return change


def oblique(ds: Dataset) -> None:
    ds.ImageOrientationPatient = [0.8, 0.6, 0, -0.6, 0.8, 0]


HEADERS: dict[str, Callable[[Dataset], None]] = {
    "no frame of reference": without("FrameOfReferenceUID"),
    "no patient": without("PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    "no dates": without(
        *(f"{what}{part}" for what in ("Study", "Series", "Acquisition", "Content") for part in ("Date", "Time"))
    ),
    "no body part, no laterality, no position": without("BodyPartExamined", "Laterality", "PatientPosition"),
    "no window": without("WindowCenter", "WindowWidth"),
    "no thickness": without("SliceThickness", "SpacingBetweenSlices"),
    "turned in its plane": oblique,
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_that_lack_things(name: str, tmp_path: Path) -> None:
    """Every kind of object, in both flavours of the report."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    for ds in datasets:
        HEADERS[name](ds)
    mask = np.zeros((12, 64, 64), bool)
    mask[4:8, 20:33, 30:41] = True
    assert faults(context_of(datasets, mask), tmp_path, Profile(objects=UNDRAWN, report_flavour="both")) == []


def with_identity(**values: str) -> Sequence[Dataset]:
    """A phantom read from files in which these attributes hold these values, whatever the standard says of them."""
    import warnings

    datasets = phantom.head_phantom(slices=12, matrix=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for ds in datasets:
            for keyword, value in values.items():
                setattr(ds, keyword, value)
    return datasets


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"])
@pytest.mark.parametrize("value", ["ABC", "1.2.x", "1..2", "1." * 40 + "1", "1.2/../3"])
def test_what_is_no_uid_is_refused(keyword: str, value: str, tmp_path: Path) -> None:
    """A result would have to refer to it, and no valid result can."""
    datasets = with_identity(**{keyword: value})
    phantom.save(datasets, tmp_path)
    with pytest.raises(InvalidHeader, match=f"{keyword} is not a UID"):
        read_path(tmp_path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_frame_of_reference_that_is_no_uid_is_not_carried(tmp_path: Path) -> None:
    """It links nothing; the results link with each other."""
    mask = phantom.lesion_mask(phantom.head_phantom(slices=12, matrix=64))
    context = context_of(with_identity(FrameOfReferenceUID="HEAD"), mask)
    assert context.frame_of_reference_uid == context.run.uid("frame of reference")
    assert faults(context, tmp_path) == []


def complaint(line: str) -> str:
    """An error of dciodvfy from the attribute's own name on, without the sequences that it lies in."""
    return line[line.rindex("/", 0, line.index("> - ")) + 1 :]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_names_and_uids_that_are_only_irregular_are_carried(tmp_path: Path) -> None:
    """A name of 70 characters, leading zeros: patient and study are known by them. dciodvfy finds in every result
    what it finds in the source, and nothing else.
    """
    values = {"PatientName": "X" * 70, "PatientID": "7" * 70, "StudyInstanceUID": "1.2.0840.01"}
    datasets = with_identity(**values)
    source = tmp_path / "source.dcm"
    source.write_bytes(file_bytes(datasets[0]))
    own = {complaint(line) for line in errors(source)}
    assert {text.partition("(")[0] for text in own} == set(values)
    context = context_of(datasets, phantom.lesion_mask(phantom.head_phantom(slices=12, matrix=64)))
    profile = Profile(objects=KINDS, report_flavour="both")
    made = {item.filename: item.dataset for item in build_all(context, profile)}
    for ds in made.values():
        assert {keyword: str(ds[keyword].value) for keyword in values} == values
    found: dict[str, set[str]] = {}
    for line in faults(context, tmp_path, profile):
        name, _, rest = line.partition(": ")
        found.setdefault(name, set()).add(complaint(rest))
    looked_at = [name for name in made if not name.startswith("overlay-") or name.endswith("-001.dcm")]
    assert found == dict.fromkeys(looked_at, own)


REAL = (
    "ge_signa_pd_ax",
    "philips_enhanced_elition",
    "siemens_prisma_t1_sag_2d_HFS",
    "siemens_trio_t1_sag",
    "siemens_trio_t2_ax",
    "uih_umr770_t1_sag",
)


@pytest.mark.parametrize("name", short(REAL, "philips_enhanced_elition", "siemens_prisma_t1_sag_2d_HFS"))
def test_every_object_of_every_real_series(name: str, real_data: Path, tmp_path: Path) -> None:
    """Headers as scanners wrote them, a lesion that nobody has: no validator objects to anything."""
    for number, datasets in enumerate(_stacks(real_data / "dicom" / name)):
        volume = context_of(datasets).volume
        mask = np.zeros(volume.shape, bool)
        k, row, column = (size // 2 for size in volume.shape)
        mask[max(0, k - 2) : k + 2, row - 9 : row + 9, column - 5 : column + 12] = True
        folder = tmp_path / str(number)
        folder.mkdir()
        found = faults(context_of(datasets, mask), folder, Profile(objects=UNDRAWN, report_flavour="both"))
        assert [line for line in found if not _is_the_sources_own(line, datasets)] == []


def _is_the_sources_own(line: str, datasets: Sequence[Dataset]) -> bool:
    """Whether an error is about a UID of the source itself, which a result cannot but repeat (ADR 15)."""
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID")
    uids = {str(ds.get(name)) for ds in datasets for name in names}
    return any(f"<{uid}>" in line for uid in uids)


def _stacks(folder: Path) -> Sequence[Sequence[Dataset]]:
    """The series in ``folder`` that make a volume; of one that lacks a slice, its longest part without a gap."""
    try:
        found = [read_path(folder).datasets]
    except Refused:  # several series, or one for each file
        found = []
        for path in sorted(item for item in folder.rglob("*") if item.is_file()):
            with contextlib.suppress(Refused):
                found.append(read_path(path).datasets)
    volumes: list[Sequence[Dataset]] = []
    for datasets in found:
        with contextlib.suppress(Refused):
            try:
                context_of(datasets)
                volumes.append(datasets)
            except MissingSlices:
                part = _longest_part(datasets)
                context_of(part)
                volumes.append(part)
    assert volumes, f"no volume in {folder}"
    return volumes


def _longest_part(datasets: Sequence[Dataset]) -> Sequence[Dataset]:
    """The most slices in a row that lie at one distance."""
    across, down = np.array(datasets[0].ImageOrientationPatient, float).reshape(2, 3)
    places = [float(np.array(ds.ImagePositionPatient, float) @ np.cross(across, down)) for ds in datasets]
    order = np.argsort(places)
    steps = np.diff(np.sort(places))
    breaks = [0, *(np.flatnonzero(steps > 1.5 * np.median(steps)) + 1), len(order)]
    begin, end = max(itertools.pairwise(breaks), key=lambda pair: pair[1] - pair[0])
    return [datasets[k] for k in order[begin:end]]


def test_derived_uids_are_uids() -> None:
    """What is derived from an odd identifier is a UID all the same."""
    for text in ("", "0.0.1.02", "ein Name", "x" * 200):
        uid = derived_uid("run", text)
        assert len(uid) <= 64
        assert uid.startswith("2.25.")

"""A landmark drawn in the source comes back in the same patient coordinates, whoever reads the segmentation.

Three balls of different sizes lie at no symmetric places, so that a mirrored, turned or shifted result is seen. They
are drawn by each image's own header. A model that only thresholds goes the way that networks go: resampled to display
orientation and back by `pipeline.preprocess.slabs`.
"""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from scipy.spatial.transform import Rotation

from models.workflow.volumes.image import as_image, to_source
from pipeline.export import nifti
from pipeline.findings.identity import RunIdentity
from pipeline.findings.measure import to_findings
from pipeline.findings.model import ClassProbability, ModelIdentity, Outcome, Prediction
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.phantom import Header, series_from_arrays
from pipeline.preprocess.slabs import SampleSlabs
from pipeline.process import process
from pipeline.reading.files import Series
from pipeline.results.provenance import ResultContext
from pipeline.results.seg import segmentation
from tests.conformance.synthetic import MODEL, file_bytes
from tests.shapes import enhanced
from tools.geometry_readers import from_simpleitk

BALLS = ((np.array((22.0, -14.0, 9.0)), 11.0), (np.array((-20.0, 8.0, -4.0)), 9.0), (np.array((6.0, 22.0, -8.0)), 7.0))
"""Centre (LPS, mm) and radius (mm), largest first, as segments are numbered."""
SHAPE, PIXEL, STEP = (32, 52, 44), (1.8, 2.1), 2.6
ORIENTATIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "axial from head to feet": ((1, 0, 0), (0, -1, 0)),
    "prone": ((-1, 0, 0), (0, -1, 0)),
    "on the left side": ((0, 1, 0), (-1, 0, 0)),
    "oblique": tuple(Rotation.from_euler("xyz", (24, -17, 9), degrees=True).as_matrix().T[:2]),
    "double oblique, nearly coronal": tuple(Rotation.from_euler("xyz", (-70, 21, 160), degrees=True).as_matrix().T[:2]),
}


def drawn(orientation: str, *, shear: float = 0.0) -> list[Dataset]:
    """A dim block with the balls in it, planes in the given orientation around the patient's origin.

    ``shear``: mm that each plane lies further along its rows than squarely above the last.
    """
    across, down = (np.array(vector, float) for vector in ORIENTATIONS[orientation])
    normal = np.cross(across, down)
    made = series_from_arrays(
        np.zeros(SHAPE), plane="axial", pixel_spacing=1, slice_spacing=STEP, header=Header(key=f"balls/{orientation}")
    )
    middle = (np.array(SHAPE) - 1) / 2
    noise = np.random.default_rng(1).normal(0, 20, SHAPE)
    for index, ds in enumerate(made):
        origin = (index - middle[0]) * (normal * STEP + down * shear)
        origin = origin - down * PIXEL[0] * middle[1] - across * PIXEL[1] * middle[2]
        ds.ImageOrientationPatient = [round(float(value), 8) for value in (*across, *down)]
        ds.ImagePositionPatient = [round(float(value), 5) for value in origin]
        ds.PixelSpacing = list(PIXEL)
        ds.SpacingBetweenSlices = STEP
        rows, columns = np.mgrid[0 : SHAPE[1], 0 : SHAPE[2]]
        points = origin + rows[..., None] * down * PIXEL[0] + columns[..., None] * across * PIXEL[1]
        image = 300 + noise[index]
        for centre, radius in BALLS:
            image[np.linalg.norm(points - centre, axis=-1) < radius] = 2000
        ds.PixelData = image.astype(np.uint16).tobytes()
    return list(made)


class ThresholdModel:
    """Calls everything bright a lesion, on the grid that a network would read."""

    identity: ModelIdentity = MODEL
    classes = ("glioma", "meningioma", "pituitary_tumor", "no_tumor")

    def check(self, _header: Dataset) -> tuple[str, ...]:
        return ()

    def predict(self, volume: Volume) -> Prediction:
        sample = SampleSlabs(matrix=96, pixel_mm=1.6, slab_mm=STEP)
        bright = (sample(as_image(volume)) > 1150).float()
        mask = to_source(sample.inverse(bright))[0] >= 0.5
        return Prediction(
            outcome=Outcome.FINDING,
            predicted_class="glioma",
            probabilities=tuple(ClassProbability(name, float(name == "glioma")) for name in self.classes),
            mask=mask,
            heatmap=mask.astype(np.float32),
            key_slice=int(mask.sum(axis=(1, 2)).argmax()),
        )


def read(datasets: Sequence[Dataset]) -> ResultContext:
    """A series read by the pipeline's steps."""
    volume = build_volume(datasets)
    run = RunIdentity(volume.series_instance_uid, "0" * 64, MODEL.digest)
    return ResultContext(volume, to_findings(ThresholdModel().predict(volume), volume, run, MODEL), run)


def segmented(datasets: Sequence[Dataset]) -> Dataset:
    """The SEG of a series."""
    (item,) = segmentation.build(read(datasets))
    return item.dataset


def assert_in_place(centroids: Sequence[np.ndarray], datasets: Sequence[Dataset]) -> None:
    """Each centroid (LPS, mm) lies within half a voxel of its ball's centre, along each axis of the images."""
    assert len(centroids) == len(BALLS)
    cosines = np.array(datasets[0].ImageOrientationPatient, float)
    axes = np.stack([cosines[:3], cosines[3:], np.cross(cosines[:3], cosines[3:])])
    for found, (centre, _) in zip(centroids, BALLS, strict=True):
        away = np.abs(axes @ (found - centre)) / (PIXEL[1], PIXEL[0], STEP)
        assert away.max() < 0.5, f"{found} is {away} voxels (columns, rows, slices) from {centre}"


def by_highdicom(path: Path) -> list[np.ndarray]:
    seg = hd.seg.segread(path)
    centroids = []
    for number in seg.segment_numbers:
        volume = seg.get_volume(segment_numbers=[number])
        indices = np.argwhere(volume.array[..., 0])
        centroids.append((indices @ volume.affine[:3, :3].T + volume.affine[:3, 3]).mean(axis=0))
    return centroids


def by_dcmtk(path: Path) -> list[np.ndarray]:
    """From what dcm2json prints and the formula of PS3.3 C.7.6.2.1.1 alone: no DICOM library of Python is asked."""
    if shutil.which("dcm2json") is None:
        pytest.skip("dcm2json is not installed (Debian package dcmtk)")
    printed = subprocess.run(["dcm2json", str(path)], capture_output=True, check=True).stdout
    ds = json.loads(printed)

    def value(item: dict, *tags: str) -> list:
        for tag in tags[:-1]:
            item = item[tag]["Value"][0]
        return item[tags[-1]]["Value"]

    (shared,) = ds["52009229"]["Value"]
    cosines = np.array(value(shared, "00209116", "00200037"), float)
    spacing = np.array(value(shared, "00289110", "00280030"), float)
    rows, columns, count = (int(value(ds, tag)[0]) for tag in ("00280010", "00280011", "00280008"))
    packed = np.frombuffer(base64.b64decode(ds["7FE00010"]["InlineBinary"]), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")[: count * rows * columns].reshape(count, rows, columns)
    points: dict[int, list[np.ndarray]] = {}
    for plane, groups in zip(bits, ds["52009230"]["Value"], strict=True):
        number = value(groups if "0062000A" in groups else shared, "0062000A", "0062000B")[0]
        origin = np.array(value(groups, "00209113", "00200032"), float)
        row, column = np.nonzero(plane)
        place = origin + row[:, None] * cosines[3:] * spacing[0] + column[:, None] * cosines[:3] * spacing[1]
        points.setdefault(int(number), []).extend(place)
    return [np.mean(points[number], axis=0) for number in sorted(points)]


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_the_landmarks_are_where_they_were_drawn(orientation: str, tmp_path: Path) -> None:
    """In every orientation, files in reverse, read back by highdicom and by dcmtk."""
    datasets = drawn(orientation)
    path = tmp_path / "seg.dcm"
    path.write_bytes(file_bytes(segmented(datasets[::-1])))
    assert_in_place(by_highdicom(path), datasets)
    assert_in_place(by_dcmtk(path), datasets)


def test_frames_in_any_order_lead_to_the_same_place(tmp_path: Path) -> None:
    """An enhanced object whose frames are shuffled, through the whole pipeline."""
    datasets = drawn("oblique")
    shuffled = [datasets[index] for index in np.random.default_rng(3).permutation(len(datasets))]
    series = Series((enhanced(shuffled),))
    recorded = datetime(2026, 1, 5, tzinfo=UTC)
    processed = process(series, ThresholdModel(), now=lambda: 0.0, recorded=recorded)
    (item,) = (item for item in processed.objects if item.role == "segmentation")
    path = tmp_path / "seg.dcm"
    path.write_bytes(file_bytes(item.dataset))
    assert_in_place(by_highdicom(path), datasets)
    assert_in_place(by_dcmtk(path), datasets)
    derivations = [groups.DerivationImageSequence[0] for groups in item.dataset.PerFrameFunctionalGroupsSequence]
    assert all("ReferencedFrameNumber" in one.SourceImageSequence[0] for one in derivations)


def test_a_tilted_gantry_keeps_each_plane_in_its_place(tmp_path: Path) -> None:
    """A sheared stack is not straightened: the segmentation's frames have their own positions."""
    datasets = drawn("axial", shear=0.6)
    path = tmp_path / "seg.dcm"
    path.write_bytes(file_bytes(segmented(datasets)))
    assert_in_place(by_dcmtk(path), datasets)


def test_simpleitk_finds_them_in_the_nifti_mask(tmp_path: Path) -> None:
    """In LPS, by ITK's own reader. It is not asked for the SEG: of that it takes origin and orientation, no spacing."""
    datasets = drawn("oblique")
    context = read(datasets)
    (data,) = (file.data for file in nifti.build(context.volume, context.findings) if file.filename == "mask.nii.gz")
    path = tmp_path / "mask.nii.gz"
    path.write_bytes(data)
    grid = from_simpleitk(sitk.ReadImage(str(path)))
    places = [np.argwhere(grid.array == number) for number in range(1, len(BALLS) + 1)]
    assert_in_place([(one @ grid.affine[:3, :3].T + grid.affine[:3, 3]).mean(axis=0) for one in places], datasets)


def test_a_mirrored_result_would_be_seen(tmp_path: Path) -> None:
    """The comparison can fail: the same segmentation with one axis reversed is out of place."""
    datasets = drawn("axial")
    ds = segmented(datasets)
    for groups in ds.PerFrameFunctionalGroupsSequence:
        position = groups.PlanePositionSequence[0].ImagePositionPatient
        position[2] = -position[2]
    path = tmp_path / "seg.dcm"
    path.write_bytes(file_bytes(ds))
    with pytest.raises(AssertionError, match="voxels"):
        assert_in_place(by_dcmtk(path), datasets)

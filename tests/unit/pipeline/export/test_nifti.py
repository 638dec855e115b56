"""NIfTI files hold the voxels, and say where they are, as nibabel and SimpleITK read them."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.export import nifti
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.results.provenance import ResultContext
from tests.conformance.synthetic import context_of, phantom_context
from tests.strategies import oblique_series

NAMES = ("volume.nii.gz", "mask.nii.gz", "heatmap.nii.gz")


def written(context: ResultContext, folder: Path) -> dict[str, Path]:
    """The files of a run, by name."""
    paths = {}
    for file in nifti.build(context.volume, context.findings):
        paths[file.filename] = folder / file.filename
        paths[file.filename].write_bytes(file.data)
    return paths


def corners(volume: Volume) -> np.ndarray:
    """The eight corner voxels' (slice, row, column)."""
    return np.array(np.meshgrid(*((0, size - 1) for size in volume.shape))).reshape(3, -1).T


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_every_file_reads_back_voxel_for_voxel(plane: phantom.Plane, tmp_path: Path) -> None:
    """The value at a voxel's patient coordinates is the same in the file, found through its own affine in RAS."""
    context = phantom_context(plane, slices=12)
    labels = np.zeros(context.volume.shape, int)
    labels[context.findings.regions[0].mask] = 1
    expected = {"volume": context.volume.array, "mask": labels, "heatmap": context.findings.heatmap}
    assert set(written(context, tmp_path)) == set(NAMES)
    for name, array in expected.items():
        image = nib.load(tmp_path / f"{name}.nii.gz")
        indices = np.argwhere(np.ones(array.shape, bool))
        ras = context.volume.to_patient(indices) * (-1, -1, 1)
        voxels = nib.affines.apply_affine(np.linalg.inv(image.affine), ras)
        assert np.allclose(voxels, voxels.round(), atol=1e-3)
        found = np.asanyarray(image.dataobj)[tuple(voxels.round().astype(int).T)]
        assert np.array_equal(found, array.ravel()), name


@settings(deadline=None)
@given(oblique_series())
def test_any_orientation_has_the_same_coordinates_in_nibabel_and_simpleitk(
    made: tuple[list[Dataset], np.ndarray],
) -> None:
    """RAS in nibabel's sform and qform, LPS in SimpleITK: all three are the volume's own place to a hundredth of a mm.

    NIfTI stores single precision, and the qform a rotation by three numbers: at 300 mm from the origin that is 0.001.
    """
    datasets, _ = made
    context = context_of(datasets)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(nifti.build(context.volume, context.findings)[0].data))
    for affine in (image.get_sform(), image.get_qform()):
        ras = nib.affines.apply_affine(affine, corners(context.volume)[:, ::-1])
        np.testing.assert_allclose(ras * (-1, -1, 1), context.volume.to_patient(corners(context.volume)), atol=0.01)


def test_simpleitk_reads_the_same_place_in_lps(tmp_path: Path) -> None:
    """ITK takes NIfTI's RAS and gives LPS: the coordinates are the volume's without any change of sign."""
    datasets = phantom.head_phantom(slices=10, matrix=32)
    turn = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, 0.6, -0.8], [0, 0.8, 0.6]])
    for index, ds in enumerate(datasets):
        ds.ImageOrientationPatient = [round(float(value), 6) for value in (*turn[:, 0], *turn[:, 1])]
        ds.ImagePositionPatient = [round(float(value), 4) for value in turn @ (10, -20, 7.5 * index)]
        ds.PixelSpacing = [0.7, 1.3]
    context = context_of(datasets)
    for path in written(context, tmp_path).values():
        image = sitk.ReadImage(str(path))
        places = [
            image.TransformIndexToPhysicalPoint([int(n) for n in reversed(index)]) for index in corners(context.volume)
        ]
        np.testing.assert_allclose(places, context.volume.to_patient(corners(context.volume)), atol=1e-3)
    values = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "volume.nii.gz")))
    assert np.array_equal(values, context.volume.array)


def test_the_header_says_scanner_coordinates_millimetres_and_nobodys_name(tmp_path: Path) -> None:
    """Both forms have code 1; no text field holds anything."""
    datasets = phantom.head_phantom(
        slices=6, matrix=32, header=phantom.Header(patient_name="Secret^Name", patient_id="S-1")
    )
    for path in written(context_of(datasets), tmp_path).values():
        header = nib.load(path).header
        assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
        assert header.get_xyzt_units()[0] == "mm"
        assert not any(bytes(header[field]).strip(b"\0") for field in ("descrip", "aux_file", "intent_name", "db_name"))
        assert not header.extensions
        raw = gzip.decompress(path.read_bytes())
        assert b"Secret" not in raw
        assert b"S-1" not in raw
        assert path.read_bytes()[3] == 0, "gzip names no file"


def test_several_lesions_are_numbered_as_in_the_report(tmp_path: Path) -> None:
    """Lesion 1 is the largest, as in SEG and SR; the numbers are whole."""
    datasets = phantom.head_phantom(slices=12, matrix=64)
    mask = np.zeros((12, 64, 64), bool)
    mask[2:4, 10:14, 10:14] = mask[6:9, 30:40, 30:40] = mask[10, 50, 50] = True
    context = context_of(datasets, mask)
    image = nib.load(written(context, tmp_path)["mask.nii.gz"])
    found = np.asanyarray(image.dataobj).transpose(2, 1, 0)
    assert image.get_data_dtype() == np.uint8
    for number, lesion in enumerate(context.findings.regions, start=1):
        assert np.array_equal(found == number, lesion.mask)


def test_the_same_run_gives_the_same_bytes() -> None:
    """No clock in the gzip header."""
    context = phantom_context(slices=6)
    assert nifti.build(context.volume, context.findings) == nifti.build(context.volume, context.findings)


def test_a_sheared_stack_has_the_sform_alone(tmp_path: Path) -> None:
    """A qform holds no shear: code 0 says that it is not to be used, and the sform is exact."""
    context = phantom_context(slices=8)
    affine = context.volume.affine.copy()
    affine[1, 0] += 2.0  # each slice 2 mm further to posterior: gantry tilt
    sheared = replace(context.volume, affine=affine)
    (file, *_) = nifti.build(sheared, context.findings)
    image = nib.Nifti1Image.from_bytes(gzip.decompress(file.data))
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (1, 0)
    ras = nib.affines.apply_affine(image.affine, corners(sheared)[:, ::-1])
    np.testing.assert_allclose(ras * (-1, -1, 1), sheared.to_patient(corners(sheared)), atol=1e-4)


def test_who_does_not_ask_does_not_wait_for_nibabel() -> None:
    """The receiver and the workers never import it."""
    import subprocess
    import sys

    code = "import sys, dicom_node.inference.output, pipeline.export.nifti; sys.exit('nibabel' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_volume_without_lesions_has_an_empty_mask(tmp_path: Path) -> None:
    datasets = phantom.head_phantom(slices=6, matrix=32)
    context = context_of(datasets)
    mask = np.asanyarray(nib.load(written(context, tmp_path)["mask.nii.gz"]).dataobj)
    assert mask.shape == build_volume(datasets).shape[::-1]
    assert not mask.any()

"""Volume, lesion mask and heat map as NIfTI-1, for researchers.

DICOM, `pipeline.geometry.volume` and SimpleITK give patient coordinates in LPS (x to the patient's left, y to
posterior,
z to head); NIfTI and nibabel in RAS (x to the right, y to anterior, z to head): `pipeline.geometry.ras` turns them.
Voxels are neither resampled nor mirrored: they are stored as in the source, the first NIfTI axis along its columns, the
second along its rows, the third from slice to slice, and the affine gives their place.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.findings.model import Findings
from pipeline.geometry.ras import to_ras
from pipeline.geometry.volume import Affine, Volume

SCANNER = 1
"""NIFTI_XFORM_SCANNER_ANAT: coordinates are the scanner's, as those of DICOM are."""
SHEAR_TOLERANCE = 1e-4
"""Cosine between two axes below which they count as perpendicular: 0.006 degrees, the rounding of scanners."""
FAST = 1
"""Level of gzip: the noise of MR voxels hardly shrinks further, and level 6 takes several times as long."""


@dataclass(frozen=True)
class NiftiFile:
    """One NIfTI-1 file: its name, what its voxels hold, its bytes (gzip; the same voxels give the same bytes)."""

    filename: str
    content: str
    data: bytes


def build(volume: Volume, findings: Findings) -> tuple[NiftiFile, ...]:
    """The three files of one run, all on the voxels of ``volume``.

    ``volume.nii.gz`` holds modality values (float32), ``mask.nii.gz`` the number of the lesion at each voxel, from 1 in
    the order of ``findings.regions`` and 0 outside (where two overlap, the higher number, which is the smaller lesion),
    ``heatmap.nii.gz`` the class activation, 0..1 (float32). The headers identify nobody.
    """
    labels = np.zeros(volume.shape, dtype=np.uint8 if len(findings.regions) < 256 else np.uint16)
    for number, region in enumerate(findings.regions, start=1):
        labels[region.voxels.box][region.voxels.inside] = number
    files = [
        NiftiFile("volume.nii.gz", "modality values", _encoded(volume.array, volume)),
        NiftiFile("mask.nii.gz", "region number, 0 outside", _encoded(labels, volume)),
    ]
    if findings.heatmap is not None:
        files.append(NiftiFile("heatmap.nii.gz", "class activation, 0 to 1", _encoded(findings.heatmap, volume)))
    return tuple(files)


def _encoded(array: npt.NDArray[np.float32] | npt.NDArray[np.unsignedinteger], volume: Volume) -> bytes:
    """``array`` (slices, rows, columns) on the voxels of ``volume`` as the bytes of a ``.nii.gz`` file.

    sform and qform both say where the voxels are, code 1 (scanner). A sheared stack (gantry tilt) has the sform alone,
    since a qform holds no shear; its code is then 0, which makes readers use the sform.
    """
    import nibabel as nib  # noqa: PLC0415  (loaded only for NIfTI)

    affine = to_ras(volume.affine)
    image = nib.Nifti1Image(array.transpose(2, 1, 0), affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=SCANNER)
    if is_sheared(affine):
        image.set_qform(None, code=0)
    else:
        image.set_qform(affine, code=SCANNER)
    return gzip.compress(image.to_bytes(), compresslevel=FAST, mtime=0)


def is_sheared(affine: Affine) -> bool:
    """Whether the axes of ``affine`` (4, 4) are not perpendicular to each other."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > SHEAR_TOLERANCE)

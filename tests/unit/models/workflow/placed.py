"""Volumes in any orientation, with a landmark where nothing is symmetric."""

from __future__ import annotations

import numpy as np
import torch

from models.workflow.installing.bundle import read_workflow_bundle
from models.workflow.run import ResidentWorkflow
from pipeline.findings.answers import Segmentation
from pipeline.geometry.volume import Volume
from tests.peers.workflow_bundle import write_bundle

CPU = torch.device("cpu")
SHAPE = (14, 22, 26)
SPACING = (3.0, 1.25, 0.9)
ORIENTATIONS = {
    # Directions (LPS) of increasing column, then of increasing row.
    "axial": ((1, 0, 0), (0, 1, 0)),
    "axial, feet first": ((-1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "tilted gantry": ((1, 0, 0), (0, 1, 0)),
    "oblique": ((0.9, 0.3, 0.316228), (-0.35, 0.93, 0.113)),
}


def placed(array: np.ndarray, orientation: str, *, reverse: bool = False) -> Volume:
    """``array`` (slices, rows, columns) in ``orientation``; ``reverse``: the slices run against the normal."""
    across = np.array(ORIENTATIONS[orientation][0], dtype=float)
    across /= np.linalg.norm(across)
    down = np.array(ORIENTATIONS[orientation][1], dtype=float)
    down -= across * (down @ across)
    down /= np.linalg.norm(down)
    normal = np.cross(across, down) * (-1 if reverse else 1)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([normal, down, across], axis=1) * np.array(SPACING)
    if orientation == "tilted gantry":
        affine[:3, 0] += down * 0.9  # each slice lies 0.9 mm further to the back: the axes are not perpendicular
    affine[:3, 3] = (-31.0, 17.5, 112.25)
    return Volume(array=array.astype(np.float32), affine=affine, sources=())


def landmark(orientation: str = "axial", *, reverse: bool = False) -> Volume:
    """A bright block of 3 × 4 × 5 voxels off every plane of symmetry."""
    array = np.zeros(SHAPE, dtype=np.float32)
    array[3:6, 5:9, 15:20] = 1.0
    return placed(array, orientation, reverse=reverse)


def centre(volume: Volume, mask: np.ndarray) -> np.ndarray:
    """The centre of ``mask`` in the patient, LPS, mm."""
    assert mask.any()
    return volume.to_patient(np.argwhere(mask)).mean(axis=0)


def resident(folder, **parts) -> ResidentWorkflow:
    return ResidentWorkflow(read_workflow_bundle(write_bundle(folder / "copying", **parts)), CPU)


def segmented(workflow: ResidentWorkflow, volume: Volume) -> Segmentation:
    answer = workflow.run({"image": volume})
    assert isinstance(answer, Segmentation)
    return answer

"""Computed images for a bundle that has not met a patient yet: `candela models check` runs it on them.

Ellipsoids of soft tissue, fat and bone in air, in Hounsfield units for CT and in arbitrary units for all else: enough
for every transform, the network and the way back to run, and no statement about how well a model reads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ComputedRadiographyImageStorage
from scipy.ndimage import gaussian_filter

from models.contract import ChannelBlock, Contract2, InputBlock, ScopeBlock
from pipeline.errors import BadSettings
from pipeline.geometry.volume import FloatArray, Volume
from pipeline.phantom import Header
from pipeline.phantom_projection import Film, chest_film, mammogram
from pipeline.phantom_series import FORMS, series_of

SHAPE = (24, 80, 72)
"""Slices, rows and columns: no two alike, so that a bundle which mixes axes up is seen."""
SPACING = (4.0, 1.6, 1.6)
PROJECTION_SHAPE = (1, 320, 256)
PROJECTION_MM = 0.7
SEQUENCES: dict[str, dict[str, str | list[str]]] = {
    "T1": {"ScanningSequence": "SE", "RepetitionTime": "500", "EchoTime": "15"},
    "T2": {"ScanningSequence": "SE", "RepetitionTime": "4000", "EchoTime": "100"},
    "PD": {"ScanningSequence": "SE", "RepetitionTime": "3000", "EchoTime": "15"},
    "T2*": {"ScanningSequence": "GR", "RepetitionTime": "500", "EchoTime": "20", "FlipAngle": "20"},
    "FLAIR": {
        "ScanningSequence": ["SE", "IR"],
        "RepetitionTime": "9000",
        "EchoTime": "120",
        "InversionTime": "2500",
    },
}
"""What the header of an MR series with such a weighting says."""
AIR, FAT, SOFT, BONE = -1000.0, -90.0, 40.0, 700.0


def trial_series(contract: Contract2) -> dict[str, tuple[Dataset, ...]]:
    """Computed DICOM series of one study, by the channel's name: the same volumes, or radiographs of a chest or breast.

    Raises
    ------
    BadSettings
        for modalities of which no series can be computed.
    """
    modality = contract.scope.modalities[0]
    if any(block.kind == "projection" for block in contract.inputs):
        return {channel.name: (_film(channel, modality, contract.scope),) for channel in contract.channels}
    if modality not in FORMS:
        raise _not_computed(modality)
    body_part = next(iter(contract.scope.body_parts), "")
    channels = {channel.name: channel for channel in contract.channels}
    made = {}
    for number, (name, volume) in enumerate(trial_inputs(contract).items(), start=1):
        header = Header(
            key="check",
            series_description=f"{name} computed",
            study_description="COMPUTED",
            body_part=body_part,
        )
        made[name] = series_of(volume.array, volume.affine, modality, header, series=name)
        channel = channels[name]
        for ds in made[name]:
            ds.SeriesNumber = number
            if modality == "MR":
                _acquire(ds, channel, contract.scope)
    return made


def _acquire(ds: Dataset, channel: ChannelBlock, scope: ScopeBlock) -> None:
    """Let the header of an MR instance say what the rule of ``channel`` asks for. No text fits every description."""
    for weighting in (channel.weightings or scope.weightings)[:1]:
        for keyword, value in SEQUENCES[weighting].items():
            setattr(ds, keyword, value)
    if channel.contrast is False:
        ds.ContrastBolusAgent = ""


def _film(channel: ChannelBlock, modality: str, scope: ScopeBlock) -> Dataset:
    """A radiograph that fits ``channel``."""
    film = Film(key="check", series=channel.name)
    views = channel.views or scope.views
    if modality == "MG":
        oblique = views and "CC" not in views
        return mammogram("R" if "R" in channel.laterality else "L", "MLO" if oblique else "CC", film)
    if modality not in ("CR", "DX") or (scope.body_parts and "CHEST" not in scope.body_parts):
        raise _not_computed(modality)
    if modality == "CR":
        film = replace(film, sop_class=ComputedRadiographyImageStorage)
    return chest_film("AP" if views and "PA" not in views and "AP" in views else "PA", film)


def _not_computed(modality: str) -> BadSettings:
    return BadSettings(
        f"No series of {modality} can be computed for this model.",
        where="candela models check --out",
        todo="Leave --out away, or read a series of your own with `candela process`.",
    )


def trial_inputs(contract: Contract2) -> dict[str, Volume]:
    """A computed volume for each channel of ``contract``, by the channel's name; those of one input share a grid."""
    return {
        channel.name: _volume(block, contract.scope.modalities[0], seed)
        for block in contract.inputs
        for seed, channel in enumerate(block.channels)
    }


def _volume(block: InputBlock, modality: str, seed: int) -> Volume:
    projection = block.kind == "projection"
    array = _body(PROJECTION_SHAPE if projection else SHAPE, seed)
    if modality != "CT":
        array = (array - AIR) * (0.6 + 0.1 * seed)  # air is dark, and no two channels are alike
    affine = np.eye(4)
    if projection:
        affine[:3, :3] = np.diag([1.0, PROJECTION_MM, PROJECTION_MM])[::-1]
    else:
        # Axial: columns to the patient's left, rows to the back, slices to the head, a little oblique.
        tilt = np.deg2rad(7.0)
        turn = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
        affine[:3, :3] = (turn @ np.diag(SPACING[::-1]))[:, ::-1]
    affine[:3, 3] = -affine[:3, :3] @ (np.array(array.shape) - 1) / 2
    return Volume(array=array.astype(np.float32), affine=affine, sources=(), projection=projection)


def _body(shape: tuple[int, ...], seed: int) -> FloatArray:
    """A body with an organ on one side, in Hounsfield units, ``shape`` (slices, rows, columns)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, side) if side > 1 else np.zeros(1) for side in shape], indexing="ij")

    def inside(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> FloatArray:
        parts = zip((z, y, x), centre, radii, strict=True)
        return np.asarray(sum(((axis - middle) / radius) ** 2 for axis, middle, radius in parts) < 1)

    body = np.where(inside((0, 0, 0), (2.0, 0.8, 0.9)), FAT, AIR)
    body = np.where(inside((0, 0, 0), (2.0, 0.7, 0.8)), SOFT, body)
    body = np.where(inside((0.1, -0.1, 0.45), (0.6, 0.35, 0.25)), SOFT + 80, body)
    body = np.where(inside((-0.2, 0.1, -0.4), (0.4, 0.2, 0.3)), SOFT + 30, body)
    body = np.where(inside((0, 0.55, 0), (2.0, 0.12, 0.12)), BONE, body)
    blurred = gaussian_filter(body, (0, 0.7, 0.7))
    return np.asarray(blurred + rng.normal(0, 12, shape), dtype=np.float32)

"""The training pictures: slices with tumours and masks, slices without, and real healthy heads in three planes.

Everything passes through `pipeline.preprocess.slabs.SampleSlabs`, the transform that inference uses too.
"""

from __future__ import annotations

import csv
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.misc import is_dicom

from models.evaluation.runs import IMAGES_IN_MOSAIC, longest_run, tiles_of
from models.workflow.volumes.image import as_image
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import FloatArray, Volume
from pipeline.phantom import Plane, head_phantom
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.slabs import SampleSlabs
from pipeline.reading.files import read_path

LABELS = {"glioma": "glioma", "meningioma": "meningioma", "pituitary": "pituitary_tumor"}
SLABS_MM = (2.0, 4.0, 7.0)
"""Thicknesses to which healthy 3D series are cut: thick slices at the rim of the head look like nothing else."""
COARSE_MM = 2.5
COMPUTED: tuple[Plane, ...] = ("axial", "coronal", "sagittal")
SYMMETRIC = 0.7
"""Correlation of a picture with its mirror image from which on its halves may stand in for each other."""


@dataclass(frozen=True)
class Pictures:
    """Resampled slices, intensities 0..255 before normalisation.

    ``images`` uint8 (N, M, M); ``masks`` bool (N, M, M); ``labels`` int (N,), index into the bundle's classes;
    ``folds`` int (N,), 0 where a picture belongs to no fold; ``symmetric`` bool (N,).
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    symmetric: npt.NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.images)

    def take(self, which: npt.NDArray[Any]) -> Pictures:
        return Pictures(
            self.images[which], self.masks[which], self.labels[which], self.folds[which], self.symmetric[which]
        )


def tumours(data: Path, classes: tuple[str, ...], recipe: Recipe, field_mm: float) -> Pictures:
    """The slices of ``brain_t1ce`` with their masks; ``fold5`` is the authors' patient-level fold."""
    rows = _rows(data / "brain_t1ce" / "index.csv")
    images = [_picture(data / "brain_t1ce" / row["image"], recipe, field_mm) for row in rows]
    masks = [_mask(data / "brain_t1ce" / row["mask"], recipe, field_mm) for row in rows]
    labels = [classes.index(LABELS[row["label"]]) for row in rows]
    return _pictures(images, masks, labels, [int(row["fold5"]) for row in rows])


def tumour_names(data: Path) -> list[str]:
    """The names, without folder and suffix, of what `tumours` gives, in its order."""
    return [Path(row["image"]).stem for row in _rows(data / "brain_t1ce" / "index.csv")]


def without_tumour(
    data: Path, classes: tuple[str, ...], recipe: Recipe, field_mm: float, *, excluded: frozenset[int]
) -> Pictures:
    """The slices of ``brain_notumor`` except the groups that were ``excluded`` by looking at them."""
    rows = [row for row in _rows(data / "brain_notumor" / "index.csv") if int(row["group"]) not in excluded]
    images = [_picture(data / "brain_notumor" / row["image"], recipe, field_mm) for row in rows]
    masks = [np.zeros((recipe.matrix, recipe.matrix), dtype=bool)] * len(rows)
    labels = [classes.index("no_tumor")] * len(rows)
    return _pictures(images, masks, labels, [int(row["fold5"]) for row in rows])


def healthy(data: Path, series: list[str], classes: tuple[str, ...], recipe: Recipe) -> Pictures:
    """Slices of real series without a known tumour, and of computed heads, cut in all three planes, thick and thin.

    ``folds`` numbers the series that a picture comes from; the computed heads are one series more.
    """
    cut = []
    for name in series:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            datasets = read_path(data / "dicom" / name).datasets
            volume, kept = longest_run(datasets)
        cut.append(_in_every_plane(volume, recipe, cut_short=1 < kept < len(datasets)))
    drawn: list[npt.NDArray[np.uint8]] = []
    for seed, plane in enumerate(COMPUTED, start=1):
        made = head_phantom(slices=12, matrix=128, plane=plane, lesion=False, seed=seed)
        drawn += _cut(build_volume(made), (0, 1, 2), recipe)
    cut.append(drawn)
    images = [image for part in cut for image in part]
    numbers = [number for number, part in enumerate(cut) for _ in part]
    masks = [np.zeros((recipe.matrix, recipe.matrix), dtype=bool)] * len(images)
    return _pictures(images, masks, [classes.index("no_tumor")] * len(images), numbers)


def echo_planar(data: Path, series: list[str], classes: tuple[str, ...], recipe: Recipe) -> Pictures:
    """Frames of echo-planar mosaics, one mosaic of each folder in ``series``: heads that no such model should read."""
    images: list[npt.NDArray[np.uint8]] = []
    for ds in (ds for name in series for ds in _a_mosaic_of_each_folder(data / "dicom" / name)):
        spacing = (float(ds.PixelSpacing[0]), float(ds.PixelSpacing[1]))
        frames = tiles_of(ds)
        frames = np.clip(frames / float(np.quantile(frames, 0.997)), 0, 1) * 255
        shown = [frame for frame in frames if (frame > 50).mean() > 0.03]
        images += [displayed(frame, spacing, recipe).astype(np.uint8) for frame in shown]
    masks = [np.zeros((recipe.matrix, recipe.matrix), dtype=bool)] * len(images)
    return _pictures(images, masks, [classes.index("no_tumor")] * len(images), [0] * len(images))


def _a_mosaic_of_each_folder(folder: Path) -> list[Dataset]:
    first: dict[Path, Dataset] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.parent not in first and is_dicom(path):
            first[path.parent] = dcmread(path)
    return [ds for ds in first.values() if IMAGES_IN_MOSAIC in ds]


def joined(*parts: Pictures) -> Pictures:
    """``parts`` one after the other."""
    return Pictures(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.masks for part in parts]),
        np.concatenate([part.labels for part in parts]),
        np.concatenate([part.folds for part in parts]),
        np.concatenate([part.symmetric for part in parts]),
    )


def _in_every_plane(volume: Volume, recipe: Recipe, *, cut_short: bool) -> list[npt.NDArray[np.uint8]]:
    """Slabs of several thicknesses, in the planes that look like acquired ones.

    Those are not whose pixels would be coarse, nor other planes than the acquired one where the head is ``cut_short``.
    """
    images: list[npt.NDArray[np.uint8]] = []
    for axes in ((0, 1, 2), (1, 0, 2), (2, 0, 1))[: 1 if cut_short else 3]:
        if axes[0] == 0 or max(volume.spacing[axes[1]], volume.spacing[axes[2]]) <= COARSE_MM:
            for slab_mm in SLABS_MM:
                images += _cut(volume, axes, replace(recipe, slab_mm=slab_mm))
    return images


def _cut(volume: Volume, axes: tuple[int, int, int], recipe: Recipe) -> list[npt.NDArray[np.uint8]]:
    """Slabs normal to ``axes[0]``; those that hold hardly any head are left out."""
    turned = Volume(volume.array.transpose(axes), volume.affine[:, [*axes, 3]], volume.sources)
    stack = SampleSlabs(**vars(recipe))(as_image(turned))[0].numpy()
    bright = float(np.quantile(stack, 0.997))
    scaled = np.clip(stack / bright, 0, 1)
    return [(255 * plane).astype(np.uint8) for plane in scaled if (plane > 0.2).mean() > 0.03]


def displayed(picture: FloatArray, spacing: tuple[float, float], recipe: Recipe) -> FloatArray:
    """A picture in display orientation, (rows, columns) of ``spacing`` in mm, as the network's (matrix, matrix).

    It passes for an axial series of one slice, whose rows run to the patient's left and whose columns to the back.
    """
    row_mm, column_mm = spacing
    affine = np.array([[0, 0, column_mm, 0], [0, row_mm, 0, 0], [recipe.slab_mm, 0, 0, 0], [0, 0, 0, 1]], dtype=float)
    volume = Volume(np.asarray(picture, dtype=np.float32)[None], affine, ())
    plane: FloatArray = SampleSlabs(**vars(recipe))(as_image(volume))[0, 0].numpy()
    return plane


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def _picture(path: Path, recipe: Recipe, field_mm: float) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"), dtype=np.float32)
    spacing = (field_mm / pixels.shape[0], field_mm / pixels.shape[1])
    return np.clip(displayed(pixels, spacing, recipe).round(), 0, 255).astype(np.uint8)


def _mask(path: Path, recipe: Recipe, field_mm: float) -> npt.NDArray[np.bool_]:
    return np.asarray(_picture(path, recipe, field_mm) > 127)


def _pictures(
    images: list[npt.NDArray[np.uint8]], masks: list[npt.NDArray[np.bool_]], labels: list[int], folds: list[int]
) -> Pictures:
    if not images:
        nothing, none = np.zeros((0, 1, 1)), np.zeros(0)
        return Pictures(nothing.astype(np.uint8), nothing > 0, none.astype(int), none.astype(int), none > 0)
    return Pictures(
        np.stack(images),
        np.stack(masks),
        np.asarray(labels),
        np.asarray(folds),
        np.array([_mirror_likeness(image) > SYMMETRIC for image in images]),
    )


def _mirror_likeness(image: npt.NDArray[np.uint8]) -> float:
    values = image.astype(np.float32)
    if values.std() == 0:
        return 0.0
    return float(np.corrcoef(values.ravel(), values[:, ::-1].ravel())[0, 1])

"""From a volume to the slabs that a 2D network reads, and back, as MONAI transforms.

The image is MONAI's: a `MetaTensor` (1, X, Y, Z) with X the column, Y the row, Z the slice of the series, and an affine
to patient coordinates in mm, RAS. The stack is (1, slabs, M, M), rows and columns as displayed, its affine to RAS too.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.config.type_definitions import KeysCollection
from monai.data.meta_tensor import MetaTensor
from monai.transforms.inverse import InvertibleTransform
from monai.transforms.transform import MapTransform
from monai.utils.enums import TraceKeys, TransformBackends
from torch import Tensor

from pipeline.geometry.ras import to_ras
from pipeline.geometry.volume import Affine
from pipeline.preprocess.recipe import Recipe
from pipeline.preprocess.sampling import Fit, Sampling, sampling


class SampleSlabs(InvertibleTransform):
    """Turn planes to display orientation, average thin ones to slabs, and fit them into a square matrix of pixels.

    ``matrix`` is the side of a slab in pixels, ``pixel_mm`` their size; planes closer than ``slab_mm`` are averaged to
    slabs of about that thickness (`pipeline.preprocess.sampling`). (1, X, Y, Z) becomes (1, slabs, M, M), values not
    negative; NaN and infinity count as zero. The `inverse` brings maps (C, slabs, M, M) of that stack back to
    (C, X, Y, Z), linearly.

    Raises ValueError where the image has several channels, is no volume or has no affine, and where labels or another
    stack are to be inverted.
    """

    backend = [TransformBackends.TORCH]  # noqa: RUF012 - MONAI's own name and form

    def __init__(self, matrix: int, pixel_mm: float, slab_mm: float) -> None:
        self.recipe = Recipe(matrix, pixel_mm, slab_mm)

    def __call__(self, img: Tensor) -> MetaTensor:
        if not isinstance(img, MetaTensor) or img.ndim != 4 or len(img) != 1:
            raise ValueError(f"slabs are cut from a MetaTensor (1, X, Y, Z), this is {type(img).__name__} {img.shape}")
        voxels = img.as_subclass(Tensor)[0].float().cpu().permute(2, 1, 0)
        array = np.array(voxels.numpy(), order="C")  # slice after slice, as sums over slices have their bits
        np.nan_to_num(array, copy=False, nan=0.0, posinf=0.0, neginf=0.0)
        affine = np.asarray(img.affine.cpu(), dtype=np.float64)
        plan = sampling(array, to_ras(affine), self.recipe)
        stack = MetaTensor(plan.resampled(array)[:, 0][None]).copy_meta_from(img)
        stack.affine = torch.from_numpy(affine @ _to_source_index(plan))
        traced = {"sampling": asdict(plan), "affine": affine.tolist()}
        size = tuple(img.shape[1:])
        made: MetaTensor = self.push_transform(stack, orig_size=size, extra_info=traced)  # type: ignore[no-untyped-call]
        return made

    def inverse(self, data: MetaTensor) -> MetaTensor:
        """(C, slabs, M, M) → (C, X, Y, Z) on the grid that the slabs were cut from; zero outside of the matrix."""
        traced = self.pop_transform(data)[TraceKeys.EXTRA_INFO]
        plan = _planned(traced)
        stack = (len(plan.slabs), plan.fit.matrix, plan.fit.matrix)
        if not data.is_floating_point() or tuple(data.shape[1:]) != stack:
            raise ValueError(f"maps {stack} of numbers with fractions go back, these are {data.dtype} {data.shape}")
        maps = data.as_subclass(Tensor).cpu()
        planes = [plan.to_source(channel[:, None]) for channel in maps]
        back = torch.from_numpy(planes[0][None] if len(planes) == 1 else np.stack(planes)).permute(0, 3, 2, 1)
        made: MetaTensor = MetaTensor(back).copy_meta_from(data)
        made.affine = torch.tensor(traced["affine"], dtype=torch.float64)
        return made


class SampleSlabsd(MapTransform, InvertibleTransform):
    """`SampleSlabs` of the images under ``keys``."""

    backend = SampleSlabs.backend

    def __init__(
        self,
        keys: KeysCollection,
        matrix: int,
        pixel_mm: float,
        slab_mm: float,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.sample = SampleSlabs(matrix, pixel_mm, slab_mm)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[key] = self.sample(made[key])
        return made

    def inverse(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        made = dict(data)
        for key in self.key_iterator(made):
            made[key] = self.sample.inverse(made[key])
        return made


def sampling_of(stack: Tensor) -> tuple[Sampling, Affine] | None:
    """How ``stack`` was cut: its `Sampling`, and the affine (X, Y, Z, 1) → mm, RAS of the image that it was cut from.

    None where it was not cut by `SampleSlabs`.
    """
    for operation in reversed(getattr(stack, "applied_operations", [])):
        if operation[TraceKeys.CLASS_NAME] == SampleSlabs.__name__:
            traced = operation[TraceKeys.EXTRA_INFO]
            return _planned(traced), np.array(traced["affine"])
    return None


def _planned(traced: Mapping[str, Any]) -> Sampling:
    """The `Sampling` of what `SampleSlabs` left in a trace."""
    plan = traced["sampling"]
    return Sampling(**{**plan, "fit": Fit(**plan["fit"])})


def _to_source_index(plan: Sampling) -> npt.NDArray[np.float64]:
    """Maps (slab, row, column, 1) of the stack to (X, Y, Z, 1) of the image; of uneven slabs, to their mean places."""
    places = np.zeros((4, 4))  # to (slice, row, column, 1)
    planes = plan.shape[0] / len(plan.slabs)
    places[0, [0, 3]] = planes, (planes - 1) / 2
    for axis in (0, 1):
        source, size, offset = plan.fit.source[axis], plan.fit.size[axis], plan.fit.offset[axis]
        step = source / size
        start = (0.5 - offset) * step - 0.5
        if plan.flip[axis]:
            step, start = -step, source - 1 - start
        places[2 - axis if plan.transpose else 1 + axis, [1 + axis, 3]] = step, start
    places[3, 3] = 1
    return places[[2, 1, 0, 3]]

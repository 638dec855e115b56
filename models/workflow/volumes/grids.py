"""The grid that a network read, the grid of the source, and the way back between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data.meta_tensor import MetaTensor
from monai.transforms.post.dictionary import Invertd
from torch import Tensor

from models.workflow.confined.foreign import foreign
from models.workflow.volumes.image import projection_affine, ras_affine, same_grid, spatial
from models.workflow.volumes.invert import InvertLabels
from pipeline.errors import BadModel
from pipeline.geometry.volume import Affine, Volume

TODO = "Add Invertd to the bundle's postprocessing, or use MONAI's invertible transforms in its preprocessing."


@dataclass(frozen=True)
class Grids:
    """``image`` is what preprocessing made under ``key`` of ``source``; ``preprocessing`` is MONAI's Compose.

    ``inverts``: the bundle's postprocessing brings its answer back itself.
    """

    source: Volume
    projection: bool
    image: Tensor
    key: str
    preprocessing: Any
    inverts: bool
    where: str

    @property
    def source_affine(self) -> Affine:
        """Maps MONAI's source index (X, Y, Z) to mm in RAS, or in the plane of a projection."""
        return projection_affine(self.source) if self.projection else ras_affine(self.source)

    @property
    def image_affine(self) -> Affine:
        """The same for the grid that the network read.

        Raises
        ------
        BadModel
            where a transform dropped the affine.
        """
        if not isinstance(self.image, MetaTensor):
            raise self.refusal("A transform of the bundle's preprocessing dropped the image's affine.")
        affine: Affine = np.asarray(self.image.affine.cpu(), dtype=np.float64)
        return affine

    def on_source(self, found: Tensor, *, labels: bool | None = None) -> Tensor:
        """``found`` (C, X, Y, Z) on the source grid: as it is where it lies there, else inverted.

        A bundle whose postprocessing has no Invertd, though its preprocessing changed the grid, is inverted here by the
        same operations: label maps by nearest neighbours, probabilities linearly. ``labels`` says which it is; None
        looks at its values.

        Raises
        ------
        BadModel
            where it lies on neither grid, or a transform cannot be inverted.
        """
        if self._at_source(found):
            return found
        if (self.inverts and labels is None) or not self._at_image(found):
            raise self.refusal(
                f"The output lies on another grid than the images: {tuple(found.shape[1:])} voxels, the images have "
                f"{self._source_shape}."
            )
        if labels is None:
            labels = not found.is_floating_point() or bool((found == found.round()).all())
        with foreign("preprocessing, inverted,", self.where):
            back = Invertd("pred", self.preprocessing, self.key, nearest_interp=False)
            inverted: Tensor = (InvertLabels(back) if labels else back)({"pred": found, self.key: self.image})["pred"]
        if not self._at_source(inverted):
            raise self.refusal("The bundle's preprocessing cannot be inverted to the grid of the images.")
        return inverted

    def refusal(self, what: str) -> BadModel:
        return BadModel(what, where=self.where, todo=TODO)

    @property
    def _source_shape(self) -> tuple[int, ...]:
        return tuple(spatial(self.source, projection=self.projection).shape)

    def _at_source(self, found: Tensor) -> bool:
        return self._lies(found, self._source_shape, self.source_affine)

    def _at_image(self, found: Tensor) -> bool:
        return self._lies(found, tuple(self.image.shape[1:]), self.image_affine)

    def _lies(self, found: Tensor, shape: tuple[int, ...], affine: Affine) -> bool:
        """Whether ``found`` lies on this grid; one without an affine is taken to lie where the network's input did."""
        own = np.asarray(found.affine.cpu()) if isinstance(found, MetaTensor) else self.image_affine
        return same_grid(tuple(found.shape[1:]), own, shape, affine)

    def source_index(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Source indices (slice, row, column) with fractions, (n, 3), of the network's indices (X, Y, Z), (n, 3)."""
        back = np.linalg.inv(self.source_affine) @ self.image_affine
        xyz = points @ back[:3, :3].T + back[:3, 3]
        return np.ascontiguousarray(xyz[:, ::-1])

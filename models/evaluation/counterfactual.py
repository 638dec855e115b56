"""Counterfactual tumour slices: the lesion moved or removed, made from the picture's own halves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_dilation, gaussian_filter

from models.evaluation.metrics import Bools, Floats
from models.training.data import Pictures

RIM_PIXELS = 5
"""Pixels of rim around the lesion, so that the seam does not lie on its enhancing border."""
SEAM_PIXELS = 1.5


def one_sided(pictures: Pictures) -> Bools:
    """(N,): the head is symmetric enough to stand in for itself, and the lesion keeps to one half of it."""
    return np.array(
        [
            bool(symmetric) and bool(mask.any()) and not (_rim(mask) & _rim(mask)[:, ::-1]).any()
            for symmetric, mask in zip(pictures.symmetric, pictures.masks, strict=True)
        ]
    )


def lesion_removed(pictures: Pictures) -> Pictures:
    """The other half of the head, mirrored, blended over each lesion; no mask is left.

    Labels, folds and order stay: what was a tumour slice is known. Meant for `one_sided` pictures.
    """
    images = [_blended(image, _cover(mask)) for image, mask in zip(pictures.images, pictures.masks, strict=True)]
    nothing = np.zeros_like(pictures.masks)
    return Pictures(np.stack(images), nothing, pictures.labels, pictures.folds, pictures.symmetric)


def lesion_moved(pictures: Pictures) -> Pictures:
    """Each lesion changed places with the same place in the other half; the rest of the picture is untouched.

    Masks move along. Meant for `one_sided` pictures.
    """
    images = [
        _blended(image, np.maximum(_cover(mask), _cover(mask)[:, ::-1]))
        for image, mask in zip(pictures.images, pictures.masks, strict=True)
    ]
    masks = np.ascontiguousarray(pictures.masks[:, :, ::-1])
    return Pictures(np.stack(images), masks, pictures.labels, pictures.folds, pictures.symmetric)


def _rim(mask: Bools) -> Bools:
    return np.asarray(binary_dilation(mask, iterations=RIM_PIXELS))


def _cover(mask: Bools) -> Floats:
    """1 on the lesion and its rim, falling softly to 0 outside."""
    soft: Floats = gaussian_filter(_rim(mask).astype(np.float64), SEAM_PIXELS)
    return soft


def _blended(image: npt.NDArray[np.uint8], cover: Floats) -> npt.NDArray[np.uint8]:
    values = image.astype(np.float64)
    return (values * (1 - cover) + values[:, ::-1] * cover).round().astype(np.uint8)

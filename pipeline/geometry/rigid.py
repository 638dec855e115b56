"""Rigid registration of one volume of a head to another, and how well they match afterwards.

The search is SimpleITK's: Mattes' mutual information, which compares images of different contrast, over three
rotations and three shifts. It always finds something, also between two people. So the match is measured by what the
search did not use: whether edges inside of the head run the same way (`edge_agreement`), whether the mirror image would
match as well, and whether the search backwards comes to the same place. docs/adr/0062 has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk  # noqa: N813 - as ITK's own examples name it
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.filters import threshold_otsu

from pipeline.geometry.resample import resample
from pipeline.geometry.volume import Affine, FloatArray, Volume

GRID_MM = 2.0
"""Both volumes are registered on grids of this spacing along the patient's axes."""
BINS, SEED = 32, 20260105
COARSE_SHARE, FINE_SHARE = 0.5, 0.3
"""Of the voxels at 8 mm, and at 4 mm, that are compared."""
LEAST_STEP_MM, RELAXATION = 0.01, 0.8
"""The search ends at this step. With ITK's usual relaxation of 0.5 it ends degrees away from the best place."""
HEAD_SHARE = 0.3
"""Of the threshold between dark and bright (Otsu): brighter voxels are head. It keeps fluid in, which is dark on T1."""
RIM_MM = 12.0
"""Scalp and skull: heads of two people resemble each other there the most."""
LEAST_EDGES = 500
"""Fewer voxels say nothing about the match."""
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Match:
    """A registration and its measured quality.

    ``to_moving`` (4, 4): from patient coordinates of the fixed volume to those of the moving one, LPS in mm.
    ``edges`` and ``mirrored_edges``: `edge_agreement` with the moving volume and with its mirror image, from 0 to 1.
    ``residual_mm``: how far, on average over the inside of the head, a point lands from where it started after the way
    there and back by two independent searches.
    """

    to_moving: Affine
    edges: float
    mirrored_edges: float
    residual_mm: float


@dataclass(frozen=True)
class _Picture:
    """A volume on a grid of `GRID_MM` along the patient's axes. ``inside``: where the volume has voxels."""

    array: FloatArray
    inside: Mask
    affine: Affine

    @classmethod
    def of(cls, volume: Volume) -> _Picture:
        corners = np.array(np.meshgrid(*[(0, size - 1) for size in volume.shape], indexing="ij")).reshape(3, -1).T
        placed = volume.to_patient(corners)
        low, high = placed.min(axis=0), placed.max(axis=0)
        size = np.ceil((high - low) / GRID_MM).astype(int) + 1
        affine = np.eye(4)
        affine[:3, :3] = GRID_MM * np.eye(3)[:, ::-1]  # slices along z, rows along y, columns along x
        affine[:3, 3] = low
        shape = (int(size[2]), int(size[1]), int(size[0]))
        return cls(*resample(volume, shape, affine), affine)

    @property
    def image(self) -> sitk.Image:
        return self._itk(self.array)

    @property
    def mask(self) -> sitk.Image:
        return self._itk(self.inside.astype(np.uint8))

    def _itk(self, array: npt.NDArray[np.generic]) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing([GRID_MM] * 3)
        image.SetOrigin(self.affine[:3, 3].tolist())
        return image

    def as_volume(self) -> Volume:
        return Volume(self.array, self.affine, ())


def register(fixed: Volume, moving: Volume) -> Match | None:
    """The rigid motion that brings ``moving`` onto ``fixed``; None where no search found any overlap.

    The same volumes give the same bits: one thread, one seed.
    """
    here, there = _Picture.of(fixed), _Picture.of(moving)
    forth, back, mirrored = _search(here, there), _search(there, here), _search(here, _mirrored(there))
    if forth is None or back is None:
        return None
    edges, inner = edge_agreement(here, there, forth)
    points = np.argwhere(inner) @ here.affine[:3, :3].T + here.affine[:3, 3]
    if len(points) == 0:
        return None
    returned = _apply(back, _apply(forth, points))
    return Match(
        to_moving=forth,
        edges=edges,
        mirrored_edges=0.0 if mirrored is None else edge_agreement(here, _mirrored(there), mirrored)[0],
        residual_mm=float(np.linalg.norm(returned - points, axis=1).mean()),
    )


def edge_agreement(fixed: _Picture, moving: _Picture, to_moving: Affine) -> tuple[float, Mask]:
    """How well edges inside of the head run alike, and the inside: the mean of cos² of the angle between the gradients
    (the normalised gradient field of Haber and Modersitzki, 2006), whatever their sign, where both have strong ones.

    1 is the same anatomy, 1/3 chance. 0 where there are too few edges to say.
    """
    values, seen = resample(moving.as_volume(), _shape(fixed.array), fixed.affine, to_moving)
    inside, _ = resample(
        Volume(moving.inside.astype(np.float32), moving.affine, ()), _shape(fixed.array), fixed.affine, to_moving
    )
    both = binary_erosion(fixed.inside & seen & (inside > 0.5), iterations=2)
    head = both & head_of(fixed.array, both)
    inner: Mask = binary_erosion(head, iterations=round(RIM_MM / GRID_MM))
    if not inner.any():
        return 0.0, inner
    one, other = (np.stack(np.gradient(gaussian_filter(array, 1.0))) for array in (fixed.array, values))
    strength = [np.sqrt((gradient**2).sum(axis=0)) for gradient in (one, other)]
    strong = inner & np.logical_and(*(each > np.quantile(each[head], 0.5) for each in strength))
    if int(strong.sum()) < LEAST_EDGES:
        return 0.0, inner
    cosine = (one * other).sum(axis=0)[strong] / (strength[0][strong] * strength[1][strong])
    return float((cosine.astype(np.float64) ** 2).mean()), inner


def head_of(array: FloatArray, within: Mask) -> Mask:
    """The voxels that stand out from the air, by Otsu's threshold over those ``within``."""
    values = array[within]
    if values.size == 0 or values.min() == values.max():
        return np.zeros(array.shape, dtype=np.bool_)
    lowest = float(values.min())
    bright = float(threshold_otsu(values))  # type: ignore[no-untyped-call]  # scikit-image has no types
    found: Mask = array > lowest + HEAD_SHARE * (bright - lowest)
    return found


def _shape(array: FloatArray) -> tuple[int, int, int]:
    slices, rows, columns = array.shape
    return slices, rows, columns


def _mirrored(picture: _Picture) -> _Picture:
    """Left and right exchanged, in place."""
    return replace(
        picture,
        array=np.ascontiguousarray(picture.array[:, :, ::-1]),
        inside=np.ascontiguousarray(picture.inside[:, :, ::-1]),
    )


def _apply(transform: Affine, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return points @ transform[:3, :3].T + transform[:3, 3]


def _search(fixed: _Picture, moving: _Picture) -> Affine | None:
    """The best of three starts at 8 mm, then finer: the same coordinates, the same centre, the same centre of mass."""
    images = fixed.image, moving.image
    method = _method(fixed.mask, moving.mask)
    found = []
    for start in (_same_place, _same_centre, _same_mass):
        transform = start(*images)
        value = _run(method, images, transform, COARSE_SHARE, 4.0, (4,))
        if value is not None:
            found.append((value, transform))
    if not found:
        return None
    _, best = min(found, key=lambda pair: pair[0])
    if _run(method, images, best, FINE_SHARE, 1.0, (2,)) is None:
        return None
    return _matrix(best)


def _method(fixed_mask: sitk.Image, moving_mask: sitk.Image) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricFixedMask(fixed_mask)
    method.SetMetricMovingMask(moving_mask)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerScalesFromPhysicalShift()
    return method


def _run(
    method: sitk.ImageRegistrationMethod,
    images: tuple[sitk.Image, sitk.Image],
    transform: sitk.Euler3DTransform,
    share: float,
    step_mm: float,
    levels: tuple[int, ...],
) -> float | None:
    """Moves ``transform`` to the best place near by; the metric there (the less, the better), None without overlap."""
    method.SetMetricSamplingPercentage(share, SEED)
    method.SetOptimizerAsRegularStepGradientDescent(step_mm, LEAST_STEP_MM, 200, RELAXATION)
    method.SetShrinkFactorsPerLevel(levels)
    method.SetSmoothingSigmasPerLevel([float(level) for level in levels])
    method.SetInitialTransform(transform, True)
    try:
        method.Execute(*images)
    except RuntimeError:  # ITK: all samples map outside of the moving image
        return None
    return float(method.GetMetricValue())


def _same_place(fixed: sitk.Image, _moving: sitk.Image) -> sitk.Euler3DTransform:
    transform = sitk.Euler3DTransform()
    transform.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in fixed.GetSize()]))
    return transform


def _centred(mode: int) -> Callable[[sitk.Image, sitk.Image], sitk.Euler3DTransform]:
    def start(fixed: sitk.Image, moving: sitk.Image) -> sitk.Euler3DTransform:
        made = sitk.CenteredTransformInitializer(fixed, moving, sitk.Euler3DTransform(), mode)
        return sitk.Euler3DTransform(made)

    return start


_same_centre = _centred(sitk.CenteredTransformInitializerFilter.GEOMETRY)
_same_mass = _centred(sitk.CenteredTransformInitializerFilter.MOMENTS)


def _matrix(transform: sitk.Euler3DTransform) -> Affine:
    turn = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    made = np.eye(4)
    made[:3, :3] = turn
    made[:3, 3] = np.array(transform.GetTranslation()) + centre - turn @ centre
    return made

"""What the model answers where it should not: real series of every kind, and volumes that show no whole head."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from scipy.ndimage import gaussian_filter, rotate
from torch import nn

from models.evaluation.runs import IMAGES_IN_MOSAIC, longest_run, tiles_of
from models.runtime import ResidentModel
from models.training.drawn.imaging import volume as imaged
from models.training.drawn.kinds import KINDS
from models.training.plan import Plan
from pipeline.errors import MixedSeries, Refused
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import FloatArray, Volume
from pipeline.phantom import head_phantom
from pipeline.reading.files import Series, read_files, read_path

FIELD_MM = 240.0
MATRIX = 128
SLICES = 12
SLICE_MM = 5.0
THINGS_SEED = 1_000_003
"""Apart from the seeds that training draws with."""


@dataclass(frozen=True)
class Case:
    """A volume that is not, or not wholly, what the model was made for; ``head`` tells whether it shows a head."""

    name: str
    volume: Volume
    head: bool


def real_series(model: ResidentModel, data: Path) -> dict[str, dict[str, Any]]:
    """What each series under ``data``/dicom leads to, by folder; folders of several series have a row for each."""
    table: dict[str, dict[str, Any]] = {}
    for folder in sorted(path for path in (data / "dicom").glob("*") if path.is_dir()):
        for name, series in _series_of(folder):
            table[name] = _answer(model, series) if isinstance(series, Series) else {"volume": series.code}
    return table


def unseen_series(
    model: ResidentModel, members: Mapping[int, nn.Module], plan: Plan, data: Path
) -> dict[str, dict[str, Any]]:
    """What healthy series lead to with only those networks of the ``model`` that were not trained on them.

    ``members`` by the fold that each did not see; a row for each series, in it an answer for each such member.
    """
    table: dict[str, dict[str, Any]] = {}
    for fold, names in sorted(plan.unseen_series.items()):
        for name in names:
            if fold in members and (data / "dicom" / name).is_dir():
                series = _attempt(sorted((data / "dicom" / name).rglob("*")), data)
                if isinstance(series, Series):
                    table.setdefault(name, {})[str(fold)] = _answer(model.asking(members[fold]), series)
    return table


def synthetic(model: ResidentModel, data: Path | None = None) -> dict[str, Any]:
    """Outcome of every drawn case (and of those cut from real images in ``data``), by kind, with counts."""
    cases = [*drawn_cases(), *drawn_things(), *(real_cases(data) if data else ())]
    outcomes: dict[str, Counter[str]] = {}
    for case in cases:
        outcomes.setdefault(case.name, Counter())[outcome(model, case.volume)] += 1
    heads = {case.name: case.head for case in cases}
    kinds = {name: {"head": heads[name], **counts} for name, counts in outcomes.items()}
    return {"kinds": kinds, "not_a_head": _refused(outcomes, heads, head=False)}


def outcome(model: ResidentModel, volume: Volume) -> str:
    """The model's outcome for ``volume``, or the code of its refusal."""
    try:
        return str(model.predict(volume).outcome)
    except Refused as refusal:
        return refusal.code


def drawn_cases() -> Iterator[Case]:
    """Made by this code alone: noise, flat and regular pictures, vessels, a computed head cut, cut up or turned."""
    rng = np.random.default_rng(0)
    shape = (SLICES, MATRIX, MATRIX)
    y, x = np.mgrid[-1 : 1 : MATRIX * 1j, -1 : 1 : MATRIX * 1j]
    disc = (y**2 + x**2 < 0.5).astype(np.float32)
    for seed in range(3):
        noise = np.random.default_rng(seed).normal(0, 1, (2, *shape))
        yield _case("noise", np.hypot(*noise) * 300)
        yield _case("clouds", 500 + 4000 * gaussian_filter(noise[0], (1, 8, 8)))
    yield _case("nothing", np.zeros(shape))
    yield _case("constant", np.full(shape, 700.0))
    for turn in range(4):
        yield _case("gradient", np.broadcast_to(np.rot90(1000 * (x + 1), turn), shape))
    for step in (4, 8, 16, 32):
        board = (np.add.outer(np.arange(MATRIX) // step, np.arange(MATRIX) // step) % 2) * 900.0
        yield _case("checkerboard", np.broadcast_to(board, shape))
        yield _case("stripes", np.broadcast_to((np.arange(MATRIX) // step % 2) * 900.0, shape))
    yield _case("even disc", np.broadcast_to(800 * disc, shape))
    yield _case("disc with rods", np.broadcast_to(800 * disc * ((np.sin(12 * x) * np.sin(12 * y)) < 0.4), shape))
    yield _case("even block", np.broadcast_to(800.0 * ((abs(y) < 0.7) & (abs(x) < 0.7)), shape))
    yield from _of_a_head("computed head", _computed_head(), rng)


def drawn_things(count: int = 3) -> Iterator[Case]:
    """``count`` series of each kind in `models.training.drawn` (fruit, phantoms, bodies), in each plane in turn."""
    for kind, make in sorted(KINDS.items()):
        for number in range(count):
            rng = np.random.default_rng([THINGS_SEED, *kind.encode(), number])
            yield Case(kind, imaged(make(rng), rng, plane=number % 3, slices=6, matrix=96), head=False)


def real_cases(data: Path) -> Iterator[Case]:
    """Made of the real series in ``data``: heads cut, cut up or turned, mosaics read as slices, echo-planar frames.

    Raises nothing where a series is absent: it is left out.
    """
    rng = np.random.default_rng(1)
    for name in ("uih_umr770_t1_sag", "siemens_prisma_t1_sag_2d_HFS"):
        folder = data / "dicom" / name
        if folder.is_dir():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield from _of_a_head("real head", _thinned(longest_run(read_path(folder).datasets)[0]), rng)
    for path in sorted((data / "dicom" / "mixed_ts_trio_epi").glob("**/*")):
        ds = _dataset(path)
        if ds is not None and IMAGES_IN_MOSAIC in ds:
            yield from _of_a_mosaic(ds)
            return  # the others are the same pixels


def _answer(model: ResidentModel, series: Series) -> dict[str, Any]:
    """What the header check and the pixels of one series lead to; the pixels are read even where the header refuses."""
    answer: dict[str, Any] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            volume, kept = longest_run(series.datasets)
        except Refused as refusal:
            return {"volume": refusal.code}
    if len(series.datasets) > kept > 1:
        answer["volume"] = f"{kept} of {len(series.datasets)} slices were read"
    try:
        model.check(series.header)
        answer["header"] = "taken"
    except Refused as refusal:
        answer["header"] = refusal.code
    try:
        prediction = model.predict(volume)
    except Refused as refusal:
        return {**answer, "pixels": refusal.code, "why": str(refusal)}
    probabilities = {item.name: round(item.probability, 3) for item in prediction.probabilities}
    return {**answer, "pixels": str(prediction.outcome), "probabilities": probabilities}


def _series_of(folder: Path) -> list[tuple[str, Series | Refused]]:
    """Name and content of each series in ``folder``; where one cannot be read, why."""
    whole = _attempt(sorted(folder.rglob("*")), folder)
    if not isinstance(whole, MixedSeries):
        return [(folder.name, whole)]
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        ds = _dataset(path)
        if ds is not None and "Rows" in ds:  # raw data beside the images is no matter of the model's
            files.setdefault(str(ds.get("SeriesInstanceUID")), []).append(path)
    return [(f"{folder.name} #{k}", _attempt(paths, folder)) for k, paths in enumerate(files.values(), start=1)]


def _attempt(paths: list[Path], folder: Path) -> Series | Refused:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read_files([path for path in paths if path.is_file()], folder)
        except Refused as refusal:
            return refusal


def _dataset(path: Path) -> Dataset | None:
    """The DICOM data set at ``path``, or None where there is none."""
    if not path.is_file():
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return dcmread(path)
        except InvalidDicomError:
            return None


def _computed_head() -> Volume:
    return build_volume(head_phantom(slices=SLICES, matrix=MATRIX, lesion=False))


def _thinned(volume: Volume) -> Volume:
    """About `SLICES` planes around the middle of ``volume``, 5 mm apart, every second row and column."""
    step = max(1, round(SLICE_MM / volume.spacing[0]))
    first = max(0, (len(volume.array) - SLICES * step) // 2)
    affine = volume.affine.copy()
    affine[:, 3] += affine[:, 0] * first
    affine[:, :3] *= (step, 2, 2)
    return Volume(np.ascontiguousarray(volume.array[first : first + SLICES * step : step, ::2, ::2]), affine, ())


def _of_a_head(name: str, volume: Volume, rng: np.random.Generator) -> Iterator[Case]:
    """``volume`` turned in its planes, cut down to parts of the head, and cut up."""
    array = volume.array
    for angle in (45, 90, 180):
        turned = rotate(array, angle, axes=(1, 2), reshape=False, order=1)
        yield Case(f"{name}, turned", _like(volume, turned), head=True)
    rows, columns = array.shape[1:]
    for part in (0.12, 0.25):
        for axis, length in ((1, rows), (2, columns)):
            kept = np.zeros_like(array)
            where = [slice(None)] * 3
            where[axis] = slice(0, round(part * length))
            kept[tuple(where)] = array[tuple(where)]
            yield Case(f"{name}, all but its rim cut away", _like(volume, kept), head=False)
    yield Case(f"{name}, cut up", _like(volume, _cut_up(array, rng)), head=False)


def _cut_up(array: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Each plane as sixteen pieces in another order."""
    rows, columns = array.shape[1] // 4, array.shape[2] // 4
    kept = array[:, : 4 * rows, : 4 * columns]
    pieces = kept.reshape(len(kept), 4, rows, 4, columns).swapaxes(2, 3).reshape(len(kept), 16, rows, columns)
    mixed = pieces[:, rng.permutation(16)].reshape(len(kept), 4, 4, rows, columns).swapaxes(2, 3)
    return np.ascontiguousarray(mixed.reshape(kept.shape))


def _of_a_mosaic(ds: Dataset) -> Iterator[Case]:
    """A mosaic taken for one slice, as its tags say and as if it were a head's size, and its tiles as a volume."""
    values = ds.pixel_array.astype(np.float32)
    spacing = float(ds.PixelSpacing[0])
    yield Case("mosaic as one slice", _volume(values[None], SLICE_MM, spacing), head=False)
    yield Case(
        "mosaic as one slice of a head's size", _volume(values[None], SLICE_MM, FIELD_MM / len(values)), head=False
    )
    thickness = float(ds.get("SliceThickness") or SLICE_MM)
    yield Case("echo-planar frames", _volume(tiles_of(ds), thickness, spacing), head=False)


def _case(name: str, array: npt.NDArray[np.floating[Any]]) -> Case:
    return Case(name, _volume(np.ascontiguousarray(array, dtype=np.float32), SLICE_MM, FIELD_MM / MATRIX), head=False)


def _volume(array: FloatArray, thickness: float, pixel_mm: float) -> Volume:
    """An axial volume of ``array``, without headers."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = thickness, pixel_mm, pixel_mm, 1.0
    return Volume(np.clip(array, 0, None).astype(np.float32), affine, ())


def _like(volume: Volume, array: FloatArray) -> Volume:
    return Volume(np.ascontiguousarray(array, dtype=np.float32), volume.affine, ())


def _refused(outcomes: dict[str, Counter[str]], heads: dict[str, bool], *, head: bool) -> dict[str, int]:
    """How many cases (with or without a head) were refused, and how many answered."""
    counts: Counter[str] = Counter()
    for name, found in outcomes.items():
        if heads[name] is head:
            for result, count in found.items():
                counts["answered" if result in {"finding", "no_finding", "indeterminate"} else "refused"] += count
    return dict(counts)

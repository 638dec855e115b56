"""The answer of a bundle's own workflow as findings: regions named and measured, outcome, key slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects

from pipeline.caveats import Caveat, CaveatCode
from pipeline.errors import BadModel
from pipeline.findings import codes, measurements
from pipeline.findings.answers import (
    Answered,
    Box,
    Classification,
    Concept,
    Detection,
    Explanation,
    KeyImage,
    Regression,
    Segmentation,
)
from pipeline.findings.codes import GRAD_CAM
from pipeline.findings.explanation import points_at, within_body
from pipeline.findings.identity import RunIdentity
from pipeline.findings.measure import basic_measurements, key_slice, separate_regions
from pipeline.findings.measurements import Measurement
from pipeline.findings.model import (
    BoolArray,
    ClassProbability,
    Findings,
    ModelIdentity,
    Outcome,
    Part,
    Region,
    Voxels,
)
from pipeline.geometry.volume import Volume

FloatPoints = npt.NDArray[np.float64]
EDGES = {8: (4, 2, 1), 4: (2, 1)}
"""By number of corners of a box: the corners that an edge joins with the first one (`Box.corners`)."""
LABELS = 255
NOWHERE = (slice(0, 0), slice(0, 0), slice(0, 0))
REACH = 1e-6
"""Voxel centres on the surface of a box are in it, also after rounding."""


def findings_of(answered: Answered, volume: Volume, run: RunIdentity, model: ModelIdentity) -> Findings:
    """The findings of ``answered`` on ``volume``, whose voxels its regions lie on.

    A model without a target measures (`Outcome.MEASURED`). For others the outcome is a finding where there is a region
    or a class that holds.

    Raises
    ------
    BadModel
        where a detected object lies outside of the images.
    """
    match answered.answer:
        case Segmentation() as answer:
            return _segmented(answer, answered, volume, run, model)
        case Detection() as answer:
            return _detected(answer, answered, volume, run, model)
        case Classification() as answer:
            return _classified(answer, answered, volume, model)
        case Regression(quantities=quantities):
            estimates = tuple(
                measurements.estimate(item.concept.name, item.concept.code, item.value, item.unit)
                for item in quantities
            )
            return _findings(Outcome.MEASURED, (), answered, volume, model, quantities=estimates)


def _findings(
    outcome: Outcome,
    regions: tuple[Region, ...],
    answered: Answered,
    volume: Volume,
    model: ModelIdentity,
    *,
    caveats: tuple[Caveat, ...] = (),
    quantities: tuple[Measurement, ...] = (),
    probabilities: tuple[ClassProbability, ...] = (),
    predicted_class: str = "",
    suggested: tuple[str, ...] = (),
    explanation: Explanation | None = None,
) -> Findings:
    shown, left_out = _shown(explanation, regions, volume)
    return Findings(
        outcome=outcome,
        predicted_class=predicted_class,
        probabilities=probabilities,
        regions=regions,
        heatmap=None if shown is None else shown.heatmap,
        key_slice=_key_slice(regions, answered.key_image, volume, shown),
        model=model,
        caveats=(*answered.caveats, *caveats, *left_out),
        suggested=suggested,
        quantities=quantities,
        explained="" if shown is None else shown.name,
        technique=GRAD_CAM if shown is None else shown.technique,
    )


def _shown(
    explanation: Explanation | None, regions: Sequence[Region], volume: Volume
) -> tuple[Explanation | None, tuple[Caveat, ...]]:
    """The explanation, unless it points elsewhere than the regions that it is of; then the caveat that says so."""
    if explanation is None:
        return None, ()
    mine = [region for region in regions if region.label == explanation.name]
    if points_at(explanation.heatmap, mine, volume):
        return replace(explanation, heatmap=within_body(explanation.heatmap, volume)), ()
    return None, (Caveat(CaveatCode.HEAT_MAP_LEFT_OUT),)


def _sought(model: ModelIdentity, *, found: bool) -> Outcome:
    if model.target is None:
        return Outcome.MEASURED
    return Outcome.FINDING if found else Outcome.NO_FINDING


def _segmented(
    answer: Segmentation, answered: Answered, volume: Volume, run: RunIdentity, model: ModelIdentity
) -> Findings:
    """A region for each structure that has a voxel, in the bundle's order; or for each connected part of it."""
    boxes = () if answer.overlapping else find_objects(answer.array, max_label=LABELS)
    found = {item: voxels for item in answer.structures if (voxels := _voxels(answer, item, boxes)).slices}
    titles = _titles(answer.structures)
    regions: list[Region] = []
    for item, voxels in found.items():
        if answer.separate:
            key = f"structure {item.name}"
            regions += separate_regions(voxels, volume, item.name, run, title=titles[item.name], key=key)
        else:
            regions.append(_structure(item, voxels, volume, run, titles[item.name]))
    missing = tuple(titles[item.name] for item in answer.structures if item not in found)
    caveats = (Caveat(CaveatCode.STRUCTURES_NOT_FOUND, {"names": missing}),) if missing and model.target is None else ()
    return _findings(
        _sought(model, found=bool(regions)),
        tuple(regions),
        answered,
        volume,
        model,
        caveats=caveats,
        explanation=answer.explanation,
    )


def _voxels(answer: Segmentation, item: Concept, boxes: Sequence[Part | None]) -> Voxels:
    """The voxels of a structure; of a label map only the part that holds its label is looked at, which ``boxes`` gives
    for each label from 1.
    """
    if answer.overlapping:
        return Voxels.of(answer.mask(item))
    slices, rows, columns = answer.array.shape
    box = boxes[item.value - 1] or NOWHERE
    return Voxels((slices, rows, columns), box, np.ascontiguousarray(answer.array[box] == item.value))


def _titles(structures: Sequence[Concept]) -> dict[str, str]:
    """A distinct title for each structure, by name: it is the region's tracking identifier."""
    titles = [item.title for item in structures]
    return {
        item.name: item.title if titles.count(item.title) == 1 else f"{item.title} ({item.name})" for item in structures
    }


def _structure(item: Concept, voxels: Voxels, volume: Volume, run: RunIdentity, title: str) -> Region:
    return Region(
        tracking_id=title,
        tracking_uid=run.uid("structure", item.name),
        label=item.name,
        voxels=voxels,
        measurements=basic_measurements(voxels, volume),
        key_slice=key_slice(voxels),
    )


def _detected(
    answer: Detection, answered: Answered, volume: Volume, run: RunIdentity, model: ModelIdentity
) -> Findings:
    """A region for each box, the likeliest first, numbered within its class."""
    counts: dict[str, int] = {}
    regions = []
    for item in answer.boxes:
        counts[item.finding.name] = number = counts.get(item.finding.name, 0) + 1
        voxels = _filled(item, volume)
        regions.append(
            Region(
                tracking_id=f"{item.finding.title} {number}",
                tracking_uid=run.uid("object", item.finding.name, f"{number}"),
                label=item.finding.name,
                voxels=voxels,
                measurements=(*_extent(item, volume), measurements.score(item.score)),
                key_slice=key_slice(voxels),
                boxed=True,
            )
        )
    caveats = (Caveat(CaveatCode.SCORES_NOT_CALIBRATED),) if regions else ()
    return _findings(_sought(model, found=bool(regions)), tuple(regions), answered, volume, model, caveats=caveats)


def _filled(item: Box, volume: Volume) -> Voxels:
    """The voxels whose centres lie in the box; the nearest one where it is thinner than the slices.

    Raises
    ------
    BadModel
        where the box lies outside of the images.
    """
    corners = item.corners
    shape = np.array(volume.shape)
    low = np.clip(np.floor(corners.min(axis=0)), 0, shape - 1).astype(int)
    high = np.clip(np.ceil(corners.max(axis=0)), 0, shape - 1).astype(int) + 1
    if (corners.max(axis=0) < -0.5).any() or (corners.min(axis=0) > shape - 0.5).any():
        raise BadModel(
            "A detected object lies outside of the images.",
            where=item.finding.name,
            todo="Clip boxes to the image in the bundle's postprocessing (ClipBoxToImaged).",
        )
    first, second, third = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    inside = _in_box(grid, corners)
    if not inside.any():
        nearest = np.clip(np.round(corners.mean(axis=0)), low, high - 1).astype(int) - low
        inside[tuple(nearest)] = True
    slices, rows, columns = volume.shape
    return Voxels((slices, rows, columns), (first, second, third), inside)


def _in_box(points: npt.NDArray[np.int_], corners: FloatPoints) -> BoolArray:
    """Which of ``points`` (..., 3) lie in the box with these corners: 8, or 4 in the plane of a projection."""
    edges = np.stack([corners[k] - corners[0] for k in EDGES[len(corners)]], axis=1)
    shares = (points - corners[0]) @ np.linalg.pinv(edges).T
    return np.asarray(((shares >= -REACH) & (shares <= 1 + REACH)).all(axis=-1))


def _extent(item: Box, volume: Volume) -> tuple[Measurement, ...]:
    """Length and width of the box in the plane, and depth along the slices, in mm; a projection has no depth."""
    steps = [item.corners[k] - item.corners[0] for k in EDGES[len(item.corners)]]
    lengths = [float(np.linalg.norm(volume.affine[:3, :3] @ step)) for step in steps]
    across = None
    if len(lengths) == 3:
        normal = np.linalg.inv(volume.affine[:3, :3])[0]  # grows along the slices alone
        along = [
            abs(float(normal @ (volume.affine[:3, :3] @ step))) / max(mm, 1e-9)
            for step, mm in zip(steps, lengths, strict=True)
        ]
        across = lengths.pop(int(np.argmax(along)))
    width, length = sorted(lengths)
    made = [measurements.length("length", codes.LENGTH, length), measurements.length("width", codes.WIDTH, width)]
    if across is not None:
        made.append(measurements.length("depth", codes.DEPTH, across))
    return tuple(made)


def _classified(answer: Classification, answered: Answered, volume: Volume, model: ModelIdentity) -> Findings:
    """Of exclusive classes the likeliest is predicted; otherwise those that reach their thresholds are suggested.

    Where the likeliest class does not reach its threshold, and it is not the one for "nothing found", the answer is
    indeterminate.
    """
    scores = {item.name: score for item, score in zip(answer.classes, answer.scores, strict=True)}
    limits = {item.name: limit for item, limit in zip(answer.classes, answer.thresholds, strict=True)}
    probabilities = tuple(ClassProbability(name, score) for name, score in scores.items())
    suggested: tuple[str, ...] = ()
    if answer.exclusive:
        predicted = answer.likeliest.name
        reached = scores[predicted] >= limits[predicted]
        outcome = _sought(model, found=predicted != answer.none)
        if outcome is not Outcome.MEASURED and not reached:
            outcome = Outcome.INDETERMINATE
    else:
        holding = [name for name in scores if name != answer.none and scores[name] >= limits[name]]
        suggested = tuple(sorted(holding, key=lambda name: -scores[name]))
        predicted = suggested[0] if suggested else answer.none or ""
        outcome = _sought(model, found=bool(suggested))
    caveats = () if answer.calibrated else (Caveat(CaveatCode.SCORES_NOT_CALIBRATED),)
    return _findings(
        outcome,
        (),
        answered,
        volume,
        model,
        caveats=caveats,
        probabilities=probabilities,
        predicted_class=predicted,
        suggested=suggested,
        explanation=answer.explanation,
    )


def _key_slice(
    regions: Sequence[Region], wanted: KeyImage, volume: Volume, explanation: Explanation | None = None
) -> int:
    """The plane that results show first; without regions that with the strongest explanation, else the middle."""
    if not regions and explanation is not None and wanted != "middle":
        return int(np.argmax(explanation.heatmap.sum(axis=(1, 2))))
    if not regions or wanted == "middle":
        return int(volume.shape[0] // 2)
    if wanted == "strongest":
        return regions[0].key_slice
    areas = np.zeros(volume.shape[0], dtype=np.int64)
    for item in regions:
        areas[item.voxels.box[0]] += item.voxels.inside.sum(axis=(1, 2))
    return int(np.argmax(areas))

"""Selection of the series of a study that suits a model best: a pure, total order that states its reasons.

Series that the model's contract excludes are set aside first. The others are compared criterion by criterion, in the
order of `CRITERIA`: the first difference decides and is the stated reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pydicom.dataset import Dataset

from pipeline.errors import Refused
from pipeline.routing.protocol import ProtocolContract
from pipeline.routing.scope import Scope
from pipeline.routing.series_attributes import SeriesAttributes, classic

LEAST_SLICES = 3
"""The same as in `pipeline.geometry.slice_spacing` (a test compares them): fewer slices make no volume."""

Takes = ProtocolContract | Scope
"""The series that a model takes, by the contract of its bundle."""


@dataclass(frozen=True)
class Candidate:
    """One series of a study. ``header`` is its representative's, from which ``attributes`` were read."""

    series_instance_uid: str
    header: Dataset = field(compare=False, repr=False)
    attributes: SeriesAttributes


@dataclass(frozen=True)
class PassedOver:
    """A series that was not chosen, and why. ``code`` is that of the refusal where the model's contract excludes the
    series.
    """

    candidate: Candidate
    reason: str
    code: str | None = None


@dataclass(frozen=True)
class Selection:
    """The decision of `choose`. ``chosen`` is None where no series suits; ``reason`` says why this one was chosen."""

    chosen: Candidate | None
    reason: str
    passed_over: tuple[PassedOver, ...]


@dataclass(frozen=True)
class Criterion:
    """A criterion of the order: ``rank`` is smaller for what suits better, ``words`` state the series' value."""

    name: str
    rank: Callable[[Candidate, Takes], float]
    words: Callable[[Candidate], str]


def choose(candidates: Sequence[Candidate], contract: Takes) -> Selection:
    """Choose the series that suits a model with ``contract`` best. The order of ``candidates`` does not matter."""
    unsuited = {item.series_instance_uid: why for item in candidates if (why := _unsuited(item, contract))}
    suited = sorted(
        (item for item in candidates if item.series_instance_uid not in unsuited),
        key=lambda item: (*(criterion.rank(item, contract) for criterion in CRITERIA), item.series_instance_uid),
    )
    aside = tuple(
        PassedOver(item, f"the model does not take it: {unsuited[uid].what}", unsuited[uid].code)
        for item in sorted(candidates, key=lambda item: item.series_instance_uid)
        if (uid := item.series_instance_uid) in unsuited
    )
    if not suited:
        return Selection(None, f"none of the study's {len(candidates)} series suits the model", aside)
    best, *rest = suited
    passed_over = tuple(PassedOver(item, _worse(item, best, contract)) for item in rest)
    return Selection(best, _why(best, rest, aside, contract), (*passed_over, *aside))


def _unsuited(candidate: Candidate, contract: Takes) -> Refused | None:
    """The model's refusal of the series by its header alone, or None."""
    slices = candidate.attributes.number_of_slices
    projection = isinstance(contract, Scope) and contract.projection
    if slices < LEAST_SLICES and not projection:
        return Refused(f"The series has {slices} slice(s); a volume needs at least {LEAST_SLICES}.")
    try:
        contract.check(classic(candidate.header))
    except Refused as refusal:
        return refusal
    return None


def _why(best: Candidate, rest: Sequence[Candidate], aside: tuple[PassedOver, ...], contract: Takes) -> str:
    total = 1 + len(rest) + len(aside)
    if total == 1:
        return "the study's only series for this model"
    if not rest:
        return f"the only one of {total} series that the model takes"
    criterion = _decisive(rest[0], best, contract)
    by = f"{criterion.name}: {criterion.words(best)}" if criterion else "its UID, all else being equal"
    return f"suits the model best of {total} series, by {by}"


def _worse(candidate: Candidate, best: Candidate, contract: Takes) -> str:
    better = f"series {best.series_instance_uid} suits the model better"
    criterion = _decisive(candidate, best, contract)
    if criterion is None:
        return f"{better}, by its UID, all else being equal"
    return f"{better}, by {criterion.name}: {criterion.words(best)} against {criterion.words(candidate)}"


def _decisive(candidate: Candidate, best: Candidate, contract: Takes) -> Criterion | None:
    differing = (item for item in CRITERIA if item.rank(candidate, contract) != item.rank(best, contract))
    return next(differing, None)


def _contrast_rank(candidate: Candidate, contract: Takes) -> float:
    if not contract.contrast_expected:
        return 0
    return {"stated": 0, "described": 1, None: 2}[candidate.attributes.contrast]


def _contrast_words(candidate: Candidate) -> str:
    words = {"stated": "stated by the tags", "described": "named in the description", None: "not mentioned"}
    return words[candidate.attributes.contrast]


def _weighting_rank(candidate: Candidate, contract: Takes) -> float:
    order = contract.weightings
    weighting = candidate.attributes.weighting
    return order.index(weighting) if weighting in order else len(order)


def _plane_rank(candidate: Candidate, _contract: Takes) -> float:
    if candidate.attributes.acquisition == "3D":
        return 0
    return {"axial": 0, "coronal": 1, "sagittal": 1, "oblique": 2, None: 3}[candidate.attributes.orientation]


def _plane_words(candidate: Candidate) -> str:
    attributes = candidate.attributes
    plane = attributes.orientation or "of no stated orientation"
    return f"3D, {plane}" if attributes.acquisition == "3D" else plane


def _thickness_rank(candidate: Candidate, _contract: Takes) -> float:
    thickness = candidate.attributes.slice_thickness
    return thickness if thickness and thickness > 0 else float("inf")


def _thickness_words(candidate: Candidate) -> str:
    thickness = candidate.attributes.slice_thickness
    return f"{thickness:g} mm" if thickness and thickness > 0 else "not stated"


def _number_rank(candidate: Candidate, _contract: Takes) -> float:
    number = candidate.attributes.series_number
    return float("inf") if number is None else -number


def _number_words(candidate: Candidate) -> str:
    number = candidate.attributes.series_number
    return "none" if number is None else f"{number:g}"


CRITERIA: tuple[Criterion, ...] = (
    Criterion("contrast agent", _contrast_rank, _contrast_words),
    Criterion("weighting", _weighting_rank, lambda item: item.attributes.weighting or "not told"),
    Criterion(
        "image type",
        lambda item, _contract: item.attributes.derived,
        lambda item: "derived" if item.attributes.derived else "original",
    ),
    Criterion("plane", _plane_rank, _plane_words),
    Criterion(
        "number of slices",
        lambda item, _contract: -item.attributes.number_of_slices,
        lambda item: str(item.attributes.number_of_slices),
    ),
    Criterion("slice thickness", _thickness_rank, _thickness_words),
    Criterion("series number (a repeat is usually the better)", _number_rank, _number_words),
)
"""The criteria, the most important first. Contrast counts for models that were validated on images with contrast."""

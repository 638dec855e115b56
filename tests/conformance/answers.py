"""Answers of every kind that no model gave, on a phantom: what the tests of their results are built from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from itertools import product

import numpy as np
from pydicom.dataset import Dataset
from scipy.ndimage import binary_dilation, binary_erosion

from pipeline import phantom
from pipeline.findings.answers import (
    Answer,
    Answered,
    Box,
    Classification,
    Concept,
    Detection,
    Quantity,
    Regression,
    Segmentation,
)
from pipeline.findings.codes import (
    BRAIN,
    DIAGNOSTIC_IMAGING_STUDY,
    FINDING,
    MORPHOLOGICALLY_ABNORMAL_STRUCTURE,
    NEOPLASM,
    NO_UNITS,
    PRIVATE_SCHEME,
    ClassTerm,
    Code,
)
from pipeline.findings.from_answer import findings_of
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.model import AnswerKind, BoolArray, ModelIdentity
from pipeline.findings.places import with_places
from pipeline.geometry.build import build_volume
from pipeline.geometry.volume import Volume
from pipeline.patient.source_values import cleaned_volume
from pipeline.results.provenance import ResultContext

SHAPE = (20, 96, 96)
STRUCTURES = 12
"""As many as the answer ``structures`` knows; it finds all but the last."""


def concept(value: int, name: str, code: Code | None = None, category: Code | None = None) -> Concept:
    title = name.replace("_", " ").capitalize()
    return Concept(value, name, title, code or Code(name[:16], PRIVATE_SCHEME, title), category)


def model_of(kind: AnswerKind, concepts: tuple[Concept, ...], target: Code | None, site: Code | None) -> ModelIdentity:
    return ModelIdentity(
        name="made",
        title="Made model",
        version="1.0",
        digest="ab" * 32,
        terms=tuple(ClassTerm(item.name, item.title, item.code, site, item.category) for item in concepts),
        target=target,
        kind=kind,
        procedure=DIAGNOSTIC_IMAGING_STUDY,
        body_part="HEAD",
    )


def _series() -> tuple[Dataset, ...]:
    return phantom.head_phantom(slices=SHAPE[0], matrix=SHAPE[1])


@functools.cache
def volume_of(modality: str = "MR") -> Volume:
    datasets = _series()
    for ds in datasets:
        ds.Modality = modality
    return cleaned_volume(build_volume(datasets))


@functools.cache
def lesion() -> BoolArray:
    return phantom.lesion_mask(_series())


def ball(centre: tuple[float, float, float], radius: float) -> BoolArray:
    """The voxels within ``radius`` mm of a place (slice, row, column)."""
    places = np.moveaxis(np.indices(SHAPE), 0, -1) - np.array(centre)
    return np.asarray(np.linalg.norm(places * volume_of().spacing, axis=-1) < radius)


def box_of(finding: Concept, score: float, low: tuple[float, ...], high: tuple[float, ...]) -> Box:
    corners = np.array([*product(*zip(low, high, strict=True))], dtype=np.float64)
    return Box(finding, score, corners, volume_of().to_patient(corners))


def _structures() -> tuple[Answer, ModelIdentity]:
    concepts = tuple(concept(index + 1, f"structure_{index}") for index in range(STRUCTURES))
    labels = np.zeros(SHAPE, dtype=np.uint8)
    for index in range(STRUCTURES - 1):
        labels[ball((4 + index % 4 * 4, 25 + index % 3 * 22, 20 + index // 3 * 18), 11)] = index + 1
    return Segmentation(concepts, labels), model_of(AnswerKind.SEGMENTATION, concepts, None, None)


def _brain() -> tuple[Answer, ModelIdentity]:
    concepts = (concept(1, "brain", BRAIN),)
    labels = ball((10, 48, 48), 70).astype(np.uint8)
    return Segmentation(concepts, labels), model_of(AnswerKind.SEGMENTATION, concepts, None, None)


def _nested(*, found: bool = True) -> tuple[Answer, ModelIdentity]:
    """Three regions, one within the other, as in BraTS."""
    abnormal = MORPHOLOGICALLY_ABNORMAL_STRUCTURE
    names = ("tumor_core", "whole_tumor", "enhancing_tumor")
    concepts = tuple(concept(index, name, category=abnormal) for index, name in enumerate(names))
    core = lesion()
    masks = np.stack([core, binary_dilation(core, iterations=2), binary_erosion(core)])
    answer = Segmentation(concepts, masks if found else np.zeros_like(masks))
    return answer, model_of(AnswerKind.SEGMENTATION, concepts, NEOPLASM, BRAIN)


def _separate() -> tuple[Answer, ModelIdentity]:
    """Two parts of one structure, reported each by itself."""
    concepts = (concept(1, "metastasis"),)
    labels = (ball((6, 30, 30), 9) | ball((13, 60, 55), 14)).astype(np.uint8)
    return Segmentation(concepts, labels, separate=True), model_of(AnswerKind.SEGMENTATION, concepts, NEOPLASM, BRAIN)


CHEST = (
    concept(0, "pneumonia", Code("233604007", "SCT", "Pneumonia")),
    concept(1, "pleural_effusion", Code("60046008", "SCT", "Pleural effusion")),
    concept(2, "mass", Code("4147007", "SCT", "Mass")),
)


def _labels(*scores: float) -> tuple[Answer, ModelIdentity]:
    answer = Classification(CHEST, scores, exclusive=False, thresholds=(0.5, 0.5, 0.5))
    return answer, model_of(AnswerKind.CLASSIFICATION, CHEST, FINDING, None)


def _kinds(*scores: float) -> tuple[Answer, ModelIdentity]:
    """Exclusive classes, one of which says that nothing was found."""
    concepts = (*(concept(index, name) for index, name in enumerate(("bleed", "infarct"))), concept(2, "normal"))
    answer = Classification(concepts, scores, True, (0.7, 0.7, 0.5), none="normal", calibrated=True)
    return answer, model_of(AnswerKind.CLASSIFICATION, concepts, FINDING, BRAIN)


def _density() -> tuple[Answer, ModelIdentity]:
    concepts = tuple(concept(index, f"density_{letter}") for index, letter in enumerate("abcd"))
    answer = Classification(concepts, (0.1, 0.6, 0.2, 0.1), True, (0.5,) * 4)
    return answer, model_of(AnswerKind.CLASSIFICATION, concepts, None, None)


def _boxes(*, found: bool = True) -> tuple[Answer, ModelIdentity]:
    """Two boxes; the second is thinner than a slice."""
    nodule = concept(0, "nodule", Code("427359005", "SCT", "Solitary nodule of lung"))
    boxes = (
        box_of(nodule, 0.93, (6, 30, 40), (9, 52, 63)),
        box_of(nodule, 0.41, (12.2, 60, 50), (12.7, 68, 57)),
    )
    return Detection((nodule,), boxes if found else ()), model_of(AnswerKind.DETECTION, (nodule,), nodule.code, None)


def _estimates() -> tuple[Answer, ModelIdentity]:
    age = concept(0, "brain_age")
    fraction = concept(1, "ejection_fraction", Code("10230-1", "LN", "Left ventricular Ejection fraction"))
    answer = Regression((Quantity(age, 53.2718, Code("a", "UCUM", "year")), Quantity(fraction, 0.55314, NO_UNITS)))
    return answer, model_of(AnswerKind.REGRESSION, (age, fraction), None, BRAIN)


ANSWERS: dict[str, Callable[[], tuple[Answer, ModelIdentity]]] = {
    "structures": _structures,
    "brain": _brain,
    "nested": _nested,
    "nothing outlined": functools.partial(_nested, found=False),
    "separate": _separate,
    "labels": functools.partial(_labels, 0.81, 0.62, 0.1),
    "no label": functools.partial(_labels, 0.21, 0.12, 0.1),
    "kind": functools.partial(_kinds, 0.85, 0.1, 0.05),
    "kind uncertain": functools.partial(_kinds, 0.5, 0.3, 0.2),
    "no kind": functools.partial(_kinds, 0.1, 0.2, 0.7),
    "density": _density,
    "boxes": _boxes,
    "no box": functools.partial(_boxes, found=False),
    "estimates": _estimates,
}
"""By name: an answer of each kind, and of each outcome that the kind has."""


@functools.cache
def answer_context(name: str, modality: str = "MR") -> ResultContext:
    """The context of a run that gave the answer called ``name`` on a phantom of ``modality``; only to be read."""
    answer, model = ANSWERS[name]()
    volume = volume_of(modality)
    uids = [str(ds.SOPInstanceUID) for ds in volume.sources]
    run = RunIdentity(volume.series_instance_uid, instances_digest([*uids, name]), model.digest)
    findings = with_places(findings_of(Answered(answer), volume, run, model), volume)
    return ResultContext(volume, findings, run)

"""What a release answers and writes for fixed series: the content that the two revision numbers stand for."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydicom.dataset import Dataset
from torch import Tensor

from fhir import report
from fhir.release import Release
from models.runtime import load_model
from pipeline import phantom
from pipeline.errors import MissingSlices
from pipeline.findings.identity import Predecessor
from pipeline.findings.model import Outcome, Prediction
from pipeline.geometry.build import build_volume
from pipeline.report.sentences import Language
from pipeline.results.build import build
from pipeline.results.pdf import document
from pipeline.results.profile import KINDS, PRESETS, Profile
from pipeline.results.sc import refusal
from tests.conformance import synthetic
from tests.peers import fhir_bundles
from tests.shapes import enhanced

MODEL = "brain_mri_tumor"
FORMS = {
    "usual": Profile(objects=KINDS),
    **PRESETS,
    "labelmap": Profile(objects=("segmentation", "report"), segmentation_type="LABELMAP", report_flavour="planar"),
    "fractional": Profile(objects=("segmentation",), segmentation_type="FRACTIONAL", omit_empty_frames=False),
    "heatmap": Profile(objects=("heatmap",), heatmap_frame_order="descending", heatmap_planes="all"),
}


def series() -> Iterator[tuple[str, Sequence[Dataset]]]:
    """The series that the shipped model reads: three planes, with and without a lesion, classic and enhanced."""
    for plane in ("axial", "coronal", "sagittal"):
        yield f"{plane} lesion", phantom.head_phantom(plane=plane, slices=16, matrix=128)
    healthy = phantom.head_phantom(slices=16, matrix=128, lesion=False)
    yield "axial healthy", healthy
    yield "axial healthy enhanced", (enhanced(healthy),)


@dataclass(frozen=True)
class Answered:
    """``probabilities`` by class; ``mask`` (slices, rows, columns)."""

    outcome: str
    probabilities: dict[str, float]
    mask: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, prediction: Prediction) -> Answered:
        return cls(
            str(prediction.outcome),
            {item.name: round(item.probability, 4) for item in prediction.probabilities},
            prediction.mask,
        )


class NoHeatMap:
    """An explainer that points at nothing."""

    def class_activation(self, images: Tensor, class_index: int) -> Tensor:
        return torch.zeros_like(images)


def answers() -> dict[str, Answered]:
    """What the shipped model answers for each of `series`."""
    model = load_model(MODEL, device="cpu")
    model.explainer = NoHeatMap()  # type: ignore[attr-defined]  # half of the time, and no part of what is recorded
    return {name: Answered.of(model.predict(build_volume(tuple(datasets)))) for name, datasets in series()}


def objects() -> dict[str, str]:
    """SHA-256 of each result by a name that says what it is: DICOM objects, PDF pages, FHIR Bundles."""
    return {name: hashlib.sha256(data).hexdigest() for name, data in _written()}


def _written() -> Iterator[tuple[str, bytes]]:
    finding = synthetic.phantom_context()
    for item in build(finding, FORMS):
        yield f"finding, {' + '.join(item.profiles)}: {item.filename}", synthetic.file_bytes(item.dataset)
    for language in Language:
        yield f"finding: report as PDF in {language}", document.pdf_page(finding, language)
    corrected = replace(finding, run=replace(finding.run, predecessors=(Predecessor("c" * 64),)))
    others = {
        "corrected": corrected,
        "sagittal": synthetic.phantom_context("sagittal"),
        "no finding": synthetic.phantom_context(outcome=Outcome.NO_FINDING),
        "indeterminate": synthetic.phantom_context(outcome=Outcome.INDETERMINATE),
    }
    for name, context in others.items():
        for item in synthetic.build_all(context):
            yield f"{name}: {item.filename}", synthetic.file_bytes(item.dataset)
    reason = MissingSlices(
        "Slices are 5.00 mm apart, but 10.00 mm between two.", where="a series", todo="Send it again."
    )
    for item in refusal.build(finding.volume.sources, reason, synthetic.MODEL):
        yield f"refused: {item.filename}", synthetic.file_bytes(item.dataset)
    for outcome in fhir_bundles.READ:
        for release in Release:
            for language in Language:
                made = fhir_bundles.bundle_of(outcome, release=release, language=language)
                yield f"{outcome}: FHIR {release} in {language}", _json(made)
    yield "refused: FHIR", _json(report.build(fhir_bundles.refusal_of("golden")))


def _json(bundle: dict[str, Any]) -> bytes:
    return json.dumps(bundle, sort_keys=True).encode()

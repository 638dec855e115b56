"""Findings that no model made, around phantom or real series: what the tests of the result objects are built from."""

from __future__ import annotations

import io
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from pydicom.dataset import Dataset
from scipy.ndimage import gaussian_filter

from pipeline import phantom
from pipeline.caveats import free_text
from pipeline.findings.identity import RunIdentity, instances_digest
from pipeline.findings.measure import measure_lesions
from pipeline.findings.model import BoolArray, ClassProbability, Findings, ModelIdentity, Outcome
from pipeline.findings.places import with_places
from pipeline.geometry.build import build_volume
from pipeline.patient.source_values import cleaned_volume
from pipeline.results.build import build
from pipeline.results.profile import KINDS, Profile
from pipeline.results.provenance import ResultContext
from pipeline.results.result_object import ResultObject

MODEL = ModelIdentity(
    name="brain_mri_tumor",
    title="Brain MRI tumor",
    version="0.1.0",
    digest="0123456789abcdef" * 4,
    parameters=("threshold=0.5", "input=224"),
)
CAVEAT = "Plain T1 — the model was validated on contrast-enhanced T1 (224² pixels)."
EVERYTHING = Profile(objects=KINDS)
BEGAN = "2026-01-05T11:30:00+01:00"
UNPRINTED = Profile(objects=tuple(kind for kind in KINDS if kind != "document"))
"""All kinds but the PDF, to which no other refers but the key objects, and which takes a third of the time."""
UNDRAWN = tuple(kind for kind in KINDS if kind != "overlay")
"""All kinds but the pictures, whose drawing takes most of the time."""
ANSWERS = {
    Outcome.FINDING: ("glioma", {"glioma": 0.86, "meningioma": 0.09, "pituitary_tumor": 0.03, "no_tumor": 0.02}),
    Outcome.NO_FINDING: ("no_tumor", {"glioma": 0.02, "meningioma": 0.03, "pituitary_tumor": 0.01, "no_tumor": 0.94}),
    Outcome.INDETERMINATE: ("glioma", {"glioma": 0.4, "meningioma": 0.35, "pituitary_tumor": 0.15, "no_tumor": 0.1}),
}


def context_of(
    datasets: Sequence[Dataset],
    mask: BoolArray | None = None,
    outcome: Outcome = Outcome.FINDING,
    root: str | None = None,
    model: ModelIdentity = MODEL,
) -> ResultContext:
    """The context of a run over ``datasets`` that outlined ``mask`` (None: nothing)."""
    volume = cleaned_volume(build_volume(datasets))
    uids = [str(ds.SOPInstanceUID) for ds in datasets]
    run = RunIdentity(volume.series_instance_uid, instances_digest(uids), model.digest, root, began=BEGAN)
    name, shares = ANSWERS[outcome]
    outlined = np.zeros(volume.shape, bool) if mask is None else mask
    lesions = measure_lesions(outlined, volume, name, run)
    centre = np.zeros(volume.shape, np.float32)
    centre[tuple(size // 2 for size in volume.shape)] = 1
    heatmap = gaussian_filter(np.maximum(outlined, centre).astype(np.float32), (1, 6, 6))
    findings = Findings(
        outcome=outcome,
        predicted_class=name,
        probabilities=tuple(ClassProbability(key, value) for key, value in shares.items()),
        regions=lesions,
        heatmap=(heatmap / heatmap.max()).astype(np.float32),
        key_slice=lesions[0].key_slice if lesions else volume.shape[0] // 2,
        model=model,
        caveats=(free_text(CAVEAT),),
    )
    return ResultContext(volume, with_places(findings, volume), run)


@lru_cache(maxsize=32)
def phantom_context(
    plane: phantom.Plane = "axial", outcome: Outcome = Outcome.FINDING, *, slices: int = 16, matrix: int = 64
) -> ResultContext:
    """A phantom with its true lesion outlined where ``outcome`` is a finding. Shared: nobody changes it."""
    datasets = phantom.head_phantom(plane=plane, slices=slices, matrix=matrix)
    mask = phantom.lesion_mask(datasets) if outcome is Outcome.FINDING else None
    return context_of(datasets, mask, outcome)


def with_own_headers(context: ResultContext) -> ResultContext:
    """``context`` with headers that a test may change."""
    sources, subject = deepcopy((context.volume.sources, context.volume.subject))
    return replace(context, volume=replace(context.volume, sources=sources, subject=subject))


def build_all(context: ResultContext, profile: Profile | None = None) -> tuple[ResultObject, ...]:
    """The result objects of a run as the pipeline builds them for ``profile`` (None: of every kind, in usual forms).

    Shared by all who ask for those of the same context: nobody changes them.
    """
    return _built(_Same(context), (profile or EVERYTHING).model_dump_json())


@dataclass(frozen=True)
class _Same:
    """``context``, equal to itself alone."""

    context: ResultContext = field(compare=False)
    identity: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", id(self.context))


@lru_cache(maxsize=8)
def _built(same: _Same, profile: str) -> tuple[ResultObject, ...]:
    return build(same.context, {"made": Profile.model_validate_json(profile)})


def file_bytes(ds: Dataset) -> bytes:
    """The DICOM file that ``ds`` is written as."""
    buffer = io.BytesIO()
    ds.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()

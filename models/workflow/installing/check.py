"""`candela models check` of a bundle whose own workflow is run: it reads computed images, and says what it gave."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import numpy as np
import torch

from models.contract import unfinished
from models.runtime import Device, choose_device
from models.workflow.confined import landlock
from models.workflow.installing.bundle import WorkflowBundle
from models.workflow.installing.trial import trial_inputs
from models.workflow.run import ResidentWorkflow
from pipeline.findings.answers import Answer, Classification, Detection, Regression, Segmentation
from pipeline.findings.model import AnswerKind

MOST_SHOWN = 8
EVERY = "pages, structured report, PDF, FHIR, HL7 v2"
RESULTS = {
    AnswerKind.SEGMENTATION: (f"segmentation, presentation state, {EVERY}", "no probabilities"),
    AnswerKind.CLASSIFICATION: (EVERY, "no segmentation and no presentation state, which need a region"),
    AnswerKind.DETECTION: (f"presentation state, {EVERY}", "no segmentation, since a box is no outline"),
    AnswerKind.REGRESSION: (EVERY, "no segmentation and no presentation state, which need a region"),
}
"""By kind of answer: the results that it becomes, and what it cannot have."""


def check_workflow(bundle: WorkflowBundle, device: Device) -> Iterator[str]:
    """Load and run ``bundle``; lines for the terminal, as they become known.

    Raises
    ------
    CandelaError
        where the bundle cannot be loaded, fails, or gives what its contract does not say.
    """
    yield f"{bundle.name} {bundle.version}: {bundle.kind}, {', '.join(bundle.contract.scope.modalities)}"
    for note in bundle.notes:
        yield f"note: {note}"
    if not landlock.version():
        yield "note: this kernel has no Landlock; what native code writes or connects to is not held (docs/bundles.md)"
    started = time.monotonic()
    workflow = ResidentWorkflow(bundle, choose_device(device, cuda=torch.cuda.is_available()))
    loaded = time.monotonic()
    inputs = trial_inputs(bundle.contract)
    answer = workflow.run(inputs)
    read = time.monotonic()
    shape = "×".join(map(str, next(iter(inputs.values())).shape))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    yield f"loaded in {loaded - started:.1f} s; {len(inputs)} computed images of {shape} read in {read - loaded:.1f} s"
    yield f"(peak memory of the process {peak:.1f} GiB); what it found there says nothing about patients:"
    yield from _found(answer)
    yield results_of(bundle)
    for item in unfinished(bundle.contract):
        yield f"to fill in (configs/candela.json): {item}"
    yield f"{bundle.name} {bundle.version} is sound; digest {bundle.digest}"


def results_of(bundle: WorkflowBundle) -> str:
    """A line that says which results an answer of ``bundle`` becomes, and which not."""
    made, left_out = RESULTS[bundle.kind]
    states = "states whether its target is present" if bundle.identity.target else "measures, and states no presence"
    return f"results: {made}; {left_out}. The model {states}"


def _found(answer: Answer) -> Iterator[str]:
    match answer:
        case Segmentation(structures=structures):
            counts = {item.title: int(np.count_nonzero(answer.mask(item))) for item in structures[:MOST_SHOWN]}
            lines = [f"{title}: {count:,} voxels" for title, count in counts.items()]
            yield from _shortened(lines, len(structures))
        case Classification(classes=classes, scores=scores):
            pairs = zip(classes, scores, strict=True)
            yield from _shortened([f"{item.title}: {score:.2f}" for item, score in pairs], len(classes))
        case Detection(boxes=boxes):
            yield f"  {len(boxes)} boxes"
        case Regression(quantities=quantities):
            lines = [f"{item.concept.title}: {item.value:.4g} {item.unit.value}" for item in quantities]
            yield from _shortened(lines, len(quantities))


def _shortened(lines: list[str], count: int) -> Iterator[str]:
    for line in lines[:MOST_SHOWN]:
        yield f"  {line}"
    if count > MOST_SHOWN:
        yield f"  and {count - MOST_SHOWN} more"

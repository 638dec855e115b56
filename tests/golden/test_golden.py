"""One SOP Instance UID means one content, over releases too: content changes only with its revision number."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.findings import identity
from tests.golden import content
from tests.golden.make import ANSWERS, MASKS, OBJECTS

TODO = (
    "raise {} in pipeline/findings/identity.py, run `python -m tests.golden.make`, and say in CHANGELOG.md what changed"
)
PROBABILITY = 0.002
"""How far processors with other vector instructions may differ in a probability."""
VOXELS = 0.002
"""And in what share of a mask's voxels."""


@pytest.mark.slow
def test_the_same_series_get_the_same_answers() -> None:
    """Outcome, probabilities and mask of each recorded series are those that ANSWER_REVISION stands for."""
    recorded = json.loads(ANSWERS.read_text())
    assert recorded["answer_revision"] == identity.ANSWER_REVISION, "run `python -m tests.golden.make`"
    masks = np.load(MASKS)
    found = content.answers()
    assert set(found) == set(recorded["answers"])
    for name, answer in found.items():
        expected = recorded["answers"][name]
        todo = f"{name}: {TODO.format('ANSWER_REVISION')}"
        assert answer.outcome == expected["outcome"], todo
        assert answer.probabilities == pytest.approx(expected["probabilities"], abs=PROBABILITY), todo
        mask = np.unpackbits(masks[name], count=answer.mask.size).reshape(answer.mask.shape)
        differing = np.count_nonzero(answer.mask != mask)
        assert differing <= VOXELS * max(1, np.count_nonzero(mask)), todo


@pytest.mark.slow
def test_the_same_findings_make_the_same_bytes() -> None:
    """Every DICOM object in every form, PDF page and FHIR Bundle is the one that RESULTS_REVISION stands for."""
    recorded = json.loads(OBJECTS.read_text())
    assert recorded["results_revision"] == identity.RESULTS_REVISION, "run `python -m tests.golden.make`"
    found = content.objects()
    changed = {name for name in found | recorded["sha256"] if found.get(name) != recorded["sha256"].get(name)}
    assert not changed, f"{sorted(changed)}: {TODO.format('RESULTS_REVISION')}"

"""Two releases, one series: a release that answers or writes otherwise gives its results other UIDs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from models import registry
from pipeline.findings import identity
from pipeline.findings.identity import RunIdentity
from tests.conformance import synthetic


def test_a_release_that_builds_results_otherwise_gives_them_other_uids() -> None:
    """Two releases read one series: no UID of the one names an object of the other; series and device stay."""
    context = synthetic.phantom_context(slices=6, matrix=32)
    later = replace(context, run=replace(context.run, results_revision=context.run.results_revision + 1))
    old, new = ({str(item.dataset.SOPInstanceUID) for item in synthetic.build_all(run)} for run in (context, later))
    assert old
    assert not old & new
    assert context.run.device_uid == later.run.device_uid
    assert context.run.lineage_uid("series", "report") == later.run.lineage_uid("series", "report")


def test_a_release_that_answers_otherwise_is_another_algorithm(monkeypatch: pytest.MonkeyPatch) -> None:
    """ANSWER_REVISION is part of the model's digest, and so of the device UID and of each job's identity."""
    before = registry.get("brain_mri_tumor").digest
    monkeypatch.setattr("models.bundle.ANSWER_REVISION", identity.ANSWER_REVISION + 1)
    after = registry.get("brain_mri_tumor").digest
    assert before != after
    first, second = (RunIdentity("1.2.3", "0" * 64, digest) for digest in (before, after))
    assert first.device_uid != second.device_uid
    assert first.uid("instance", "report", "1") != second.uid("instance", "report", "1")


def test_the_uids_of_0_1_0_can_still_be_derived() -> None:
    """What that release sent is found again: its runs had no results revision."""
    stored = RunIdentity("1.2.3", "0" * 64, "f" * 64, results_revision=identity.UNNUMBERED)
    assert stored.uid("instance", "report", "1") == identity.derived_uid(
        "run", "1.2.3", "0" * 64, "f" * 64, "instance", "report", "1"
    )

"""A late slice makes a second set of results: in the same series, and the report says which it replaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.caveats import Caveat, CaveatCode
from pipeline.findings.identity import Predecessor, RunIdentity, instances_digest
from pipeline.findings.model import ClassProbability, Outcome, Prediction
from pipeline.process import process
from pipeline.reading.files import Series
from pipeline.results.provenance import ResultContext
from pipeline.summary import summary
from tests.conformance.synthetic import ANSWERS, MODEL, build_all, context_of, file_bytes
from tests.peers.fhir_bundles import RECORDED

WHOLE = phantom.head_phantom(slices=12, matrix=64)
MASK = phantom.lesion_mask(WHOLE)


def revisions() -> tuple[ResultContext, ResultContext]:
    """A series that came without its last slice, and then with it."""
    first = context_of(WHOLE[:-1], MASK[:-1])
    second = context_of(WHOLE, MASK)
    earlier = Predecessor(first.run.instances, began=first.run.began)
    return first, replace(second, run=replace(second.run, predecessors=(earlier,)))


def by_file(context: ResultContext) -> dict[str, Dataset]:
    return {
        item.filename: pydicom.dcmread(pydicom.filebase.DicomBytesIO(file_bytes(item.dataset)))
        for item in build_all(context)
    }


def test_the_second_report_names_the_first() -> None:
    """Predecessor Documents Sequence: study, series and instance of the report that was sent before."""
    first, second = revisions()
    earlier, later = by_file(first)["report.dcm"], by_file(second)["report.dcm"]
    assert "PredecessorDocumentsSequence" not in earlier
    (study,) = later.PredecessorDocumentsSequence
    (series,) = study.ReferencedSeriesSequence
    (report,) = series.ReferencedSOPSequence
    assert study.StudyInstanceUID == earlier.StudyInstanceUID
    assert series.SeriesInstanceUID == earlier.SeriesInstanceUID
    assert report.ReferencedSOPInstanceUID == earlier.SOPInstanceUID
    assert report.ReferencedSOPClassUID == earlier.SOPClassUID


def test_results_of_both_lie_in_the_same_series_side_by_side() -> None:
    """Same series, other instances, numbers that go on: nothing is overwritten, the newest stands last."""
    first, second = (by_file(context) for context in revisions())
    assert set(first) <= set(second)
    for name, earlier in first.items():
        assert second[name].SeriesInstanceUID == earlier.SeriesInstanceUID
        assert second[name].SOPInstanceUID != earlier.SOPInstanceUID
        assert second[name].InstanceNumber == earlier.InstanceNumber + 1000


def test_a_third_names_the_second() -> None:
    """The chain is a function of the run's identity alone."""
    first, second = revisions()
    last = Predecessor(second.run.instances, began=second.run.began)
    third = replace(second.run, instances="c" * 64, predecessors=(*second.run.predecessors, last))
    assert third.previous == second.run
    assert second.run.previous == first.run
    assert first.run.previous is None


def test_what_replaces_something_is_another_object_than_what_replaces_nothing() -> None:
    """A node that got all slices at once says nothing of a predecessor: one UID never stands for both."""
    alone = RunIdentity("1.2.3", instances_digest(["1"]), MODEL.digest)
    after = replace(alone, predecessors=(Predecessor("d" * 64),))
    assert alone.uid("instance", "report", "1") != after.uid("instance", "report", "1")
    assert alone.lineage_uid("series", "report") == after.lineage_uid("series", "report")
    assert alone.device_uid == after.device_uid


class Knowing:
    """A model that finds the phantom's lesion."""

    identity = MODEL
    classes = tuple(ANSWERS[Outcome.FINDING][1])

    def check(self, header: Dataset) -> tuple[str, ...]:
        return ()

    def predict(self, volume: Any) -> Prediction:
        name, shares = ANSWERS[Outcome.FINDING]
        mask = MASK[: volume.shape[0]]
        return Prediction(
            outcome=Outcome.FINDING,
            predicted_class=name,
            probabilities=tuple(ClassProbability(key, value) for key, value in shares.items()),
            mask=mask,
            heatmap=mask.astype(np.float32),
            key_slice=int(mask.sum(axis=(1, 2)).argmax()),
        )


@pytest.fixture
def run() -> Callable[..., Any]:
    return lambda **more: process(Series(WHOLE), Knowing(), now=lambda: 0.0, recorded=RECORDED, **more)


def test_every_result_says_that_it_replaces_an_earlier_one(run: Callable[..., Any]) -> None:
    """In words, first among the caveats, which report, overlay and FHIR repeat; and in the summary as digests."""
    plain, corrected = run(), run(predecessors=(Predecessor("d" * 64),))
    assert Caveat(CaveatCode.REPLACES_EARLIER_RESULT) not in plain.findings.caveats
    assert corrected.findings.caveats[0] == Caveat(CaveatCode.REPLACES_EARLIER_RESULT)
    assert summary(plain)["predecessors"] == []
    assert summary(corrected)["predecessors"] == ["d" * 64]
    assert summary(corrected)["instances_digest"] == instances_digest(ds.SOPInstanceUID for ds in WHOLE)
    assert summary(corrected)["regions"][0]["tracking_uid"] != summary(plain)["regions"][0]["tracking_uid"]

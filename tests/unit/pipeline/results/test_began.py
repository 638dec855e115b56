"""Results state when the analysis began, and one SOP Instance UID is one content."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from pydicom.dataset import Dataset

from pipeline import phantom
from pipeline.errors import BadGeometry
from pipeline.findings.identity import Predecessor, RunIdentity
from pipeline.results.provenance import ResultContext
from pipeline.results.sc import overlay, refusal
from tests.conformance.synthetic import BEGAN, MODEL, build_all, context_of, file_bytes

LATER = "2026-01-06T08:00:05+01:00"


def context(zone: str | None = None, **run: object) -> ResultContext:
    datasets = phantom.head_phantom(slices=3, matrix=32)
    for ds in datasets:
        if zone is not None:
            ds.TimezoneOffsetFromUTC = zone
    made = context_of(datasets)
    return replace(made, run=replace(made.run, **run))  # type: ignore[arg-type]


def page(made: ResultContext) -> Dataset:
    return overlay.build(made)[0].dataset


@pytest.mark.parametrize(
    ("zone", "day", "time", "contributed"),
    [
        (None, "20260105", "113000", "20260105113000+0100"),  # the site's clock
        ("+0900", "20260105", "193000", "20260105193000+0900"),
        ("-1100", "20260104", "233000", "20260104233000-1100"),
    ],
)
def test_the_times_of_a_result_are_on_the_clock_of_its_source(
    zone: str | None, day: str, time: str, contributed: str
) -> None:
    """Timezone Offset From UTC holds for every date and time of an object (PS3.3 C.12.1.1)."""
    ds = page(context(zone))
    assert (ds.ContentDate, ds.ContentTime) == (day, time)
    assert (ds.InstanceCreationDate, ds.InstanceCreationTime) == (day, time)
    assert (ds.SeriesDate, ds.SeriesTime) == (day, time)
    assert ds.ContributingEquipmentSequence[0].ContributionDateTime == contributed
    assert ds.get("TimezoneOffsetFromUTC") == zone


def test_every_object_states_it() -> None:
    for item in build_all(context()):
        ds = item.dataset
        stated = ds.PresentationCreationTime if "PresentationCreationTime" in ds else ds.ContentTime
        assert (ds.InstanceCreationTime, stated) == ("113000", "113000"), item.role


def test_another_instant_makes_other_objects_in_the_same_series() -> None:
    first, again, later = (page(context(began=began)) for began in (BEGAN, BEGAN, LATER))
    assert file_bytes(first) == file_bytes(again)
    assert later.SOPInstanceUID != first.SOPInstanceUID
    assert later.SeriesInstanceUID == first.SeriesInstanceUID


def test_the_series_keeps_the_time_of_its_first_revision() -> None:
    made = page(context(began=LATER, predecessors=(Predecessor("d" * 64, began=BEGAN),)))
    assert (made.SeriesDate, made.SeriesTime) == ("20260105", "113000")
    assert (made.ContentDate, made.ContentTime) == ("20260106", "080005")


def test_a_revision_derives_the_uids_of_the_run_that_it_replaces() -> None:
    """Those of its own instant; and, of a run of 0.2.0, those without one."""
    first = context(began=BEGAN).run
    second = replace(first, instances="e" * 64, began=LATER, predecessors=(Predecessor(first.instances, began=BEGAN),))
    assert second.previous == first
    old = RunIdentity("1.2.3", "a" * 64, "b" * 64)
    after = replace(old, instances="c" * 64, began=LATER, predecessors=(Predecessor("a" * 64),))
    assert after.previous == old


def test_the_page_of_a_refusal_states_it() -> None:
    datasets = phantom.head_phantom(slices=3, matrix=32)
    why = BadGeometry("No.")
    first, later = (
        refusal.build(datasets, why, MODEL, began=datetime.fromisoformat(began))[0].dataset for began in (BEGAN, LATER)
    )
    assert (first.ContentDate, first.ContentTime) == ("20260105", "113000")
    assert first.SOPInstanceUID != later.SOPInstanceUID

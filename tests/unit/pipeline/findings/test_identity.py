"""What the identifiers of a run depend on."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pipeline.findings.identity import RunIdentity, job_id

RUN = RunIdentity("1.2.3", "a" * 64, "b" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"series_instance_uid": "1.2.4"},
        {"model_digest": "c" * 64},
        {"identity_from": "1.2.3.1"},
        {"withdrawn": "d" * 64},
    ],
)
def test_another_series_model_or_patient_shares_no_uid(change: dict[str, str]) -> None:
    other = replace(RUN, **change)
    assert other.uid("instance", "report", "1") != RUN.uid("instance", "report", "1")
    assert other.lineage_uid("series", "report") != RUN.lineage_uid("series", "report")


@pytest.mark.parametrize("change", [{"instances": "d" * 64}, {"results_revision": 99}, {"expected": 30}])
def test_another_revision_shares_the_series_and_no_instance(change: dict[str, str | int]) -> None:
    other = replace(RUN, **change)
    assert other.uid("instance", "report", "1") != RUN.uid("instance", "report", "1")
    assert other.lineage_uid("series", "report") == RUN.lineage_uid("series", "report")


def test_a_device_is_a_model() -> None:
    assert replace(RUN, model_digest="c" * 64).device_uid != RUN.device_uid
    assert replace(RUN, instances="d" * 64).device_uid == RUN.device_uid


def test_a_job_is_of_one_model() -> None:
    assert job_id("1.2.3", ["1"], "b" * 64) != job_id("1.2.3", ["1"], "c" * 64)

"""A series that is read again: which earlier results the new ones replace, found once and remembered."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_node.inference.lineage import LINEAGE, lineage_of
from dicom_node.inference.output import SUMMARY
from dicom_node.jobs.holding import HELD_MARK, RELEASED_MARK
from dicom_node.jobs.job import SeriesJob
from pipeline.findings.identity import UNNUMBERED, Predecessor, job_id
from pipeline.report.withdrawal import FILENAME as WITHDRAWAL

SERIES = "1.2.3"
MODEL = "0123456789ab" + "0" * 52


def job_of(results: Path, revision: int, *, model: str = MODEL, series: str = SERIES) -> SeriesJob:
    """The job of revision ``revision``, which has that many instances, with its folder."""
    name = job_id(series, (f"{series}.{k}" for k in range(revision)), model)
    folder = results / name.replace(":", "_")
    folder.mkdir(parents=True, exist_ok=True)
    return SeriesJob(
        job_id=name,
        series_instance_uid=series,
        study_instance_uid="1.2",
        revision=revision,
        manifest=str(folder / "manifest.json"),
        instances=revision,
        calling_ae="MR1",
        completion="quiet",
        completed_at="2026-01-05T10:15:00+00:00",
        rule="brain",
        model="m",
        destinations=(),
        priority="routine",
    )


def read(job: SeriesJob, outcome: str = "finding", results_revision: int = 1) -> tuple[str, ...]:
    """What a worker does with ``job``: asks for predecessors, reads, writes the summary. The predecessors' digests."""
    found = lineage_of(job, Path(job.manifest).parent).predecessors
    content: dict[str, Any] = {"outcome": outcome, "objects": []}
    if outcome != "refused":
        content |= {"instances_digest": f"digest of {job.revision}", "results_revision": results_revision}
    (Path(job.manifest).parent / SUMMARY).write_text(json.dumps(content))
    return tuple(item.instances for item in found)


def test_a_first_revision_replaces_nothing(tmp_path: Path) -> None:
    assert read(job_of(tmp_path, 1)) == ()


def test_each_revision_replaces_the_one_before_and_all_that_it_replaced(tmp_path: Path) -> None:
    assert [read(job_of(tmp_path, revision)) for revision in (1, 2, 3)] == [
        (),
        ("digest of 1",),
        ("digest of 1", "digest of 2"),
    ]


def test_each_predecessor_keeps_the_results_revision_that_built_it(tmp_path: Path) -> None:
    """A release that builds results otherwise came between: the earlier report has the UID that its builder gave it."""
    read(job_of(tmp_path, 1), results_revision=1)
    read(job_of(tmp_path, 2), results_revision=2)
    late = job_of(tmp_path, 3)
    assert lineage_of(late, Path(late.manifest).parent).predecessors == (
        Predecessor("digest of 1", 1),
        Predecessor("digest of 2", 2),
    )


def test_what_0_1_0_wrote_is_read(tmp_path: Path) -> None:
    """It noted digests alone, and gave its results no revision."""
    first, second, third = (job_of(tmp_path, revision) for revision in (1, 2, 3))
    read(first)
    folder = Path(second.manifest).parent
    (folder / LINEAGE).write_text(json.dumps({"revision": 2, "predecessors": ["digest of 1"]}))
    (folder / SUMMARY).write_text(json.dumps({"outcome": "finding", "objects": [], "instances_digest": "digest of 2"}))
    assert lineage_of(third, Path(third.manifest).parent).predecessors == (
        Predecessor("digest of 1", UNNUMBERED),
        Predecessor("digest of 2", UNNUMBERED),
    )


def test_a_refused_revision_had_no_result_to_replace(tmp_path: Path) -> None:
    """The usual case: slices were missing, and with the late ones the series is read for the first time."""
    read(job_of(tmp_path, 1), "refused")
    assert read(job_of(tmp_path, 2)) == ()
    read(job_of(tmp_path, 3), "refused")
    assert read(job_of(tmp_path, 4)) == ("digest of 2",)


@pytest.mark.parametrize("other", [{"model": "f" * 64}, {"series": "1.2.33"}])
def test_another_model_or_series_is_not_replaced(other: dict[str, str], tmp_path: Path) -> None:
    read(job_of(tmp_path, 1, **other))
    assert read(job_of(tmp_path, 2)) == ()


def test_what_was_withdrawn_is_not_replaced_and_gives_other_uids(tmp_path: Path) -> None:
    """Its series may lie in another patient's study; what follows a withdrawal builds on what followed it too."""
    first = job_of(tmp_path, 1)
    read(first)
    (Path(first.manifest).parent / WITHDRAWAL).write_text("{}")
    assert read(job_of(tmp_path, 2)) == ()
    assert read(job_of(tmp_path, 3)) == ("digest of 2",)
    digests = [
        json.loads((Path(job_of(tmp_path, n).manifest).parent / LINEAGE).read_text())["withdrawn"] for n in (1, 2, 3)
    ]
    assert digests[0] is None
    assert digests[1] is not None
    assert digests[1] == digests[2]
    (Path(job_of(tmp_path, 2).manifest).parent / WITHDRAWAL).write_text("{}")
    assert read(job_of(tmp_path, 4)) == ()
    assert read(job_of(tmp_path, 2)) == ()  # noted before


def test_a_second_try_replaces_what_the_first_try_did(tmp_path: Path) -> None:
    """Noted before the reading: what a crash interrupts makes the same bytes afterwards, whatever came between."""
    late = job_of(tmp_path, 2)
    assert lineage_of(late, Path(late.manifest).parent).predecessors == ()
    read(job_of(tmp_path, 1))
    assert read(late) == ()
    assert json.loads((Path(late.manifest).parent / LINEAGE).read_text())["predecessors"] == []


def test_an_earlier_revision_that_is_read_later_replaces_nothing(tmp_path: Path) -> None:
    """An operator retries the first revision after the second was read."""
    read(job_of(tmp_path, 2))
    assert read(job_of(tmp_path, 1)) == ()


def test_a_series_uid_with_wildcards_finds_only_its_own(tmp_path: Path) -> None:
    """UIDs come from outside: [, * and ? in one are letters."""
    read(job_of(tmp_path, 1, series="1.2.3"))
    assert read(job_of(tmp_path, 2, series="1.2.*")) == ()
    assert read(replace(job_of(tmp_path, 2, series="1.2.[3]"))) == ()


def test_an_answer_that_never_left_is_replaced_by_nothing(tmp_path: Path) -> None:
    """Held when the next revision is read, it is superseded; one that was let go is replaced as ever."""
    first, second, third = (job_of(tmp_path, revision) for revision in (1, 2, 3))
    read(first, "no_finding")
    (Path(first.manifest).parent / HELD_MARK).touch()
    assert read(second, "no_finding") == ()
    (Path(first.manifest).parent / RELEASED_MARK).touch()
    assert lineage_of(second, Path(second.manifest).parent).predecessors == ()  # noted once
    (Path(second.manifest).parent / HELD_MARK).touch()
    assert read(third) == ("digest of 1",)

"""Four series of a study come to a running node by C-STORE, one after another: one job reads them as channels."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest

from dicom_node.jobs.status import RECORDS, JobDetail, JobState
from pipeline.findings.model import Outcome
from tests.integration.test_process_channels import assert_lesion, bundle, study, uid_of
from tests.peers import heads
from tests.peers.node import OVER, Node

pytestmark = pytest.mark.slow


def ended(node: Node, count: int) -> tuple[JobDetail, ...]:
    """The jobs, once ``count`` of them have ended or are records of series without a job of their own."""
    over = OVER | RECORDS
    node.until(lambda: sum(job.state in over for job in node.jobs()) >= count, f"{count} jobs end", seconds=240)
    return node.jobs()


def test_one_job_reads_the_four_series_and_its_results_are_delivered(tmp_path: Path) -> None:
    bundle(tmp_path / "models")
    archive = tmp_path / "archive"
    more = f'[models]\nfolders = ["{tmp_path / "models"}"]\n'
    with_destination = {"archive": {"kind": "folder", "path": str(archive)}}
    node = Node(tmp_path / "node", with_destination, peers=more, completion="negative_hold = 1\nstudy_quiet = 3")
    node.config.write_text(
        node.config.read_text().replace('model = "brain_mri_tumor"', 'model = "four"\nper_study = true')
    )
    series = study()
    with node:
        for name in ("flair", "t2", "t1c", "t1"):
            node.send(series[name])
        jobs = ended(node, 4)
        assert len(jobs) == 4, [job.job for job in jobs]
        (read,) = [job for job in jobs if job.job.model]
        assert (read.state, read.outcome) == (JobState.DONE, Outcome.MEASURED), node.tail()
        records = [job for job in jobs if job is not read]
        assert {job.state for job in records} == {JobState.COMPANION}
        assert {job.job.companion_of for job in records} == {read.job.job_id}
        listed = " ".join(node.candela("jobs", "list").stdout.split())
        for job in records:
            shown = node.candela("jobs", "show", job.job.job_id).stdout
            assert f"channel {job.job.channel} of job {read.job.job_id}" in shown
            assert f"channel {job.job.channel} of job" in listed
        summary = node.summary(read)
        assert [(item["channel"], item["series_instance_uid"]) for item in summary["channels"]] == [
            (name, uid_of(made)) for name, made in series.items()
        ]
        assert_lesion(Path(str(read.result and read.result.summary)).parent, (8.0, 5.5, 5.5))
        delivered = [pydicom.dcmread(path, stop_before_pixels=True) for path in archive.rglob("*.dcm")]
        (mask,) = [ds for ds in delivered if ds.Modality == "SEG"]
        assert {str(item.SeriesInstanceUID) for item in mask.ReferencedSeriesSequence} == set(
            map(uid_of, series.values())
        )
        shown = node.candela("jobs", "show", read.job.job_id)
        assert f"channel flair is series {uid_of(series['flair'])}" in shown.stdout
        for name in ("t1", "flair"):
            node.send(series[name])
        other = heads.series("t2", name="elsewhere", frame="another")
        node.send(other)  # the study is decided once more
        again = ended(node, 5)
        assert {job.job.job_id for job in again} - {job.job.job_id for job in jobs} == {
            job.job.job_id for job in again if job.job.series_instance_uid == uid_of(other)
        }
        assert [job.job.job_id for job in again if job.job.model] == [read.job.job_id]

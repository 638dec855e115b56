"""A node that is told everything about a patient tells nobody who should not know."""

from __future__ import annotations

import json
from pathlib import Path

import psycopg
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.jobs.status import JobState
from pipeline import phantom
from tests.chaos.installation import Installation
from tests.peers import gossip
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.postgres import PostgresServer
from tests.peers.receiver import send
from tests.unit.pipeline.export.test_deidentify import KEY, SECRETS, marked

DIAGNOSTICS = f"Patient {SECRETS['PatientName']} ({SECRETS['PatientID']}) is not known here"


def series(key: str, slices: int = 6) -> tuple[Dataset, ...]:
    return marked(phantom.head_phantom(slices=slices, matrix=64, header=phantom.Header(key=key)))


def refuse(_: Asked) -> Reply:
    """A FHIR server that quotes what it got."""
    outcome = {
        "resourceType": "OperationOutcome",
        "issue": [{"severity": "error", "code": "processing", "diagnostics": DIAGNOSTICS}],
    }
    return Reply(422, outcome)


def candela(house: Installation, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--config", str(house.config)], env={"COLUMNS": "300"})
    return done.output


def test_nothing_about_the_patient_is_told_and_research_gets_nobodys_images(tmp_path: Path) -> None:
    """Read, refused, sent to a server that quotes the patient: no log, audit line, database, metric or command.

    The research folder gets results and images that name nobody and refer to each other; the archive the originals.
    """
    secrets = {value for value in SECRETS.values() if not value.isdigit()} | {DIAGNOSTICS}
    gossip.secret(*secrets)
    research = {"kind": "folder", "path": str(tmp_path / "research")}
    options = {"key": KEY.decode(), "source_images": True}
    with HttpPeer(refuse) as ehr:
        house = Installation(
            tmp_path, postgres=None, fhir=ehr, extra={"research": {**research, "deidentify": options}}
        )  # fmt: skip
        house.prepare()
        with house:
            whole = series("privacy")
            gap = tuple(ds for number, ds in enumerate(series("privacy, a gap")) if number != 3)
            stranger = series("privacy, a stranger")
            assert set(send(house.to_node.port, (*whole, *gap))) == {0}
            with pytest.raises(AssertionError):  # rejected, as it should be
                send(house.to_node.port, stranger, calling="KOWALCZYK")
            uids = {whole[0].SeriesInstanceUID, gap[0].SeriesInstanceUID}
            house.until(lambda: house.drained(uids), 400, "both series are done")
            jobs = {job.job.series_instance_uid: job for job in house.jobs()}
            assert jobs[gap[0].SeriesInstanceUID].outcome == "refused"
            read = jobs[whole[0].SeriesInstanceUID]
            assert read.state is JobState.DEAD, "the FHIR server refused"
            assert [row.destination for row in read.deliveries if row.state == "dead"] == ["ehr"]
            told = [candela(house, "status"), candela(house, "audit", "list", "--json"), house.metrics()]
            for job in jobs.values():
                told += [candela(house, "jobs", "show", job.job.job_id, *more) for more in ((), ("--json",))]
    shown = "\n".join(told)
    assert read.job.job_id in shown
    assert "candela_instances_stored_total" in shown
    assert 'candela_deliveries_total{destination="ehr",outcome="dead"}' in shown
    assert [value for value in secrets if value in shown or json.dumps(value)[1:-1] in shown] == []
    assert gossip.told_in(tmp_path, secrets) == []
    left = [path for path in (tmp_path / "research").rglob("*") if path.is_file()]
    images = [ds for path in left if (ds := dcmread(path)).Modality == "MR"]
    assert len(images) == len(whole)
    words = {value for value in SECRETS.values() if len(value) > 4} | {str(ds.SOPInstanceUID) for ds in whole}
    for path in left:
        assert [word for word in words if word.encode() in path.read_bytes() or word in str(path)] == []
    results = [ds for path in left if (ds := dcmread(path)).Modality != "MR"]
    referred = {str(e.value) for ds in results for e in ds.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    assert referred & {str(ds.SOPInstanceUID) for ds in images}, "results lead to the images that were sent with them"
    assert {ds.StudyInstanceUID for ds in results} == {images[0].StudyInstanceUID}
    assert any(SECRETS["PatientID"].encode() in path.read_bytes() for path in house.archive.rglob("*.dcm"))


def test_a_name_in_a_row_of_postgresql_is_found(postgres: PostgresServer) -> None:
    """Of every table of every database that the tests made; one that none of them has is not."""
    with psycopg.connect(postgres.new_database(), autocommit=True) as connection:
        connection.execute("create table told (words text)")
        connection.execute('insert into told values (\'{"patient": "Żółć^Heard"}\')')
        assert len(gossip.told_by(postgres.contents, {"Żółć^Heard", "Żółć^Unheard"})) == 1

"""Orthanc sends a series, then a rejection note, then the images corrected: results follow, and nothing wrong stays."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.jobs.status import JobDetail, JobState
from pipeline import phantom
from tests.peers.fhir_server import FhirServer
from tests.peers.node import QUICK, Node, fhir_destination
from tests.peers.orthanc import OrthancPeer, require_orthanc
from tests.peers.ports import free_port
from tests.peers.rejection import rejection_note

pytestmark = pytest.mark.nightly  # the parts are in test_withdrawal.py and tests/unit: here a model reads twice


def held(orthanc: OrthancPeer) -> list[Dataset]:
    """All that Orthanc has."""
    with orthanc.client() as client:
        names = httpx.get(f"{orthanc.url}/instances", trust_env=False).json()
        return [pydicom.dcmread(io.BytesIO(client.download(name)), stop_before_pixels=True) for name in names]


def reports(server: FhirServer) -> list[tuple[str, str]]:
    """Status and patient identifier of each report."""
    found = [entry["resource"] for entry in server.get("DiagnosticReport").get("entry", ())]
    return sorted((item["status"], item["subject"]["identifier"]["value"]) for item in found)


def test_results_follow_a_rejection_and_a_correction(tmp_path: Path, own_fhir_server: FhirServer) -> None:
    """`rejected_images = "withdraw"`: the PACS gets our note, the EHR a report in error; `--again` reads the images as
    they are now, under the right patient, with UIDs that share nothing with what was withdrawn.
    """
    require_orthanc()
    port = free_port()
    orthanc = OrthancPeer(tmp_path / "orthanc", free_port(), free_port(), candela_port=port)
    peers = f'[peers.orthanc]\nae_title = "{orthanc.ae_title}"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
    destinations = {"pacs": 'kind = "dicom"\npeer = "orthanc"', "ehr": fhir_destination(own_fhir_server.url)}
    completion = f'{QUICK}\nrejected_images = "withdraw"'
    images = phantom.head_phantom(header=phantom.Header(key="rejected", patient_id="WRONG"))
    series = str(images[0].SeriesInstanceUID)
    with (
        orthanc,
        Node(tmp_path / "node", destinations, port=port, peers=peers, allow=["orthanc"], completion=completion) as node,
    ):

        def job_of(state: JobState) -> JobDetail:
            def found() -> list[JobDetail]:
                return [item for item in node.jobs() if item.job.series_instance_uid == series and item.state is state]

            node.until(lambda: bool(found()), f"the job is {state}", seconds=120)
            return found()[0]

        orthanc.upload(phantom.save(images, tmp_path / "images"))
        first = job_of(JobState.DONE)
        assert reports(own_fhir_server) == [("preliminary", "WRONG")]
        note = rejection_note(images, "IncorrectModalityWorklistEntry")
        (instance,) = orthanc.upload(phantom.save((note,), tmp_path / "note"))
        url = f"{orthanc.url}/modalities/candela/store"
        httpx.post(url, content=instance, trust_env=False, timeout=30).raise_for_status()
        job_of(JobState.WITHDRAWN)
        assert reports(own_fhir_server) == [("entered-in-error", "WRONG")]
        before = held(orthanc)
        (ours,) = (ds for ds in before if "withdrawn" in str(ds.get("SeriesDescription")))

        for ds in images:
            ds.PatientID = "RIGHT"
        node.send(images)
        node.until(
            lambda: "PatientID" in node.candela("jobs", "show", first.job.job_id).stdout, "the correction is seen"
        )
        again = node.candela("jobs", "identity", first.job.job_id, "--again")
        assert again.returncode == 0, again.stderr
        job_of(JobState.DONE)
        after = held(orthanc)

    assert ours.SOPClassUID == KeyObjectSelectionDocumentStorage
    assert ours.ConceptNameCodeSequence[0].CodeValue == "113038"
    (study,) = ours.CurrentRequestedProcedureEvidenceSequence
    rejected = {
        item.ReferencedSOPInstanceUID for one in study.ReferencedSeriesSequence for item in one.ReferencedSOPSequence
    }
    sent = [ds for ds in before if ds.get("Manufacturer") == "Candela" and ds is not ours]
    assert rejected == {ds.SOPInstanceUID for ds in sent}
    known = {ds.SOPInstanceUID for ds in before}
    new = [ds for ds in after if ds.SOPInstanceUID not in known]
    assert len(new) == len(sent)
    assert {ds.PatientID for ds in new} == {"RIGHT"}
    assert not {ds.SeriesInstanceUID for ds in new} & {ds.SeriesInstanceUID for ds in sent}
    assert reports(own_fhir_server) == [("entered-in-error", "WRONG"), ("preliminary", "RIGHT")]

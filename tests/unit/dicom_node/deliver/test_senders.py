from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.deliver.senders import sender_for, takes
from dicom_node.deliver.store_status import StatusMeaning, status_text, verdict
from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    DicomWebDestination,
    FhirDestination,
    FolderDestination,
)
from dicom_node.settings.peers import DicomPeer
from dicom_node.settings.privacy import Deidentify
from dicom_node.settings.tree import Settings

PACS = DicomDestination(kind="dicom", peer=DicomPeer(ae_title="PACS", host="127.0.0.1", port=104))
COMMITTED = PACS.model_copy(update={"commitment": True})
WEB = DicomWebDestination(kind="dicomweb", url="http://127.0.0.1/dicom-web")
FHIR = FhirDestination(kind="fhir", url="http://127.0.0.1/fhir")
FOLDER = FolderDestination(kind="folder", path=Path("out"))


@pytest.mark.parametrize(
    ("destination", "dicom", "fhir"),
    [(PACS, True, False), (WEB, True, False), (FHIR, False, True), (FOLDER, True, True)],
)
def test_each_destination_takes_what_it_can(destination: Destination, dicom: bool, fhir: bool) -> None:
    """A PACS takes DICOM, a FHIR server FHIR, a folder everything."""
    assert (takes(destination, "dicom"), takes(destination, "fhir")) == (dicom, fhir)


@pytest.mark.parametrize(
    ("destination", "kind"),
    [
        (PACS, "DimseSender"),
        (WEB, "DicomWebSender"),
        (COMMITTED, "CommittedSender"),
        (FHIR, "FhirSender"),
        (FOLDER, "FolderSender"),
    ],
)
def test_each_destination_has_its_sender(destination: Destination, kind: str) -> None:
    """Chosen by the type of the settings table."""
    assert type(sender_for("name", destination, Settings())).__name__ == kind


def test_a_report_may_list_the_objects_of_a_pacs_by_dicomweb() -> None:
    """Of one that gets objects as they are: the EHR would not find de-identified ones."""
    research = WEB.model_copy(update={"deidentify": Deidentify(key="k" * 32)})
    settings = Settings(destinations={"web": WEB, "research": research, "ehr": FHIR, "folder": FOLDER})
    assert settings.pacs_of(settings.destinations) == {"web": "generic-pacs"}
    assert list(settings.profiles_of(["ehr", "web"])) == ["generic-pacs"]
    assert takes(WEB, "dicom", ["archive"]) is False


def test_every_status_has_a_verdict_and_only_stored_ones_count_as_stored() -> None:
    """Over all 65,536: what is neither success nor a known warning nor a shortage is final."""
    stored = {status for status in range(0x10000) if verdict(status) in (StatusMeaning.STORED, StatusMeaning.NOTED)}
    assert stored == {0x0000, 0x0001, 0x0107, 0x0111, 0x0116, *range(0xB000, 0xC000)}
    later = {status for status in range(0x10000) if verdict(status) is StatusMeaning.LATER}
    assert later == {0x0110, *range(0xA700, 0xA800)}


def test_a_status_is_told_in_words_where_the_standard_has_some() -> None:
    """Hexadecimal always, words where known."""
    assert status_text(0xA7FF) == "0xA7FF out of resources"
    assert status_text(0xC001) == "0xC001 cannot understand"
    assert status_text(0x0124) == "0x0124 not authorised"
    assert status_text(0x1234) == "0x1234"


def test_the_client_of_jobs_needs_neither_torch_nor_a_sender() -> None:
    """The receiver stays small: no torch, MONAI, highdicom or HTTP client in its process."""
    code = (
        "import sys; import dicom_node.jobs.client, dicom_node.jobs.engine;"
        "print([name for name in ('torch', 'monai', 'highdicom', 'httpx', 'pynetdicom') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_worker_that_delivers_needs_no_torch() -> None:
    """Only the infer queue's process loads a model."""
    code = (
        "import sys; import dicom_node.jobs.worker, dicom_node.deliver.dimse, dicom_node.deliver.folder;"
        "print([name for name in ('torch', 'monai', 'highdicom') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

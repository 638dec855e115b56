"""`candela config check --online` asks every peer, and says what to change where one does not answer."""

from __future__ import annotations

from pathlib import Path

from pynetdicom import AE
from pynetdicom.sop_class import Verification
from typer.testing import CliRunner

from dicom_node.commands.config import app
from tests.peers.hl7v2 import MllpReceiver
from tests.peers.http import Asked, HttpPeer, Reply
from tests.peers.ports import free_port

TEXT = """
data_dir = "{data}"
[peers.orthanc]
ae_title = "ORTHANC"
host = "127.0.0.1"
port = {dicom}
expected_count = {{kind = "orthanc", url = "{http}/orthanc"{user}}}
[receive]
allow = ["orthanc"]
[destinations.pacs]
kind = "dicom"
peer = "orthanc"
[destinations.web]
kind = "dicomweb"
url = "{http}/dicom-web"
[destinations.ehr]
kind = "fhir"
url = "{http}/fhir"
[destinations.ris]
kind = "hl7v2"
host = "127.0.0.1"
port = {hl7}
[destinations.archive]
kind = "folder"
path = "{folder}"
[destinations.off]
kind = "fhir"
url = "{http}/off"
enabled = false
[[rules]]
name = "on"
model = "brain_mri_tumor"
"""


def check(place: Path, *arguments: str, **values: object):
    config = place / "candela.toml"
    config.write_text(TEXT.format(**{"data": place / "data", "folder": place / "archive", "user": "", **values}))
    done = CliRunner().invoke(app, ["check", *arguments, "--config", str(config)])
    lines = (line.partition(": ") for line in done.output.splitlines())
    return done.exit_code, {name: said for name, _, said in lines}


def well(asked: Asked) -> Reply:
    if asked.path.endswith("/metadata"):
        stated = {"fhirVersion": "4.0.1", "software": {"name": "Candela-test"}}
        return Reply(200, {"resourceType": "CapabilityStatement", **stated})
    return Reply(200, [])


def test_each_peer_that_answers_is_named_and_nothing_is_sent(tmp_path: Path) -> None:
    ae = AE("ORTHANC")
    ae.add_supported_context(Verification)
    server = ae.start_server(("127.0.0.1", port := free_port()), block=False)
    try:
        with HttpPeer(well) as http, MllpReceiver() as ris:
            code, said = check(tmp_path, "--online", dicom=port, http=http.url, hl7=ris.port)
    finally:
        server.shutdown()
    names = ["expected_count of ORTHANC", *(f"destination {name}" for name in ("pacs", "web", "ehr", "ris", "archive"))]
    assert code == 0
    assert not [name for name in names if said[name].startswith("FAILED")]
    assert "Candela-test, FHIR 4.0.1" in said["destination ehr"]
    assert "destination off" not in said
    assert not ris.taken
    assert {asked.method for asked in http.asked if "/orthanc" not in asked.path} == {"GET"}
    assert not (tmp_path / "archive").exists()


def test_each_peer_that_does_not_answer_is_named_with_what_to_do(tmp_path: Path) -> None:
    """An Orthanc as Debian ships it answers 401 to other machines."""

    def answer(asked: Asked) -> Reply:
        return Reply(404 if "/fhir" in asked.path else 401)

    (tmp_path / "file").touch()
    with HttpPeer(answer) as http:
        values = {"dicom": free_port(), "http": http.url, "hl7": free_port(), "folder": tmp_path / "file" / "below"}
        code, said = check(tmp_path, "--online", **values)
        _, named = check(tmp_path, "--online", **values, user=', username = "candela"')
    assert code == 1
    assert '"RemoteAccessAllowed": true' in said["expected_count of ORTHANC"]
    assert "Check user name and password" in named["expected_count of ORTHANC"]
    assert said["destination pacs"].startswith("FAILED")
    assert "401" in said["destination web"]
    assert "404" in said["destination ehr"]
    assert said["destination ris"].startswith("FAILED")
    assert said["destination archive"].startswith("FAILED")


def test_without_online_nobody_is_asked_and_the_command_says_so(tmp_path: Path) -> None:
    with HttpPeer(lambda asked: Reply(500)) as http:
        code, said = check(tmp_path, dicom=free_port(), http=http.url, hl7=free_port())
    assert code == 0
    assert not http.asked
    assert any("--online" in text for text in said.values())

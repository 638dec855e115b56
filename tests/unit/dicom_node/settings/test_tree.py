"""Settings: one tree, typos named, secrets hidden."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dicom_node.settings.tree import load
from pipeline.errors import BadSettings

GOOD = """
data_dir = "/srv/candela"
[peers.orthanc]
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4243
expected_count = {kind = "orthanc", url = "http://127.0.0.1:8042", username = "u", password = "hush-hush"}
[receive]
port = 4242
allow = ["orthanc"]
[destinations.pacs]
kind = "dicom"
peer = "orthanc"
[destinations.ehr]
kind = "fhir"
url = "http://127.0.0.1:8080/fhir"
bearer_token = "top-secret"
[[rules]]
name = "brain"
when = {modality = ["MR"]}
model = "brain_mri_tumor"
destinations = ["pacs", "ehr"]
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "candela.toml"
    path.write_text(text)
    return path


def test_a_file_is_read_and_the_environment_overrides_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_RECEIVE__PORT", "11114")
    settings = load(written(tmp_path, GOOD))
    assert settings.receive.port == 11114
    assert settings.receive.ae_title == "CANDELA"
    assert settings.receive.peer("ORTHANC") is not None
    assert settings.receive.peer("STRANGER") is None
    assert settings.database_url == "sqlite:////srv/candela/engine.sqlite"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("data_dirr = 'x'", "data_dirr: there is no such setting"),
        ("[receive]\nprt = 1", "receive.prt: there is no such setting"),
        ("[receive]\nport = 'many'", "receive.port: .*integer"),
        ("[receive]\nport = 70000", "receive.port: .*65535"),
        ("[receive]\nae_title = 'MORE THAN SIXTEEN'", "receive.ae_title: .*16"),
        ("[receive]\nae_title = 'BACK\\\\SLASH'", "receive.ae_title"),
        ("[destinations.x]\nkind = 'fax'", "destinations.x: .*'dicom', 'dicomweb', 'fhir', 'hl7v2', 'folder'"),
        ("[[rules]]\nname='r'\nmodel='m'\ndestinations=['nowhere']", "unknown destination 'nowhere'"),
        ("[[rules]]\nname='r'\nmodel='m'\nwhen={modalty=['MR']}", "rules.0.when.modalty: there is no such setting"),
        ("[web]\nlink_in_reports = true", "link_in_reports = true needs public_url"),
        ("[web]\npublic_url = 'candela.example'", "web.public_url"),
        ("[web]\npublic_url = 'https://candela.example/'", "web.public_url"),
        ("[receive\n", "not valid TOML"),
    ],
)
def test_a_typo_is_named_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(BadSettings, match=message) as caught:
        load(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", ["CANDELA_PORT", "CANDELA_RECEIVE__PRT"])
def test_a_typo_in_a_variable_is_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    with pytest.raises(BadSettings, match="there is no such setting"):
        load()


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match="no such settings file"):
        load(tmp_path / "candela.toml")


def test_secrets_are_masked_when_shown(tmp_path: Path) -> None:
    shown = json.dumps(load(written(tmp_path, GOOD)).model_dump(mode="json"))
    assert "top-secret" not in shown
    assert "hush-hush" not in shown

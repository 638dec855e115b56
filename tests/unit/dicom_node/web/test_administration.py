"""The pages for administrators: settings without secrets and with what set them; the audit trail, a page at a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from dicom_node.audit import backwards, trail
from dicom_node.audit.backwards import AuditFilter, Place, newest
from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, AuditTrail, OutcomeIndicator, Party
from dicom_node.settings.effective import effective, rules_in_words, without_secrets
from dicom_node.settings.tree import load
from dicom_node.settings.web import Role
from tests.peers.dashboard import Dashboard

MakeBoard = Callable[..., Dashboard]
SECRETS = [f"never-shown-{number}-0123456789abcdef0123456789abcdef" for number in range(6)]
FILE = f"""
data_dir = "/tmp/nowhere"
jobs.database_url = "postgresql://node:{SECRETS[0]}@db/candela?password={SECRETS[1]}"
[peers.scanner]
ae_title = "MR1"
expected_count = {{kind = "orthanc", url = "http://127.0.0.1:8042", username = "u", password = "{SECRETS[2]}"}}
[receive]
allow = ["scanner"]
[destinations.ehr]
kind = "fhir"
url = "https://ehr.example/fhir"
bearer_token = "{SECRETS[3]}"
[destinations.web]
kind = "dicomweb"
url = "https://pacs.example/dicom-web"
headers = {{X-Api-Key = "{SECRETS[4]}"}}
deidentify = {{key = "{SECRETS[5]}"}}
[[rules]]
name = "brain"
when = {{modality = ["MR", "CT"], echo_time = {{min = 5}}}}
model = "brain_mri_tumor"
destinations = ["ehr"]
[[rules]]
name = "off"
enabled = false
model = "brain_mri_tumor"
per_study = true
"""


def written(tmp_path: Path) -> Path:
    path = tmp_path / "candela.toml"
    path.write_text(FILE)
    return path


def test_no_secret_is_among_the_settings_in_force(tmp_path: Path) -> None:
    groups = effective(load(written(tmp_path)))
    assert not [secret for secret in SECRETS if secret in str(groups)]
    found = {f"{group.name}.{item.name}": item for group in groups for item in group.settings}
    assert found["destinations.ehr.bearer_token"].hidden
    assert found["peers.scanner.expected_count.password"].hidden
    assert found["destinations.web.deidentify.key"].hidden
    assert found["destinations.web.headers"].value == "X-Api-Key = …"
    assert found["jobs.database_url"].value == "postgresql://…@db/candela?password=…"
    assert found["receive.allow"].value == "scanner"
    assert without_secrets("https://a:b@c@host/x?y=z#w") == "https://…@host/x?y=…#w"


def test_each_setting_names_what_set_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANDELA_RECEIVE__PORT", "11113")
    monkeypatch.setenv("CANDELA_RETENTION", '{"committed_days": 3}')
    groups = effective(load(written(tmp_path)))
    found = {f"{group.name}.{item.name}": item for group in groups for item in group.settings}
    assert (found["receive.port"].value, found["receive.port"].source) == ("11113", "CANDELA_RECEIVE__PORT")
    assert found["retention.committed_days"].source == "CANDELA_RETENTION"
    assert found["receive.allow"].source == "file"
    assert found["receive.ae_title"].source == ""
    assert "Port on which the dashboard listens." in found["web.port"].description
    assert [group.name for group in groups if group.is_stated][:3] == ["node", "peers.scanner", "receive"]


def test_rules_are_explained_in_words(tmp_path: Path) -> None:
    brain, off = rules_in_words(load(written(tmp_path)))
    stated = {item.condition: item.wanted for item in brain.conditions}
    assert stated["modality"] == "MR or CT"
    assert any("at least 5" in wanted for wanted in stated.values())
    assert brain.destinations == ("ehr",)
    assert not off.rule.enabled


def test_the_settings_page_shows_settings_to_administrators_and_no_secret(
    make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CANDELA_WEB__KEY_PASSWORD", SECRETS[0])
    board = make_board()
    text = board.client(Role.ADMIN).get("/settings").text
    assert SECRETS[0] not in text
    assert "<code>key_password</code><span>CANDELA_WEB__KEY_PASSWORD</span>" in text
    assert str(board.config) in text
    assert "set, hidden" in text
    assert "<code>true</code>: <code>candela serve</code> starts the dashboard." in text
    assert "modality <b>MR</b>" in text
    assert "brain_mri_tumor reads each as soon as it is complete." in text
    assert 'href="/settings"' not in board.client(Role.OPERATOR).get("/").text


def audited(folder: Path, count: int, day: str = "2026-11-30") -> AuditTrail:
    """``count`` lines: of anna and of ben, logins and exports in turn."""
    made = AuditTrail(folder, clock=lambda: datetime.fromisoformat(f"{day}T08:00:00+00:00"))
    for number in range(count):
        kind = Activity.EXPORT if number % 2 else Activity.USER_AUTHENTICATION
        who = Party("anna" if number % 3 else "ben", "user", "10.0.0.1")
        line = AuditRecord(
            kind, ActionCode.READ, OutcomeIndicator.SUCCESS, Party("CANDELA", "node"), who, f"{day} {number}"
        )
        made.record(line)
    return made


def every(folder: Path, wanted: AuditFilter, limit: int) -> list[str]:
    """What all pages have, in their order."""
    found, place = newest(folder, wanted, None, limit)
    pages = [found]
    while place is not None:
        found, place = newest(folder, wanted, place, limit)
        pages.append(found)
    return [item["what"] for items in pages for item in items]


@pytest.mark.parametrize("block", [64, 1000, 64 * 1024])
def test_pages_of_the_trail_have_each_line_once_newest_first(
    tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backwards, "BLOCK", block)
    audited(tmp_path, 5, "2026-11-29")
    audited(tmp_path, 7)
    with (tmp_path / "audit-2026-11-30.jsonl").open("a") as file:
        file.write('{"id": "cut sh')
    lines = [item["what"] for path in trail.files(tmp_path) for item in trail.read(path)][::-1]
    assert len(lines) == 12
    for path in trail.files(tmp_path):
        data = path.read_bytes()
        assert all(data[at : at + len(line)] == line for at, line in backwards._lines_back(path, None))
    for limit in (1, 3, 50):
        assert every(tmp_path, AuditFilter(), limit) == lines
    exports = every(tmp_path, AuditFilter(activity="110106", user="ANNA"), 2)
    assert exports == [f"{day} {number}" for day, number in (("2026-11-30", 5), ("2026-11-30", 1), ("2026-11-29", 1))]
    assert len(every(tmp_path, AuditFilter(day=trail.day_of(Path("audit-2026-11-29.jsonl"))), 2)) == 5


def test_a_filter_that_nothing_passes_ends_and_a_new_line_moves_no_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backwards, "LOOKED_THROUGH", 1000)
    written = audited(tmp_path, 6)
    nothing, place = newest(tmp_path, AuditFilter(user="nobody"), None, 10)
    assert (nothing, place is not None) == ([], True)
    assert every(tmp_path, AuditFilter(user="nobody"), 10) == []
    first, place = newest(tmp_path, AuditFilter(), None, 2)
    written.record(
        AuditRecord(Activity.QUERY, ActionCode.READ, OutcomeIndicator.SUCCESS, *[Party("x", "node")] * 2, "new")
    )
    second, _ = newest(tmp_path, AuditFilter(), place, 2)
    assert [item["what"] for item in first + second] == [f"2026-11-30 {number}" for number in (5, 4, 3, 2)]
    assert newest(tmp_path, AuditFilter(), Place("audit-2020-01-01.jsonl", 5), 2) == ([], None)


def test_who_reads_the_trail_stands_in_it(make_board: MakeBoard) -> None:
    board = make_board()
    client = board.client(Role.ADMIN)
    board.context.seen.login("anna", "10.0.0.7")
    page = client.get("/audit", params={"activity": "110114", "user": "anna"}).text
    assert "anna <span" in page
    assert "10.0.0.7" in page
    assert "Audit trail read" in client.get("/audit").text
    answer = client.get("/api/v1/audit", params={"activity": Activity.LOG_USED.value[0]}).json()
    assert [(item["what"], item["destination"]["name"]) for item in answer["items"]] == [("audit trail", "admin")]
    assert "No line matches" in client.get("/audit", params={"user": "<script>"}).text
    assert client.get("/api/v1/audit", params={"day": "yesterday"}).json()["code"] == "BAD_REQUEST"
    for cursor in ("x", "WzEsICIuLi9hLmpzb25sIl0"):
        assert client.get("/api/v1/audit", params={"cursor": cursor}).status_code == 400


def test_older_lines_are_a_page_away(make_board: MakeBoard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicom_node.web.pages.administration.PAGE", 2)
    board = make_board()
    client = board.client(Role.ADMIN)
    for number in range(3):
        board.context.seen.login(f"user{number}", "")
    first = client.get("/audit?activity=110114").text
    (older,) = re.findall(r'rel="next" href="([^"]+)"', first)
    second = client.get(older.replace("&amp;", "&")).text
    assert ("user2" in first, "user0" in first, "user0" in second) == (True, False, True)

"""The audit trail: whole lines, one file a day, no name in it, and a change by hand is noticed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dicom_node.audit import trail as audit
from dicom_node.audit.trail import ActionCode, Activity, AuditRecord, AuditTrail, OutcomeIndicator, Party
from dicom_node.cli import app
from dicom_node.settings.tree import load
from pipeline.errors import OutOfResources

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
RECORD = AuditRecord(
    Activity.EXPORT,
    ActionCode.CREATE,
    OutcomeIndicator.SUCCESS,
    source=Party("CANDELA", "node"),
    destination=Party("ehr", "fhir", "https://ehr.example/fhir"),
    what="fhir-bundle",
    count=12,
    studies=("1.2.3.4.5.6",),
    series=("1.2.3.4.5.6.7",),
    job="1.2.3.4.5.6.7:abc:def",
)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


def test_a_record_says_what_left_to_whom_when_and_how_it_ended(tmp_path: Path) -> None:
    """One line of JSON in the file of its day, readable by its owner alone."""
    AuditTrail(tmp_path / "audit", clock=Clock()).record(RECORD)
    (path,) = audit.files(tmp_path / "audit")
    assert path.name == "audit-2026-11-25.jsonl"
    assert path.stat().st_mode & 0o077 == 0
    (line,) = path.read_text().splitlines()
    found = json.loads(line)
    assert found["time"] == "2026-11-25T12:00:00.000+00:00"
    assert found["activity"] == {"code": "110106", "meaning": "Export"}
    assert (found["action"], found["outcome"], found["count"]) == ("C", 0, 12)
    assert found["destination"] == {"name": "ehr", "kind": "fhir", "address": "https://ehr.example/fhir"}
    assert found["studies"] == ["1.2.3.4.5.6"]


def test_uids_are_hashed_where_the_settings_say_so(tmp_path: Path) -> None:
    """Study, series and job alike: a job's id holds the series UID."""
    AuditTrail(tmp_path, plain_uids=False, clock=Clock()).record(RECORD)
    assert "1.2.3.4" not in audit.files(tmp_path)[0].read_text()


def test_a_day_gets_a_file_and_the_retention_removes_old_ones(tmp_path: Path) -> None:
    """After two days of retention the first of four days is gone; the lines of the others still follow each other."""
    clock = Clock()
    trail = AuditTrail(tmp_path, retention_days=2, clock=clock)
    for _ in range(4):
        trail.record(RECORD)
        trail.record(RECORD)
        clock.now += timedelta(days=1)
    assert [audit.day_of(path).day for path in audit.files(tmp_path)] == [26, 27, 28]
    assert audit.verify(tmp_path) == []


@pytest.mark.parametrize("harm", ["change", "remove", "insert"])
def test_a_line_that_was_changed_is_noticed(tmp_path: Path, harm: str) -> None:
    """Each line holds the digest of the one before it."""
    trail = AuditTrail(tmp_path, clock=Clock())
    for number in range(4):
        trail.record(replace(RECORD, count=number))
    (path,) = audit.files(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    if harm == "change":
        lines[1] = lines[1].replace('"count": 1', '"count": 9')
    elif harm == "remove":
        del lines[1]
    else:
        lines.insert(1, lines[0])
    path.write_text("".join(lines))
    assert len(audit.verify(tmp_path)) == 1
    assert "does not follow" in audit.verify(tmp_path)[0]


def test_a_line_that_a_crash_cut_short_spoils_no_other(tmp_path: Path) -> None:
    """The next record begins a line of its own; the torn one is told."""
    trail = AuditTrail(tmp_path, clock=Clock())
    trail.record(RECORD)
    (path,) = audit.files(tmp_path)
    with path.open("ab") as file:
        file.write(b'{"id": "half')
    trail.record(RECORD)
    trail.record(RECORD)
    assert len(list(audit.read(path))) == 3
    (problem,) = audit.verify(tmp_path)
    assert "line 2: not a whole record" in problem


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    """Three processes, fifty records each: 150 whole lines, each after the other."""
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, '.');"
        "from dicom_node.audit.trail import *; trail = AuditTrail(Path(sys.argv[1]));"
        "a = Party('A', 'node');"
        "r = AuditRecord(Activity.EXPORT, ActionCode.CREATE, OutcomeIndicator.SUCCESS, a, a);"
        "[trail.record(r) for _ in range(50)]"
    )
    root = Path(__file__).parents[4]
    running = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root) for _ in range(3)]
    assert [process.wait(120) for process in running] == [0, 0, 0]
    assert sum(len(list(audit.read(path))) for path in audit.files(tmp_path)) == 150
    assert audit.verify(tmp_path) == []


def test_a_trail_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """What was not recorded must not count as done: the caller tries again."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OutOfResources, match="audit trail"):
        AuditTrail(tmp_path / "file" / "audit").record(RECORD)


def test_the_commands_list_and_verify(tmp_path: Path) -> None:
    """`candela audit list` shows where a result went; `verify` ends with 1 where a line was changed."""
    config = tmp_path / "candela.toml"
    config.write_text(f'data_dir = "{tmp_path}"\n[audit]\nretention_days = 3650\n')
    trail = audit.open_trail(load(config))
    trail.record(RECORD)
    trail.record(replace(RECORD, outcome=OutcomeIndicator.SERIOUS_FAILURE, reason="REJECTED"))
    run = CliRunner().invoke
    listed = run(app, ["audit", "list", "--config", str(config)])
    assert "ehr (https://ehr.example/fhir)" in listed.stdout
    assert "failed REJECTED" in listed.stdout
    plain = run(app, ["audit", "list", "--json", "--config", str(config)]).stdout.splitlines()
    assert [json.loads(line)["outcome"] for line in plain] == [0, 8]
    assert "no audit records" in run(app, ["audit", "list", "--day", "1999-01-01", "--config", str(config)]).output
    assert run(app, ["audit", "verify", "--config", str(config)]).exit_code == 0
    (path,) = audit.files(tmp_path / "audit")
    path.write_text(path.read_text().replace("fhir-bundle", "something", 1))
    assert run(app, ["audit", "verify", "--config", str(config)]).exit_code == 1


def test_a_clock_that_is_set_back_over_midnight_breaks_no_chain(tmp_path: Path) -> None:
    """The lines stay in the order they were written in, so that none seems changed and each is forwarded."""
    clock = Clock()
    trail = AuditTrail(tmp_path / "audit", clock=clock)
    for day in (0, 1, 0, -3, 1, 2):
        clock.now = NOON + timedelta(days=day)
        trail.record(RECORD)
    assert audit.verify(tmp_path / "audit") == []
    assert [path.name[-8:-6] for path in audit.files(tmp_path / "audit")] == ["25", "26", "27"]
    times = [item["time"][8:10] for path in audit.files(tmp_path / "audit") for item in audit.read(path)]
    assert times == ["25", "26", "25", "22", "26", "27"]

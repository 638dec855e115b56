"""What a withdrawal makes of a report. The real server's part is in tests/integration/test_withdrawal.py."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import Any

import pytest

from fhir.release import Release
from fhir.server.amend import State
from fhir.server.withdraw import Withdrawn, withdrawn
from pipeline.errors import Rejected
from pipeline.findings.model import Outcome
from pipeline.report.withdrawal import Reason, Withdrawal
from tests.unit.fhir.test_fhir_amend import BASE, Records, bundle

SAID = Withdrawal("job", Reason.WRONG_PATIENT, "another patient", datetime(2026, 11, 30, tzinfo=UTC), "operator")


def withdraw(records: Records, sent: dict[str, Any]) -> Withdrawn:
    done = withdrawn(sent, SAID, records.search, BASE)
    if done.bundle is not None:
        records.post(done.bundle)
    return done


@pytest.mark.parametrize("release", list(Release))
def test_report_and_all_that_belongs_to_it_are_in_error(release: Release) -> None:
    """Once: a second withdrawal changes nothing."""
    records = Records()
    sent = bundle(Outcome.FINDING, release=release)
    records.send(sent)
    withdraw(records, sent)
    (report,) = records.of("DiagnosticReport")
    assert report["status"] == "entered-in-error"
    assert "another patient" in report["conclusion"]
    assert not {"presentedForm", "conclusionCode", "media"} & report.keys()
    picture = "Media" if release is Release.R4 else "DocumentReference"
    for kind in ("Observation", picture, *(["ImagingSelection"] if release is Release.R5 else [])):
        assert records.of(kind)
        assert {item["status"] for item in records.of(kind)} == {"entered-in-error"}
    assert [item["active"] for item in records.of("BodyStructure")] == [False]
    before = copy.deepcopy(records.all)
    assert withdraw(records, sent).note.endswith("was withdrawn before")
    assert records.all == before


def test_a_resend_after_the_withdrawal_sends_nothing_and_a_new_revision_makes_a_new_report() -> None:
    """The identifier that lasts would find the report in error: the new one is sought by its own."""
    records = Records()
    sent = bundle(Outcome.FINDING)
    records.send(sent)
    withdraw(records, sent)
    assert records.send(sent).state is State.WITHDRAWN
    assert records.send(bundle(Outcome.FINDING, 2)).state is State.NEW
    assert [item["status"] for item in records.of("DiagnosticReport")] == ["entered-in-error", "preliminary"]
    assert withdraw(records, sent).note.endswith("was withdrawn before")
    assert records.of("DiagnosticReport")[1]["status"] == "preliminary"


def test_a_later_revision_stands() -> None:
    """It replaced the report of the run that is withdrawn: nothing of it is touched."""
    records = Records()
    sent = bundle(Outcome.FINDING)
    records.send(sent)
    records.send(bundle(Outcome.FINDING, 2))
    before = copy.deepcopy(records.all)
    assert withdraw(records, sent).note.startswith("nothing changed")
    assert records.all == before


def test_what_a_human_has_finalised_is_not_withdrawn() -> None:
    """Nothing of it changes; the error says whom to tell."""
    records = Records()
    sent = bundle(Outcome.FINDING)
    records.send(sent)
    (report,) = records.of("DiagnosticReport")
    records.all[f"DiagnosticReport/{report['id']}"]["status"] = "final"
    before = copy.deepcopy(records.all)
    with pytest.raises(Rejected, match="human has finalised"):
        withdraw(records, sent)
    assert records.all == before


def test_a_server_that_permits_no_search_is_named() -> None:
    with pytest.raises(Rejected, match="permits no search"):
        withdrawn(bundle(Outcome.FINDING), SAID, lambda *_: None, BASE)

"""Times in ORU^R01: the modality's clock where its zone is unknown, and the site's zone where it is set."""

from __future__ import annotations

import time
from dataclasses import replace
from zoneinfo import ZoneInfo

import hl7
import pytest

from dicom_node.deliver.hl7v2 import oru
from pipeline.report.content import ReportContent
from tests.peers.hl7v2 import content_of
from tests.unit.dicom_node.deliver.test_hl7v2_oru import TO

BERLIN = ZoneInfo("Europe/Berlin")


def local(clock: str) -> ReportContent:
    return replace(content_of(), acquired=clock[:10], acquired_local=clock)


def times(content: ReportContent, zone: ZoneInfo | None) -> dict[str, str]:
    parsed = hl7.parse(oru.build(content, TO, zone=zone).data.decode())
    msh, obr, obx = (parsed.segments(name)[0] for name in ("MSH", "OBR", "OBX"))
    assert str(obx[14]) == str(obr[7])
    assert str(obx[19]) == str(obr[22])
    return {"sent": str(msh[7]), "acquired": str(obr[7]), "read": str(obr[22])}


@pytest.fixture
def in_chatham(monkeypatch: pytest.MonkeyPatch):
    """A machine whose own zone is 12:45 h ahead in winter, 13:45 h in January."""
    monkeypatch.setenv("TZ", "Pacific/Chatham")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("in_chatham")
def test_a_clock_whose_zone_is_unknown_is_told_without_one() -> None:
    """Nor does MSH-7 state a zone then, which would hold for every time that has none (2.15.9.7)."""
    assert times(local("2026-01-05T10:20:30"), None) == {
        "sent": "20260106011500",
        "acquired": "20260105102030",
        "read": "20260105113000+0000",
    }


def test_the_sites_zone_makes_an_instant_of_it() -> None:
    """Summer and winter; all times are then told in that zone."""
    assert times(local("2026-01-05T10:20:30"), BERLIN) == {
        "sent": "20260105123000+0100",
        "acquired": "20260105102030+0100",
        "read": "20260105123000+0100",
    }
    assert times(local("2025-07-05T10:20:30"), BERLIN)["acquired"] == "20250705102030+0200"


@pytest.mark.parametrize("clock", ["2025-10-26T02:30:00", "2025-03-30T02:30:00", "1890-01-05T10:20:30"])
def test_an_hour_that_comes_twice_or_never_has_no_zone(clock: str) -> None:
    """Nor one before the zone had whole minutes: HL7 has no seconds in an offset. MSH-7 has none then either."""
    assert times(local(clock), BERLIN) == {
        "sent": "20260105123000",
        "acquired": clock.replace("-", "").replace(":", "").replace("T", ""),
        "read": "20260105123000+0100",
    }


def test_a_zone_that_the_header_states_stays() -> None:
    of = replace(content_of(), acquired="2026-01-05T10:20:30+05:30")
    assert times(of, BERLIN)["acquired"] == "20260105102030+0530"
    assert times(of, None) == {
        "sent": "20260105113000+0000",
        "acquired": "20260105102030+0530",
        "read": "20260105113000+0000",
    }


def test_a_day_stays_a_day() -> None:
    assert times(replace(content_of(), acquired="2026-01-05"), BERLIN)["acquired"] == "20260105"

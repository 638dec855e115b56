"""Who is told of what, and how often: from troubles and a clock to the lines that wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dicom_node.monitoring.ledger import STATE, Ledger, NoSuchTrouble
from dicom_node.monitoring.messages import message
from dicom_node.monitoring.troubles import Trouble
from dicom_node.monitoring.watch import FINDINGS_KEPT, observe
from dicom_node.settings.notify import Notify, NotifyEvent, NotifyRule, WebhookReceiver
from dicom_node.settings.tree import Settings
from pipeline.errors import BadSettings

HOUR = 3600.0
HOOK = WebhookReceiver(kind="webhook", url="https://hooks.test/x", secret="s")
DOWN = Trouble(NotifyEvent.DESTINATION_DOWN, "pacs", "Destination pacs cannot be reached.")
FINDING = Trouble(NotifyEvent.FINDING, "1.2.3:4:5", "STAT job.", model="brain", answer="glioma")


def notify(*rules: dict[str, Any], **more: Any) -> Notify:
    made = tuple(NotifyRule(**rule) for rule in rules or ({"events": tuple(NotifyEvent), "receivers": ("a",)},))
    return Notify(receivers=dict.fromkeys("abc", HOOK), rules=made, repeat_after=4 * HOUR, **more)


class Desk:
    """A ledger that is read anew before each look, as after a restart."""

    def __init__(self, folder: Path, settings: Notify) -> None:
        self.folder, self.settings, self.now = folder, settings, 1000.0

    def look(
        self, *present: Trouble, after: float = 60.0, findings: tuple[Trouble, ...] = (), **more: Any
    ) -> list[str]:
        """What new lines wait: ``receiver change``."""
        ledger = Ledger(self.folder)
        self.now += after
        observe(ledger, self.settings, present, findings, self.now, **more)
        lines = [f"{item.receiver} {item.change}" for item in ledger.waiting]
        ledger.waiting = []
        ledger.save()
        return lines

    def ack(self) -> None:
        ledger = Ledger(self.folder)
        (entry,) = ledger.open()
        ledger.acknowledge(entry.id, "anna", self.now)


def test_one_message_when_it_begins_and_one_when_it_ends(tmp_path: Path) -> None:
    desk = Desk(tmp_path, notify())
    assert desk.look() == []
    assert desk.look(DOWN) == ["a began"]
    assert [desk.look(DOWN, after=HOUR) for _ in range(48)] == [[]] * 48
    assert desk.look() == ["a ended"]
    assert desk.look() == []


def test_what_flaps_is_told_once_in_the_minimum_time(tmp_path: Path) -> None:
    """Down and up each minute for two hours, then down for good: told again once four hours have passed."""
    desk = Desk(tmp_path, notify())
    assert desk.look(DOWN) == ["a began"]
    assert desk.look() == ["a ended"]
    for _ in range(60):
        assert desk.look(DOWN) == []
        assert desk.look() == [], "who was not told of this beginning is not told of its end"
    assert desk.look(DOWN) == []
    assert desk.look(DOWN, after=4 * HOUR) == ["a began"]
    assert desk.look() == ["a ended"]


def test_further_dead_letters_are_told_after_the_minimum_time(tmp_path: Path) -> None:
    desk = Desk(tmp_path, notify())

    def dead(number: int) -> Trouble:
        return Trouble(NotifyEvent.DEAD_LETTER, "pacs", f"{number} dead letter(s).", number)

    assert desk.look(dead(1)) == ["a began"]
    assert desk.look(dead(9)) == []
    assert desk.look(dead(9), after=4 * HOUR) == ["a grew"]
    assert desk.look(dead(2), after=5 * HOUR) == []
    assert desk.look(dead(3), after=60) == ["a grew"], "fewer, and then more again"
    desk.ack()
    assert desk.look(dead(8), after=5 * HOUR) == [], "acknowledged"
    assert desk.look() == ["a ended"]


def test_another_receiver_is_told_where_nobody_acknowledges(tmp_path: Path) -> None:
    rule = {"events": ("destination-down",), "receivers": ("a",), "escalate_to": ("b",), "escalate_after": 600.0}
    desk = Desk(tmp_path, notify(rule))
    assert desk.look(DOWN) == ["a began"]
    assert desk.look(DOWN, after=500) == []
    assert desk.look(DOWN, after=101) == ["b escalated"]
    assert desk.look(DOWN, after=HOUR) == []
    assert desk.look() == ["a ended", "b ended"]


def test_who_acknowledges_stops_the_escalation_of_this_time_alone(tmp_path: Path) -> None:
    rule = {"events": ("destination-down",), "receivers": ("a",), "escalate_to": ("b",), "escalate_after": 600.0}
    desk = Desk(tmp_path, notify(rule))
    desk.look(DOWN)
    desk.ack()
    assert desk.look(DOWN, after=700) == []
    assert desk.look(after=5 * HOUR) == ["a ended"]
    assert desk.look(DOWN) == ["a began"]
    assert desk.look(DOWN, after=700) == ["b escalated"]


def test_a_finding_is_told_once_and_stays_until_somebody_has_seen_it(tmp_path: Path) -> None:
    rule = {"events": ("finding",), "receivers": ("a",), "classes": ("glioma",), "escalate_to": ("b",)}
    desk = Desk(tmp_path, notify(rule))
    other = Trouble(NotifyEvent.FINDING, "1.2.3:4:6", "STAT job.", model="brain", answer="meningioma")
    assert desk.look(findings=(FINDING, other)) == ["a began"]
    assert desk.look(findings=(FINDING,)) == [], "a question to the engine may tell it again"
    assert desk.look(after=1801) == ["b escalated"]
    assert [item.key for item in Ledger(tmp_path).open()] == [FINDING.key]
    desk.ack()
    assert list(Ledger(tmp_path).open()) == []
    assert desk.look(findings=(FINDING,)) == []
    desk.look(after=FINDINGS_KEPT)
    assert Ledger(tmp_path).entries == {}


def test_nothing_begins_or_ends_while_the_engine_is_silent(tmp_path: Path) -> None:
    desk = Desk(tmp_path, notify())
    desk.look(DOWN)
    assert desk.look(unknown=(NotifyEvent.DESTINATION_DOWN,)) == []
    assert desk.look() == ["a ended"]


def test_rules_choose_by_event_destination_and_model() -> None:
    def takes(trouble: Trouble, **rule: Any) -> bool:
        return trouble.concerns(NotifyRule(receivers=("a",), **rule))

    assert takes(DOWN, events=("destination-down",), destinations=("pacs",))
    assert not takes(DOWN, events=("destination-down",), destinations=("ehr",))
    assert not takes(DOWN, events=("disk",))
    assert takes(FINDING, events=("finding",), models=("brain",), classes=("glioma",))
    assert not takes(FINDING, events=("finding",), models=("chest",))


def test_several_lines_are_one_message_with_links(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    settings = notify(link="https://candela.test/")
    many = [Trouble(NotifyEvent.DESTINATION_DOWN, f"d{n}", f"d{n} is down.", path="/destinations") for n in range(60)]
    observe(ledger, settings, many, (), 1000.0)
    made = message(ledger.waiting, Settings(notify=settings))
    assert made.subject == "Candela CANDELA: 60 begun"
    assert len(made.content["changes"]) == 60
    assert made.content["changes"][0]["link"] == "https://candela.test/destinations"
    assert "And 10 more" in made.text
    assert made.text.count("is down.") == 50


def test_a_ledger_that_cannot_be_read_is_put_aside_and_a_newer_one_refused(tmp_path: Path) -> None:
    (tmp_path / STATE).write_text("{")
    assert Ledger(tmp_path).entries == {}
    assert (tmp_path / f"{STATE}.broken").exists()
    (tmp_path / STATE).write_text('{"format": 2}')
    with pytest.raises(BadSettings, match="newer version"):
        Ledger(tmp_path)


def test_an_unknown_id_cannot_be_acknowledged(tmp_path: Path) -> None:
    with pytest.raises(NoSuchTrouble):
        Ledger(tmp_path).acknowledge("../../x", "anna", 0.0)

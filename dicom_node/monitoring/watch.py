"""From what is wrong now to who is told what: one message when a trouble begins, one when it ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from dicom_node.monitoring.ledger import Entry, Ledger, trouble_id
from dicom_node.monitoring.troubles import Trouble
from dicom_node.settings.notify import Notify, NotifyEvent

FINDINGS_KEPT: Final = 7 * 86400.0
"""Seconds after which a finding that nobody acknowledged leaves the list."""


def observe(
    ledger: Ledger,
    notify: Notify,
    present: Iterable[Trouble],
    findings: Iterable[Trouble],
    now: float,
    unknown: Collection[NotifyEvent] = (),
) -> None:
    """Note what has begun, grown, ended or waits too long for an acknowledgement, and let messages wait.

    ``unknown``: events of which nothing is known now, because the engine's database does not answer; their troubles
    neither begin nor end.
    """
    seen = {item.key: item for item in present}
    for item in seen.values():
        _lasts(ledger, notify, item, now)
    for item in findings:
        if item.key not in ledger.entries and any(item.concerns(rule) for rule in notify.rules):
            _announce(ledger, notify, _entered(ledger, notify, item, now), now)
    for entry in list(ledger.entries.values()):
        if entry.lasts and entry.key not in seen and entry.ended is None and entry.event not in unknown:
            _end(ledger, entry, now)
        _escalate(ledger, notify, entry, now)
        if _is_over(entry, notify, now):
            ledger.forget(entry)
    ledger.waiting = [item for item in ledger.waiting if item.receiver in notify.receivers]


def _lasts(ledger: Ledger, notify: Notify, item: Trouble, now: float) -> None:
    entry = ledger.entries.get(item.key)
    if entry is None:
        if not any(item.concerns(rule) for rule in notify.rules):
            return
        entry = _entered(ledger, notify, item, now)
    elif entry.ended is not None:  # the same trouble again: told at once only where the last message is old enough
        ledger.renew(entry, trouble_id(item.key, now), now)
    entry.text, entry.weight = item.text, item.weight
    entry.rules = _rules(notify, item)
    waited = entry.announced is None or not 0 <= now - entry.announced < notify.repeat_after
    if waited and entry.weight > entry.announced_weight and ledger.acknowledgement(entry.id) is None:
        _announce(ledger, notify, entry, now)
    entry.announced_weight = min(entry.announced_weight, entry.weight)


def _entered(ledger: Ledger, notify: Notify, item: Trouble, now: float) -> Entry:
    entry = Entry(
        id=trouble_id(item.key, now),
        key=item.key,
        event=str(item.event),
        text=item.text,
        path=item.path,
        lasts=item.lasts,
        began=now,
        weight=item.weight,
        rules=_rules(notify, item),
    )
    ledger.entries[item.key] = entry
    return entry


def _announce(ledger: Ledger, notify: Notify, entry: Entry, now: float) -> None:
    again = bool(entry.told)
    receivers = [name for number in entry.rules for name in notify.rules[number].receivers]
    for name in dict.fromkeys([*receivers, *entry.told]):
        ledger.add(name, "grew" if again else "began", entry, entry.text, now)
    entry.told = list(dict.fromkeys([*entry.told, *receivers]))
    entry.announced, entry.announced_weight = now, entry.weight


def _end(ledger: Ledger, entry: Entry, now: float) -> None:
    entry.ended = now
    for name in entry.told:  # who was not told that it began need not know that it ended
        ledger.add(name, "ended", entry, entry.text, now)


def _escalate(ledger: Ledger, notify: Notify, entry: Entry, now: float) -> None:
    if entry.ended is not None or not entry.told or ledger.acknowledgement(entry.id) is not None:
        return
    for number in entry.rules:
        if number >= len(notify.rules) or number in entry.escalated:
            continue
        rule = notify.rules[number]
        if rule.escalate_to and now - entry.began >= rule.escalate_after:
            for name in rule.escalate_to:
                ledger.add(name, "escalated", entry, entry.text, now)
            entry.told = list(dict.fromkeys([*entry.told, *rule.escalate_to]))
            entry.escalated.append(number)


def _is_over(entry: Entry, notify: Notify, now: float) -> bool:
    """Whether nothing needs the entry any more: a trouble that ended is kept while it would not be told again."""
    if entry.lasts:
        return entry.ended is not None and now - (entry.announced or entry.ended) >= notify.repeat_after
    return now - entry.began >= FINDINGS_KEPT


def _rules(notify: Notify, item: Trouble) -> list[int]:
    return [number for number, rule in enumerate(notify.rules) if item.concerns(rule)]

"""The role that notifies: looks for troubles and sends messages. No other role waits for it."""

from __future__ import annotations

import signal
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from filelock import FileLock, Timeout

from dicom_node.jobs import engine
from dicom_node.jobs.measures import OVERLAP, EndedReading, Measures
from dicom_node.monitoring import senders, troubles
from dicom_node.monitoring.ledger import Ledger, Waiting
from dicom_node.monitoring.messages import message
from dicom_node.monitoring.watch import observe
from dicom_node.settings.notify import NotifyEvent
from dicom_node.settings.tree import Settings
from dicom_node.store import layout
from pipeline.errors import CandelaError, OutOfResources, PeerUnavailable

log = structlog.get_logger("candela.notify")

RETRY_FIRST: Final = 30.0
RETRY_MOST: Final = 3600.0
GIVEN_UP: Final = 3 * 86400.0
"""Seconds after which a line is dropped that its receiver has not taken."""
OF_ENGINE: Final = (NotifyEvent.DESTINATION_DOWN, NotifyEvent.DEAD_LETTER)


@dataclass
class _Pause:
    """Failures in a row to reach a receiver, and the monotonic time of the next try."""

    failures: int = 0
    until: float = 0.0


class Notifier:
    """Looks and sends. ``clock``: seconds since the epoch; ``monotonic`` seconds that never jump."""

    def __init__(
        self,
        settings: Settings,
        measures: Measures,
        ledger: Ledger,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._measures, self._ledger = settings, measures, ledger
        self._clock, self._monotonic = clock, monotonic
        self._pauses: dict[str, _Pause] = defaultdict(_Pause)

    def step(self) -> None:
        """Look once, then send what waits. On a full disk messages are sent all the same."""
        now = self._clock()
        self._look(now)
        self._save()  # a crash from here on sends a message twice rather than never
        self._send(now)
        self._save()

    def _save(self) -> None:
        try:
            self._ledger.save()
        except OSError as error:
            log.error("notify_state_not_written", error=type(error).__name__)  # noqa: TRY400  (its text names a path)

    def _look(self, now: float) -> None:
        settings, ledger = self._settings, self._ledger
        known = [entry.key for entry in ledger.open()]
        present = list(troubles.of_machine(settings, datetime.fromtimestamp(now, UTC), known))
        findings: list[troubles.Trouble] = []
        unknown: tuple[NotifyEvent, ...] = ()
        try:
            present += troubles.of_engine(self._measures, settings)
            ended = [item for item in self._measures.ended(now) if isinstance(item, EndedReading)]
            findings = [found for item in ended if (found := troubles.finding(item, settings)) is not None]
            ledger.looked = now
        except PeerUnavailable as error:
            log.warning("notify_without_engine", code=error.code)
            unknown = OF_ENGINE
        observe(ledger, settings.notify, present, findings, now, unknown)

    def _send(self, now: float) -> None:
        groups: dict[str, list[Waiting]] = {}
        for item in self._ledger.waiting:
            groups.setdefault(item.receiver, []).append(item)
        due = {name: items for name, items in groups.items() if self._monotonic() >= self._pauses[name].until}
        if not due:
            return
        with ThreadPoolExecutor(len(due)) as pool:  # a server that hangs holds up no other
            sent = list(pool.map(self._sent, due, due.values()))
        done = {item.number for items, took in zip(due.values(), sent, strict=True) if took for item in items}
        late = {item.number for item in self._ledger.waiting if now - item.at > GIVEN_UP} - done
        if late:
            log.error("notifications_dropped", number=len(late))
        self._ledger.waiting = [item for item in self._ledger.waiting if item.number not in done | late]

    def _sent(self, name: str, items: list[Waiting]) -> bool:
        pause = self._pauses[name]
        try:
            refused = senders.send(name, self._settings.notify.receivers[name], message(items, self._settings))
        except CandelaError as error:
            pause.failures += 1
            wait = min(RETRY_MOST, RETRY_FIRST * 2 ** (pause.failures - 1))
            pause.until = self._monotonic() + wait
            log.warning("notification_failed", receiver=name, code=error.code, reason=error.what, retry_in_s=wait)
            return False
        pause.failures, pause.until = 0, 0.0
        if refused:  # sending it again would reach the other addresses twice
            log.warning("notification_address_refused", receiver=name, number=refused)
        log.info("notified", receiver=name, changes=len(items))
        return True


def since(ledger: Ledger, now: float) -> float:
    """From when on ended work is looked through: ``now`` at the first start, else from some time before the last look,
    since an end is written a little after the time that it states. The ledger knows what it was told already.
    """
    return now if ledger.looked is None else ledger.looked - OVERLAP


def run(settings: Settings) -> int:
    """Notify until SIGTERM or SIGINT; returns the exit status.

    Raises
    ------
    BadSettings
        where a newer version has written the data.
    PeerUnavailable
        where the engine's database does not answer at the start.
    OutOfResources
        where another process notifies for the same ``data_dir``.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    layout.check(settings.data_dir)
    folder = settings.notify_dir
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OutOfResources(
            "Another process notifies for this data_dir.", where=str(folder), todo="Stop `candela notify run` or serve."
        ) from None
    engine.prepare(settings)
    ledger = Ledger(folder)
    with lock, Measures(settings, since(ledger, time.time()), readings_only=True) as measures:
        notifier = Notifier(settings, measures, ledger)
        log.info("notifying", receivers=len(settings.notify.receivers), rules=len(settings.notify.rules))
        while not stop.is_set():
            notifier.step()
            stop.wait(settings.notify.check_every)
    return 0

"""One circuit per destination: whether it is worth trying, kept in the engine's database for all workers and machines.

After some failures in a row to reach a destination its circuit opens: its queue gives out nothing, so that what waits
for it costs no tries and no time. After a pause it is half-open: its queue gives out one delivery at a time. The first
answer of the destination closes it, another failure opens it for longer (the circuit breaker of M. Nygard, "Release
It!", 2nd edition, chapter 5). An answer that says no is an answer: only what cannot be reached counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
import structlog

from dicom_node.jobs import schema
from dicom_node.jobs.backoff import spread
from dicom_node.settings.tree import Jobs, Settings

log = structlog.get_logger("candela.jobs")

BUSY_S: Final = 30
ATTEMPTS: Final = 20
"""How often a change is tried anew that another process's change overtook."""


class CircuitState(StrEnum):
    """Closed: deliveries flow. Open: none is tried. Half-open: one at a time is."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Circuit:
    """The circuit of one destination.

    ``failures`` in a row to reach it; ``since`` (seconds since the epoch) the state's beginning; ``retry_at`` when an
    open circuit lets one delivery through; ``pause`` in seconds how long it is or was open last; ``code`` of the last
    failure.
    """

    destination: str
    state: CircuitState = CircuitState.CLOSED
    failures: int = 0
    since: float = 0.0
    retry_at: float | None = None
    pause: float = 0.0
    code: str | None = None
    version: int = 0

    def failed(self, code: str, now: float, settings: Jobs) -> Circuit:
        """After a failure to reach the destination."""
        if self.state is CircuitState.OPEN:  # one that was under way when it opened
            return replace(self, code=code)
        failures = self.failures + 1
        if self.state is CircuitState.CLOSED and failures < settings.circuit_failures:
            return replace(self, failures=failures, code=code)
        again = self.state is CircuitState.HALF_OPEN
        pause = min(settings.circuit_most, self.pause * 2 if again else settings.circuit_first)
        wait = pause * spread(f"{self.destination}\x1f{failures}")
        return replace(
            self, state=CircuitState.OPEN, failures=failures, since=now, retry_at=now + wait, pause=pause, code=code
        )

    def answered(self, now: float) -> Circuit:
        """After any answer of the destination."""
        if self.state is CircuitState.CLOSED and not self.failures:
            return self
        since = self.since if self.state is CircuitState.CLOSED else now
        return Circuit(self.destination, since=since, version=self.version)

    def tended(self, now: float, settings: Jobs) -> Circuit:
        """Half-open where the pause is over; also where a clock that was set back would make it last for ages."""
        if self.state is not CircuitState.OPEN or self.retry_at is None:
            return self
        if now < self.retry_at <= now + 2 * settings.circuit_most:
            return self
        return replace(self, state=CircuitState.HALF_OPEN, since=now, retry_at=None)


class Circuits:
    """The circuits of one installation. ``applied`` is told of each change: it sets the destination's queue to it.

    Any number of processes may use them at once: a change is a compare-and-swap of one row.
    """

    def __init__(
        self, settings: Settings, applied: Callable[[Circuit], None], clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = settings
        self._applied = applied
        self._clock = clock
        self._database = open_database(settings)

    def close(self) -> None:
        self._database.dispose()

    def failed(self, destination: str, code: str) -> None:
        """The destination could not be reached."""
        self._change(destination, lambda circuit: circuit.failed(code, self._clock(), self._settings.jobs))

    def answered(self, destination: str) -> None:
        """The destination answered, whatever it said."""
        self._change(destination, lambda circuit: circuit.answered(self._clock()))

    def let_one_through(self, destination: str) -> bool:
        """Half-open now, without waiting for the pause's end; False where the circuit is not open."""
        was_open = self.of(destination).state is CircuitState.OPEN
        self._change(
            destination,
            lambda circuit: replace(circuit, retry_at=self._clock() - 1).tended(self._clock(), self._settings.jobs),
        )
        return was_open

    def tend(self) -> None:
        """Half-open what is due, and set queues right that a killed process had no time to set.

        Called now and then by every worker; whoever comes first does it.
        """
        for circuit in self.all():
            self._change(circuit.destination, lambda found: found.tended(self._clock(), self._settings.jobs))
            self._applied(self.of(circuit.destination))

    def all(self) -> tuple[Circuit, ...]:
        """Those that were ever in trouble; a destination without one is closed."""
        with self._database.connect() as connection:
            return tuple(_circuit(row) for row in connection.execute(sa.text("select * from candela_circuits")))

    def of(self, destination: str) -> Circuit:
        with self._database.connect() as connection:
            query = sa.text("select * from candela_circuits where destination = :destination")
            row = connection.execute(query, {"destination": destination}).one_or_none()
        return Circuit(destination) if row is None else _circuit(row)

    def _change(self, destination: str, change: Callable[[Circuit], Circuit]) -> None:
        for _ in range(ATTEMPTS):
            before = self.of(destination)
            after = change(before)
            if after == before:
                return
            if self._swap(before, after):
                if after.state is not before.state:
                    log.warning(
                        "circuit", destination=destination, state=str(after.state), code=after.code, pause_s=after.pause
                    )
                    self._applied(after)
                return

    def _swap(self, before: Circuit, after: Circuit) -> bool:
        values = {**vars(after), "state": str(after.state), "version": before.version + 1, "known": before.version}
        with self._database.begin() as connection:
            if before.version == 0:
                done = connection.execute(sa.text(_INSERT), values)
            else:
                done = connection.execute(sa.text(_UPDATE), values)
        return bool(done.rowcount == 1)


_INSERT = """
insert into candela_circuits (destination, state, failures, since, retry_at, pause, code, version)
values (:destination, :state, :failures, :since, :retry_at, :pause, :code, :version)
on conflict (destination) do nothing
"""
_UPDATE = """
update candela_circuits set state = :state, failures = :failures, since = :since, retry_at = :retry_at,
    pause = :pause, code = :code, version = :version
where destination = :destination and version = :known
"""


def open_database(settings: Settings) -> sa.Engine:
    """The engine's database, for tables of our own in it."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=2)
    return sa.create_engine(url, connect_args={"timeout": BUSY_S})


def make_table(settings: Settings) -> None:
    """Make the table where it is missing, or bring it up to date; see `dicom_node.jobs.schema.bring_up`."""
    database = open_database(settings)
    try:
        schema.bring_up(database)
    finally:
        database.dispose()


def _circuit(row: sa.Row[tuple[object, ...]]) -> Circuit:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    return Circuit(**{**values, "state": CircuitState(values["state"])})

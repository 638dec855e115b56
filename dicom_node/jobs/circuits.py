"""The circuit breakers of the destinations, kept in the engine's database for all workers and machines.

After several failures in a row to reach a destination its circuit opens: the queue gives out nothing, so that waiting
deliveries use up no tries. After a pause the circuit is half-open: the queue gives out one delivery at a time. The
first answer of the destination closes the circuit, another failure opens it for longer (the circuit breaker of M.
Nygard, "Release It!", 2nd edition, chapter 5). A rejection is an answer too: only a destination that cannot be reached
counts as failed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import sqlalchemy as sa
import structlog

from dicom_node.backoff import spread
from dicom_node.jobs import schema
from dicom_node.settings.engine import Jobs
from dicom_node.settings.tree import Settings

log = structlog.get_logger("candela.jobs")

BUSY_S: Final = 30
ATTEMPTS: Final = 20
"""How often a change is retried when another process changed the row first."""


class CircuitState(StrEnum):
    """Closed: deliveries flow. Open: none is tried. Half-open: one at a time is tried."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@dataclass(frozen=True)
class Circuit:
    """The circuit of one destination.

    ``failures`` counts the failures in a row; ``since`` (seconds since the epoch) is the beginning of the state;
    ``retry_at`` the time at which an open circuit becomes half-open; ``pause`` the length of the present or last open
    state in seconds; ``code`` that of the last failure.
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
        """The circuit after a failure to reach the destination."""
        if self.state is CircuitState.OPEN:  # a delivery that was under way when the circuit opened
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
        """The circuit after any answer of the destination."""
        if self.state is CircuitState.CLOSED and not self.failures:
            return self
        since = self.since if self.state is CircuitState.CLOSED else now
        return Circuit(self.destination, since=since, version=self.version)

    def half_open_if_due(self, now: float, settings: Jobs) -> Circuit:
        """Half-open once the pause is over, or where a clock that was set back would make the pause last for ages."""
        if self.state is not CircuitState.OPEN or self.retry_at is None:
            return self
        if now < self.retry_at <= now + 2 * settings.circuit_most:
            return self
        return replace(self, state=CircuitState.HALF_OPEN, since=now, retry_at=None)


class Circuits:
    """The circuits of one installation. ``applied`` is called with each change, to set the destination's queue.

    Several processes may use them at once: a change is a compare-and-swap of one row.
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
        """Record that the destination could not be reached."""
        self._change(destination, lambda circuit: circuit.failed(code, self._clock(), self._settings.jobs))

    def answered(self, destination: str) -> None:
        """Record an answer of the destination, a rejection included."""
        self._change(destination, lambda circuit: circuit.answered(self._clock()))

    def half_open(self, destination: str) -> bool:
        """Make the circuit half-open now, before the pause ends; False where it is not open."""
        was_open = self.of(destination).state is CircuitState.OPEN
        self._change(
            destination,
            lambda circuit: replace(circuit, retry_at=self._clock() - 1).half_open_if_due(
                self._clock(), self._settings.jobs
            ),
        )
        return was_open

    def update(self) -> None:
        """Make circuits half-open whose pause is over, and set the queues that a killed process left wrong.

        Every worker calls this from time to time; the first one that finds a change makes it.
        """
        for circuit in self.all():
            self._change(circuit.destination, lambda found: found.half_open_if_due(self._clock(), self._settings.jobs))
            self._applied(self.of(circuit.destination))

    def all(self) -> tuple[Circuit, ...]:
        """The circuits of all destinations that ever failed; a destination without one is closed."""
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
    """The engine's database, for Candela's own tables in it."""
    url = sa.make_url(settings.database_url)
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, pool_size=2)
    return sa.create_engine(url, connect_args={"timeout": BUSY_S})


def make_table(settings: Settings) -> None:
    """Create the table or bring it up to date; see `dicom_node.jobs.schema.bring_up`."""
    database = open_database(settings)
    try:
        schema.bring_up(database)
    finally:
        database.dispose()


def _circuit(row: sa.Row[tuple[object, ...]]) -> Circuit:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's public name for it)
    return Circuit(**{**values, "state": CircuitState(values["state"])})

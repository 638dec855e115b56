from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.backoff import JITTER
from dicom_node.jobs.circuits import Circuit, Circuits, CircuitState, make_table
from dicom_node.settings.engine import Jobs
from dicom_node.settings.tree import Settings

JOBS = Jobs(circuit_failures=3, circuit_first=10.0, circuit_most=40.0)
NOW = 1_000_000.0


def after(failures: int, circuit: Circuit | None = None, now: float = NOW) -> Circuit:
    circuit = circuit or Circuit("pacs")
    for _ in range(failures):
        circuit = circuit.failed("PEER_UNAVAILABLE", now, JOBS)
    return circuit


def test_a_circuit_opens_after_so_many_failures_in_a_row() -> None:
    """Not before, and an answer in between begins the count anew."""
    assert after(2).state is CircuitState.CLOSED
    assert after(3).state is CircuitState.OPEN
    assert after(2, after(2).answered(NOW)).state is CircuitState.CLOSED


def test_the_first_answer_closes_and_a_failure_opens_for_longer() -> None:
    """Half-open: 10 s, 20 s, 40 s, 40 s, spread by a quarter; closed: all is forgotten."""
    circuit = after(3)
    pauses = []
    for _ in range(4):
        assert circuit.retry_at is not None
        pauses.append(circuit.pause)
        assert circuit.pause <= circuit.retry_at - NOW <= circuit.pause * (1 + JITTER)
        half = circuit.half_open_if_due(circuit.retry_at, JOBS)
        assert half.state is CircuitState.HALF_OPEN
        circuit = half.failed("PEER_UNAVAILABLE", NOW, JOBS)
        assert circuit.state is CircuitState.OPEN
    assert pauses == [10.0, 20.0, 40.0, 40.0]
    closed = circuit.half_open_if_due(NOW + 1000, JOBS).answered(NOW + 1000)
    assert (closed.state, closed.failures, closed.pause, closed.retry_at) == (CircuitState.CLOSED, 0, 0.0, None)


def test_failures_that_were_under_way_when_it_opened_do_not_lengthen_the_pause() -> None:
    """Three senders that time out together are one outage."""
    assert after(6).retry_at == after(3).retry_at


@given(st.floats(-1e9, 1e9))
def test_a_clock_that_jumps_never_holds_a_circuit_open_for_long(jump: float) -> None:
    """Set back by years, the pause would seem to last for years: then it is over."""
    circuit = after(3)
    assert circuit.retry_at is not None
    now = NOW + jump
    half_open_if_due = circuit.half_open_if_due(now, JOBS)
    if half_open_if_due.state is CircuitState.OPEN:
        assert circuit.retry_at - now <= 2 * JOBS.circuit_most


@pytest.fixture
def settings(database_url: str | None, tmp_path: Path) -> Settings:
    jobs = JOBS.model_copy(update={"database_url": database_url})
    made = Settings(data_dir=tmp_path, jobs=jobs)
    make_table(made)
    make_table(made)
    return made


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def two(settings: Settings) -> Iterator[tuple[Circuits, Circuits, list[Circuit], Clock]]:
    """Two workers' views of the same circuits, what the first was told to apply, and their clock."""
    told: list[Circuit] = []
    clock = Clock()
    one, other = Circuits(settings, told.append, clock), Circuits(settings, lambda _: None, clock)
    yield one, other, told, clock
    one.close()
    other.close()


def test_all_workers_see_one_circuit(two: tuple[Circuits, Circuits, list[Circuit], Clock]) -> None:
    """Failures of two workers add up, the change is told to who made it, and the end of the pause is everybody's."""
    one, other, told, clock = two
    one.failed("pacs", "PEER_UNAVAILABLE")
    other.failed("pacs", "PEER_UNAVAILABLE")
    one.failed("pacs", "PEER_UNAVAILABLE")
    assert [circuit.state for circuit in told] == [CircuitState.OPEN]
    assert other.of("pacs").state is CircuitState.OPEN
    assert other.of("ehr").state is CircuitState.CLOSED
    one.update()
    assert one.of("pacs").state is CircuitState.OPEN
    clock.now += 60
    one.update()
    assert other.of("pacs").state is CircuitState.HALF_OPEN
    other.answered("pacs")
    assert one.of("pacs") == Circuit("pacs", since=clock.now, version=one.of("pacs").version)
    assert not one.half_open("pacs")


def test_an_operator_need_not_wait(two: tuple[Circuits, Circuits, list[Circuit], Clock]) -> None:
    """An open circuit lets one through at once; tending tells the queue again what a killed process did not."""
    one, other, told, _ = two
    for _ in range(3):
        other.failed("pacs", "PEER_UNAVAILABLE")
    assert told == []
    one.update()
    assert told[-1].state is CircuitState.OPEN
    assert one.half_open("pacs")
    assert one.of("pacs").state is CircuitState.HALF_OPEN

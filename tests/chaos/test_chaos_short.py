"""The short form of `scripts/chaos`: a node under load is hurt again and again, and loses and doubles nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.campaign import Plan, run
from tests.chaos.faults import CannotHappenHere
from tests.peers.dcmtk import require_dcmtk
from tests.peers.postgres import PostgresAbsent, PostgresServer

SHORT = {"slices": 4, "matrix": 64, "senders": 2, "between": (0.2, 2.0), "at_work": 0.3, "drain": 400.0}


@pytest.mark.slow
# What is garbled may take a thread of pynetdicom down in the test's own PACS and senders; the node is what must hold.
@pytest.mark.filterwarnings("default::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("backend", "group", "faults", "series"),
    [
        ("sqlite", "kills", 2, 2),
        pytest.param("sqlite", "network", 8, 4, marks=pytest.mark.nightly),
        pytest.param("sqlite", "kills", 10, 6, marks=pytest.mark.nightly),
        pytest.param("postgresql", "kills", 12, 6, marks=pytest.mark.nightly),
        pytest.param("sqlite", "disk", 3, 4, marks=pytest.mark.nightly),
        pytest.param("sqlite", "nodes", 2, 4, marks=pytest.mark.nightly),
        pytest.param("sqlite", "clock", 4, 4, marks=pytest.mark.nightly),
    ],
)
def test_nothing_acknowledged_is_lost_and_no_result_is_missing_or_doubled(
    tmp_path: Path, backend: str, group: str, faults: int, series: int
) -> None:
    """Every acknowledged instance is in the store, every series read, every result at PACS and folder once."""
    require_dcmtk()
    postgres = None
    if backend == "postgresql":
        try:
            postgres = PostgresServer()
        except PostgresAbsent as reason:
            pytest.skip(str(reason))
    try:
        report = run(
            Plan(backend, group, faults, series, seed=5, **SHORT),  # type: ignore[arg-type]
            tmp_path,
            postgres=postgres,
            fhir=None,
        )
    except CannotHappenHere as reason:
        pytest.skip(str(reason))
    finally:
        if postgres is not None:
            postgres.close()
    found = report.verdict
    assert sum(report.faults.values()) == faults
    assert found.series == series
    assert found.acknowledged == series * 4
    assert (found.lost, found.missing, found.doubled) == (0, 0, 0), found

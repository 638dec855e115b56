from __future__ import annotations

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.jobs import engine
from dicom_node.observability.log import uid

names = st.text(min_size=1, max_size=12)


@given(st.tuples(names, names, st.integers(1, 99)), st.tuples(names, names, st.integers(1, 99)))
def test_two_deliveries_share_an_id_only_if_they_are_the_same(
    one: tuple[str, str, int], two: tuple[str, str, int]
) -> None:
    """Whatever characters a destination's name holds, the separator among them."""
    ids = [engine.delivery_id("1.2:ab:cd", *item) for item in (one, two)]
    assert (ids[0] == ids[1]) == (one == two)


def test_the_first_attempt_at_a_series_has_the_jobs_own_id() -> None:
    """So that handing a job in twice is noticed."""
    assert engine.series_id("1.2:ab:cd", 1) == "1.2:ab:cd"
    assert engine.series_id("1.2:ab:cd", 2) == "1.2:ab:cd|2"


def test_no_two_process_starts_have_one_executor_id() -> None:
    """DBOS would run the first one's jobs in the second."""
    assert len({engine.new_executor_id() for _ in range(100)}) == 100


def test_uids_in_the_engines_own_log_lines_are_hashed(caplog: pytest.LogCaptureFixture) -> None:
    """Workflow ids hold the Series Instance UID; exceptions' messages are left out altogether."""
    engine.redact_engine_logs()
    series = "1.2.826.0.1.3680043.8.498.1234567890"
    logger = logging.getLogger("dbos")
    logger.propagate = True
    with caplog.at_level(logging.WARNING, logger="dbos"):
        logger.error("Error executing workflow %s:ab:cd", series, exc_info=ValueError("Prüfung^Ärztin"))
        logger.warning("release 3.4.0 at 127.0.0.1")
    assert series not in caplog.text
    assert "Ärztin" not in caplog.text
    assert f"{uid(series)}:ab:cd ValueError" in caplog.text
    assert "release 3.4.0 at 127.0.0.1" in caplog.text

"""Waits between attempts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dicom_node.backoff import JITTER, LONGEST_OBEYED, RETRY_FIRST, RETRY_MOST, delay, receiver_wait
from dicom_node.settings.engine import Jobs

JOBS = Jobs(backoff_first=5.0, backoff_most=3600.0)
attempts = st.integers(1, 10_000)
keys = st.text(max_size=20)


@given(attempts, keys)
def test_the_wait_is_between_its_bounds_and_never_more_than_the_cap(attempt: int, key: str) -> None:
    """It doubles, is spread upwards by at most a quarter, and ends at the cap; no attempt number overflows."""
    plain = 5.0 * 2.0 ** min(attempt - 1, 40)
    assert min(plain, 3600.0) <= delay(attempt, key, JOBS) <= min(plain * (1 + JITTER), 3600.0)


@given(attempts, keys)
def test_a_replay_waits_as_long_as_the_first_run_did(attempt: int, key: str) -> None:
    """The spread depends on key and attempt alone."""
    assert delay(attempt, key, JOBS) == delay(attempt, key, JOBS)


def test_deliveries_that_failed_together_do_not_come_back_together() -> None:
    """A hundred deliveries spread over the quarter."""
    waits = {delay(1, f"job {number}", JOBS) for number in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > 0.8 * 5.0 * JITTER


def test_a_peer_that_asks_for_longer_gets_it_within_reason() -> None:
    """Retry-After lengthens the wait, never shortens it, and is believed up to a day."""
    assert delay(1, "", JOBS, retry_after=600.0) == 600.0
    assert delay(1, "", JOBS, retry_after=0.1) == delay(1, "", JOBS)
    assert delay(1, "", JOBS, retry_after=1e9) == LONGEST_OBEYED


def test_waits_double_up_to_the_longest_and_never_overflow() -> None:
    """One second, then twice as long each time, a minute at most, also after days of failures."""
    assert [receiver_wait(failures) for failures in (1, 2, 3)] == [RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST]
    assert receiver_wait(7) == receiver_wait(100_000) == RETRY_MOST

"""Waits of the receiver between tries."""

from __future__ import annotations

from dicom_node.completion.retries import RETRY_FIRST, RETRY_MOST, retry_wait


def test_waits_double_up_to_the_longest_and_never_overflow() -> None:
    """One second, then twice as long each time, a minute at most, also after days of failures."""
    assert [retry_wait(failures) for failures in (1, 2, 3)] == [RETRY_FIRST, 2 * RETRY_FIRST, 4 * RETRY_FIRST]
    assert retry_wait(7) == retry_wait(100_000) == RETRY_MOST

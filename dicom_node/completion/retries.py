"""How long the receiver waits before it tries again what its own machine or database could not take."""

from __future__ import annotations

RETRY_FIRST, RETRY_MOST = 1.0, 60.0
"""First and longest wait before a dispatch, a choice or an index write is tried again, seconds."""


def retry_wait(failures: int) -> float:
    """Seconds to wait after so many ``failures`` in a row (from 1): doubling from `RETRY_FIRST` to `RETRY_MOST`."""
    # The exponent is bounded: a database that is away for a day must not overflow a float.
    return min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(failures - 1, 40))

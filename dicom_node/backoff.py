"""How long to wait before something that failed is tried again.

tenacity is not used: it sleeps in the thread that failed, while here the next attempt is scheduled (a delayed workflow,
a monitor's next step, a due time in a queue) and must not hold a thread.
"""

from __future__ import annotations

import hashlib

from dicom_node.settings.engine import Jobs

JITTER = 0.25
LONGEST_OBEYED = 24 * 3600.0
"""A peer's Retry-After is obeyed up to a day: a wrong header must not bury a result for years."""
RETRY_FIRST, RETRY_MOST = 1.0, 60.0
"""First and longest wait before the receiver retries a dispatch, a selection or an index write, seconds."""


def doubling(failures: int, first: float, most: float) -> float:
    """Seconds to wait after ``failures`` in a row (from 1): ``first``, doubled with each failure, at most ``most``."""
    # The exponent is bounded: after days of failures it must not overflow a float.
    return min(most, first * 2.0 ** min(failures - 1, 40))


def receiver_wait(failures: int) -> float:
    """`doubling` for work that the receiver's own disk or database refused."""
    return doubling(failures, RETRY_FIRST, RETRY_MOST)


def delay(attempt: int, key: str, settings: Jobs, retry_after: float | None = None) -> float:
    """Seconds between the failed attempt number ``attempt`` (from 1) of a job or delivery and the next.

    ``backoff_first`` doubles with each attempt, grows by 0 to 25 % that depend on ``key`` and ``attempt`` alone (a
    replay waits as long as the first run did), and ends at ``backoff_most``. A peer that asked for a longer wait gets
    it.
    """
    own = doubling(attempt, settings.backoff_first, float("inf")) * spread(f"{key}\x1f{attempt}")
    return max(min(settings.backoff_most, own), min(retry_after or 0.0, LONGEST_OBEYED))


def spread(key: str) -> float:
    """A factor from 1 to 1.25 that depends on ``key`` alone."""
    return 1 + JITTER * int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32

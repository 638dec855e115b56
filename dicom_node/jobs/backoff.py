"""How long to wait before the next attempt."""

from __future__ import annotations

import hashlib

from dicom_node.settings.tree import Jobs

JITTER = 0.25
LONGEST_OBEYED = 24 * 3600.0
"""A peer's Retry-After is obeyed up to a day: a wrong header must not bury a result for years."""


def delay(attempt: int, key: str, settings: Jobs, retry_after: float | None = None) -> float:
    """Seconds between the failed attempt number ``attempt`` (from 1) and the next.

    ``backoff_first`` doubles with each attempt, is spread upwards by 0 to 25 % that depend on ``key`` and ``attempt``
    alone (a replay waits as long as the first run did), and ends at ``backoff_most``. A peer that asked for a longer
    wait gets it.
    """
    # The exponent is bounded so that a hundred tries cannot overflow a float.
    own = settings.backoff_first * 2.0 ** min(attempt - 1, 40) * spread(f"{key}\x1f{attempt}")
    return max(min(settings.backoff_most, own), min(retry_after or 0.0, LONGEST_OBEYED))


def spread(key: str) -> float:
    """A factor from 1 to 1.25 that depends on ``key`` alone."""
    return 1 + JITTER * int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32

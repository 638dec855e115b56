"""Logs: they go where stderr is now, and UIDs are hashed."""

from __future__ import annotations

import contextlib
import io

import structlog

from dicom_node.observability import log as observability
from dicom_node.observability.log import uid


def test_lines_follow_stderr_wherever_it_goes() -> None:
    """A process may replace stderr after it was set up; a logger that keeps the old one would raise in the middle."""
    log = structlog.get_logger("candela.test")
    for _ in range(2):
        with contextlib.redirect_stderr(io.StringIO()) as heard:
            observability.configure()
            log.info("something_happened", count=3)
        assert "event=something_happened" in heard.getvalue()
        heard.close()
    with contextlib.redirect_stderr(io.StringIO()) as heard:
        log.info("later")
        assert "event=later" in heard.getvalue()


def test_uids_are_hashed_unless_the_settings_say_otherwise() -> None:
    series = "1.2.840.113619.2.5.1762583153"
    try:
        assert series not in uid(series)
        assert uid(series) == uid(series)
        assert uid(series) != uid(series + "1")
        observability.configure(plain_uids=True)
        assert uid(series) == series
    finally:
        observability.configure()

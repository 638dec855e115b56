"""Logs without patient data: structured lines on stderr, UIDs hashed unless the settings say otherwise."""

from __future__ import annotations

import hashlib
import io
import logging
import sys
from typing import TextIO, cast

import pydicom.config
import structlog

_plain = False


class _Stderr(io.TextIOBase):
    """Writes to the current ``sys.stderr``, which may be replaced after logging was set up."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def uid(value: str) -> str:
    """``value`` as a log line may show it: twelve hex digits of its SHA-256, or the UID itself where configured."""
    return value if _plain else hashlib.sha256(value.encode()).hexdigest()[:12]


def configure(*, plain_uids: bool = False, level: int = logging.INFO) -> None:
    """Set up the logging of this process, once, at its start.

    pydicom's and pynetdicom's own lines quote what a peer sent, with a trace for each malformed PDU, so they are
    suppressed; the code that detects such an event logs and counts it. Reading is tolerant, since scanners often write
    SH values that are too long; writing stays strict.
    """
    global _plain  # noqa: PLW0603  (one process, one policy, set once at start)
    _plain = plain_uids
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    logging.basicConfig(level=level, stream=_Stderr(), format="%(message)s", force=True)
    for noisy in (
        "pydicom",
        "pynetdicom",
        "highdicom",
        "dbos",
        "httpx",
        "httpcore",
        "monai",
        "PIL",
        "matplotlib",
        "alembic",
    ):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    for quoting in ("pydicom", "pynetdicom"):
        logging.getLogger(quoting).setLevel(logging.CRITICAL)
    tty = sys.stderr.isatty()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer() if tty else structlog.processors.LogfmtRenderer(bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _Stderr())),
        cache_logger_on_first_use=False,
    )

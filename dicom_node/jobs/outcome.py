"""Outcomes of a job's steps, as small JSON-ready values for the engine's database, which never holds pixels."""

from __future__ import annotations

import errno
import traceback
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Literal

from pipeline.errors import Broken, CandelaError, OutOfResources, Retryable
from pipeline.findings.model import Outcome

ResultKind = Literal["dicom", "fhir", "hl7v2"]
REFUSAL = "refusal"
"""Name of the result that states why a series was not read; only destinations that ask for it receive it."""
WITHDRAWAL: Final = "withdrawal"
REJECTION: Final = "rejection-note"
"""Names of the results that withdraw others: that of a report, and that of DICOM objects."""
WITHDRAWALS: Final = frozenset({WITHDRAWAL, REJECTION})
CLOSING: Final = "closing"
"""Name of the delivery that closes a draft once a human's final report is there; it says nothing of the job's state."""
ASSESSMENT: Final = "assessment"
"""How the names of results begin that state a reader's assessment."""
NO_RESOURCES = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


@dataclass(frozen=True)
class ResultRef:
    """One result of a series, with its files, which are sent together.

    ``name`` is unique within the run (``overlay``, ``segmentation``, ``report``, ``fhir-bundle``; followed by the
    profile's name where profiles want different forms). ``kind`` decides which kind of destination takes it;
    ``profiles``, if any, limit it to the destinations with one of these profiles. ``files`` are absolute, or relative
    to ``settings.data_dir``.
    """

    name: str
    kind: ResultKind
    files: tuple[str, ...]
    profiles: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "files": list(self.files), "profiles": list(self.profiles)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ResultRef:
        """``data`` may come from a version without profiles: such a result is for every destination."""
        return cls(
            name=data["name"],
            kind=data["kind"],
            files=tuple(data["files"]),
            profiles=tuple(data.get("profiles", ())),
        )


@dataclass(frozen=True)
class SeriesResult:
    """The outcome of reading one series.

    A refusal is a value, not an error: ``outcome`` is ``refused``, ``refusal_code`` and ``refusal`` state the reason,
    and ``results`` may hold a page with it. ``summary`` is the path of summary.json, where one was written.
    """

    outcome: Outcome
    summary: str | None = None
    results: tuple[ResultRef, ...] = ()
    refusal_code: str | None = None
    refusal: str | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            "outcome": self.outcome.value,
            "summary": self.summary,
            "results": [item.to_dict() for item in self.results],
            "refusal_code": self.refusal_code,
            "refusal": self.refusal,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> SeriesResult:
        return cls(
            outcome=Outcome(data["outcome"]),
            summary=data.get("summary"),
            results=tuple(ResultRef.from_dict(item) for item in data["results"]),
            refusal_code=data.get("refusal_code"),
            refusal=data.get("refusal"),
        )


class StepState(StrEnum):
    """The end of one attempt: its work is done or no longer wanted, another attempt follows, or it is a dead letter."""

    DONE = "done"
    SUPERSEDED = "superseded"
    RETRY = "retry"
    DEAD = "dead"


@dataclass(frozen=True)
class Failure:
    """Why an attempt failed.

    ``again`` says whether another attempt may succeed, ``retry_after`` the seconds that the peer asked us to wait.
    ``details`` are the peer's statements, one each (the issues of an OperationOutcome). ``trace`` is the stack of an
    internal error: places in code only, since an exception's message may quote a data set.
    """

    code: str
    text: str
    again: bool
    retry_after: float | None = None
    trace: str = ""
    details: tuple[str, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """The failure for ``error``. An unforeseen error gives its type and place in the code."""
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno in NO_RESOURCES):
            reason = "memory" if isinstance(error, MemoryError) else (error.strerror or "no resources")
            error = OutOfResources(f"This machine is out of resources: {reason}.", todo="Free some; it is tried again.")
        if isinstance(error, Retryable):
            return cls(error.code, str(error), again=True, retry_after=error.retry_after, details=error.details)
        if isinstance(error, CandelaError):
            trace = _stack(error) if isinstance(error, Broken) else ""
            return cls(error.code, str(error), again=False, trace=trace, details=error.details)
        frames = traceback.extract_tb(error.__traceback__)
        place = f" in {Path(frames[-1].filename).name}, line {frames[-1].lineno}" if frames else ""
        text = f"An error that Candela did not foresee: {type(error).__name__}{place}. Please report it with its trace."
        return cls("UNFORESEEN", text, again=False, trace=_stack(error))

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "details": list(self.details)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Failure:
        return cls(**{**data, "details": tuple(data.get("details", ()))})


def _stack(error: BaseException) -> str:
    """The stack of ``error`` and of its causes, innermost last, without any exception's message."""
    parts = []
    link: BaseException | None = error
    while link is not None:
        parts.append(f"{type(link).__name__}\n{''.join(traceback.format_tb(link.__traceback__))}")
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return "caused by ".join(parts).rstrip()

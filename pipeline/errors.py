"""Every error that Candela raises on purpose.

::

    CandelaError
    ├── Refused                 the input cannot be taken: never retried, told to a human
    │   ├── NotDicom            no DICOM file could be read from what was given
    │   ├── Truncated           a file ends before its data set does, or its bytes cannot be taken apart
    │   ├── InvalidHeader       a whole file whose header lacks or misstates what reading needs
    │   ├── EmptyInput          nothing to read: an empty folder, archive or series
    │   ├── MixedSeries         more than one series where one is needed
    │   ├── MixedPatients       the images of a series, or the series of a study, name two patients
    │   ├── MixedStudies        the images of a series name two studies
    │   ├── ConflictingInstances one SOP Instance UID for images of different content
    │   ├── NotImage            DICOM without pixels Candela can use (PDF, SR, raw data)
    │   ├── NotVolume           images that are not slices of a volume: radiographs, ultrasound, video
    │   ├── BadIdentity         the header's patient cannot be named by a result
    │   ├── OwnResult           Candela made it: stored, never processed (loop guard)
    │   ├── UnsupportedModality not the modality that the model reads
    │   ├── UnsupportedProtocol not the body part, weighting or sequence that the model reads
    │   ├── BadPixels           pixel data absent, of another size than stated, or not decodable
    │   ├── BadGeometry         positions or orientations do not make one regular volume
    │   │   ├── MissingSlices   a gap along the normal
    │   │   ├── DuplicateSlices two instances at one position
    │   │   └── MixedGeometry   orientation, matrix or spacing differs within the series
    │   ├── OutOfScope          the pixels do not show what the model was validated on
    │   ├── NotRouted           no rule of candela.toml takes the series
    │   ├── IdentityInPixels    to be de-identified, but pixels or pages may show the patient's identity
    │   └── NotChosen           the model reads another series of the study, which suits it better
    ├── Retryable               a peer or a resource failed: tried again
    │   ├── PeerUnavailable     connection refused, reset, timed out, association rejected for now
    │   ├── PeerBusy            the peer said "later" (0xA7xx, HTTP 429, 503); may carry ``retry_after``
    │   └── OutOfResources      no space or memory on this machine
    ├── Rejected                a destination rejected a result for good: dead letter, shown to an operator
    ├── Broken                  our fault: dead letter with a trace
    │   ├── BadModel            a bundle is incomplete, has a wrong digest, or gave NaN
    │   └── BadResult           a result object could not be built as its standard demands
    └── BadSettings             candela.toml or a CANDELA_* variable is wrong

``str(error)`` says what is wrong, where, and what to do, and never holds patient data: UIDs of instances may be
named, since an administrator must find them; names, patient identifiers and descriptions may not.
``error.code`` is stable: metrics and audit trail count by it.
"""

from __future__ import annotations

MOST_CHARACTERS = 4000
"""Characters of each part of an error."""


class CandelaError(Exception):
    """Base of every error that Candela raises on purpose.

    Parameters
    ----------
    what : what is wrong, one sentence, without patient data.
    where : the file, instance, setting or peer concerned, where there is one.
    todo : what a human can do about it.
    details : the peer's statements, one each, without patient data (such as the issues of an OperationOutcome).
    """

    code = "CANDELA"

    def __init__(self, what: str, *, where: str = "", todo: str = "", details: tuple[str, ...] = ()) -> None:
        what, where, todo = map(_shown, (what, where, todo))
        super().__init__(what, where, todo)
        self.what = what
        self.where = where
        self.todo = todo
        self.details = tuple(map(_shown, details))

    def __str__(self) -> str:
        place = f" [{self.where}]" if self.where else ""
        advice = f" {self.todo}" if self.todo else ""
        return f"{self.what}{place}{advice}"


def _shown(text: str) -> str:
    """``text`` in a form that logs, pages, JSON and databases accept, since parts may come from a header or a peer."""
    marks = (mark if mark.isprintable() or mark in "\n\t" else " " if mark.isspace() else "?" for mark in text)
    return "".join(marks)[:MOST_CHARACTERS]


class Refused(CandelaError):
    """The input cannot be read. Never retried; told to a human."""

    code = "REFUSED"


class NotDicom(Refused):
    code = "NOT_DICOM"


class Truncated(Refused):
    code = "TRUNCATED"


class InvalidHeader(Refused):
    code = "INVALID_HEADER"


class EmptyInput(Refused):
    code = "EMPTY_INPUT"


class MixedSeries(Refused):
    code = "MIXED_SERIES"


class MixedPatients(Refused):
    code = "MIXED_PATIENTS"


class MixedStudies(Refused):
    code = "MIXED_STUDIES"


class ConflictingInstances(Refused):
    code = "CONFLICTING_INSTANCES"


class NotImage(Refused):
    code = "NOT_IMAGE"


class NotVolume(Refused):
    code = "NOT_VOLUME"


class BadIdentity(Refused):
    code = "BAD_IDENTITY"


class OwnResult(Refused):
    code = "OWN_RESULT"


class UnsupportedModality(Refused):
    code = "UNSUPPORTED_MODALITY"


class UnsupportedProtocol(Refused):
    code = "UNSUPPORTED_PROTOCOL"


class BadPixels(Refused):
    code = "BAD_PIXELS"


class BadGeometry(Refused):
    code = "BAD_GEOMETRY"


class MissingSlices(BadGeometry):
    code = "MISSING_SLICES"


class DuplicateSlices(BadGeometry):
    code = "DUPLICATE_SLICES"


class MixedGeometry(BadGeometry):
    code = "MIXED_GEOMETRY"


class OutOfScope(Refused):
    code = "OUT_OF_SCOPE"


class NotRouted(Refused):
    code = "NOT_ROUTED"


class IdentityInPixels(Refused):
    code = "IDENTITY_IN_PIXELS"


class NotChosen(Refused):
    code = "NOT_CHOSEN"


class Retryable(CandelaError):
    """A peer or a resource failed; the same call may succeed later.

    ``retry_after`` is the number of seconds that the peer asked us to wait, or None.
    """

    code = "RETRYABLE"

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        todo: str = "",
        details: tuple[str, ...] = (),
        retry_after: float | None = None,
    ) -> None:
        super().__init__(what, where=where, todo=todo, details=details)
        self.retry_after = retry_after


class PeerUnavailable(Retryable):
    code = "PEER_UNAVAILABLE"


class PeerBusy(Retryable):
    code = "PEER_BUSY"


class OutOfResources(Retryable):
    code = "OUT_OF_RESOURCES"


class Rejected(CandelaError):
    """A destination refused a result for good: a dead letter, which an operator may retry after removing the cause."""

    code = "REJECTED"


class Broken(CandelaError):
    """Our fault: a dead letter with its trace."""

    code = "BROKEN"


class BadModel(Broken):
    code = "BAD_MODEL"


class BadResult(Broken):
    code = "BAD_RESULT"


class BadSettings(CandelaError):
    code = "BAD_SETTINGS"

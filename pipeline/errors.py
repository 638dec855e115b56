"""Every error that Candela raises on purpose.

::

    CandelaError
    ├── Refused
    │   ├── NotDicom
    │   ├── Truncated
    │   ├── InvalidHeader
    │   ├── EmptyInput
    │   ├── MixedSeries
    │   ├── MixedPatients
    │   ├── MixedStudies
    │   ├── ConflictingInstances
    │   ├── NotImage
    │   ├── NotVolume
    │   ├── NotProjection
    │   ├── BadIdentity
    │   ├── OwnResult
    │   ├── UnsupportedModality
    │   ├── UnsupportedProtocol
    │   ├── BadPixels
    │   ├── BadGeometry
    │   │   ├── MissingSlices
    │   │   ├── DuplicateSlices
    │   │   ├── MixedGeometry
    │   │   └── UnknownSpacing
    │   ├── OutOfScope
    │   ├── NotRouted
    │   ├── IdentityInPixels
    │   ├── MissingSeries
    │   ├── SeveralCandidates
    │   ├── SeriesDoNotMatch
    │   ├── NotChosen
    │   ├── ImagesRejected
    │   └── RejectionNote
    ├── Retryable
    │   ├── PeerUnavailable
    │   ├── PeerBusy
    │   ├── NotYet
    │   └── OutOfResources
    ├── Rejected
    ├── Broken
    │   ├── BadModel
    │   └── BadResult
    └── BadSettings

The docstring of each class says what its code means, and ``remedy`` what to do; `candela errors` prints both.

``str(error)`` says what is wrong, where, and what to do, and never holds patient data: UIDs of instances may be
named, since an administrator must find them; names, patient identifiers and descriptions may not.
``error.code`` is stable: metrics and audit trail count by it.
"""

from __future__ import annotations

from typing import ClassVar

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
    remedy: ClassVar[str] = "Read the message: it says what is wrong, where, and what to do."
    """What to do about an error of this code; the text of an error may say more."""

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

    @classmethod
    def meaning(cls) -> str:
        """What the code means: the first paragraph of the class's docstring."""
        return " ".join((cls.__doc__ or "").split("\n\n")[0].split())


def _shown(text: str) -> str:
    """``text`` in a form that logs, pages, JSON and databases accept, since parts may come from a header or a peer."""
    marks = (mark if mark.isprintable() or mark in "\n\t" else " " if mark.isspace() else "?" for mark in text)
    return "".join(marks)[:MOST_CHARACTERS]


class Refused(CandelaError):
    """The input cannot be read. Never retried; told to a human."""

    code = "REFUSED"
    remedy = "Read the reason with `candela jobs show JOB`; correct it at the source and send again."


class NotDicom(Refused):
    """No DICOM file could be read from what was given."""

    code = "NOT_DICOM"
    remedy = "Give the DICOM files themselves: a folder, a zip archive or a file."


class Truncated(Refused):
    """A file ends before its data set does, or its bytes cannot be decoded."""

    code = "TRUNCATED"
    remedy = "Send or export the instance again; the error names it."


class InvalidHeader(Refused):
    """A whole file whose header lacks or misstates an attribute that the reading needs."""

    code = "INVALID_HEADER"
    remedy = (
        "Ask the sender's vendor about the attribute that the error names; correct it at the source and send again."
    )


class EmptyInput(Refused):
    """There is nothing to read: an empty folder, archive or series."""

    code = "EMPTY_INPUT"
    remedy = "Check the path, or send the series again."


class MixedSeries(Refused):
    """There is more than one series where one is needed."""

    code = "MIXED_SERIES"
    remedy = "Give one series, or pick one with `--series UID` or `--best`."


class MixedPatients(Refused):
    """The images of a series, or the series of a study, name two patients."""

    code = "MIXED_PATIENTS"
    remedy = (
        "See how they differ with `candela jobs identity JOB`; correct it at the source, or choose with `--right UID`."
    )


class MixedStudies(Refused):
    """The images of a series name two studies."""

    code = "MIXED_STUDIES"
    remedy = (
        "See how they differ with `candela jobs identity JOB`; correct it at the source, or choose with `--right UID`."
    )


class ConflictingInstances(Refused):
    """One SOP Instance UID stands for images of different content."""

    code = "CONFLICTING_INSTANCES"
    remedy = "Give each image its own SOP Instance UID at the source, and send the series again."


class NotImage(Refused):
    """DICOM without pixels that Candela can use, such as a PDF, a report or raw data."""

    code = "NOT_IMAGE"
    remedy = "Send the images; leave such objects out of the routing rule of the PACS."


class NotVolume(Refused):
    """Images that are not slices of a volume: radiographs, ultrasound, video."""

    code = "NOT_VOLUME"
    remedy = "Send a cross-sectional series; narrow the rule that takes such series."


class NotProjection(Refused):
    """Images that are not projection radiographs, where the model reads these: slices, tomosynthesis, angiography."""

    code = "NOT_PROJECTION"
    remedy = "Send CR, DX or mammography images; narrow the rule that takes such series."


class BadIdentity(Refused):
    """No result can repeat the patient that the header names."""

    code = "BAD_IDENTITY"
    remedy = "Correct Patient ID or the attribute that the error names, and send again."


class OwnResult(Refused):
    """Candela made the object: it is stored, and never read."""

    code = "OWN_RESULT"
    remedy = "Nothing. To save traffic, exclude the calling AE title of the node from the rule of the PACS."


class UnsupportedModality(Refused):
    """The model does not read this modality."""

    code = "UNSUPPORTED_MODALITY"
    remedy = "Narrow the rule with `when.modality`, or name a model that reads it."


class UnsupportedProtocol(Refused):
    """The model does not read this body part, weighting or sequence."""

    code = "UNSUPPORTED_PROTOCOL"
    remedy = "Send a series that the model's card names, or narrow the rule (`candela config explain PATH`)."


class BadPixels(Refused):
    """The pixel data are absent, of another size than stated, or cannot be decoded."""

    code = "BAD_PIXELS"
    remedy = "Send the instance again, uncompressed if the PACS can; the error names it."


class BadGeometry(Refused):
    """Positions or orientations of the slices do not make one regular volume."""

    code = "BAD_GEOMETRY"
    remedy = "Send a whole series, and each part of a series in several parts as one; the error has the figures."


class MissingSlices(BadGeometry):
    """There is a gap along the slice normal, or parts of an object are missing."""

    code = "MISSING_SLICES"
    remedy = "Send the whole series again; the error says where the gap is."


class DuplicateSlices(BadGeometry):
    """Two instances have one position."""

    code = "DUPLICATE_SLICES"
    remedy = "Send the series without the repeated slices; the error names them."


class MixedGeometry(BadGeometry):
    """Orientation, matrix or spacing differs within the series."""

    code = "MIXED_GEOMETRY"
    remedy = "Send each part as a series of its own."


class UnknownSpacing(BadGeometry):
    """A radiograph does not say how large its pixels are, or contradicts itself in that."""

    code = "UNKNOWN_SPACING"
    remedy = "Have the modality write Imager Pixel Spacing; the error says what the image has."


class OutOfScope(Refused):
    """The pixels do not show what the model was validated on."""

    code = "OUT_OF_SCOPE"
    remedy = (
        "Nothing, if the images show something else. Otherwise read the model's card (`candela models show MODEL`)."
    )


class NotRouted(Refused):
    """No rule of candela.toml takes the series."""

    code = "NOT_ROUTED"
    remedy = "Run `candela config explain PATH`; add or widen a `[[rules]]` table, or stop sending such series."


class IdentityInPixels(Refused):
    """The result is to be de-identified, but pixels or pages may show who the patient is."""

    code = "IDENTITY_IN_PIXELS"
    remedy = "Leave such objects out of the profile of the destination, or remove the text at the source."


class MissingSeries(Refused):
    """The model reads several series of a study as channels, and one of them is not there."""

    code = "MISSING_SERIES"
    remedy = "Send the missing series, or correct the rule of its channel in the model's `configs/candela.json`."


class SeveralCandidates(Refused):
    """Several images, or series of a study, fit one input or channel of the model equally well."""

    code = "SEVERAL_CANDIDATES"
    remedy = (
        "The error names them. Narrow the channel in the model's candela.json, or send the image that is meant as a"
        " series of its own."
    )


class SeriesDoNotMatch(Refused):
    """The series of a study cannot be brought onto one grid: they do not overlap, or do not show the same head."""

    code = "SERIES_DO_NOT_MATCH"
    remedy = "Look at the series together in a viewer; send those of one examination. The error has the figures."


class NotChosen(Refused):
    """The model reads another series of the study, which suits it better."""

    code = "NOT_CHOSEN"
    remedy = "Nothing. `candela jobs show JOB` names the series and the criterion."


class ImagesRejected(Refused):
    """Images of the series were rejected at their source by a rejection note (IHE Imaging Object Change Management)."""

    code = "IMAGES_REJECTED"
    remedy = "Nothing: the corrected images come as others. If the rejection was wrong, send the series under new UIDs."


class RejectionNote(Refused):
    """The object is a rejection note: it says that images must not be used."""

    code = "REJECTION_NOTE"
    remedy = "See with `candela jobs show JOB` which jobs it concerns; `candela results withdraw` withdraws results."


class Retryable(CandelaError):
    """A peer or a resource failed; the same call may succeed later.

    ``retry_after`` is the number of seconds that the peer asked us to wait, or None.
    """

    code = "RETRYABLE"
    remedy = "Nothing; it is tried again by itself."

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
    """No connection, no answer in time, or an association that is rejected for now."""

    code = "PEER_UNAVAILABLE"
    remedy = "Check AE titles, host, port and firewall (`candela echo PEER`); it is tried again by itself."


class PeerBusy(Retryable):
    """The peer asked to come later (0xA7xx, HTTP 429, 503)."""

    code = "PEER_BUSY"
    remedy = "Nothing; it is tried again by itself. If it lasts, lower `destinations.rate`."


class NotYet(Retryable):
    """What is waited for is not there yet: no radiologist has finalised a report of the order."""

    code = "NOT_YET"
    remedy = "Nothing; the node looks again (`final_report_every`)."


class OutOfResources(Retryable):
    """There is no space or memory on this machine."""

    code = "OUT_OF_RESOURCES"
    remedy = "Free disk space or memory (`candela status`); it is tried again by itself."


class Rejected(CandelaError):
    """A destination refused a result for good: a dead letter, which an operator may retry after removing the cause."""

    code = "REJECTED"
    remedy = "Correct what the destination objects to (`candela jobs show JOB`), then `candela jobs retry JOB`."


class Broken(CandelaError):
    """Our fault: a dead letter with its trace."""

    code = "BROKEN"
    remedy = "Report it with the trace of `candela jobs show JOB`, then `candela jobs retry JOB` or `discard JOB`."


class BadModel(Broken):
    """A model's bundle is incomplete, has another digest than its manifest, or gave no numbers."""

    code = "BAD_MODEL"
    remedy = "Install the bundle again (`candela models list` shows which is meant), then `candela jobs retry JOB`."


class BadResult(Broken):
    """A result could not be built as its standard demands."""

    code = "BAD_RESULT"
    remedy = "Report it with the text of `candela jobs show JOB`; it has no patient data."


class BadSettings(CandelaError):
    """candela.toml or a CANDELA_* variable is wrong."""

    code = "BAD_SETTINGS"
    remedy = "Correct the setting that the error names; `candela config check` says whether it is right."

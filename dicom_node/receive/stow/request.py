"""One STOW-RS request: each part becomes an instance in the store, or a failure with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID

from dicom_node.network.multipart import media_type
from dicom_node.network.part10 import Part10, Spool
from dicom_node.receive.audited import STUDIES_MOST
from dicom_node.receive.ingest import Ingest, transfer_syntaxes
from dicom_node.settings.receive import Stow
from dicom_node.store.header import InstanceHeader
from dicom_node.store.instance_store import AETitles
from pipeline.errors import NotDicom, OutOfResources

OUT_OF_RESOURCES = 0xA700
DOES_NOT_MATCH = 0xA900
OTHER_STUDY = 0xA901
"""Failure reason of family A9xx: the instance is not of the study that the request names."""
TOO_LONG = 0xA702
"""Failure reason of family A7xx, "out of resources": longer than the settings allow."""
CANNOT_UNDERSTAND = 0xC000
SYNTAX_NOT_SUPPORTED = 0xC122
COMMENTS = {
    OUT_OF_RESOURCES: "The disk is full or fails.",
    DOES_NOT_MATCH: "SOP Class or Instance UID of data set and file meta differ.",
    OTHER_STUDY: "The instance is not of the study that the request names.",
    TOO_LONG: "The instance, or the request, is longer than the limits.",
    CANNOT_UNDERSTAND: "The part is not a DICOM file, or did not come whole.",
    SYNTAX_NOT_SUPPORTED: "The transfer syntax is not supported.",
}


class TooMuch(Exception):
    """More parts or bytes than one request may have."""


@dataclass(frozen=True)
class StoredSop:
    """An instance that is on stable storage."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class FailedPart:
    """A part that was not stored; ``sop`` where the part named its SOP class and instance. ``reason`` as in PS3.18
    table I.2-2.

    ``comment`` is the reason as a sentence, without patient data.
    """

    reason: int
    sop: StoredSop | None = None
    said: str = ""

    @property
    def comment(self) -> str:
        return self.said or COMMENTS[self.reason]


class StoreRequest:
    """Stores the parts of one request (`dicom_node.network.multipart.Parts`). Not thread-safe.

    ``stored`` and ``failures`` list the parts so far, ``studies`` the first studies of what was stored. ``study`` is
    the StudyInstanceUID of the request's path, if any.
    """

    def __init__(
        self, limits: Stow, folder: Path, ingest: Ingest, sender: AETitles, number: int, study: str = ""
    ) -> None:
        self.stored: list[StoredSop] = []
        self.failures: list[FailedPart] = []
        self.studies: set[str] = set()
        self._limits = limits
        self._folder = folder
        self._ingest = ingest
        self._sender = sender
        self._number = number
        self._study = study
        self._bytes = 0
        self._spool: Spool | None = None
        self._failed: int | None = None

    def begin(self, headers: Mapping[str, str]) -> None:
        """See `Parts.begin`.

        Raises
        ------
        TooMuch
            where there are more parts than one request may have.
        """
        if len(self.stored) + len(self.failures) >= self._limits.maximum_parts:
            raise TooMuch(f"a request may have {self._limits.maximum_parts} parts")
        self._spool = Spool(self._folder)
        kind, _ = media_type(headers.get("content-type", "application/dicom"))
        coding = headers.get("content-transfer-encoding", "binary").lower()
        plain = kind == "application/dicom" and coding in ("binary", "8bit")
        self._failed = None if plain else CANNOT_UNDERSTAND

    def data(self, content: bytes) -> None:
        """See `Parts.data`. A part that cannot be stored is read to its end and dropped.

        Raises
        ------
        TooMuch
            where the request is longer than it may be.
        """
        assert self._spool is not None
        self._bytes += len(content)
        if self._bytes > self._limits.maximum_bytes:
            raise TooMuch(f"a request may have {self._limits.maximum_bytes} bytes")
        if self._failed is not None:
            return
        if self._spool.size + len(content) > self._limits.maximum_instance_bytes:
            self._failed = TOO_LONG
            self._spool.close()
            return
        try:
            self._spool.write(content)
        except OSError:
            self._failed = OUT_OF_RESOURCES
            self._spool.close()

    def end(self) -> None:
        """See `Parts.end`. When this returns the instance is stored, or is one of the failures."""
        assert self._spool is not None
        with self._spool as spool:
            if self._failed is not None:
                self.failures.append(FailedPart(self._failed))
            else:
                self._keep(spool)
        self._spool = None

    def cut_short(self, reason: int) -> None:
        """Record that reading stopped: the current part, and those that may follow, failed for ``reason``."""
        self.close()
        self.failures.append(FailedPart(reason))

    def close(self) -> None:
        """Drop a part that did not arrive whole."""
        if self._spool is not None:
            self._spool.close()
            self._spool = None

    def status(self) -> int:
        """The HTTP status of the request (PS3.18 table 10.5.3-1)."""
        if not self.failures:
            return 200 if self.stored else 400
        if self.stored:
            return 202
        reasons = {failure.reason for failure in self.failures}
        return {frozenset({OUT_OF_RESOURCES}): 503, frozenset({TOO_LONG}): 413}.get(frozenset(reasons), 409)

    def _keep(self, spool: Spool) -> None:
        sop: StoredSop | None = None
        try:
            with spool.part10() as part:
                sop = _named(part)
                if part.transfer_syntax not in transfer_syntaxes():
                    self.failures.append(FailedPart(SYNTAX_NOT_SUPPORTED, sop))
                    return
                header, own = self._ingest.identify(part.stream, part.transfer_syntax)
                sop = StoredSop(header.sop_class_uid, header.sop_instance_uid)
                reason = self._mismatch(header, part)
                if reason is None:
                    syntax = UID(part.transfer_syntax)
                    self._ingest.store(part.encoded, (header, own), syntax, self._sender, self._number)
                    self.stored.append(sop)
                    if len(self.studies) < STUDIES_MOST:
                        self.studies.add(header.study_instance_uid)
                else:
                    self.failures.append(FailedPart(reason, sop))
        except NotDicom as error:
            self.failures.append(FailedPart(CANNOT_UNDERSTAND, sop, error.what))
        except OutOfResources:
            self.failures.append(FailedPart(OUT_OF_RESOURCES, sop))
        except OSError:  # no room for the spool's last bytes
            self.failures.append(FailedPart(OUT_OF_RESOURCES, sop))

    def _mismatch(self, header: InstanceHeader, part: Part10) -> int | None:
        """Why the instance contradicts the request or its own file meta, or None."""
        if self._study and header.study_instance_uid != self._study:
            return OTHER_STUDY
        named = (part.sop_class_uid, part.sop_instance_uid)
        if named != (header.sop_class_uid, header.sop_instance_uid):
            return DOES_NOT_MATCH
        return None


def _named(part: Part10) -> StoredSop | None:
    if part.sop_class_uid and part.sop_instance_uid:
        return StoredSop(part.sop_class_uid, part.sop_instance_uid)
    return None

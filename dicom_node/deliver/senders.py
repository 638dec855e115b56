"""The sender for each kind of destination, and the results that a destination takes."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal, Protocol, runtime_checkable

from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    DicomWebDestination,
    FhirDestination,
    FolderDestination,
)
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.privacy import Deidentify
from dicom_node.settings.tree import Settings

TAKES: Final[dict[str, frozenset[str]]] = {
    "dicom": frozenset({"dicom"}),
    "dicomweb": frozenset({"dicom"}),
    "fhir": frozenset({"fhir"}),
    "hl7v2": frozenset({"hl7v2"}),
    "folder": frozenset({"dicom", "fhir"}),
}
"""Kinds of results by kind of destination. HL7 v2 messages are written for one receiver, so no folder takes them."""


class Sender(Protocol):
    """Sends one result to one destination."""

    def send(self, files: tuple[Path, ...]) -> str:
        """Send ``files``, which belong together. Returns the destination's answer as a short text ("3 instances
        stored").

        Sending the same files again does no harm: identifiers and names are deterministic.

        Raises
        ------
        Retryable
            where the same call may succeed later.
        Rejected
            where the destination rejected them for good.
        """
        ...


@runtime_checkable
class Closer(Protocol):
    """A sender whose reports are drafts that can be closed."""

    def close(self, files: tuple[Path, ...]) -> str:
        """Close the draft that ``files`` made, where a human's final report is there; what was done.

        Raises
        ------
        NotYet
            where the server has no such report yet; otherwise as `Sender.send`.
        """
        ...


def takes(destination: Destination, kind: Literal["dicom", "fhir", "hl7v2"], profiles: Collection[str] = ()) -> bool:
    """Whether ``destination`` takes results of ``kind`` (`TAKES`).

    Of DICOM results it takes only those built for its profile; ``profiles`` lists those of a result, and an empty list
    means all. A de-identified destination takes only DICOM, since a report is about a patient.
    """
    if privacy(destination) is not None and kind != "dicom":
        return False
    if kind not in TAKES[destination.kind]:
        return False
    return kind != "dicom" or not profiles or getattr(destination, "profile", None) in profiles


def privacy(destination: Destination) -> Deidentify | None:
    """The de-identification settings of ``destination``, or None."""
    kinds = DicomDestination | DicomWebDestination | FolderDestination
    return destination.deidentify if isinstance(destination, kinds) else None


def sender_for(name: str, destination: Destination, settings: Settings) -> Sender:
    """The sender for ``destination``, which has ``name`` in the settings."""
    # Imported here, so that the receiver and the command line read settings without loading pynetdicom or httpx.
    if isinstance(destination, DicomDestination):
        from dicom_node.deliver.committed import CommittedSender  # noqa: PLC0415
        from dicom_node.deliver.dimse import DimseSender  # noqa: PLC0415

        sender = DimseSender(destination, settings.receive.ae_title, resumes=True)
        return CommittedSender(name, sender, settings.commitments_dir) if destination.commitment else sender
    if isinstance(destination, DicomWebDestination):
        from dicom_node.deliver.dicomweb import DicomWebSender  # noqa: PLC0415

        return DicomWebSender(destination, settings.in_flight_dir)
    if isinstance(destination, FhirDestination):
        from dicom_node.deliver.fhir import FhirSender  # noqa: PLC0415

        return FhirSender(destination, settings.in_flight_dir, settings.zone)
    if isinstance(destination, Hl7v2Destination):
        from dicom_node.deliver.hl7v2.sender import Hl7v2Sender  # noqa: PLC0415

        return Hl7v2Sender(destination, settings.in_flight_dir, settings.zone)
    from dicom_node.deliver.folder import FolderSender  # noqa: PLC0415

    return FolderSender(destination)

"""Asks a destination whether it would take a result, without sending one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    DicomWebDestination,
    FhirDestination,
    FolderDestination,
)
from dicom_node.settings.remotes import DicomRemote
from dicom_node.settings.tree import Settings
from pipeline.errors import PeerUnavailable, Rejected

PATIENCE: Final = 10.0
"""Seconds: a person waits for the answer."""


def probe(destination: Destination, settings: Settings) -> str:
    """What the destination answers, in a short sentence: a PACS to C-ECHO, a DICOMweb server to a query for one study,
    a FHIR server with its CapabilityStatement. An HL7 receiver is connected to, a folder looked at.

    Raises
    ------
    Retryable, Rejected
        where it cannot be reached, or answers with an error.
    BadSettings
        where the settings allow no connection.
    """
    quick = destination
    if not isinstance(destination, FolderDestination):
        quick = destination.model_copy(update={"timeout": min(destination.timeout, PATIENCE)})
    if isinstance(quick, DicomDestination):
        return _echo(quick, settings.receive.ae_title)
    if isinstance(quick, DicomWebDestination):
        return _query(quick, settings.in_flight_dir)
    if isinstance(quick, FhirDestination):
        from dicom_node.deliver.fhir import client_for  # noqa: PLC0415  (loads fhir.resources)

        return f"The server answers: {client_for(quick).capability()}."
    if isinstance(quick, FolderDestination):
        return _look(quick.path)
    from dicom_node.deliver.hl7v2.sender import receiver_of  # noqa: PLC0415

    receiver_of(quick).reach()
    return "The receiver takes connections."


def _echo(destination: DicomDestination, calling_ae: str) -> str:
    """C-ECHO (PS3.7 9.1.5)."""
    from pynetdicom.presentation import build_context  # noqa: PLC0415
    from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # noqa: PLC0415  (made at import)

    from dicom_node.network.association import associated, place  # noqa: PLC0415

    remote = DicomRemote(kind="dicom", peer=destination.peer, timeout=destination.timeout)
    with associated(remote, calling_ae, [build_context(Verification)]) as assoc:
        status = assoc.send_c_echo().get("Status")
    if status is None:
        raise PeerUnavailable("C-ECHO was not answered.", where=place(remote), todo="Look at the PACS's log.")
    if status != 0x0000:
        raise Rejected(f"C-ECHO was answered with status 0x{status:04X}.", where=place(remote))
    return f"{destination.peer.ae_title} answers C-ECHO."


def _query(destination: DicomWebDestination, locks: Path) -> str:
    """A search for one study (QIDO-RS, PS3.18 10.6). Servers that store but do not search answer 4xx."""
    from dicom_node.deliver.dicomweb_http import DicomWebServer  # noqa: PLC0415

    server = DicomWebServer(destination, locks)
    with server.connected() as connection:
        status = connection.get("/studies", {"limit": "1"}).status
    if status in (401, 403):
        raise Rejected(f"The server answered {status}.", where=server.place, todo="Check user name, password or token.")
    if status >= 500:
        raise PeerUnavailable(f"The server answered {status}.", where=server.place, todo="Look at the server's log.")
    return "The server answers." if status < 300 else f"The server answers {status} to a search."


def _look(path: Path) -> str:
    if not path.is_dir():
        if os.access(path.parent, os.W_OK | os.X_OK):
            return "The folder is made with the first result."
        raise PeerUnavailable("There is no such folder.", where=str(path), todo="Make it, or mount it.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise PeerUnavailable("The folder cannot be written to.", where=str(path), todo="Check its permissions.")
    return "The folder can be written to."

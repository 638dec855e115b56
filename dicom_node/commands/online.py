"""`candela config check --online`: asks every peer of the settings whether it answers, and sends nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial

from dicom_node.commands.dicom import c_echo
from dicom_node.completion.expected_count import FindCounter
from dicom_node.network.tls import client_context
from dicom_node.settings.destinations import (
    Destination,
    DicomDestination,
    DicomWebDestination,
    FhirDestination,
    FolderDestination,
)
from dicom_node.settings.hl7v2 import Hl7v2Destination
from dicom_node.settings.peers import FindCount, OrthancCount
from dicom_node.settings.tree import Settings
from orthanc.client import OrthancClient
from pipeline.errors import BadSettings, CandelaError, PeerUnavailable, Rejected
from pipeline.findings.identity import derived_uid

NOBODYS = derived_uid("a study that nobody has")
"""What peers are asked for, so that no answer holds a patient."""
UNWILLING = 400
"""The first HTTP status that is no answer."""


def answers(settings: Settings) -> Iterator[tuple[str, CandelaError | None]]:
    """Each expected count and each enabled destination, and why it does not answer; None where it does."""
    for peer in settings.receive.allow:
        if peer.expected_count is not None:
            yield f"expected_count of {peer.ae_title}", _error(partial(_count, peer.expected_count, settings))
    for name, destination in settings.destinations.items():
        if destination.enabled:
            yield f"destination {name}", _error(partial(_ask, destination, settings))


def _error(ask: Callable[[], None]) -> CandelaError | None:
    try:
        ask()
    except CandelaError as error:
        return error
    return None


def _count(source: OrthancCount | FindCount, settings: Settings) -> None:
    if isinstance(source, FindCount):
        FindCounter(source, settings.receive.ae_title)(NOBODYS, NOBODYS)
        return
    with OrthancClient(source.url, source.username, source.password.get_secret_value()) as client:
        client.find_series(NOBODYS)


def _ask(destination: Destination, settings: Settings) -> None:
    if isinstance(destination, DicomDestination):
        c_echo(destination.peer, settings.receive.ae_title)
    elif isinstance(destination, DicomWebDestination):
        _dicomweb(destination, settings)
    elif isinstance(destination, FhirDestination):
        _fhir(destination)
    elif isinstance(destination, Hl7v2Destination):
        _connect(destination)
    else:
        _folder(destination)


def _dicomweb(destination: DicomWebDestination, settings: Settings) -> None:
    from dicom_node.deliver.dicomweb_http import DicomWebServer

    with DicomWebServer(destination, settings.in_flight_dir).connected() as server:
        answer = server.get("/studies", {"StudyInstanceUID": NOBODYS})
    if answer.status >= UNWILLING:
        raise _refused("DICOMweb server", answer.status, destination.url)


def _fhir(destination: FhirDestination) -> None:
    from dicom_node.deliver.fhir import authorization
    from fhir.transport import connect

    tls = client_context(destination.tls) if destination.tls else None
    with connect(destination.url, destination.timeout, authorization(destination), tls) as server:
        answer = server.get(f"{destination.url.rstrip('/')}/metadata")
    if answer.status_code >= UNWILLING:
        raise _refused("FHIR server", answer.status_code, destination.url)


def _refused(what: str, status: int, url: str) -> Rejected:
    from fhir.urls import public_url

    todo = "Check what it wants to know of us: user, password or token." if status in (401, 403) else "Check the URL."
    return Rejected(f"The {what} answered {status}.", where=public_url(url), todo=todo)


def _connect(destination: Hl7v2Destination) -> None:
    place = f"{destination.host}:{destination.port}"
    try:
        socket.create_connection((destination.host, destination.port), timeout=destination.timeout).close()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise PeerUnavailable(
            f"No connection: {reason}.", where=place, todo="Check host, port and firewall."
        ) from error


def _folder(destination: FolderDestination) -> None:
    place = destination.path
    there = next(path for path in (place, *place.absolute().parents) if path.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        raise BadSettings("The folder cannot be written to.", where=str(place), todo="Correct path or permissions.")
